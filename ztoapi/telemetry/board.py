"""The counts of all workers of one gateway, in one piece of shared memory.

The memory is allocated before the workers are forked. Each worker has one slot (:mod:`ztoapi.telemetry.layout`), which
it alone writes, with plain stores and without a lock; every process may read all slots. A cell is an aligned 64-bit
word that is written in one store, so a reader never sees half of it. Two cells may show different moments. A live
record has several cells that must fit together, and therefore a stamp.

When a worker dies, the supervisor settles its slot (:meth:`MetricsBoard.reclaim`). The slot then passes to the
replacement worker, which continues the counts. At most one update is lost: the one that was being written.
"""

import itertools
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Final

from ztoapi.telemetry.layout import (
    CODES,
    LABEL_BYTES,
    LABEL_VALUE_BYTES,
    LABEL_WORDS,
    LIVE_BYTES,
    LIVE_FINISHED,
    LIVE_IN_FLIGHT,
    OTHER,
    SAMPLES,
    SECOND_SUMS,
    SECOND_WORDS,
    SECONDS,
    SECONDS_START,
    SLOT_WORDS,
    WORD_BYTES,
    Cell,
    Table,
)
from ztoapi.telemetry.samples import SAMPLED, Kind, merged

__all__ = ["Labels", "MetricsBoard", "Row", "Slot", "cut"]

Labels = tuple[str, ...]
Row = list[float]
"""The cells of a row: counts, and the doubles that the table says."""

_PARTING: Final = "\x1f"
"""ASCII's unit separator, between the values of a row."""
_READS: Final = 20
"""Times that a record which was being written is looked at again."""


def cut(text: str, size: int) -> str:
    """``text``, of at most ``size`` octets of UTF-8 and whole characters."""
    if text.isascii():
        return text[:size]
    octets = text.encode("utf-8", "replace")
    return octets[:size].decode("utf-8", "ignore") if len(octets) > size else octets.decode("utf-8")


