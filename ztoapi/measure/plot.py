"""Distributions as text: the cumulative shares of two series of times, drawn on one scale."""

from collections.abc import Sequence
from typing import Final

from ztoapi.measure.figures import percentile

__all__ = ["cumulative_plot"]

_SHARES: Final = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_DIRECT, _GATEWAY, _BOTH = "o", "x", "*"
_SCALE_SHARE: Final = 0.95
"""The scale ends here, because a single slow request would press all others into one column."""


def cumulative_plot(title: str, direct: Sequence[float], gateway: Sequence[float], width: int) -> list[str]:
    """Returns the lines of a plot of ``width`` columns: for each share of the requests the time, in milliseconds, that
    they do not exceed. Times beyond the scale stand in its last column. Both series have at least one value."""
    columns = max(width - 8, 10)
    values = (*direct, *gateway)
    low = min(values) * 1000
    high = max(percentile(series, _SCALE_SHARE) for series in (direct, gateway)) * 1000
    lines = [f"{title}, ms: {_DIRECT} direct, {_GATEWAY} gateway, {_BOTH} both"]
    for share in _SHARES:
        row = [" "] * columns
        for series, mark in ((direct, _DIRECT), (gateway, _GATEWAY)):
            position = (percentile(series, share) * 1000 - low) / (high - low) if high > low else 0.0
            column = min(int(position * (columns - 1)), columns - 1)
            row[column] = mark if row[column] == " " else _BOTH
        lines.append(f"{share:>5.0%} |{''.join(row)}".rstrip())
    lines.append(f"      +{'-' * columns}")
    last = f"{high:.2f}"
    lines.append(f"       {low:<{columns - len(last)}.2f}{last}")
    return lines
