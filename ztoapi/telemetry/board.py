"""The counts of all workers of one gateway, in one piece of shared memory.

The memory is allocated before the workers are forked. Each worker has one slot (:mod:`ztoapi.telemetry.layout`), which
it alone writes, with plain stores and without a lock; every process may read all slots. A cell is an aligned 64-bit
word that is written in one store, so a reader never sees half of it. Two cells may show different moments. A live
record has several cells that must fit together, and therefore a stamp.

When a worker dies, the supervisor settles its slot (:meth:`MetricsBoard.reclaim`). The slot then passes to the
replacement worker, which continues the counts. At most one update is lost: the one that was being written.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ztoapi.telemetry.layout import (
    CODES,
    HISTOGRAM_WORDS,
    LABEL_BYTES,
    LABEL_VALUE_BYTES,
    LABEL_WORDS,
    LIVE_BYTES,
    LIVE_FINISHED,
    LIVE_IN_FLIGHT,
    OTHER,
    SAMPLES,
    SECOND_BYTES,
    SECOND_WORDS,
    SECONDS,
    SECONDS_START,
    SLOT_WORDS,
    WORD_BYTES,
    Cell,
    MetricTable,
    SecondCell,
    layout_digest,
)
from ztoapi.telemetry.samples import SAMPLED, SampleKind, merged
from ztoapi.telemetry.shared_memory import SharedMemory

__all__ = ["KeptBoard", "Labels", "MetricsBoard", "Row", "Slot", "add_rows", "cut"]

Labels = tuple[str, ...]
Row = list[float]
"""The cells of a row: counts, and doubles in the cells that the table lists."""

_SEPARATOR: Final = "\x1f"
"""Between the label values of a row: ASCII's unit separator."""
_MAX_READS: Final = 20
"""Attempts to read a record that is being written."""


def cut(text: str, size: int) -> str:
    """Returns the beginning of ``text`` that fits into ``size`` bytes of UTF-8, in whole characters."""
    if text.isascii():
        return text[:size]
    encoded = text.encode("utf-8", "replace")
    return encoded[:size].decode("utf-8", "ignore") if len(encoded) > size else encoded.decode("utf-8")


def add_rows(totals: dict[Labels, Row], labels: Labels, row: Row) -> None:
    """Adds ``row`` to the total of ``labels``."""
    total = totals.get(labels)
    totals[labels] = row if total is None else [a + b for a, b in zip(total, row, strict=True)]


class KeptBoard(msgspec.Struct, frozen=True):
    """What a program passes on to the next one: a descriptor, and the form of the memory."""

    memory: int
    slots: int
    layout: str
    started: float = 0.0


class MetricsBoard:
    """``count`` slots. The process that creates it is the supervisor, or the only worker.

    A board with a ``name`` can be passed on to another program. ``kept`` is the board of a previous program. It is used
    if it has the same form; otherwise the counts begin anew.
    """

    def __init__(self, count: int = 1, name: str | None = None, kept: KeptBoard | None = None) -> None:
        self.supervisor = os.getpid()
        self.started = 0.0 if kept is None else kept.started
        """Start of the gateway (Unix seconds), set before workers are forked; 0 if it is not known."""
        if kept is not None and (kept.slots, kept.layout) != (count, layout_digest()):
            kept = None
        self.continues = kept is not None
        """Whether the counts are those of a previous program."""
        self.count = count
        self._shared = SharedMemory(count * SLOT_WORDS * WORD_BYTES, name, None if kept is None else kept.memory)
        memory = self._shared.mapping
        self.ints = memoryview(memory).cast("q")
        self.floats = memoryview(memory).cast("d")
        self.bytes = memoryview(memory)

    def pass_on(self) -> KeptBoard:
        return KeptBoard(self._shared.pass_on(), self.count, layout_digest(), self.started)

    def slot(self, number: int) -> "Slot":
        """Returns the slot for worker ``number``, counted from 0. The previous owner must be dead."""
        return Slot(self, number)

    @property
    def slots(self) -> "list[Slot]":
        """All slots, for reading."""
        return [Slot(self, number) for number in range(self.count)]

    def rows(self, *tables: MetricTable) -> dict[Labels, Row]:
        """Returns every row of ``tables``, which must have the same cells. Rows with equal labels are added up."""
        totals: dict[Labels, Row] = {}
        for slot, table in itertools.product(self.slots, tables):
            for labels, row in slot.rows(table):
                add_rows(totals, labels, row)
        return totals

    def total(self, cell: int) -> int:
        return sum(slot.ints[cell] for slot in self.slots)

    def total_seconds(self, cell: int) -> float:
        return sum(slot.floats[cell] for slot in self.slots)

    def histogram(self, cell: int) -> Row:
        """Returns the sum and the counts of a histogram among the single cells."""
        total: Row = [0.0] * HISTOGRAM_WORDS
        for slot in self.slots:
            total = [a + b for a, b in zip(total, slot.histogram(cell), strict=True)]
        return total

    def in_flight(self) -> int:
        """Returns the number of requests that have begun and not ended, without monitoring requests."""
        return sum(slot.in_flight() for slot in self.slots)

    def samples(self) -> dict[Labels, float]:
        """Returns the merged samples of all live workers, by metric name and label values."""
        by_labels: dict[Labels, list[float]] = {}
        for slot in self.slots:
            for labels, (value,) in slot.rows(SAMPLES):
                metric = SAMPLED.get(labels[0])
                if metric is not None and (slot.ints[Cell.PID] or metric.kind is SampleKind.COUNTER):
                    by_labels.setdefault(labels, []).append(value)
        return {labels: merged(SAMPLED[labels[0]].kind, values) for labels, values in by_labels.items()}

    def reclaim(self, number: int, *, crashed: bool = True) -> None:
        """Settles the slot of worker ``number``, which has ended: its requests in flight are lost, its counts stay."""
        slot = Slot(self, number)
        slot.ints[Cell.LOST] += slot.in_flight()
        slot.ints[Cell.PID] = 0
        slot.ints[Cell.STREAMS] = 0
        slot.ints[Cell.RESTARTS] += crashed
        slot.floats[Cell.CPU_SECONDS_BEFORE] += slot.floats[Cell.CPU_SECONDS]
        for labels, _ in slot.rows(SAMPLES):
            metric = SAMPLED.get(labels[0])
            if metric is not None and metric.kind is not SampleKind.COUNTER:
                slot.row(SAMPLES, labels)[1][0] = 0.0
        slot.floats[Cell.CPU_SECONDS] = slot.floats[Cell.CPU_SHARE] = 0.0


