"""Statistics of a histogram. ``counts`` has one more item than ``edges``, for values above the last edge.

An edge belongs to the bucket below it, as in Prometheus; ``bisect_left`` finds the bucket of a value.
"""

from collections.abc import Sequence

__all__ = ["maximum", "quantile"]


def quantile(edges: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Returns the value below which ``share`` (0 to 1) of the counted values lie, assuming an even spread within a
    bucket; None if all counts are 0. Values above the last edge count as the last edge, as in Prometheus."""
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
    """Returns the upper edge of the highest bucket that is not empty; None if all are. Only values above the last edge
    can exceed it."""
    for place in range(len(counts) - 1, -1, -1):
        if counts[place]:
            return edges[min(place, len(edges) - 1)]
    return None
