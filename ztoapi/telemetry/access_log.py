"""The access log of one worker: one line for each request that has ended.

The event loop formats the lines of a few requests at a time, while their records are still in the processor's caches. A
thread writes them, so that a slow disk or reader delays no request. The queue is bounded; records that find no room are
counted.

The thread has little to do in Python, and does it seldom: while a thread waits for the interpreter, each callback of
the event loop wakes it.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from time import monotonic
from typing import Final

from ztoapi.telemetry.access_line import AccessLine, Lines, json_lines, make_lines, text_lines
from ztoapi.telemetry.console import ConsoleLines
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.samples import Sample

__all__ = ["AccessLog"]

WAITING_LINES: Final = 10000
"""Queued lines: more than a worker serves in a second, about 4 MB while writing is impossible."""
PAUSE_SECONDS: Final = 0.1
"""How long lines are collected for one write. At 10,000 requests per second a request takes a quarter more CPU if each
batch of the recorder is written alone."""
MESSAGE_SECONDS: Final = 0.3
"""How long a message on the console waits for the requests that have ended before it: longer than one tick."""
CLOSE_SECONDS: Final = 2.0
"""How long a worker that stops waits for the remaining lines."""

_log = logging.getLogger(__name__)
_finished_of: Final = attrgetter("finished")
_requests_of: Final = attrgetter("requests")
_data_of: Final = attrgetter("data")


_Format = Callable[[Sequence[RequestRecord], float], list[Lines]]


def _batch(write: Callable[[list[AccessLine]], bytes], records: Sequence[RequestRecord], offset: float) -> list[Lines]:
    return [Lines(records[-1].finished or 0.0, len(records), write(make_lines(records, offset)))]


class AccessLog:
    """Writes lines as ``text``, for the ``console`` or as JSON to ``sink``; ``clock`` returns Unix seconds."""

    def __init__(
        self, sink: LogFile, clock: Callable[[], float], *, text: bool = False, console: ConsoleLines | None = None
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._format: _Format = console or partial(_batch, text_lines if text else json_lines)
        self._waiting: deque[Lines] = deque()
        self._queued = 0
        """Lines that have been queued. Only the event loop changes it."""
        self._done = 0
        """Those that have been written or lost. Only the thread changes it."""
        self._has_message = False
        """Whether a message waits."""
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._refused = 0
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def __repr__(self) -> str:
        return f"<AccessLog {self._sink!r} {self._queued - self._done} waiting, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """Number of requests without a line: the queue was full, or the write failed."""
        return self._refused + self._lost

    def start(self) -> None:
        """Starts the thread. Call it in the worker process."""
        self._thread.start()

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Queues the lines of requests that have ended."""
        room = max(WAITING_LINES - (self._queued - self._done), 0)
        if room < len(records):
            self._refused += len(records) - room
            records = records[:room]
        if not records:
            return
        try:
            formatted = self._format(records, self._clock() - monotonic())
        except Exception:  # noqa: BLE001 - it is logged, and the requests are counted
            self._refused += len(records)
            _log.exception("access log: lost %d lines", len(records))
            return
        self._queued += sum(map(_requests_of, formatted))
        self._waiting.extend(formatted)
        self._wake.set()

    def add_message(self, text: str) -> bool:
        """Queues a message for operators, which the console shows among the requests. Returns whether it has been
        taken. Any thread may call it."""
        if self._closing.is_set() or len(self._waiting) >= WAITING_LINES:
            return False
        self._waiting.append(Lines(monotonic(), 0, text.encode("utf-8", "backslashreplace") + b"\n"))
        self._has_message = True
        self._wake.set()
        return True

    def close(self) -> None:
        """Writes the remaining lines; blocks for up to :data:`CLOSE_SECONDS`."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            _log.error("the access log is stuck: %d requests have no line", self._queued - self._done)

    def samples(self) -> Iterator[Sample]:
        """Yields the samples for telemetry."""
        yield Sample("ztoapi_access_log_dropped", self.dropped)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            # Nothing is queued after the end.
            closing = self._closing.wait(PAUSE_SECONDS)
            if self._has_message:
                # Requests that have ended before it arrive up to one tick later.
                closing = self._closing.wait(MESSAGE_SECONDS)
            self._write_waiting()

    def _write_waiting(self) -> None:
        self._has_message = False
        waiting = sorted((self._waiting.popleft() for _ in range(len(self._waiting))), key=_finished_of)
        if not waiting:
            # The console shows none of the requests. A write of nothing would count as a success.
            return
        lines = b"".join(map(_data_of, waiting))
        try:
            self._lost += lines.count(b"\n", self._sink.write(lines))
        except Exception:  # noqa: BLE001 - the last frame of the thread, which must continue; the error is logged
            self._lost += lines.count(b"\n")
            _log.exception("access log: lost %d lines", lines.count(b"\n"))
        self._done += sum(map(_requests_of, waiting))
