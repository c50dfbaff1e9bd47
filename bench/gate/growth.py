"""The functions that a change made more expensive, and a flame graph of the difference."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Profile", "flame_graph", "grown"]

_MOST = 10
_WIDTH, _ROW = 1200, 18
_NARROWEST = 0.5
"""Pixels below which a function is not drawn."""
_LABEL_PIXELS = 7


@dataclass(frozen=True)
class Profile:
    """The cost of one step of a scenario by function: ``stacks`` are nodes ``[place, opcodes, calls, children]`` of
    Python functions; ``functions`` maps C functions to instructions, and is empty without valgrind."""

    stacks: list[Any] = field(default_factory=lambda: ["", 0, 0, []])
    functions: Mapping[str, float] = field(default_factory=dict)

    def opcodes(self) -> dict[str, tuple[float, float]]:
        """Returns opcodes and calls of each Python function, without those of the functions that it calls."""
        totals: dict[str, tuple[float, float]] = {}
        for place, opcodes, calls, _ in _walk(self.stacks):
            before = totals.get(place, (0.0, 0.0))
            totals[place] = before[0] + opcodes, before[1] + calls
        return totals


def _walk(node: list[Any]) -> Iterator[list[Any]]:
    yield node
    for child in node[3]:
        yield from _walk(child)


def grown(base: Profile, head: Profile) -> list[str]:
    """Returns lines on the functions whose cost has grown most, the greatest growth first."""
    former, latter = base.opcodes(), head.opcodes()
    none = (0.0, 0.0)
    lines = []
    for place, growth in _largest({name: one[0] for name, one in former.items()}, {n: o[0] for n, o in latter.items()}):
        (before, called), (after, calls) = former.get(place, none), latter.get(place, none)
        often = f", calls {called:g} -> {calls:g}" if called != calls else ""
        lines.append(f"{place}: opcodes {before:,.4g} -> {after:,.4g} ({growth:+,.4g}){often}")
    for name, growth in _largest(base.functions, head.functions):
        before, after = base.functions.get(name, 0), head.functions.get(name, 0)
        lines.append(f"C function {name}: instructions {before:,.0f} -> {after:,.0f} ({growth:+,.0f})")
    return lines


def _largest(base: Mapping[str, float], head: Mapping[str, float]) -> list[tuple[str, float]]:
    growth = {name: value - base.get(name, 0) for name, value in head.items()}
    ordered = sorted(growth.items(), key=lambda item: item[1], reverse=True)
    return [(name, value) for name, value in ordered[:_MOST] if value > 0]


def flame_graph(title: str, base: Profile, head: Profile) -> str:
    """Returns an SVG of head's stacks. Widths are opcodes; red functions cost more than in base, blue ones less."""
    drawn: list[str] = []
    depth = _draw(head.stacks, base.stacks, drawn)
    height = (depth + 2) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="monospace"'
        ' font-size="11">'
        f'<text x="4" y="13">{html.escape(title)}: opcodes of a step; red: more than in base, blue: less</text>'
        f"{''.join(drawn)}</svg>\n"
    )


def _inclusive(node: list[Any]) -> float:
    return float(node[1]) + sum(map(_inclusive, node[3]))


def _draw(root: list[Any], former: list[Any], drawn: list[str]) -> int:
    """Appends the rectangles of all nodes; returns the number of rows."""
    total = _inclusive(root) or 1.0
    rows = 0
    pending: list[tuple[list[Any], list[Any] | None, float, int]] = [(root, former, 0.0, 1)]
    while pending:
        node, before, left, row = pending.pop()
        cost = _inclusive(node)
        width = cost / total * _WIDTH
        if width < _NARROWEST:
            continue
        rows = max(rows, row)
        change = cost - (_inclusive(before) if before else 0.0)
        drawn.append(_rectangle(node[0], left, row, width, cost, change, total))
        children = {child[0]: child for child in before[3]} if before else {}
        for child in node[3]:
            pending.append((child, children.get(child[0]), left, row + 1))
            left += _inclusive(child) / total * _WIDTH
    return rows


def _rectangle(place: str, left: float, row: int, width: float, cost: float, change: float, total: float) -> str:
    strength = min(abs(change) / total * 10, 1.0)
    pale = round(235 - 150 * strength)
    colour = f"rgb(245,{pale},{pale})" if change > 0 else f"rgb({pale},{pale},245)"
    name = place or "step"
    label = html.escape(name[: int(width / _LABEL_PIXELS)]) if width > 4 * _LABEL_PIXELS else ""
    y = row * _ROW
    return (
        f"<g><title>{html.escape(name)}: {cost:,.4g} ({change:+,.4g})</title>"
        f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" fill="{colour}" stroke="#fff"/>'
        f'<text x="{left + 2:.1f}" y="{y + 13}">{label}</text></g>'
    )
