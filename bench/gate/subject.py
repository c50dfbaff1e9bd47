"""The measured project: ``[tool.bench-gate]`` of its pyproject.toml, overridden by the command line."""

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
        scenarios = scenarios or table.get("scenarios")
        packages = packages or table.get("packages")
        budgets = budgets or table.get("budgets")
        if not scenarios or not packages:
            raise GateError(
                f"nothing to measure in {root}: set scenarios and packages of [tool.bench-gate] in pyproject.toml, use "
                "--scenarios and --package, or run the gate in the project's root folder"
            )
        for path in (scenarios, *packages):
            if not (root / path).exists():
                raise GateError(f"no {path} in {root}: run the gate in the project's root folder")
        return cls(root, root / scenarios, packages, root / budgets if budgets else None, names)


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
