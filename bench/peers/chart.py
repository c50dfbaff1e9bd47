"""Draws the comparison as an SVG: a panel of bars per workload, on one logarithmic scale, for light and dark pages."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["chart"]

_WIDTH: Final = 860
_LABELS: Final = 190
_RIGHT: Final = 70
_BAR, _GAP, _TITLE = 16, 6, 34
_STYLE: Final = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #57606a }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.own { fill: #0969da }
.line { stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .bar { fill: #656c76 } .own { fill: #4493f8 } .line { stroke: #3d444d }
}
</style>"""


def chart(panels: Mapping[str, Mapping[str, float]], own: str, notes: Sequence[str]) -> str:
    """``panels`` maps titles to bars, as multiples of nginx. Bars whose name begins with ``own`` are highlighted."""
    highest = max((value for bars in panels.values() for value in bars.values()), default=1.0)
    decades = max(math.ceil(math.log10(max(highest, 1.01))), 1)
    scale = (_WIDTH - _LABELS - _RIGHT) / decades
    parts: list[str] = []
    top = 26
    for title, bars in panels.items():
        height = len(bars) * (_BAR + _GAP)
        parts.append(f'<text class="title" x="8" y="{top + 14}">{html.escape(title)}</text>')
        top += _TITLE - 10
        for decade in range(decades + 1):
            x = _LABELS + decade * scale
            parts.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}"/>')
            parts.append(f'<text class="small" x="{x + 3:.1f}" y="{top + height + 10}">{10**decade}x</text>')
        for name, value in bars.items():
            kind = "bar own" if name.startswith(own) else "bar"
            width = max(math.log10(max(value, 1.0)) * scale, 2)
            middle = top + _BAR - 4
            parts.append(f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{html.escape(name)}</text>')
            parts.append(f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>')
            parts.append(f'<text x="{_LABELS + width + 6:.1f}" y="{middle}">{value:.2f}</text>')
            top += _BAR + _GAP
        top += _TITLE - 10
    for note in notes:
        top += 15
        parts.append(f'<text class="small" x="8" y="{top}">{html.escape(note)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 12}" width="{_WIDTH}" role="img" '
        f'aria-label="CPU for each unit of work, times nginx">\n{_STYLE}\n'
        '<text class="title" x="8" y="18">CPU per unit of work, times nginx (lower is better, logarithmic)</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
