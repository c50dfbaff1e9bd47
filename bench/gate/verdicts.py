"""Judges counts: a count with a budget must equal it; any other count is compared with base and the limit."""

import enum
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .counting import COUNTS, instead
from .errors import GateError
from .measure import Counts

__all__ = ["Budgets", "Cell", "Verdict", "judge", "parse_limit"]


class Verdict(enum.Enum):
    """The verdict on one count of one scenario. The gate fails on those of ``FAILING``."""

    SAME = "within the limit"
    IMPROVED = "improved"
    NEW = "new"
    GONE = "gone"
    ON_BUDGET = "on budget"
    REGRESSED = "regressed"
    OVER_BUDGET = "over budget"
    UNDER_BUDGET = "under budget"

    @property
    def fails(self) -> bool:
        return self in _FAILING


_FAILING = frozenset({Verdict.REGRESSED, Verdict.OVER_BUDGET, Verdict.UNDER_BUDGET})


@dataclass(frozen=True)
class Cell:
    """One count of one scenario, in base and head, each for one step."""

    scenario: str
    count: str
    base: float | None
    head: float | None
    budget: float | None
    limit: float
    verdict: Verdict

    @property
    def change(self) -> float | None:
        """Relative to base; None without a base, or if base is 0."""
        return None if self.head is None or not self.base else self.head / self.base - 1

    def sentence(self) -> str:
        """Returns the failure and its remedy, for a verdict that fails."""
        where = f"{self.scenario}: {self.count} {number(self.head)}"
        if self.verdict is Verdict.REGRESSED:
            change = "" if self.change is None else f", {self.change:+.2%}"
            return f"{where}, in base {number(self.base)}{change}; the limit is {self.limit:+.1%}"
        if self.verdict is Verdict.OVER_BUDGET:
            return f"{where}, the budget is {number(self.budget)}: lower the cost, or raise the budget with a reason"
        return f"{where}, the budget is {number(self.budget)}: update the budget, to keep the improvement"


def number(value: float | None) -> str:
    """Formats a value with its significant digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.4g}"


@dataclass(frozen=True)
class Budgets:
    """The budgets: ``counts`` by scenario and count; ``limits`` of scenarios with their own limit."""

    counts: Counts = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    file: Path = Path()

    @classmethod
    def read(cls, path: Path, interpreter: str) -> "Budgets":
        """Reads a table for each scenario. A budget is a number, or a table of numbers by interpreter, of which the
        others are ignored. ``limit`` is not a budget. Raises GateError for anything else."""
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GateError(f"the budgets cannot be read: {path}: {error}") from error
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            unquoted = re.search(r"^\s*\[([^\s\"']*::.*)\]", text, re.MULTILINE)
            hint = f'. A name with :: needs quotes: ["{unquoted[1]}"]' if unquoted else ""
            raise GateError(f"the budgets cannot be read: {path}: {error}{hint}") from error
        counts: Counts = {}
        limits: dict[str, float] = {}
        for scenario, table in tables.items():
            if not isinstance(table, dict):
                raise GateError(f"{path}: {scenario} is not in the table of a scenario")
            counts[scenario] = {}
            for name, value in table.items():
                if name == "limit":
                    limits[scenario] = parse_limit(str(value))
                    continue
                budget = value.get(interpreter) if isinstance(value, dict) else value
                if isinstance(budget, int | float):
                    counts[scenario][name] = budget
                elif budget is not None:
                    raise GateError(f"{path}: {name} of [{scenario}] is {budget!r}; a budget is a number")
        return cls(counts, limits, path)

    def check(self, own: Mapping[str, Sequence[str]]) -> None:
        """``own`` has the names of each scenario's own counts. Raises GateError for others."""
        for scenario, budgets in self.counts.items():
            if scenario not in own:
                other = instead(scenario, own, "scenarios")
                raise GateError(f"{self.file}: budget for the unknown scenario {scenario}{other}")
            counts = [*COUNTS, *own[scenario]]
            for name in budgets:
                if name not in counts:
                    other = instead(name, counts, "counts")
                    raise GateError(f"{self.file}: {scenario} has a budget for the unknown count {name}{other}")

    def of(self, names: Sequence[str]) -> "Budgets":
        """Returns the budgets of ``names``, or all if empty."""
        if not names:
            return self
        return Budgets({name: counts for name, counts in self.counts.items() if name in names}, self.limits)


def parse_limit(text: str) -> float:
    """``2%`` as 0.02. Raises GateError."""
    digits = text.strip().removesuffix("%")
    try:
        limit = float(digits) / 100
    except ValueError:
        limit = -1.0
    if not text.strip().endswith("%") or not 0 <= limit < 1:
        raise GateError(f"the limit {text!r} is not a percentage such as 2%")
    return limit


def judge(head: Counts, base: Counts | None, budgets: Budgets, limit: float) -> list[Cell]:
    """Judges every count of every scenario."""
    cells = []
    for scenario in [*head, *((base or {}).keys() - head.keys())]:
        mine, former = head.get(scenario, {}), (base or {}).get(scenario, {})
        for name in dict.fromkeys([*mine, *former]):
            values = (former.get(name), mine.get(name), budgets.counts.get(scenario, {}).get(name))
            bound = budgets.limits.get(scenario, limit)
            cells.append(Cell(scenario, name, *values, bound, _verdict(*values, bound)))
    return cells


def _verdict(base: float | None, head: float | None, budget: float | None, limit: float) -> Verdict:
    if head is None:
        return Verdict.GONE
    if budget is not None:
        if head == budget:
            return Verdict.ON_BUDGET
        return Verdict.OVER_BUDGET if head > budget else Verdict.UNDER_BUDGET
    if base is None:
        return Verdict.NEW
    # Of a count below one per step, the limit is a share of one. Such events do not occur in each step: a hash table
    # grows, and where its keys are in memory decides in which step.
    allowed = limit * max(base, 1)
    if head > base + allowed:
        return Verdict.REGRESSED
    return Verdict.IMPROVED if head < base - allowed else Verdict.SAME
