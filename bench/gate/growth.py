"""The functions that a change made more expensive, and a flame graph of the difference."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Profile", "flame_graph", "grown"]

_MOST = 10
_SMALLEST_SHARE = 0.0005
"""Share of the whole cost below which growth is not reported: work in batches, such as the growth of a list."""
_WIDTH, _ROW = 1200, 18
_NARROWEST = 0.5
"""Pixels below which a function is not drawn."""
_LABEL_PIXELS = 7


@dataclass(frozen=True)
class Profile:
    """The cost of one step of a scenario by function: ``stacks`` are nodes ``[place, opcodes, calls, children]`` of
    Python functions; ``functions`` maps C functions to instructions, and is empty without valgrind; ``blocks`` maps
    Python functions to the memory blocks that they take, and is empty if these are not counted."""

    stacks: list[Any] = field(default_factory=lambda: ["", 0, 0, []])
    functions: Mapping[str, float] = field(default_factory=dict)
    blocks: Mapping[str, float] = field(default_factory=dict)

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
    """Returns a line on each of the ten functions whose cost has grown most: Python functions, then C functions."""
    former, latter = base.opcodes(), head.opcodes()
    opcodes = _shares({name: one[0] for name, one in former.items()}, {name: one[0] for name, one in latter.items()})
    blocks = _shares(base.blocks, head.blocks)
    python = {place: max(opcodes.get(place, 0), blocks.get(place, 0)) for place in opcodes | blocks}
    functions = _shares(base.functions, head.functions)
    ranked = [(share, name, is_c) for is_c, one in ((False, python), (True, functions)) for name, share in one.items()]
    most = sorted(ranked, key=lambda one: -one[0])[:_MOST]
    lines = []
    for place in [name for _, name, is_c in most if not is_c]:
        (before, called), (after, calls) = former.get(place, (0.0, 0.0)), latter.get(place, (0.0, 0.0))
        parts = [_growth("opcodes", before, after)] if place in opcodes else []
        if place in blocks:
            parts.append(_growth("blocks", base.blocks.get(place, 0), head.blocks[place]))
        parts += [f"calls {called:g} -> {calls:g}"] if called != calls else []
        lines.append(f"{place}: {', '.join(parts)}")
    for name in [name for _, name, is_c in most if is_c]:
        growth = _growth("instructions", base.functions.get(name, 0), head.functions[name])
        lines.append(f"C function {name}: {growth}")
    return lines


def _shares(base: Mapping[str, float], head: Mapping[str, float]) -> dict[str, float]:
    """Returns the functions that have grown, with the growth as a share of the whole cost."""
    total = sum(head.values()) or 1.0
    growth = {name: (value - base.get(name, 0)) / total for name, value in head.items()}
    return {name: share for name, share in growth.items() if share > _SMALLEST_SHARE}


def _growth(count: str, before: float, after: float) -> str:
    return f"{count} {_number(before)} -> {_number(after)} (+{_number(after - before)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def flame_graph(title: str, base: Profile | None, head: Profile) -> str:
    """Returns an SVG of head's stacks. Widths are opcodes; a function is red if its own cost is greater than in base,
    and blue if it is less. Without base all have the same colour."""
    drawn: list[str] = []
    depth = _draw(head.stacks, base.stacks if base else None, drawn)
    colours = "; red functions execute more than in base, blue ones less" if base else ""
    height = (depth + 2) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="monospace"'
        ' font-size="11">'
        f'<text x="4" y="13">{html.escape(title)}: opcodes of a step{colours}</text>'
        f"{''.join(drawn)}</svg>\n"
    )


def _inclusive(node: list[Any]) -> float:
    return float(node[1]) + sum(map(_inclusive, node[3]))


def _draw(root: list[Any], former: list[Any] | None, drawn: list[str]) -> int:
    """Appends the rectangles of all nodes; returns the number of rows."""
    compared = former is not None
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
        drawn.append(_rectangle(node, before, left, row, width, total, compared=compared))
        children = {child[0]: child for child in before[3]} if before else {}
        for child in node[3]:
            pending.append((child, children.get(child[0]), left, row + 1))
            left += _inclusive(child) / total * _WIDTH
    return rows


def _rectangle(
    node: list[Any], before: list[Any] | None, left: float, row: int, width: float, total: float, *, compared: bool
) -> str:
    """Returns a function, whose colour is the growth of its own cost: that of its calls is in theirs."""
    cost, own = _inclusive(node), float(node[1])
    change, own_change = (cost - _inclusive(before), own - before[1]) if before else (cost, own)
    strength = min(abs(own_change) / total * 10, 1.0) if compared else 0.0
    pale = round(235 - 150 * strength)
    colour = f"rgb(245,{pale},{pale})" if strength and own_change > 0 else f"rgb({pale},{pale},245)"
    name = node[0] or "step"
    label = html.escape(name[: int(width / _LABEL_PIXELS)]) if width > 4 * _LABEL_PIXELS else ""
    y = row * _ROW
    growth, own_growth = (f" ({change:+,.4g})", f" ({own_change:+,.4g})") if compared else ("", "")
    title = f"{name}: {cost:,.4g}{growth}, without its calls {own:,.4g}{own_growth}"
    return (
        f"<g><title>{html.escape(title)}</title>"
        f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" fill="{colour}" stroke="#fff"/>'
        f'<text x="{left + 2:.1f}" y="{y + 13}">{label}</text></g>'
    )
