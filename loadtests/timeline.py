"""The times to the first token and between tokens over a run, and a page with charts of them (``--report FILE``).

Locust's own charts show the response times of requests, so whole streams. This module counts the times of their parts
for each second of the run. Workers send their counts to the master.
"""

import html
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["QUANTILES", "SERIES", "Timeline", "page"]

SERIES: Final = ("TTFT", "ITL")
QUANTILES: Final = (0.5, 0.95, 0.99)
_TITLES: Final = {"TTFT": "Time to the first token", "ITL": "Time between tokens"}
_COLOURS: Final = ("#2563eb", "#d97706", "#dc2626")
_WIDTH, _HEIGHT, _MARGIN = 860, 220, 56
_MAX_BARS: Final = 60
_MAX_POINTS: Final = 600
"""Points of a chart; also bounds the memory of a long run. Above it, the counts of neighbours are added up."""
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem;color:#1f2937;"
    "background:#fff}table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid"
    " #e5e7eb}td:first-child,th:first-child{text-align:left}text{font:11px system-ui,sans-serif;fill:#6b7280}"
    "@media(prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}td,th{border-color:#374151}}"
)

Times = Counter[int]
"""How often each time occurred, by rounded microseconds."""


class Timeline:
    """Counts times by series and by second of the run."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[int, Times]] = {name: {} for name in SERIES}
        self._width = 1
        """Seconds of a point."""

    def add(self, series: str, second: int, seconds: float) -> None:
        self._point(series, second)[_rounded(seconds)] += 1

    def _point(self, series: str, second: int) -> Times:
        points = self.counts[series]
        start = second - second % self._width
        if start not in points and len(points) >= _MAX_POINTS:
            self._width *= 2
            for name, fine in self.counts.items():
                self.counts[name] = {}
                for one, times in fine.items():
                    self.counts[name].setdefault(one - one % self._width, Counter()).update(times)
            return self._point(series, second)
        return points.setdefault(start, Counter())

    def merge(self, counts: Mapping[str, Mapping[int, Mapping[int, int]]]) -> None:
        """Adds the counts of a worker."""
        for series, by_second in counts.items():
            for second, times in by_second.items():
                self._point(series, second).update(times)

    def take(self) -> dict[str, dict[int, dict[int, int]]]:
        """Returns the counts since the last call, for a message, and forgets them."""
        taken = {name: {second: dict(times) for second, times in one.items()} for name, one in self.counts.items()}
        self.counts = {name: {} for name in SERIES}
        return taken

    def total(self, series: str) -> Times:
        """Returns the times of the whole run."""
        return sum(self.counts[series].values(), Counter())


def _rounded(seconds: float) -> int:
    """Returns microseconds with three digits, which bounds the number of different times."""
    return int(float(f"{seconds * 1e6:.3g}"))


def quantile(times: Times, share: float) -> float:
    """Returns a quantile in milliseconds."""
    rank, seen = share * times.total(), 0
    for time in sorted(times):
        seen += times[time]
        if seen >= rank:
            break
    return time / 1000


def page(timeline: Timeline, facts: Iterable[str], failures: Mapping[str, int] | None = None) -> str:
    """Returns the page, which needs no other file. ``facts`` are lines about the run; ``failures`` counts errors."""
    parts = [f"<p>{'<br>'.join(html.escape(fact) for fact in facts)}</p>"]
    if failures:
        rows = (f"<tr><td>{html.escape(error)}</td><td>{count}</td></tr>" for error, count in failures.items())
        parts.append(f"<table><tr><th>failure</th><th>count</th></tr>{''.join(rows)}</table>")
    for name in SERIES:
        total = timeline.total(name)
        parts.append(f"<h2>{_TITLES[name]} ({name})</h2>")
        if not total:
            parts.append("<p>None was measured.</p>")
            continue
        parts += [_table(total), _course(timeline.counts[name]), "<h3>Distribution</h3>", _distribution(total)]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Load test</title><style>{_STYLE}</style>"
        f"<h1>Load test</h1>{''.join(parts)}</html>\n"
    )


def _table(times: Times) -> str:
    heads = "".join(f"<th>p{share * 100:g}</th>" for share in QUANTILES)
    cells = "".join(f"<td>{quantile(times, share):g} ms</td>" for share in QUANTILES)
    return (
        f"<table><tr><th>count</th><th>mean</th>{heads}<th>max</th></tr><tr><td>{times.total()}</td>"
        f"<td>{sum(time * count for time, count in times.items()) / times.total() / 1000:.4g} ms</td>{cells}"
        f"<td>{max(times) / 1000:g} ms</td></tr></table>"
    )


def _course(by_second: Mapping[int, Times]) -> str:
    """Returns a chart of the quantiles over the seconds of the run."""
    seconds = sorted(by_second)
    first, last = seconds[0], max(seconds[-1], seconds[0] + 1)
    lines = [[quantile(by_second[second], share) for second in seconds] for share in QUANTILES]
    highest = max(max(line) for line in lines) or 1.0
    drawn = []
    for number, (line, colour) in enumerate(zip(lines, _COLOURS, strict=True)):
        points = " ".join(
            f"{_MARGIN + (second - first) / (last - first) * _WIDTH:.1f},{_y(value / highest):.1f}"
            for second, value in zip(seconds, line, strict=True)
        )
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        label = f"p{QUANTILES[number] * 100:g}"
        drawn.append(f'<text x="{_MARGIN + 50 * number}" y="12" style="fill:{colour}">{label}</text>')
    return _chart([*drawn, *_axes(f"{highest:g} ms", f"{highest / 2:.3g} ms", f"{last - first} s", "0 s")])


def _distribution(times: Times) -> str:
    """Returns a histogram up to the 99th percentile; the last bar contains all longer times."""
    highest = max(quantile(times, QUANTILES[-1]), 0.001)
    counts = [0] * _MAX_BARS
    for time, count in times.items():
        counts[min(int(time / 1000 / highest * (_MAX_BARS - 1)), _MAX_BARS - 1)] += count
    width, most = _WIDTH / _MAX_BARS, max(counts)
    drawn = [
        f'<rect x="{_MARGIN + number * width:.1f}" y="{_y(count / most):.1f}" width="{width - 1:.1f}"'
        f' height="{_HEIGHT - 20 - _y(count / most):.1f}" fill="{_COLOURS[0]}"/>'
        for number, count in enumerate(counts)
    ]
    return _chart([*drawn, *_axes(f"{most:,}", "", f"{highest:g} ms and more", "0")])


def _y(share: float) -> float:
    return 20 + (1 - share) * (_HEIGHT - 40)


def _axes(highest: str, half: str, right: str, left: str) -> list[str]:
    foot, right_end = _HEIGHT - 4, _MARGIN + _WIDTH
    axes = [
        f'<path d="M{_MARGIN} {_y(1)}V{_y(0)}H{right_end}" stroke="#9ca3af" fill="none"/>',
        f'<text x="{_MARGIN}" y="{foot}">{left}</text>',
        f'<text x="{right_end}" y="{foot}" text-anchor="end">{right}</text>',
    ]
    for share, label in ((1.0, highest), (0.5, half)):
        if label:
            axes.append(f'<path d="M{_MARGIN} {_y(share)}H{right_end}" stroke="#9ca3af" stroke-opacity=".3"/>')
            axes.append(f'<text x="{_MARGIN - 4}" y="{_y(share) + 4}" text-anchor="end">{label}</text>')
    return axes


def _chart(drawn: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {_MARGIN + _WIDTH + 4} {_HEIGHT}" role="img">{"".join(drawn)}</svg>'
