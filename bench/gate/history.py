"""The history: a file with the counts of each run, one JSON object per line, and a chart of it."""

import html
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import GateError
from .measure import Counts, Key
from .verdicts import number

__all__ = ["Row", "append", "chart", "conditions", "read"]

_FORMAT = 1
_DRAWN = ("instructions", "opcodes", "calls", "blocks")
"""The counts of a chart, of which a scenario may have fewer. Others change rarely, and have budgets."""
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 720, 120, 60, 150, 24
_SMALLEST_SPAN = 0.04
"""Share of the first count that a chart spans at least, so that 0.1% does not look like a jump."""


@dataclass(frozen=True)
class Row:
    """One run: the ``commit`` of head, followed by ``+`` if it was changed, with its date; None without a repository.
    Only counts with equal ``conditions`` can be compared."""

    commit: str | None
    date: str | None
    passed: bool
    conditions: str
    counts: Counts


def conditions(key: Key) -> str:
    """Returns the conditions of counts in short: interpreter, architecture, valgrind and the hash of the libraries."""
    valgrind = f", valgrind {key.valgrind}" if key.valgrind else ""
    return f"{key.implementation} {key.version.split()[0]}, {key.architecture}{valgrind}, lock {key.lock}"


def append(path: Path, row: Row) -> None:
    """Adds a line. The lines of two branches can be merged by keeping both (``merge=union`` of gitattributes)."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"format": _FORMAT, **vars(row)}) + "\n")


def read(path: Path) -> list[Row]:
    """Returns the rows, the oldest first. Raises GateError."""
    rows = []
    for at, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            fields: dict[str, Any] = json.loads(line)
            fields.pop("format")
            rows.append(Row(**fields))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GateError(f"{path}, line {at}: not a row of a history ({error}): remove it") from error
    return rows


def chart(rows: Sequence[Row]) -> str:
    """Returns an SVG with a chart for each scenario: the growth of its counts since the first row that has them."""
    scenarios = dict.fromkeys(name for row in rows for name in row.counts)
    panels = [
        f'<g transform="translate(0,{at * (_HEIGHT + _TOP)})">{"".join(_panel(rows, name))}</g>'
        for at, name in enumerate(scenarios)
    ]
    height = max(len(panels), 1) * (_HEIGHT + _TOP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="system-ui,sans-serif"'
        f' font-size="11"><rect width="{_WIDTH}" height="{height}" fill="#fff"/>{"".join(panels)}</svg>\n'
    )


def _panel(rows: Sequence[Row], scenario: str) -> Iterator[str]:
    """Yields the elements of the chart of a scenario."""
    yield f'<text x="{_LEFT}" y="15" font-weight="bold">{html.escape(scenario)}</text>'
    series = {name: list(_growth(rows, scenario, name)) for name in _DRAWN}
    values = [value for points in series.values() for _, value in points]
    if not values:
        return
    low, high = min(values), max(values)
    spare = max(_SMALLEST_SPAN - (high - low), 0) / 2
    low, high = low - spare, high + spare
    for value in (low, high):
        y = _y(value, low, high)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e5e7eb"/>'
        yield f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end" fill="#6b7280">{value:+.1%}</text>'
    for at in range(1, len(rows)):
        if rows[at].conditions != rows[at - 1].conditions:
            x = _x(at, len(rows))
            yield f'<path d="M{x:.1f} {_TOP}V{_TOP + _HEIGHT - 24}" stroke="#9ca3af" stroke-dasharray="3 3"/>'
    labelled = 0
    for (name, points), colour in zip(series.items(), _COLOURS, strict=True):
        if not points:
            continue
        drawn = " ".join(f"{_x(at, len(rows)):.1f},{_y(value, low, high):.1f}" for at, value in points)
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        for at, value in points:
            row = rows[at]
            title = f"{row.commit or 'no commit'}: {name} {number(row.counts[scenario][name])} ({value:+.2%})"
            yield (
                f'<circle cx="{_x(at, len(rows)):.1f}" cy="{_y(value, low, high):.1f}" r="2.5" fill="{colour}">'
                f"<title>{html.escape(title)}</title></circle>"
            )
        last, growth = points[-1]
        label = f"{name} {number(rows[last].counts[scenario][name])} ({growth:+.1%})"
        y = _TOP + 10 + 14 * labelled
        yield f'<text x="{_WIDTH - _RIGHT + 8}" y="{y}" fill="{colour}">{label}</text>'
        labelled += 1


def _growth(rows: Sequence[Row], scenario: str, name: str) -> Iterator[tuple[int, float]]:
    """Yields the index of each row that has the count, and its growth. Under other conditions the count may differ for
    another reason, so the growth continues from the last one before."""
    first, offset, last, under = math.nan, 0.0, 0.0, ""
    for at, row in enumerate(rows):
        value = row.counts.get(scenario, {}).get(name)
        if not value:
            continue
        if row.conditions != under:
            first, offset, under = value, last, row.conditions
        last = (1 + offset) * value / first - 1
        yield at, last


def _x(at: int, count: int) -> float:
    return _LEFT + at / max(count - 1, 1) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * (_HEIGHT - 24)
