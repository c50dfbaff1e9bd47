"""One second of a worker's traffic: the figures of the last five minutes are made of them.

The bucket counts of a second's histograms have 16 bits each. Readers add them up as one long integer, which takes a
microsecond: adding the counts one by one takes a second for four workers.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final

from ztoapi.telemetry.layout import (
    LIVE_EDGES_SECONDS,
    LIVE_VALUES_SECONDS,
    SECOND_BUCKETS,
    SECOND_HISTOGRAMS,
)

__all__ = ["DURATION", "INTER_TOKEN", "OVERHEAD", "TIME_TO_FIRST_TOKEN", "Second", "buckets_of", "counts_of", "widened"]

DURATION, TIME_TO_FIRST_TOKEN, INTER_TOKEN, OVERHEAD = range(len(SECOND_HISTOGRAMS))
_MAX_COUNT: Final = 0xFFFF
"""Of one bucket in one second. More would count as this many."""
_FIELD_BITS: Final = 32
"""Of a sum: room for 65,536 seconds of all workers together."""
_ODD_SHIFT: Final = _FIELD_BITS * SECOND_BUCKETS // 2
_EVEN: Final = 0xFFFF * ((1 << _ODD_SHIFT) - 1) // ((1 << _FIELD_BITS) - 1)
"""The lower 16 bits of each field of an even bucket."""


def buckets_of(values: Iterable[float]) -> Mapping[int, int]:
    """Returns the number of values in each bucket."""
    return Counter(map(bisect_left, repeat(LIVE_EDGES_SECONDS), values))


def widened(counts: bytes) -> int:
    """Returns the counts of a histogram as fields of one integer: those of the even buckets, then those of the others.
    Integers of several seconds may be added, and subtracted again."""
    fields = int.from_bytes(counts, "little")
    return fields & _EVEN | (fields >> 16 & _EVEN) << _ODD_SHIFT


def counts_of(sums: int) -> list[int]:
    """Returns the counts of the buckets, from the sum of integers of :func:`widened`."""
    fields = memoryview(sums.to_bytes(_FIELD_BITS // 8 * SECOND_BUCKETS, "little")).cast("I").tolist()
    counts = [0] * SECOND_BUCKETS
    counts[::2] = fields[: SECOND_BUCKETS // 2]
    counts[1::2] = fields[SECOND_BUCKETS // 2 :]
    return counts


class Second:
    """Counts a second. Each of the lists has one item for each histogram."""

    __slots__ = ("_counts", "_maxima", "_sums", "failed", "output", "refused", "requests")

    def __init__(self) -> None:
        self.requests = self.failed = self.refused = self.output = 0
        self._counts: list[dict[int, int]] = [{} for _ in SECOND_HISTOGRAMS]
        self._sums = [0.0] * len(SECOND_HISTOGRAMS)
        self._maxima = [0.0] * len(SECOND_HISTOGRAMS)

    def add(self, histogram: int, values: Sequence[float], buckets: Mapping[int, int]) -> None:
        """Adds ``values``, whose buckets are known."""
        if values:
            self._sums[histogram] += sum(values)
            self._maxima[histogram] = max(self._maxima[histogram], max(values))
            self._add(histogram, buckets)

    def add_gaps(self, buckets: Mapping[int, int]) -> None:
        """Adds gaps between chunks, of which only the buckets are known."""
        self._maxima[INTER_TOKEN] = max(self._maxima[INTER_TOKEN], LIVE_VALUES_SECONDS[max(buckets)])
        self._add(INTER_TOKEN, buckets)

    def add_gap_seconds(self, seconds: float) -> None:
        """Adds to the sum of the gaps between chunks."""
        self._sums[INTER_TOKEN] += seconds

    def _add(self, histogram: int, buckets: Mapping[int, int]) -> None:
        counts = self._counts[histogram]
        for bucket, number in buckets.items():
            counts[bucket] = counts.get(bucket, 0) + number

    @property
    def doubles(self) -> list[float]:
        """The sums, then the maxima."""
        return [*self._sums, *self._maxima]

    def bytes(self) -> bytes:
        """Returns the counts of all histograms."""
        fields = array("H", bytes(2 * SECOND_BUCKETS * len(SECOND_HISTOGRAMS)))
        for histogram, counts in enumerate(self._counts):
            for bucket, number in counts.items():
                fields[histogram * SECOND_BUCKETS + bucket] = min(number, _MAX_COUNT)
        return fields.tobytes()