class MetricsBoard:
    """``workers`` slots. Whoever makes it is the supervisor, or the only worker."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.supervisor = os.getpid()
        self._memory = mmap.mmap(-1, workers * SLOT_WORDS * WORD_BYTES)
        self.ints = memoryview(self._memory).cast("q")
        self.floats = memoryview(self._memory).cast("d")
        self.octets = memoryview(self._memory)

    def slot(self, number: int) -> "Slot":
        """For the worker of this number, counted from 0; whoever had it before is dead."""
        return Slot(self, number)

    @property
    def slots(self) -> "list[Slot]":
        """All, for reading."""
        return [Slot(self, number) for number in range(self.workers)]

    def rows(self, *tables: Table) -> dict[Labels, Row]:
        """Every row of ``tables``, which are of one kind; those of the same labels are added up."""
        found: dict[Labels, Row] = {}
        for slot, table in itertools.product(self.slots, tables):
            for labels, row in slot.rows(table):
                known = found.get(labels)
                found[labels] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]
        return found

    def total(self, cell: Cell) -> int:
        return sum(slot.ints[cell] for slot in self.slots)

    def total_seconds(self, cell: Cell) -> float:
        return sum(slot.floats[cell] for slot in self.slots)

    def histogram(self, cell: Cell, size: int) -> Row:
        """The sum and the counts of a histogram among the single cells."""
        added: Row = [0.0] * size
        for slot in self.slots:
            added = [a + b for a, b in zip(added, slot.histogram(cell, size), strict=True)]
        return added

    def in_flight(self) -> int:
        """Requests begun and not ended, but for those that look after the gateway."""
        return sum(slot.in_flight() for slot in self.slots)

    def samples(self) -> dict[Labels, float]:
        """Every sample, by metric and label values, as of all workers that live."""
        found: dict[Labels, list[float]] = {}
        for slot in self.slots:
            for labels, (value,) in slot.rows(SAMPLES):
                metric = SAMPLED.get(labels[0])
                if metric is not None and (slot.ints[Cell.PID] or metric.kind is Kind.COUNTER):
                    found.setdefault(labels, []).append(value)
        return {labels: merged(SAMPLED[labels[0]].kind, values) for labels, values in found.items()}

    def reclaim(self, number: int) -> None:
        """The worker of this number has died: what it had in flight is lost, what it has counted stays."""
        slot = Slot(self, number)
        slot.ints[Cell.LOST] += slot.in_flight()
        slot.ints[Cell.PID] = 0
        slot.ints[Cell.STREAMS] = 0
        slot.ints[Cell.RESTARTS] += 1
        slot.floats[Cell.CPU_SECONDS_BEFORE] += slot.floats[Cell.CPU_SECONDS]
        for labels, _ in slot.rows(SAMPLES):
            metric = SAMPLED.get(labels[0])
            if metric is not None and metric.kind is not Kind.COUNTER:
                slot.row(SAMPLES, labels)[1][0] = 0.0
        slot.floats[Cell.CPU_SECONDS] = slot.floats[Cell.CPU_SHARE] = 0.0


class Slot:
    """One worker's part. ``ints`` and ``floats`` are two views of the same words."""

    __slots__ = ("_index", "_octets", "_read", "floats", "ints", "number")

    def __init__(self, board: MetricsBoard, number: int) -> None:
        start, end = number * SLOT_WORDS, (number + 1) * SLOT_WORDS
        self.number = number
        self.ints = board.ints[start:end]
        self.floats = board.floats[start:end]
        self._octets = board.octets[start * WORD_BYTES : end * WORD_BYTES]
        self._index: dict[tuple[int, Labels], int] = {}
        self._read: dict[int, int] = {}
        """By the start of a table: rows of it that the index knows."""

    # -- for its worker ---------------------------------------------------------------------------------------------

    def take_over(self, pid: int, now: float) -> None:
        """Begin to write, as process ``pid`` at ``now`` (Unix seconds)."""
        self.floats[Cell.STARTED_AT] = now
        self.ints[Cell.LIVE_SHOWN] = 0
        self.ints[Cell.PID] = pid

    def row(self, table: Table, labels: Sequence[str]) -> "tuple[memoryview[int], memoryview[float]]":
        """The cells of a row, as integers and as doubles; taken up if it is new."""
        at = self._find(table, tuple(cut(value.replace(_PARTING, " "), LABEL_VALUE_BYTES) for value in labels))
        return self.ints[at : at + table.cells], self.floats[at : at + table.cells]

    def _find(self, table: Table, labels: Labels) -> int:
        known = self._look_up(table, labels)
        if known is not None:
            return known
        place = self.ints[table.start]
        if place >= table.rows - 1:
            labels = (OTHER,) * len(labels)
        if place == table.rows:
            place -= 1
        else:
            at = (table.start + 1 + place * table.row_words) * WORD_BYTES
            self._octets[at : at + LABEL_BYTES] = _PARTING.join(labels).encode("utf-8").ljust(LABEL_BYTES, b"\0")
            # Only now does a reader look at it.
            self.ints[table.start] = place + 1
        at = table.start + 1 + place * table.row_words + LABEL_WORDS
        if place < table.rows - 1:
            self._index[(table.start, labels)] = at
        return at

    def _look_up(self, table: Table, labels: Labels) -> int | None:
        """Where the row is, if there is one. Each row is read once: what finds no room would else be looked for in all
        of them every time, 0.5 ms in the largest table."""
        index, start = self._index, table.start
        found = index.get((start, labels))
        if found is None:
            for place in range(self._read.get(start, 0), self.ints[start]):
                at = start + 1 + place * table.row_words + LABEL_WORDS
                index.setdefault((start, self._labels(table, place)), at)
            self._read[start] = self.ints[start]
            found = index.get((start, labels))
        return found

    def _labels(self, table: Table, place: int) -> Labels:
        at = (table.start + 1 + place * table.row_words) * WORD_BYTES
        return tuple(bytes(self._octets[at : at + LABEL_BYTES]).rstrip(b"\0").decode("utf-8").split(_PARTING))

    def write_second(self, at: int, ints: Sequence[int], sums: Sequence[tuple[int, float]]) -> None:
        """Note what happened in the second that begins at ``at`` (Unix seconds); ``sums`` are cells and doubles."""
        start = SECONDS_START + at % SECONDS * SECOND_WORDS
        self.ints[start] = 0
        for place, value in enumerate(ints, 1):
            self.ints[start + place] = value
        for place, total in sums:
            self.floats[start + place] = total
        self.ints[start] = at

    def write_record(self, place: int, octets: bytes) -> None:
        """Write a live record: ``place`` is its first word. The stamp is odd while it is being written."""
        ints, at = self.ints, place * WORD_BYTES
        stamp = ints[place] | 1
        ints[place] = stamp
        ints[place + 1] = len(octets)
        self._octets[at + 2 * WORD_BYTES : at + 2 * WORD_BYTES + len(octets)] = octets
        ints[place] = stamp + 1

    # -- for everybody ----------------------------------------------------------------------------------------------

    def rows(self, table: Table) -> Iterator[tuple[Labels, Row]]:
        """Every row in use."""
        for place in range(self.ints[table.start]):
            at = table.start + 1 + place * table.row_words + LABEL_WORDS
            row: Row = list(self.ints[at : at + table.cells])
            for double in table.doubles:
                row[double] = self.floats[at + double]
            yield self._labels(table, place), row

    def histogram(self, cell: Cell, size: int) -> Row:
        return [self.floats[cell], *self.ints[cell + 1 : cell + size]]

    def in_flight(self) -> int:
        # Ended first: what ends in between must not count as less than none.
        ended = self.ints[Cell.LOST]
        ended += sum(int(row[0]) for _, row in self.rows(CODES))
        return max(self.ints[Cell.STARTED] - ended, 0)

    def record(self, place: int) -> bytes | None:
        """The live record whose first word is ``place``; None if there is none, or none that stood still."""
        ints, at = self.ints, place * WORD_BYTES
        for _ in range(_READS):
            stamp = ints[place]
            if not stamp:
                return None
            if stamp & 1:
                continue
            size = min(ints[place + 1], LIVE_BYTES - 2 * WORD_BYTES)
            octets = bytes(self._octets[at + 2 * WORD_BYTES : at + 2 * WORD_BYTES + size])
            if ints[place] == stamp:
                return octets
        return None

    def newest_finished(self) -> range:
        """Numbers of the finished requests that are kept; each is in the ring at its number modulo the ring's size."""
        written = self.ints[Cell.LIVE_WRITTEN]
        return range(max(written - LIVE_FINISHED, 0), written)

    def shown_in_flight(self) -> range:
        return range(min(self.ints[Cell.LIVE_SHOWN], LIVE_IN_FLIGHT))

    def seconds(self, newest: int, count: int) -> Iterator[tuple[int, list[int], list[float]]]:
        """What was noted of the ``count`` seconds up to ``newest`` (Unix seconds): when, the row's words with 0 for
        the sums of its histograms, and those sums."""
        for at in range(newest - count + 1, newest + 1):
            start = SECONDS_START + at % SECONDS * SECOND_WORDS
            if self.ints[start] != at:
                continue
            row = self.ints[start : start + SECOND_WORDS].tolist()
            sums = [self.floats[start + place] for place in SECOND_SUMS]
            for place in SECOND_SUMS:
                row[place] = 0
            if self.ints[start] == at:
                yield at, row, sums
