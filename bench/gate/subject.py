"""What is measured: ``[tool.bench-gate]`` of the project's pyproject.toml, overruled by the command line."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import GateError

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """``packages`` are paths below ``root``, the project's folder; ``names`` the scenarios to count, none for all."""

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
        """What is None is looked up in ``root``'s pyproject.toml. Raises GateError if it is not said or not there."""
        project = root / "pyproject.toml"
        tables = tomllib.loads(project.read_text("utf-8")) if project.exists() else {}
        table = tables.get("tool", {}).get("bench-gate", {})
        scenarios = scenarios or table.get("scenarios")
        packages = packages or table.get("packages")
        budgets = budgets or table.get("budgets")
        if not scenarios or not packages:
            raise GateError("say what to measure: --scenarios and --package, or [tool.bench-gate] in pyproject.toml")
        for path in (scenarios, *packages):
            if not (root / path).exists():
                raise GateError(f"there is no {path} in {root}: run the gate in the project's root folder")
        return cls(root, root / scenarios, packages, root / budgets if budgets else None, names)
