"""Records for the access log, and what it wrote of them."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from ztoapi.errors import Ending
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.record import RequestRecord

__all__ = ["UNIX_SECONDS", "Pauses", "log_to", "make_record", "read_whole"]

UNIX_SECONDS = 1_795_435_200.25


class Pauses(threading.Event):
    """Replaces the pauses of a log by calls of ``steps``. The log ends after the last one."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self._steps = [*steps]

    def wait(self, timeout: float | None = None) -> bool:
        self._steps.pop(0)()
        if not self._steps:
            self.set()
        return self.is_set()


def make_record(request_id: str = "id-1", path: str = "/v1/chat/completions", **more: object) -> RequestRecord:
    """Of a request that has ended after 1.5 s."""
    record = RequestRecord(request_id, "POST", path, 1000.0)
    record.client, record.peer = "203.0.113.7", "127.0.0.1:5"
    record.status, record.ending, record.finished = 200, Ending.DONE, 1001.5
    for name, value in more.items():
        setattr(record, name, value)
    return record


def log_to(where: str, clock: Callable[[], float] = lambda: UNIX_SECONDS, *, text: bool = False) -> AccessLog:
    log = AccessLog(LogFile(where), clock, text=text)
    log.start()
    return log


def read_whole(path: Path | str) -> str:
    with open(os.fspath(path), encoding="utf-8", newline="\n") as file:
        return file.read()
