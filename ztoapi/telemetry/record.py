"""The one record of a request: filled while it runs, submitted once when it ends."""

from collections import deque
from typing import Final

from ztoapi.dialects.contract import Usage
from ztoapi.errors import Ending

__all__ = ["Recorder", "RequestRecord"]

RECENT_RECORDS: Final = 1000
"""Records kept in memory: enough for a dashboard page, about 1 MB."""


class RequestRecord:
    """What is known of one request. Times are loop seconds (monotonic); sizes are bytes."""

    __slots__ = (
        "attempts",
        "bytes_in",
        "bytes_out",
        "ending",
        "error_code",
        "finished",
        "first_byte",
        "method",
        "model",
        "path",
        "platform",
        "request_id",
        "started",
        "status",
        "stream",
        "upstream_code",
        "usage",
    )

    def __init__(self, request_id: str, method: str, path: str, started: float) -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.started = started
        self.first_byte: float | None = None
        self.finished: float | None = None
        self.status = 0
        self.ending: Ending | None = None
        self.model: str | None = None
        self.platform: str | None = None
        self.stream = False
        self.attempts = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.usage: Usage | None = None
        self.error_code: str | None = None
        self.upstream_code: str | None = None

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} {self.status} {self.ending and self.ending.value} x{self.attempts}>"


class Recorder:
    """Takes each record once and keeps the last :data:`RECENT_RECORDS`."""

    __slots__ = ("recent", "total")

    def __init__(self) -> None:
        self.recent: deque[RequestRecord] = deque(maxlen=RECENT_RECORDS)
        self.total = 0

    def submit(self, record: RequestRecord) -> None:
        self.total += 1
        self.recent.append(record)
