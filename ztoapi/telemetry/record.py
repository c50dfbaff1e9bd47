"""The one record of a request: filled while it runs, submitted once when it ends."""

from collections import deque
from typing import Final

import msgspec

from ztoapi.dialects.contract import Usage
from ztoapi.errors import Ending

__all__ = ["Recorder", "RequestRecord"]

RECENT_RECORDS: Final = 1000
"""Records kept in memory: enough for a dashboard page, about 1 MB."""


class RequestRecord(msgspec.Struct, gc=False):
    """What is known of one request. Times are loop seconds (monotonic); sizes are bytes."""

    request_id: str
    method: str
    path: str
    started: float
    first_byte: float | None = None
    finished: float | None = None
    status: int = 0
    ending: Ending | None = None
    model: str | None = None
    served_model: str | None = None
    """The model that was asked last: another than ``model`` only where that had fallbacks."""
    platform: str | None = None
    credential: str | None = None
    """Name of the upstream credential that was used last; never the token."""
    stream: bool = False
    attempts: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    usage: Usage | None = None
    error_code: str | None = None
    upstream_code: str | None = None
    key: str | None = None
    """Name of the client key; never the key itself."""

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
