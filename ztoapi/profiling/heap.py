"""What a worker allocates in Python, by line: tracemalloc, while somebody asks for it.

Tracing more than halves what a worker can do, so it ends by itself. A snapshot stops the worker while it is taken.
"""

import time
import tracemalloc
from typing import Final, NamedTuple

import msgspec

__all__ = ["Heap", "HeapLine", "HeapReport"]

Place = tuple[str, int]


class HeapLine(msgspec.Struct, frozen=True):
    """What was allocated at a line since the tracing began, and is in use. The differences are to the last report."""

    file: str
    line: int
    bytes: int
    blocks: int
    bytes_more: int
    blocks_more: int


class HeapReport(msgspec.Struct, frozen=True):
    """``top`` has the lines that hold most, ``grown`` those that have grown most since the last report."""

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


class Heap:
    """One process has one tracer. ``start`` and ``stop`` may be called at any time."""

    def __init__(self) -> None:
        self._began = 0.0
        self._last: dict[Place, _Held] = {}
        self._last_at: float | None = None

    def start(self) -> None:
        """Begin to trace."""
        if not tracemalloc.is_tracing():
            self._began = time.monotonic()
            tracemalloc.start()

    def stop(self) -> None:
        """Trace no longer, and forget what was traced."""
        tracemalloc.stop()
        self._last, self._last_at = {}, None

    def report(self, most: int) -> HeapReport | None:
        """What is held by now, at most ``most`` lines of each list; None if nothing is traced. To be called outside the
        event loop."""
        in_use, peak = tracemalloc.get_traced_memory()
        ignored = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))
        try:
            snapshot = tracemalloc.take_snapshot().filter_traces(ignored)
        except RuntimeError:
            # What it says where nothing is traced. Asking first would not help: it may end at any time.
            return None
        found: dict[Place, _Held] = {}
        for one in snapshot.statistics("lineno"):
            frame = one.traceback[0]
            found[(frame.filename, frame.lineno)] = _Held(one.size, one.count)
        before, before_at, now = self._last, self._last_at, time.monotonic()
        self._last, self._last_at = found, now
        lines = [_line(place, found.get(place, _NOTHING), before.get(place, _NOTHING)) for place in found | before]
        return HeapReport(
            traced_seconds=now - self._began,
            since_last_seconds=None if before_at is None else now - before_at,
            bytes=in_use,
            peak_bytes=peak,
            tracer_bytes=tracemalloc.get_tracemalloc_memory(),
            top=sorted((one for one in lines if one.bytes), key=lambda one: -one.bytes)[:most],
            grown=sorted((one for one in lines if one.bytes_more > 0), key=lambda one: -one.bytes_more)[:most],
        )


def _line(place: Place, held: _Held, before: _Held) -> HeapLine:
    return HeapLine(*place, held.bytes, held.blocks, held.bytes - before.bytes, held.blocks - before.blocks)
