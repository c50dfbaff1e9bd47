"""The report as a table in Markdown and as JSON, and stored baselines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import GateError
from .measure import INTERPRETER, Counts, Key
from .verdicts import Cell, Verdict, number

__all__ = ["Outcome", "read_baseline", "save_baseline"]

_FORMAT = 1
"""Version of the JSON files, which changes when a field changes its meaning."""
_EXPLAINED = 3
"""Failing scenarios whose functions are in the report. The JSON has those of all."""
_MARKS = {Verdict.IMPROVED: "improved", Verdict.NEW: "new", Verdict.GONE: "gone"}


@dataclass(frozen=True)
class Outcome:
    """The result of one comparison. ``base`` is a commit, a file, or None; ``uncounted`` maps scenarios that base could
    not run to the reason."""

    key: Key
    base: str | None
    cells: Sequence[Cell]
    notes: Sequence[str]
    uncounted: Mapping[str, str]
    growth: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The functions that have grown most, by failing scenario."""
    no_base: str = ""
    """The reason why ``base`` is None."""
    head: str | None = None
    """The commit of the working tree, with ``+`` if the packages are changed."""

    @property
    def failures(self) -> list[str]:
        return [cell.sentence() for cell in self.cells if cell.verdict.fails]

    def markdown(self) -> str:
        """Returns the verdict, the table and the reasons, readable also as plain text."""
        lines = [self._headline(), ""]
        if self.failures:
            lines += [*(f"- {_code(failure)}" for failure in self.failures), ""]
        for scenario in self._most_grown():
            lines += [f"Functions of {_code(scenario)} that grew most:", ""]
            lines += [*(f"- {_code(line)}" for line in self.growth[scenario]), ""]
        if len(self.growth) > _EXPLAINED:
            lines += [f"The functions of {len(self.growth) - _EXPLAINED} more scenarios are in the file of --json.", ""]
        lines += [*self._table(), ""]
        lines += [f"- {_code(name)} is new, base cannot run it: {_code(why)}" for name, why in self.uncounted.items()]
        lines += [f"- {note}" for note in self.notes]
        key = self.key
        tool = f", valgrind {key.valgrind}" if key.valgrind else ""
        lines.append(f"- for one step each; {INTERPRETER} on {key.architecture}{tool}, lock {key.lock}")
        return "\n".join(lines) + "\n"

    def _most_grown(self) -> list[str]:
        """Returns the failing scenarios with the greatest growth. Often all have the same cause."""
        changes = dict.fromkeys(self.growth, 0.0)
        for cell in self.cells:
            if cell.scenario in changes and cell.verdict.fails:
                changes[cell.scenario] = max(changes[cell.scenario], cell.change or 0.0)
        return sorted(changes, key=lambda name: -changes[name])[:_EXPLAINED]

    def _headline(self) -> str:
        if self.base is None and all(cell.budget is None for cell in self.cells):
            return (
                f"**Regression gate: nothing compared** (no base: {self.no_base}; no budgets). "
                "Name a commit with --base, or write a file of budgets"
            )
        if self.base is not None and self.uncounted and all(_is_new(cell) for cell in self.cells):
            return f"**Regression gate: nothing compared** ({self.base} cannot run a scenario, for the reasons below)"
        verdict = "failed" if self.failures else "passed"
        if self.base is None:
            return f"**Regression gate: {verdict}** (no base: {self.no_base}; budgets only)"
        head = f"head {self.head}" if self.head else "head"
        return f"**Regression gate: {verdict}** ({head} against {self.base})"

    def _table(self) -> list[str]:
        scenarios = list(dict.fromkeys(cell.scenario for cell in self.cells))
        counts = list(dict.fromkeys(cell.count for cell in self.cells))
        texts = {(cell.scenario, cell.count): _text(cell, marked=self.base is not None) for cell in self.cells}
        rows = [["scenario", *counts]]
        rows += [
            [_code(scenario).replace("|", "\\|"), *(texts.get((scenario, count), "") for count in counts)]
            for scenario in scenarios
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(counts) + 1)]
        lines = []
        for first, *others in rows:
            cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
            lines.append(f"| {' | '.join(cells)} |")
        rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
        return [lines[0], f"|{'|'.join(rule)}|", *lines[1:]]

    def json(self) -> dict[str, Any]:
        """Returns the JSON described in ``docs/regression-gate.md``."""
        scenarios: dict[str, dict[str, Any]] = {}
        for cell in self.cells:
            scenarios.setdefault(cell.scenario, {})[cell.count] = {
                "base": cell.base,
                "head": cell.head,
                "change": cell.change,
                "budget": cell.budget,
                "limit": cell.limit,
                "verdict": cell.verdict.value,
            }
        return {
            "format": _FORMAT,
            "passed": not self.failures,
            "base": self.base,
            "head": self.head,
            "key": asdict(self.key),
            "scenarios": scenarios,
            "failures": self.failures,
            "growth": {name: list(lines) for name, lines in self.growth.items()},
            "uncounted": dict(self.uncounted),
            "notes": list(self.notes),
        }


def _code(text: str) -> str:
    """Returns ``text`` as code of Markdown. The values of a parametrised test may be markup, or mention a user."""
    return f"`{text.replace('`', chr(39))}`"


def _is_new(cell: Cell) -> bool:
    return cell.verdict is Verdict.NEW


def _text(cell: Cell, *, marked: bool) -> str:
    parts = [number(cell.head)]
    if cell.change:
        parts.append(f"({cell.change:+.2%})")
    if cell.verdict.fails:
        return f"**{' '.join(parts)}**"
    if marked and cell.verdict in _MARKS:
        parts.append(_MARKS[cell.verdict])
    return " ".join(part for part in parts if part)


def save_baseline(path: Path, key: Key, counts: Counts) -> None:
    path.write_text(json.dumps({"format": _FORMAT, "key": asdict(key), "counts": counts}, indent=1) + "\n")


def read_baseline(path: Path, key: Key) -> Counts:
    """Returns the counts of a stored baseline. Raises GateError, naming the differences, if its key differs."""
    try:
        stored = json.loads(path.read_text("utf-8"))
        counts: Counts = stored["counts"]
        former = Key(**{**stored["key"], "distributions": tuple(stored["key"]["distributions"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GateError(f"{path} is not a baseline of this gate ({error!r}): write one with --save") from error
    if former != key:
        mine, theirs = asdict(key), asdict(former)
        parts = [
            f"{name} is {_condition(mine[name])}, there {_condition(theirs[name])}"
            for name in mine
            if mine[name] != theirs[name]
        ]
        parts = [part for part in parts if not part.startswith(("lock", "distributions"))]
        if former.lock != key.lock:
            here, there = set(key.distributions), set(former.distributions)
            parts.append(f"lock: here {_listed(here - there)}, there {_listed(there - here)}")
        raise GateError(
            f"{path} was counted under other conditions and cannot be compared: {'; '.join(parts)}. "
            "Count under the same conditions, save a new baseline with --save, or compare with a commit by --base"
        )
    return counts


def _condition(value: object) -> str:
    return "not used" if value in (None, False) else "used" if value is True else str(value)


def _listed(distributions: set[str]) -> str:
    return ", ".join(sorted(distributions)) or "none"
