"""Messages for operators, written beside the event loop.

A thread writes: a descriptor that takes nothing (a full pipe, a stopped terminal) stops no request and no signal.
The queue is bounded; messages that find no room in it, and those that cannot be written, are counted.
"""

import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from ztoapi.telemetry.descriptors import write_some
from ztoapi.telemetry.samples import Sample

__all__ = ["JsonFormatter", "MessageLog"]

WAITING_MESSAGES: Final = 1000
"""More than anyone reads, and about 200 KB."""
FLUSH_SECONDS: Final = 1.0
"""Time at the end of a process for messages that are still waiting."""


class JsonFormatter(logging.Formatter):
    """Formats a message as one JSON object, with the time as in the access log."""

    def format(self, record: logging.LogRecord) -> str:
        whole, fraction = divmod(record.created, 1)
        fields: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(whole)) + f"{int(fraction * 1000):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class MessageLog(logging.Handler):
    """Writes to ``descriptor``. Each process has a thread of its own, which its first message starts."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.dropped = 0
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._add: Callable[[str], bool] | None = None
        # A fork copies neither the thread nor a consistent state of the queue.
        self._waiting: queue.Queue[bytes] = queue.Queue(WAITING_MESSAGES)
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def divert(self, add: Callable[[str], bool]) -> None:
        """Passes messages of this process on to ``add``, which returns whether it has taken one."""
        self._add = add

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - as in every handler: a message that cannot be formatted is reported, not raised
            self.handleError(record)
            return
        self.write(text)

    def write(self, text: str) -> None:
        """Puts one message into the queue."""
        if self._add is not None and self._add(text):
            return
        try:
            self._waiting.put_nowait(text.encode("utf-8", "backslashreplace") + b"\n")
        except queue.Full:
            self.dropped += 1
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._waiting,), name="messages", daemon=True)
            # The thread inherits the mask. A signal that it did not block would end a supervisor, which waits for
            # blocked signals, whenever it arrives between two waits.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def flush(self) -> None:
        """Waits until everything is written, for :data:`FLUSH_SECONDS` at most."""
        waiting = self._waiting
        with waiting.all_tasks_done:
            waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks, FLUSH_SECONDS)

    def samples(self) -> Iterator[Sample]:
        """Yields the value for telemetry."""
        yield Sample("ztoapi_messages_dropped", self.dropped)

    def _run(self, waiting: "queue.Queue[bytes]") -> None:
        while True:
            message = waiting.get()
            try:
                self._write_whole(message)
            except OSError:
                self.dropped += 1
            waiting.task_done()

    def _write_whole(self, message: bytes) -> None:
        rest = memoryview(message)
        while rest:
            rest = rest[write_some(self.descriptor, rest) :]