class Slot:
    """The part of the board that one worker writes. ``ints`` and ``floats`` are two views of the same words."""

    __slots__ = ("_bytes", "_index", "_indexed", "floats", "ints", "number")

    def __init__(self, board: MetricsBoard, number: int) -> None:
        start, end = number * SLOT_WORDS, (number + 1) * SLOT_WORDS
        self.number = number
        self.ints = board.ints[start:end]
        self.floats = board.floats[start:end]
        self._bytes = board.bytes[start * WORD_BYTES : end * WORD_BYTES]
        self._index: dict[tuple[int, Labels], int] = {}
        """Positions of rows, by the start of their table and their labels."""
        self._indexed: dict[int, int] = {}
        """By the start of a table: how many of its rows are in the index."""

    # -- writing ----------------------------------------------------------------------------------------------------

    def take_over(self, pid: int, now: float) -> None:
        """Makes process ``pid`` the owner of the slot, at ``now`` (Unix seconds)."""
        self.floats[Cell.STARTED_AT] = now
        self.ints[Cell.LIVE_SHOWN] = 0
        self.ints[Cell.PID] = pid

    def row(self, table: MetricTable, labels: Sequence[str]) -> "tuple[memoryview[int], memoryview[float]]":
        """Returns the cells of a row, as integers and as doubles. Allocates the row if the labels are new."""
        at = self._find(table, tuple(cut(value.replace(_SEPARATOR, " "), LABEL_VALUE_BYTES) for value in labels))
        return self.ints[at : at + table.cells], self.floats[at : at + table.cells]

    def _find(self, table: MetricTable, labels: Labels) -> int:
        position = self._look_up(table, labels)
        if position is not None:
            return position
        place = self.ints[table.start]
        if place >= table.rows - 1:
            labels = (OTHER,) * len(labels)
        if place == table.rows:
            place -= 1
        else:
            at = (table.start + 1 + place * table.row_words) * WORD_BYTES
            self._bytes[at : at + LABEL_BYTES] = _SEPARATOR.join(labels).encode("utf-8").ljust(LABEL_BYTES, b"\0")
            # Readers see the row from here on.
            self.ints[table.start] = place + 1
        at = table.start + 1 + place * table.row_words + LABEL_WORDS
        if place < table.rows - 1:
            self._index[(table.start, labels)] = at
        return at

    def _look_up(self, table: MetricTable, labels: Labels) -> int | None:
        """Returns the position of a row, or None. Each row is decoded once, for the index: without it, labels that find
        no free row would be compared with all rows at each call, which takes 0.5 ms in the largest table."""
        index = self._index
        start = table.start
        position = index.get((start, labels))
        if position is None:
            for place in range(self._indexed.get(start, 0), self.ints[start]):
                at = start + 1 + place * table.row_words + LABEL_WORDS
                index.setdefault((start, self._labels(table, place)), at)
            self._indexed[start] = self.ints[start]
            position = index.get((start, labels))
        return position

    def _labels(self, table: MetricTable, place: int) -> Labels:
        at = (table.start + 1 + place * table.row_words) * WORD_BYTES
        return tuple(bytes(self._bytes[at : at + LABEL_BYTES]).rstrip(b"\0").decode("utf-8").split(_SEPARATOR))

    def write_second(self, at: int, numbers: Sequence[int], doubles: Sequence[float], counts: bytes) -> None:
        """Writes the second that begins at ``at`` (Unix seconds): the cells between the stamp and SUMS, the sums and
        maxima of the histograms, and their counts."""
        start = SECONDS_START + at % SECONDS * SECOND_WORDS
        self.ints[start] = 0
        for place, number in enumerate(numbers, start + 1):
            self.ints[place] = number
        for place, double in enumerate(doubles, start + SecondCell.SUMS):
            self.floats[place] = double
        at_byte = (start + SecondCell.COUNTS) * WORD_BYTES
        self._bytes[at_byte : at_byte + SECOND_BYTES] = counts
        self.ints[start] = at

    def write_record(self, place: int, encoded: bytes) -> None:
        """Writes a live record whose first word is ``place``. Its stamp is odd while it is being written."""
        ints = self.ints
        at = place * WORD_BYTES
        stamp = ints[place] | 1
        ints[place] = stamp
        ints[place + 1] = len(encoded)
        self._bytes[at + 2 * WORD_BYTES : at + 2 * WORD_BYTES + len(encoded)] = encoded
        ints[place] = stamp + 1

    # -- reading ----------------------------------------------------------------------------------------------------

    def rows(self, table: MetricTable) -> Iterator[tuple[Labels, Row]]:
        """Yields every row in use."""
        for place in range(self.ints[table.start]):
            at = table.start + 1 + place * table.row_words + LABEL_WORDS
            row: Row = list(self.ints[at : at + table.cells])
            for double in table.doubles:
                row[double] = self.floats[at + double]
            yield self._labels(table, place), row

    def histogram(self, cell: int) -> Row:
        """Returns the sum and the counts of a histogram among the single cells."""
        return [self.floats[cell], *self.ints[cell + 1 : cell + HISTOGRAM_WORDS]]

    def in_flight(self) -> int:
        """Returns the number of requests that have begun and not ended, without monitoring requests."""
        # The ended ones are read first: a request that ends in between must not make the result negative.
        ended = self.ints[Cell.LOST]
        ended += sum(int(row[0]) for _, row in self.rows(CODES))
        return max(self.ints[Cell.STARTED] - ended, 0)

    def record(self, place: int) -> bytes | None:
        """Returns the live record whose first word is ``place``; None if there is none, or if it changes all the
        time."""
        ints = self.ints
        at = place * WORD_BYTES
        for _ in range(_MAX_READS):
            stamp = ints[place]
            if not stamp:
                return None
            if stamp & 1:
                continue
            size = min(ints[place + 1], LIVE_BYTES - 2 * WORD_BYTES)
            encoded = bytes(self._bytes[at + 2 * WORD_BYTES : at + 2 * WORD_BYTES + size])
            if ints[place] == stamp:
                return encoded
        return None

    def newest_finished(self) -> range:
        """Returns the numbers of the finished requests that are kept. Their positions in the ring are these numbers
        modulo its size."""
        written = self.ints[Cell.LIVE_WRITTEN]
        return range(max(written - LIVE_FINISHED, 0), written)

    def live_places(self) -> range:
        """Returns the positions of the valid records of requests in flight."""
        return range(min(self.ints[Cell.LIVE_SHOWN], LIVE_IN_FLIGHT))

    def seconds(self, newest: int, count: int) -> Iterator[tuple[int, list[int], list[float], bytes]]:
        """Yields those of the ``count`` seconds up to ``newest`` (Unix seconds) that were written: the second, and the
        arguments of ``write_second``."""
        for at in range(newest - count + 1, newest + 1):
            start = SECONDS_START + at % SECONDS * SECOND_WORDS
            if self.ints[start] != at:
                continue
            numbers = self.ints[start + 1 : start + SecondCell.SUMS].tolist()
            doubles = list(self.floats[start + SecondCell.SUMS : start + SecondCell.COUNTS])
            at_byte = (start + SecondCell.COUNTS) * WORD_BYTES
            counts = bytes(self._bytes[at_byte : at_byte + SECOND_BYTES])
            if self.ints[start] == at:
                yield at, numbers, doubles, counts
