"""The measured project: ``[tool.bench-gate]`` of its pyproject.toml, overridden by the command line."""

import difflib
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .errors import GateError

__all__ = ["Subject"]

_OPTIONS: Final = ("scenarios", "packages", "budgets")


@dataclass(frozen=True)
class Subject:
    """``packages`` are paths below ``root``, the project's folder; ``names`` are the scenarios to count, or empty for
    all."""

    root: Path
    scenarios: Path
    packages: Sequence[str]
    budgets: Path | None
    names: Sequence[str]

    @classmethod
    def read(
        cls,
        root: Path,
        scenarios: str | None,
        packages: Sequence[str] | None,
        budgets: str | None,
        names: Sequence[str],
    ) -> "Subject":
        """Takes values that are None from ``root``'s pyproject.toml. Raises GateError for missing values or paths, or
        if the file is invalid."""
        table = _settings(root / "pyproject.toml")
        from_file = "{} of [tool.bench-gate]"
        options: dict[str, Any] = {
            "--scenarios" if scenarios else from_file.format("scenarios"): [scenarios or table.get("scenarios")],
            "--package" if packages else from_file.format("packages"): packages or table.get("packages", []),
            "--budgets" if budgets else from_file.format("budgets"): [budgets or table.get("budgets")],
        }
        (scenarios,), packages, (budgets,) = options.values()
        if not scenarios or not packages:
            raise GateError(
                f"nothing to measure in {root}: set scenarios and packages of [tool.bench-gate] in pyproject.toml, use "
                "--scenarios and --package, or run the gate in the project's root folder"
            )
        for option, paths in options.items():
            for path in paths:
                if path and not (root / path).exists():
                    raise GateError(f"{option}: no {path} in {root}{_near(root, path)}")
        # In the tree of base they must be those of base.
        packages = [os.path.relpath(root / path, root) for path in packages]
        for path in packages:
            if not _can_be_imported(root, path):
                raise GateError(
                    f'{path!r} is no package: name the folders or files that are imported, such as "src/yours"'
                )
        return cls(root, root / scenarios, packages, root / budgets if budgets else None, names)


def _near(root: Path, path: str) -> str:
    """Returns the most similar path that exists below ``root`` as the end of a sentence, or else a remedy."""
    found = Path()
    for part in Path(path).parts:
        names = [one.name for one in (root / found).iterdir()] if (root / found).is_dir() else []
        matches = [part] if part in names else difflib.get_close_matches(part, names, 1)
        if not matches:
            return "; paths are relative to the project's root folder, where the gate must run"
        found /= matches[0]
    return f"; did you mean {found}?"


def _can_be_imported(root: Path, path: str) -> bool:
    """Whether a path may be a package, with or without ``__init__.py``, or a module."""
    is_folder = (root / path).is_dir()
    name = Path(path).name
    return (name if is_folder else name.removesuffix(".py")).isidentifier() and (is_folder or name.endswith(".py"))


def _settings(project: Path) -> dict[str, Any]:
    """Returns ``[tool.bench-gate]`` of a pyproject.toml. Raises GateError for unknown options: a misspelt ``budgets``
    would turn the budgets off."""
    if not project.exists():
        return {}
    try:
        table: dict[str, Any] = tomllib.loads(project.read_text("utf-8")).get("tool", {}).get("bench-gate", {})
    except ValueError as error:  # not TOML, or not UTF-8
        raise GateError(f"{project} cannot be read: {error}") from error
    for name, value in table.items():
        if name not in _OPTIONS:
            raise GateError(f"[tool.bench-gate] in {project}: unknown option {name}; options: {', '.join(_OPTIONS)}")
        if name == "packages":
            valid = isinstance(value, list) and all(isinstance(path, str) for path in value)
        else:
            valid = isinstance(value, str)
        if not valid:
            form = "a list of paths" if name == "packages" else "a path in quotes"
            raise GateError(f"[tool.bench-gate] in {project}: {name} must be {form}")
    return table
