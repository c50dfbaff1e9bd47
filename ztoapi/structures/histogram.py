"""Histograms with log-linear buckets: each doubling of the value is divided into equal buckets.

A bucket is at most a sixteenth as wide as its values are high, so its middle differs from each of its values by less
than 3.2 %. An edge belongs to the bucket below it, as in Prometheus; ``bisect_left`` finds the bucket of a value. There
is one bucket more than edges, for values above the last edge.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil
from typing import Final

__all__ = ["folded", "log_linear", "middles", "quantiles"]

_STEPS: Final = 16
"""Buckets for each doubling."""


def log_linear(lowest: int, highest: int) -> list[float]:
    """Returns edges from 2**lowest to 2**highest."""
    steps = [2.0**power * (1 + step / _STEPS) for power in range(lowest, highest) for step in range(_STEPS)]
    return [*steps, 2.0**highest]


def middles(edges: Sequence[float]) -> list[float]:
    """Returns the value that stands for each bucket: its middle, and the last edge for values above it."""
    return [*((low + high) / 2 for low, high in zip((0.0, *edges), edges, strict=False)), edges[-1]]


def quantiles(values: Sequence[float], counts: Sequence[int], *shares: float) -> list[float | None]:
    """Returns the value at each share (0 to 1) of the counted values in their order; None without any. ``counts`` has
    the number of each of ``values``, which ascend."""
    below = list(accumulate(counts))
    total = below[-1] if below else 0
    if not total:
        return [None] * len(shares)
    return [values[bisect_left(below, max(ceil(share * total), 1))] for share in shares]


def folded(edges: Sequence[float], fine: Sequence[float], counts: Sequence[float]) -> Iterable[float]:
    """Yields the counts of the buckets of ``edges``, all of which are in ``fine``, from ``counts`` of the latter."""
    start = 0
    for edge in edges:
        end = fine.index(edge, start) + 1
        yield sum(counts[start:end])
        start = end
    yield sum(counts[start:])
