"""Reading a histogram: ``counts`` has one more item than ``edges``, for what is above the last edge.

An edge belongs to the bucket that it ends (``bisect_left`` finds the bucket of a value), as Prometheus has it.
"""

from collections.abc import Sequence

__all__ = ["maximum", "quantile"]


def quantile(edges: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of what was counted lies, taken as evenly spread within its bucket; None
    if nothing was counted. What lies above the last edge is taken for the last edge, as Prometheus does."""
    total = sum(counts)
    if not total:
        return None
    rank = share * total
    below = 0
    lower = 0.0
    for edge, count in zip(edges, counts, strict=False):
        if count and below + count >= rank:
            return lower + (edge - lower) * max(rank - below, 0.0) / count
        below += count
        lower = edge
    return edges[-1]


def maximum(edges: Sequence[float], counts: Sequence[int]) -> float | None:
    """The upper edge of the highest bucket that has counted anything: no value was above it, unless it was above the
    last edge."""
    for place in range(len(counts) - 1, -1, -1):
        if counts[place]:
            return edges[min(place, len(edges) - 1)]
    return None
