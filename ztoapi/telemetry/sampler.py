"""The periodic scan of a worker. At each tick of the deadlines it publishes the counts of the recorder, writes live
records and measures the lag of the event loop; once a second it writes the second and samples its sources."""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import Final, TypeAlias

from ztoapi.telemetry.board import Labels, Slot
from ztoapi.telemetry.layout import (
    LIVE_EDGES_SECONDS,
    LIVE_IN_FLIGHT,
    SAMPLES,
    Cell,
    SecondCell,
)
from ztoapi.telemetry.live import MAX_PER_SCAN, write_finished, write_in_flight
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BoardRecorder
from ztoapi.telemetry.samples import SAMPLED, SampleKind, Source

__all__ = ["Sampler"]

_STEP_SECONDS: Final = 0.1
"""A larger difference means that the clock was set; a smaller one is the time between reading two clocks."""

_Row: TypeAlias = "tuple[memoryview[float], float]"
"""The cell of a sample, and what is added to its value."""


class Sampler:
    """``tick`` is the interval of the scan in seconds; ``oldest`` returns the records of a number of requests
    in flight; ``clock`` returns Unix seconds. The deadlines call it at each scan."""

    deadline = 0.0

    def __init__(
        self,
        slot: Slot,
        recorder: BoardRecorder,
        sources: Sequence[Source],
        oldest: Callable[[int], list[RequestRecord]],
        *,
        tick: float,
        clock: Callable[[], float],
    ) -> None:
        self._slot = slot
        self._recorder = recorder
        self._sources = sources
        self._oldest = oldest
        self._tick = tick
        self._clock = clock
        self._offset = clock() - time.monotonic()
        self._flushed = 0
        self._last_tick: float | None = None
        self._second = int(clock())
        self._cpu_before = time.process_time()
        self._cpu_at = time.monotonic()
        self._rows: dict[Labels, _Row] = {}

    def on_deadline(self, now: float) -> None:
        at = time.monotonic()
        if self._last_tick is not None:
            lag = max(at - self._last_tick - self._tick, 0.0)
            self._slot.ints[Cell.LAG + 1 + bisect_left(LIVE_EDGES_SECONDS, lag)] += 1
            self._slot.floats[Cell.LAG] += lag
        self._last_tick = self._slot.floats[Cell.BEAT] = at
        self._recorder.publish()
        self._flush()
        second = int(self._clock())
        if second != self._second:
            self._write_second(second - 1)
            self._second = second
            self.refresh()

    def refresh(self) -> None:
        """Updates this worker's slot, before the board is read."""
        self._recorder.publish()
        self._flush()
        now = time.monotonic()
        write_in_flight(self._slot, self._oldest(LIVE_IN_FLIGHT), self._unix_offset(), now)
        rows = self._rows
        written = set[Labels]()
        for metric, value, first, second in chain.from_iterable(source() for source in self._sources):
            labels = metric, first, second
            row, before = rows.get(labels) or self._find_row(labels)
            row[0] = before + value
            written.add(labels)
        for removed in rows.keys() - written:
            # A reload has removed the key or its budget.
            if SAMPLED[removed[0]].kind is not SampleKind.COUNTER:
                rows.pop(removed)[0][0] = 0.0

    def _find_row(self, labels: Labels) -> _Row:
        _, row = self._slot.row(SAMPLES, labels)
        # An earlier worker of this slot may have counted before.
        found = self._rows[labels] = row, row[0] if SAMPLED[labels[0]].kind is SampleKind.COUNTER else 0.0
        return found

    def _unix_offset(self) -> float:
        """Returns the offset from monotonic to Unix seconds. It stays the same, so that a request keeps its start
        time."""
        offset = self._clock() - time.monotonic()
        if abs(offset - self._offset) > _STEP_SECONDS:
            self._offset = offset
        return self._offset

    def _flush(self) -> None:
        """Writes the requests that have ended since the last scan."""
        recorder = self._recorder
        new = min(recorder.total - self._flushed, MAX_PER_SCAN, len(recorder.recent))
        self._flushed = recorder.total
        if new:
            newest = [record for record in islice(reversed(recorder.recent), new) if not record.monitoring]
            write_finished(self._slot, newest[::-1], self._unix_offset())

    def _write_second(self, second: int) -> None:
        at = time.monotonic()
        cpu = time.process_time()
        floats = self._slot.floats
        floats[Cell.CPU_SECONDS] = cpu
        floats[Cell.CPU_SHARE] = (cpu - self._cpu_before) / max(at - self._cpu_at, 0.001)
        self._cpu_before, self._cpu_at = cpu, at
        counted = self._recorder.take_second()
        counted.count(SecondCell.STREAMS, self._slot.ints[Cell.STREAMS])
        self._slot.write_second(second, counted.numbers, counted.doubles, counted.bytes())
