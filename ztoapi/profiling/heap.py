"""Reports the memory that a worker allocates in Python, by source line, with tracemalloc.

Tracing more than halves the throughput of a worker, so it is off by default and ends after a time limit. Taking a
snapshot stops the worker.
"""

import time
import tracemalloc
from typing import Final, NamedTuple

import msgspec

__all__ = ["HeapLine", "HeapReport", "HeapTracer"]

_Line = tuple[str, int]
"""File and line number."""


class HeapLine(msgspec.Struct, frozen=True):
    """The memory in use that one line has allocated since tracing began, and its growth since the last report."""

    file: str
    line: int
    bytes: int
    blocks: int
    bytes_more: int
    blocks_more: int


class HeapReport(msgspec.Struct, frozen=True):
    """``top`` lists the lines with the most memory, ``grown`` those that grew most since the last report."""

    traced_seconds: float
    since_last_seconds: float | None
    bytes: int
    peak_bytes: int
    tracer_bytes: int
    top: list[HeapLine]
    grown: list[HeapLine]


class _Held(NamedTuple):
    bytes: int
    blocks: int


_NOTHING: Final = _Held(0, 0)


class HeapTracer:
    """Controls tracemalloc, of which a process has one. ``start`` and ``stop`` may be called at any time."""

    def __init__(self) -> None:
        self._began = 0.0
        self._last: dict[_Line, _Held] = {}
        self._last_at: float | None = None

    def start(self) -> None:
        """Starts tracing."""
        if not tracemalloc.is_tracing():
            self._began = time.monotonic()
            tracemalloc.start()

    def stop(self) -> None:
        """Stops tracing and discards all traces."""
        tracemalloc.stop()
        self._last, self._last_at = {}, None

    def report(self, max_lines: int) -> HeapReport | None:
        """Returns the current memory, with at most ``max_lines`` in each list; None without tracing. Call it outside
        the event loop."""
        in_use, peak = tracemalloc.get_traced_memory()
        ignored = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))
        try:
            snapshot = tracemalloc.take_snapshot().filter_traces(ignored)
        except RuntimeError:
            # Nothing is traced. A check beforehand would not help, as tracing may end at any time.
            return None
        held: dict[_Line, _Held] = {}
        for statistic in snapshot.statistics("lineno"):
            frame = statistic.traceback[0]
            held[(frame.filename, frame.lineno)] = _Held(statistic.size, statistic.count)
        before = self._last
        before_at = self._last_at
        now = time.monotonic()
        self._last, self._last_at = held, now
        lines = [_line(line, held.get(line, _NOTHING), before.get(line, _NOTHING)) for line in held | before]
        return HeapReport(
            traced_seconds=now - self._began,
            since_last_seconds=None if before_at is None else now - before_at,
            bytes=in_use,
            peak_bytes=peak,
            tracer_bytes=tracemalloc.get_tracemalloc_memory(),
            top=sorted((line for line in lines if line.bytes), key=lambda line: -line.bytes)[:max_lines],
            grown=sorted((line for line in lines if line.bytes_more > 0), key=lambda line: -line.bytes_more)[
                :max_lines
            ],
        )


def _line(line: _Line, held: _Held, before: _Held) -> HeapLine:
    return HeapLine(*line, held.bytes, held.blocks, held.bytes - before.bytes, held.blocks - before.blocks)
