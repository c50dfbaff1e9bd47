"""The access log of one worker: one line for each request that has ended.

On the request path a record is only queued. A thread formats and writes the lines, so that a slow disk or reader delays
no request. The queue is bounded; records that find no room are counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Final, cast

from ztoapi.telemetry.access_line import json_lines, make_lines, text_lines
from ztoapi.telemetry.console import ConsoleEntry, ConsoleLines, ConsoleMessage
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.samples import Sample

__all__ = ["AccessLog"]

WAITING_RECORDS: Final = 10000
"""Queued records: more than a worker serves in a second, about 10 MB while writing is impossible."""
BATCH_RECORDS: Final = 32
"""Lines per write. Formatting them takes a tenth of a millisecond, in which the event loop cannot run."""
PAUSE_SECONDS: Final = 0.001
"""Between two writes, so that the event loop runs: it releases the interpreter after each callback, and without a pause
the thread takes it again for a whole batch, until the queue is empty."""
_MANY_RECORDS: Final = WAITING_RECORDS // 2
"""With more queued records there is no pause: the log must keep up with the requests."""
MESSAGE_SECONDS: Final = 0.3
"""How long a message on the console waits for the requests that have ended before it: longer than one tick."""
CLOSE_SECONDS: Final = 2.0
"""How long a worker that stops waits for the remaining lines."""

_log = logging.getLogger(__name__)


_Encode = Callable[[list[ConsoleEntry], float], bytes]


def _json(entries: list[ConsoleEntry], offset: float) -> bytes:
    # Only the console has messages among its lines.
    return json_lines(make_lines(cast("list[RequestRecord]", entries), offset))


def _text(entries: list[ConsoleEntry], offset: float) -> bytes:
    return text_lines(make_lines(cast("list[RequestRecord]", entries), offset))


class AccessLog:
    """Writes lines as ``text``, for the ``console`` or as JSON to ``sink``; ``clock`` returns Unix seconds."""

    def __init__(
        self, sink: LogFile, clock: Callable[[], float], *, text: bool = False, console: ConsoleLines | None = None
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._encode: _Encode = console or (_text if text else _json)
        self._messages = 0
        """Messages in the queue."""
        self._waiting: deque[ConsoleEntry] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._refused = 0
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def __repr__(self) -> str:
        return f"<AccessLog {self._sink!r} {len(self._waiting)} waiting, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """Number of requests without a line: the queue was full, or the write failed."""
        return self._refused + self._lost

    def start(self) -> None:
        """Starts the thread. Call it in the worker process."""
        self._thread.start()

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Queues the records of requests that have ended."""
        room = max(WAITING_RECORDS - len(self._waiting), 0)
        self._waiting.extend(records if len(records) <= room else records[:room])
        self._refused += max(len(records) - room, 0)
        self._wake.set()

    def add_message(self, text: str) -> bool:
        """Queues a message for operators, which the console shows among the requests. Returns whether it has been
        taken."""
        if self._closing or len(self._waiting) >= WAITING_RECORDS:
            return False
        self._waiting.append(ConsoleMessage(monotonic(), text))
        self._messages += 1
        self._wake.set()
        return True

    def close(self) -> None:
        """Writes the remaining lines; blocks for up to :data:`CLOSE_SECONDS`."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            _log.error("the access log is stuck: %d requests have no line", len(self._waiting))

    def samples(self) -> Iterator[Sample]:
        """Yields the samples for telemetry."""
        yield Sample("ztoapi_access_log_dropped", self.dropped)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            if self._messages and not self._closing:
                # Requests that have ended before the message arrive up to one tick later.
                time.sleep(MESSAGE_SECONDS)
            # Read before the queue is emptied, so that records queued before the end are written.
            closing = self._closing
            while self._waiting:
                self._write_batch()
                if self._waiting and len(self._waiting) < _MANY_RECORDS and not self._closing:
                    time.sleep(PAUSE_SECONDS)

    def _write_batch(self) -> None:
        count = len(self._waiting) if self._messages else min(len(self._waiting), BATCH_RECORDS)
        self._messages = 0
        offset = self._clock() - monotonic()
        records = [self._waiting.popleft() for _ in range(count)]
        try:
            lines = self._encode(records, offset)
            self._lost += lines.count(b"\n", self._sink.write(lines))
        except Exception:  # noqa: BLE001 - the last frame of the thread, which must continue; the error is logged
            self._lost += count
            _log.exception("access log: lost %d lines", count)
