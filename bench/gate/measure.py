"""Runs ``counting.py`` on one tree with the available tools, and records the conditions of the counts."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import CannotLoadError, GateError
from .growth import Profile
from .origins import check
from .subject import Subject

__all__ = ["INTERPRETER", "Counts", "Key", "Measurement", "Tools", "measure", "own_counts"]

_HERE = Path(__file__).resolve().parent
_ERROR_CHARACTERS = 2000
_STANDARD_ERROR = 2
INTERPRETER = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
"""The name of the interpreter in budgets, such as ``cpython-3.11``."""
Counts = dict[str, dict[str, float]]
"""The cost of each scenario, by scenario and count."""


@dataclass(frozen=True)
class Tools:
    """Tools for counting besides the interpreter. ``notes`` describes missing tools and the consequences."""

    valgrind: str | None
    """Its version."""
    fixed_addresses: bool
    malloc_counter: Path | None
    notes: tuple[str, ...]

    @classmethod
    def find(cls, directory: Path, *, instructions: bool) -> "Tools":
        """Finds valgrind (if ``instructions`` are to be counted) and builds the malloc counter in ``directory``."""
        notes: list[str] = []
        version = _output("valgrind", "--version") if instructions else None
        version = version and version.removeprefix("valgrind-")
        fixed = version is not None and _output("setarch", "-R", "true") is not None
        if not instructions:
            notes.append("instructions are not counted, so time in C is not included")
        elif version is None:
            notes.append("valgrind is not installed: instructions are not counted, so time in C is not included")
        elif not fixed:
            notes.append("setarch -R is not permitted: instructions are counted at random addresses")
        library = directory / "malloc_count.so"
        source = _HERE / "malloc_count.c"
        if (
            not sys.platform.startswith("linux")
            or _output("cc", "-O2", "-shared", "-fPIC", "-o", library, source) is None
        ):
            notes.append("no C compiler with glibc: memory blocks taken are not counted, only those kept")
            return cls(version, fixed, None, tuple(notes))
        return cls(version, fixed, library, tuple(notes))


@dataclass(frozen=True)
class Key:
    """Conditions that affect counts besides the code. Only counts with equal keys can be compared."""

    implementation: str
    version: str
    """The build of the interpreter, not only its version."""
    architecture: str
    lock: str
    """A hash of ``distributions``."""
    valgrind: str | None
    malloc_counter: bool
    distributions: tuple[str, ...] = field(compare=False)
    """``name==version`` of every distribution that the scenarios import."""

    @classmethod
    def of(cls, tools: Tools, files: Mapping[str, str | None], packages: Sequence[str]) -> "Key":
        """``files`` maps modules to their files; the measured ``packages`` are not part of the key."""
        loaded = {name.partition(".")[0] for name in files} - sys.stdlib_module_names
        loaded -= {Path(package).stem for package in packages}
        owners = importlib.metadata.packages_distributions() if loaded else {}
        names = {owner for module in loaded for owner in owners.get(module, ())}
        distributions = tuple(sorted(f"{name.lower()}=={importlib.metadata.version(name)}" for name in names))
        return cls(
            implementation=sys.implementation.name,
            version=" ".join(sys.version.split()),
            architecture=platform.machine(),
            lock=hashlib.sha256("\n".join(distributions).encode("utf-8")).hexdigest()[:16],
            valgrind=tools.valgrind,
            malloc_counter=tools.malloc_counter is not None,
            distributions=distributions,
        )


@dataclass(frozen=True)
class Measurement:
    """``errors`` maps scenarios that could not be counted to the reason, and ``tracebacks`` to more about it; ``files``
    maps modules to their files; ``profiles`` has the functions of each scenario."""

    counts: Counts
    errors: Mapping[str, str]
    files: Mapping[str, str | None]
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    tracebacks: Mapping[str, str] = field(default_factory=dict)


def own_counts(tree: Path, subject: Subject) -> dict[str, list[str]]:
    """Returns the names of the scenarios' own counts, without counting; nothing if a scenario fails. Raises
    CannotLoadError like ``measure``."""
    results = _run([], "names", tree, replace(subject, names=[]), _environment(tree, subject))
    if any("error" in result for result in results.values()):
        return {}
    return {name: result["names"] for name, result in results.items()}


def measure(tree: Path, subject: Subject, tools: Tools, changed: Sequence[str] = ()) -> Measurement:
    """Counts the scenarios with the packages of ``tree``. Other imports come from the subject's root and the
    environment of the interpreter. Raises CannotLoadError if the scenarios cannot be loaded or load other copies of the
    packages, GateError if counting fails or if the scenarios load one of the ``changed`` files from elsewhere."""
    environment = _environment(tree, subject)
    preload: dict[str, str] = {}
    if tools.malloc_counter is not None:
        preload = {"LD_PRELOAD": str(tools.malloc_counter), "PYTHONMALLOC": "malloc"}
    # Runs first, because it compiles the modules, which would be slow under valgrind.
    results = _run([], "counts", tree, subject, environment | preload)
    files = {name: file for result in results.values() for name, file in result.get("files", {}).items()}
    check(files, tree, subject, changed)
    if tools.valgrind is not None:
        output = f"--cachegrind-out-file={tree}/cachegrind.%p"
        valgrind = ["valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no", output]
        wrapper = ["setarch", "-R", *valgrind] if tools.fixed_addresses else valgrind
        instructions = _run(wrapper, "instructions", tree, subject, environment)
        for name, result in instructions.items():
            # The most important count comes first in the table.
            others = results.setdefault(name, {})
            others |= result | {"counts": result.get("counts", {}) | others.get("counts", {})}
    errors = {name: result["error"] for name, result in results.items() if "error" in result}
    whole = {name: result for name, result in results.items() if name not in errors}
    return Measurement(
        {name: result["counts"] for name, result in whole.items()},
        errors,
        files,
        {
            name: Profile(result["stacks"], result.get("functions", {}), result.get("memory", {}))
            for name, result in whole.items()
        },
        {name: results[name].get("traceback", "").replace(f"{tree}{os.sep}", "") for name in errors},
    )


def _environment(tree: Path, subject: Subject) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return environment | {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{tree}{os.pathsep}{subject.root}"}


def _run(
    wrapper: list[str], mode: str, tree: Path, subject: Subject, environment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    output = tree / f"{mode}.json"
    # -P keeps the folder of this file and the current folder off the path.
    command = [*wrapper, sys.executable, "-P", str(_HERE / "counting.py"), mode, str(subject.scenarios), str(output)]
    progress = os.dup(_STANDARD_ERROR)
    try:
        result = subprocess.run(
            [*command, str(progress), *subject.names],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[progress],
            check=False,
        )
    finally:
        os.close(progress)
    text = result.stdout.decode("utf-8", "replace")[-_ERROR_CHARACTERS:]
    if result.returncode != 0:
        raise GateError(f"counting {mode} failed with status {result.returncode}:\n{text}")
    report: dict[str, Any] = json.loads(output.read_text())
    if "error" in report:
        details = f"\n{report['traceback'] or text}" if "traceback" in report else ""
        raise CannotLoadError(f"{report['error']}{details}".replace(f"{tree}{os.sep}", ""))
    results: dict[str, dict[str, Any]] = report["scenarios"]
    return results


def _output(*command: str | Path) -> str | None:
    """Returns the output of a tool; None if it is missing or fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
