"""Where the modules of a run came from: base may execute no code of head other than the scenarios."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import CannotLoadError, GateError
from .subject import Subject

__all__ = ["check"]


def check(files: Mapping[str, str | None], tree: Path, subject: Subject, changed: Sequence[str]) -> None:
    """``files`` maps the modules of a run to their files, ``tree`` has the copies of the packages, and ``changed`` are
    the source files that differ between base and head. Raises CannotLoadError if a package came from elsewhere, or if
    none was imported, and GateError if a changed module is not in the packages."""
    paths = {name: Path(file) for name, file in files.items() if file is not None}
    others = {name: path for name, path in paths.items() if not path.is_relative_to(tree)}
    for package in subject.packages:
        name = Path(package).stem
        if name in others:
            # The import hook of an editable install took precedence over the path.
            raise CannotLoadError(
                f"{name} was imported from {others[name]}, not from the measured copy. Install it without an import "
                "hook (`pip install .`), or leave it uninstalled"
            )
    own = {name: path for name, path in others.items() if name.partition(".")[0] not in sys.stdlib_module_names}
    if paths and len(others) == len(paths):
        raise CannotLoadError(
            f"the scenarios import nothing of packages = {_list(subject.packages)}. {_instead(own, subject)}"
        )
    for name, path in own.items():
        module = "/".join([*name.split("."), *(["__init__"] if path.stem == "__init__" else [])]) + ".py"
        for file in changed:
            folder = file.removesuffix(module)
            if file == folder or folder[-1:] not in ("", "/") or _is_harness(file, subject):
                continue
            if not (subject.root / folder / "__init__.py").exists():  # else it is another module of the same name
                package = f"{folder}{module.partition('/')[0]}"
                raise GateError(
                    f"{file} differs between base and head, but both executed {path}: add "
                    f'"{package}" to packages = {_list(subject.packages)}'
                )


def _instead(own: Mapping[str, Path], subject: Subject) -> str:
    """Returns the packages of the project that the scenarios imported from elsewhere, as a remedy."""
    origins: dict[str, Path] = {}
    for name in sorted(own):
        origins.setdefault(name.partition(".")[0], own[name])
    found = {}
    for name, origin in origins.items():
        for folder in ("", "src", *subject.packages):
            for path in (os.path.join(folder, name), os.path.join(folder, f"{name}.py")):
                if (subject.root / path).exists() and not _is_harness(path, subject):
                    found[path] = f"{name} was imported from {origin}"
    if not found:
        return "Name the folders or files that they import"
    return f"Write packages = {_list(found)}: {', '.join(found.values())}"


def _is_harness(path: str, subject: Subject) -> bool:
    """Whether a file belongs to the scenarios, of which both sides run head's: it is a test, or in the outermost folder
    of the scenarios that has no measured package. A folder that has the scenarios does too."""
    folder = next((one for one in _folders(subject) if not _has_package(one, subject)), None)
    if Path(path).name.startswith(("test_", "conftest.")) or subject.scenarios.is_relative_to(subject.root / path):
        return True
    return folder is not None and Path(path).is_relative_to(folder)


def _folders(subject: Subject) -> Iterator[Path]:
    """Yields the folders of the scenarios, the outermost first, and at last the scenarios."""
    scenarios = Path(os.path.relpath(subject.scenarios, subject.root))
    yield from (*list(scenarios.parents)[-2::-1], scenarios)


def _has_package(folder: Path, subject: Subject) -> bool:
    return any(Path(package).is_relative_to(folder) for package in subject.packages)


def _list(paths: Sequence[str] | Mapping[str, str]) -> str:
    """Returns paths as a list of TOML."""
    return json.dumps(list(paths))
