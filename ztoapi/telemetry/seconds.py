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
    WORD_BYTES,
    SecondCell,
)

__all__ = ["DURATION", "INTER_TOKEN", "OVERHEAD", "TIME_TO_FIRST_TOKEN", "Second", "buckets_of", "counts_of", "widened"]

DURATION, TIME_TO_FIRST_TOKEN, INTER_TOKEN, OVERHEAD = range(len(SECOND_HISTOGRAMS))
_MAXIMA: Final = SecondCell.MAXIMA - SecondCell.SUMS
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
    """Counts a second. ``numbers`` are the cells between the stamp and SUMS; ``doubles`` are the sums of the histograms
    and their maxima. Arrays instead of lists: they hold no objects of the interpreter."""

    __slots__ = ("_counts", "doubles", "numbers")

    def __init__(self) -> None:
        self.numbers = array("q", bytes(WORD_BYTES * (SecondCell.SUMS - 1)))
        self.doubles = array("d", bytes(WORD_BYTES * (SecondCell.COUNTS - SecondCell.SUMS)))
        self._counts = array("q", bytes(WORD_BYTES * SECOND_BUCKETS * len(SECOND_HISTOGRAMS)))

    def count(self, cell: int, number: int) -> None:
        """Adds ``number`` to a cell of SecondCell."""
        self.numbers[cell - 1] += number

    def add(self, histogram: int, values: Sequence[float], buckets: Mapping[int, int]) -> None:
        """Adds ``values``, whose buckets are known."""
        if values:
            self.doubles[histogram] += sum(values)
            self._add(histogram, buckets, max(values))

    def add_gaps(self, buckets: Mapping[int, int]) -> None:
        """Adds gaps between chunks, of which only the buckets are known."""
        self._add(INTER_TOKEN, buckets, LIVE_VALUES_SECONDS[max(buckets)])

    def add_gap_seconds(self, seconds: float) -> None:
        """Adds to the sum of the gaps between chunks."""
        self.doubles[INTER_TOKEN] += seconds

    def _add(self, histogram: int, buckets: Mapping[int, int], highest: float) -> None:
        place = _MAXIMA + histogram
        self.doubles[place] = max(self.doubles[place], highest)
        start = histogram * SECOND_BUCKETS
        for bucket, number in buckets.items():
            self._counts[start + bucket] += number

    def bytes(self) -> bytes:
        """Returns the counts of all histograms."""
        return array("H", map(min, self._counts, repeat(_MAX_COUNT))).tobytes()
