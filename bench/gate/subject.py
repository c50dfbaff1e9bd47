"""The measured project: ``[tool.bench-gate]`` of its pyproject.toml, overridden by the command line."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import GateError

__all__ = ["Subject"]


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
        project = root / "pyproject.toml"
        try:
            tables = tomllib.loads(project.read_text("utf-8")) if project.exists() else {}
        except ValueError as error:
            raise GateError(f"{project} cannot be read: {error}") from error
        table = tables.get("tool", {}).get("bench-gate", {})
        scenarios = scenarios or table.get("scenarios")
        packages = packages or table.get("packages")
        budgets = budgets or table.get("budgets")
        if not scenarios or not packages:
            raise GateError("nothing to measure: use --scenarios and --package, or [tool.bench-gate] in pyproject.toml")
        for path in (scenarios, *packages):
            if not (root / path).exists():
                raise GateError(f"no {path} in {root}: run the gate in the project's root folder")
        return cls(root, root / scenarios, packages, root / budgets if budgets else None, names)
