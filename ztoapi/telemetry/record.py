"""The one record of a request: filled while it runs, submitted once when it ends."""

from collections import deque
from time import monotonic
from typing import Final, NamedTuple

import msgspec

from ztoapi.dialects.contract import Usage
from ztoapi.errors import Ending

__all__ = ["USER_AGENT_BYTES", "Recorder", "RequestRecord", "Spans"]

USER_AGENT_BYTES: Final = 120
RECENT_RECORDS: Final = 1000
"""Records kept in memory: enough for a dashboard page, about 1 MB."""


class Spans(NamedTuple):
    """Ids of the spans of a traced request, made before it is known what will be in them; ``caller`` is whose span they
    are in, ``state`` what it has sent as tracestate."""

    server: int
    client: int
    caller: int | None
    state: str


class RequestRecord(msgspec.Struct, gc=False):
    """What is known of one request. Times are seconds of the monotonic clock; sizes are bytes."""

    request_id: str
    method: str
    path: str
    started: float
    whole: float | None = None
    """When its last byte had come and it was taken in hand."""
    asked: float | None = None
    """When the upstream was asked, the last time."""
    overhead: float | None = None
    """Seconds from ``whole`` until the upstream was asked the first time; None where the gateway waited for others."""
    answered: float | None = None
    """When the whole answer of the upstream had come."""
    first_byte: float | None = None
    """When the first event of a stream was handed to the client's socket."""
    last_write: float | None = None
    """When the last chunk of a stream was handed over, its end included."""
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
    """Of the answer's body; of a stream with the framing of its chunks."""
    usage: Usage | None = None
    error_code: str | None = None
    upstream_code: str | None = None
    cache: str | None = None
    """What the response cache has done: ``hit``, ``miss``, ``shared`` (with a request in flight), ``bypass``; None
    where there is none. After a hit there are no attempts: the upstream has not been asked."""
    key: str | None = None
    """Name of the client key; never the key itself."""
    client: str | None = None
    """Address of the client: the peer's, or the one that trusted proxies have forwarded."""
    peer: str | None = None
    """Address and port of the connection's other end."""
    user_agent: bytes | None = None
    """As the client sent it: any octets; cut at :data:`USER_AGENT_BYTES`."""
    trace_id: str | None = None
    """Of the trace that the request belongs to, in hexadecimal."""
    spans: Spans | None = None
    """Where traces are sent, and this one is wanted."""

    def ask(self, *, alone: bool) -> None:
        """The upstream is asked now. ``alone``: without having been asked something else first."""
        now = monotonic()
        if alone and self.attempts == 1 and self.asked is None and self.whole is not None:
            self.overhead = now - self.whole
        self.asked = now

    def answer(self) -> None:
        """The whole answer of the upstream is there now."""
        self.answered = monotonic()

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} {self.status} {self.ending and self.ending.value} x{self.attempts}>"

    @property
    def time_to_first_token(self) -> float | None:
        """Seconds from the whole request to the first event of a stream; None without either."""
        if self.whole is None or self.first_byte is None or not self.stream:
            return None
        return self.first_byte - self.whole


class Recorder:
    """Takes each record once and keeps the last :data:`RECENT_RECORDS`. It counts nothing: see
    :class:`ztoapi.telemetry.recorder.BoardRecorder`."""

    __slots__ = ("recent", "total")

    def __init__(self) -> None:
        self.recent: deque[RequestRecord] = deque(maxlen=RECENT_RECORDS)
        self.total = 0

    def begin(self, path: str) -> bool:
        """A request for ``path`` has come. Returns whether it is one that the gateway is there for."""
        return True

    def begin_stream(self, record: RequestRecord) -> "memoryview[int] | None":
        """The first event of a stream goes out. Returns where its gaps are counted, one cell for each bucket of
        GAP_EDGES_SECONDS, or None where they are not."""
        return None

    def stall(self, record: RequestRecord, *, upstream: bool) -> None:
        """A stream has stood still for long, because of the upstream or because of the client."""

    def submit(self, record: RequestRecord) -> None:
        self.total += 1
        self.recent.append(record)
