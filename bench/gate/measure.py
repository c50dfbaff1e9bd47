"""Runs ``counting.py`` on one tree, with the tools that this machine has, and says under what the counts were taken."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import CannotLoadError, GateError
from .subject import Subject

__all__ = ["Counts", "Key", "Measurement", "Tools", "measure"]

_HERE = Path(__file__).resolve().parent
_ERROR_CHARACTERS = 2000
Counts = dict[str, dict[str, float]]
"""What each scenario costs: by its name, then by the name of the count."""


@dataclass(frozen=True)
class Tools:
    """What counts besides the interpreter. ``notes`` says what is missing, and what follows from that."""

    valgrind: str | None
    """Its version."""
    fixed_addresses: bool
    malloc_counter: Path | None
    notes: tuple[str, ...]

    @classmethod
    def find(cls, directory: Path, *, instructions: bool) -> "Tools":
        """Look for valgrind (if ``instructions`` are wanted) and build the malloc counter in ``directory``."""
        notes: list[str] = []
        version = _output("valgrind", "--version") if instructions else None
        version = version and version.removeprefix("valgrind-")
        fixed = version is not None and _output("setarch", "-R", "true") is not None
        if not instructions:
            notes.append("instructions were not asked for: time spent in C is not seen")
        elif version is None:
            notes.append("valgrind is not installed: no instructions, so time spent in C is not seen")
        elif not fixed:
            notes.append("setarch -R is refused here: instructions are counted at random addresses")
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
    """What counts depend on besides the code. Only counts with equal keys can be compared."""

    implementation: str
    version: str
    """The interpreter's build, not only its number."""
    architecture: str
    lock: str
    """A hash of ``distributions``."""
    valgrind: str | None
    malloc_counter: bool
    distributions: tuple[str, ...] = field(compare=False)
    """``name==version`` of every distribution that the scenarios import."""

    @classmethod
    def of(cls, tools: Tools, files: Mapping[str, str | None], packages: Sequence[str]) -> "Key":
        """``files`` says where each module was loaded from; the measured ``packages`` do not count."""
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

    @property
    def interpreter(self) -> str:
        """Such as ``cpython-3.11``: how budgets name it."""
        return f"{self.implementation}-{'.'.join(self.version.split('.')[:2])}"


@dataclass(frozen=True)
class Measurement:
    """``errors`` are the scenarios that could not be counted, and why; ``files`` where modules came from."""

    counts: Counts
    errors: Mapping[str, str]
    files: Mapping[str, str | None]


def measure(tree: Path, subject: Subject, tools: Tools) -> Measurement:
    """Count the scenarios with the packages of ``tree``; whatever else they import is looked for in the subject's root
    and in the interpreter's environment. Raises CannotLoadError if the scenarios cannot be
    loaded or load other packages than those, GateError if counting fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{tree}{os.pathsep}{subject.root}"}
    preload: dict[str, str] = {}
    if tools.malloc_counter is not None:
        preload = {"LD_PRELOAD": str(tools.malloc_counter), "PYTHONMALLOC": "malloc"}
    # This one first: it leaves compiled modules behind, so that valgrind need not watch the compiler.
    results = _run([], "counts", tree, subject, environment | preload)
    files = {name: file for result in results.values() for name, file in result.get("files", {}).items()}
    _check_origin(files, tree, subject.packages)
    if tools.valgrind is not None:
        output = f"--cachegrind-out-file={tree}/cachegrind.%p"
        valgrind = ["valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no", output]
        wrapper = ["setarch", "-R", *valgrind] if tools.fixed_addresses else valgrind
        instructions = _run(wrapper, "instructions", tree, subject, environment)
        for name, result in instructions.items():
            # Instructions first: what matters most stands first in the table.
            counts = result.get("counts", {}) | results[name].get("counts", {})
            results[name] |= result | {"counts": counts}
    errors = {name: result["error"] for name, result in results.items() if "error" in result}
    return Measurement(
        {name: result["counts"] for name, result in results.items() if name not in errors}, errors, files
    )


def _run(
    wrapper: list[str], mode: str, tree: Path, subject: Subject, environment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    output = tree / f"{mode}.json"
    # -P: neither this file's folder nor the current one shall be on the path.
    command = [*wrapper, sys.executable, "-P", str(_HERE / "counting.py"), mode, str(subject.scenarios), str(output)]
    result = subprocess.run(
        [*command, *subject.names], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode != 0:
        text = result.stdout.decode("utf-8", "replace")[-_ERROR_CHARACTERS:]
        raise GateError(f"counting {mode} failed with status {result.returncode}:\n{text}")
    report: dict[str, Any] = json.loads(output.read_text())
    if "error" in report:
        raise CannotLoadError(f"{subject.scenarios.name} cannot be used: {report['error']}")
    results: dict[str, dict[str, Any]] = report["scenarios"]
    return results


def _check_origin(files: Mapping[str, str | None], tree: Path, packages: Sequence[str]) -> None:
    """An import hook of an editable install may go before the path."""
    for package in packages:
        name = Path(package).stem
        file = files.get(name)
        if file is not None and not Path(file).is_relative_to(tree):
            raise CannotLoadError(
                f"{name} was imported from {file}, not from the copy that is to be measured in {tree}"
            )


def _output(*command: str | Path) -> str | None:
    """What a tool prints; None if it is not there or fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
