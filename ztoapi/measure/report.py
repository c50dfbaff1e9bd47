"""The report of a measurement as text, and the difference between two reports."""

import math
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from ztoapi.measure.figures import Comparison
from ztoapi.measure.plot import cumulative_plot
from ztoapi.measure.run import DIRECT, GATEWAY, Measurement

__all__ = ["SavedReport", "difference", "report_text"]

_ROWS: Final = {
    "streams_per_second": "streams/s",
    "deltas_per_second": "deltas/s",
    "gap_mean_ms": "between deltas, mean, ms",
    "gap_p99_ms": "between deltas, p99, ms",
    "jitter_ms": "jitter, ms",
}
_PER_P99: Final = 100
"""Requests from which on the 99th percentile is not the maximum."""
_TITLES: Final = {"latency": "latency", "first_token": "first token"}


class _SavedComparison(msgspec.Struct, frozen=True):
    gateway_ms: Mapping[str, float]
    added_ms: Mapping[str, float]
    noise_ms: float


class SavedReport(msgspec.Struct, frozen=True):
    """The part of a report that is compared."""

    latency: _SavedComparison | None
    first_token: _SavedComparison | None


def report_text(measurement: Measurement, width: int) -> str:
    """Returns the tables, the distributions in ``width`` columns, and the failures."""
    lines = [f"{'ms':<26}{'p50':>9}{'p90':>9}{'p99':>9}"]
    for title, comparison in (("latency", measurement.latency), ("first token", measurement.first_token)):
        lines += _compared(title, comparison)
    fewest = min(len(times) for arms in measurement.samples.values() for times in arms.values())
    if 0 < fewest < _PER_P99:
        lines.append(f"p99 of {fewest} requests is their maximum: use --requests {_PER_P99} or more")
    lines.append("")
    lines.append(f"{'streams at once':<26}{'direct':>12}{'gateway':>12}")
    direct, gateway = measurement.streams(DIRECT), measurement.streams(GATEWAY)
    for name, title in _ROWS.items():
        cells = ("-" if figures is None else f"{figures[name]:.2f}" for figures in (direct, gateway))
        lines.append(f"{title:<26}" + "".join(f"{cell:>12}" for cell in cells))
    for name, arms in measurement.samples.items():
        if arms[DIRECT] and arms[GATEWAY]:
            lines += ["", *cumulative_plot(_TITLES[name], arms[DIRECT], arms[GATEWAY], width)]
    for name, faults in measurement.faults.items():
        url = measurement.urls[name]
        lines += [f"FAILED {name} ({url}), {count} times: {fault}" for fault, count in faults.items()]
    return "\n".join(lines)


def _compared(title: str, comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [f"{title}: not measured"]
    rows = (("direct", comparison.direct_ms), ("gateway", comparison.gateway_ms), ("added", comparison.added_ms))
    lines = [f"{f'{title}, {name}':<26}" + "".join(f"{value:>9.2f}" for value in values) for name, values in rows]
    if sorted(comparison.added_ms) != list(comparison.added_ms):
        lines.append("  added is the difference of the percentiles of the two, so it may fall from p50 to p99")
    if not comparison.significant:
        noise = f"{comparison.noise_ms:.2f} ms"
        lines.append(f"  within noise: the medians differ by less than the noise, {noise}: use more --requests")
    return lines


def difference(earlier: SavedReport, now: SavedReport) -> Iterator[str]:
    """Yields a line for each measurement: the latency that the gateway has added at the median, before and now."""
    for name, title in _TITLES.items():
        old: _SavedComparison | None = getattr(earlier, name)
        new: _SavedComparison | None = getattr(now, name)
        if old is None or new is None:
            yield f"{title}: not measured in both"
            continue
        before, after = old.added_ms["p50"], new.added_ms["p50"]
        noise = math.hypot(old.noise_ms, new.noise_ms)
        verdict = "within noise" if abs(after - before) <= noise else "slower" if after > before else "faster"
        yield f"{title}, added, p50: {before:.2f} ms before, {after:.2f} ms now: {verdict} (noise {noise:.2f} ms)"
