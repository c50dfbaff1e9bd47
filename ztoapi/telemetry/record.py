"""The record of a request. It is filled while the request runs, and submitted once when the request ends."""

import enum
from collections import deque
from time import monotonic
from typing import Final, NamedTuple

import msgspec

from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.layout import OTHER

__all__ = ["MESSAGE_CHARACTERS", "USER_AGENT_BYTES", "Outcome", "Recorder", "RequestRecord", "Spans"]

USER_AGENT_BYTES: Final = 120
MESSAGE_CHARACTERS: Final = 240
RECENT_RECORDS: Final = 1000
"""Records kept in memory: several pages of the dashboard, about 1 MB."""


class Outcome(enum.Enum):
    """The one division of requests that have ended, for all figures, metrics, alerts and pages."""

    ANSWERED = "answered"
    FAILED = "failed"
    """An upstream or the gateway has failed."""
    REFUSED = "refused"
    """The gateway or an upstream has refused the request because of the client: its key, its limits, or the request."""
    CANCELLED = "cancelled"
    """The client has left, or did not read the response."""


_OUTCOMES: Final = {
    Ending.DONE: Outcome.ANSWERED,
    Ending.CLIENT_ERROR: Outcome.REFUSED,
    Ending.RATE_LIMITED: Outcome.REFUSED,
    Ending.REJECTED: Outcome.REFUSED,
    Ending.CLIENT_DISCONNECT: Outcome.CANCELLED,
    Ending.SLOW_CLIENT: Outcome.CANCELLED,
}
"""By the ending; all others are failures. Statuses from 500 on are failures too, with any ending but that of a client
that has left."""
_REQUESTS_FAULT: Final = frozenset((400, 404, 405, 413, 415, 422))
"""Statuses of an upstream that blame the request. With others, such as 401 and 429, it refuses the gateway."""


class Spans(NamedTuple):
    """Span ids of a sampled request. ``caller`` is the id of the parent span, ``state`` its tracestate."""

    server: int
    client: int
    caller: int | None
    state: str


class RequestRecord(msgspec.Struct, gc=False):
    """Everything recorded about one request. Times are seconds of the monotonic clock; sizes are bytes."""

    request_id: str
    method: str
    path: str
    started: float
    route: str = OTHER
    """Template of the route, the label in metrics."""
    monitoring: bool = False
    """Whether the request is excluded from traffic statistics."""
    whole: float | None = None
    """When its last byte had arrived and processing began."""
    sent: float | None = None
    """When the last attempt was sent upstream."""
    overhead: float | None = None
    """Seconds from ``whole`` until the first attempt was sent upstream; None if the gateway waited for anything
    else."""
    complete: float | None = None
    """When the upstream response was complete."""
    first_byte: float | None = None
    """When the first event of a stream was handed to the client's socket."""
    last_write: float | None = None
    """When the last chunk of a stream, or its end, was handed to the client's socket."""
    finished: float | None = None
    status: int = 0
    ending: Ending | None = None
    model: str | None = None
    served_model: str | None = None
    """The model of the last attempt; differs from ``model`` only after a fallback."""
    platform: str | None = None
    credential: str | None = None
    """Name of the last upstream credential; never the token."""
    stream: bool = False
    attempts: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    """Size of the response body; for streams including the chunk framing."""
    event_bytes: int | None = None
    """Size of an event of a stream, as its first piece has them."""
    usage: Usage | None = None
    cost: int | None = None
    """Cost in nano-dollars; None if the model has no price. Set when the request is counted."""
    error_code: str | None = None
    error_message: str | None = None
    """The error's message for the client, cut at :data:`MESSAGE_CHARACTERS`. Operators see it; only the console
    has it among the logs."""
    upstream_code: str | None = None
    cache: str | None = None
    """Result of the response cache: ``hit``, ``miss``, ``shared`` (with a request in flight) or ``bypass``; None
    without a cache. After a hit there are no attempts."""
    key: str | None = None
    """Name of the client key; never the key itself."""
    client: str | None = None
    """Address of the client: the peer's, or the one that trusted proxies have forwarded."""
    peer: str | None = None
    """Address and port of the connection's other end."""
    user_agent: bytes | None = None
    """As the client sent it, so possibly not text; cut at :data:`USER_AGENT_BYTES`."""
    trace_id: str | None = None
    """Id of the request's trace, in hexadecimal."""
    spans: Spans | None = None
    """Set if traces are exported and this one is sampled."""

    def mark_sent(self, *, alone: bool) -> None:
        """Records that an attempt is sent upstream now. ``alone``: no other upstream request came before it."""
        now = monotonic()
        if alone and self.attempts == 1 and self.whole is not None:
            self.overhead = now - self.whole
        self.sent = now

    def hand_on(self, other: "RequestRecord") -> None:
        """Makes ``other`` the record of the attempts so far, because its client takes over the request. Attempts and
        tokens are added up over records, so this one keeps none; the others are facts about both."""
        other.attempts, self.attempts = self.attempts, 0
        self.usage = Usage()
        other.sent = self.sent
        other.stream = self.stream
        other.platform = self.platform
        other.credential = self.credential
        other.served_model = self.served_model
        other.upstream_code = self.upstream_code

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} {self.status} {self.ending and self.ending.value} x{self.attempts}>"

    @property
    def outcome(self) -> Outcome | None:
        """None if the request has not ended."""
        if self.ending is None:
            return None
        outcome = _OUTCOMES.get(self.ending, Outcome.FAILED)
        if outcome is Outcome.CANCELLED:
            return outcome
        if self.status >= 500:
            return Outcome.FAILED
        if outcome is not Outcome.REFUSED and self.status in _REQUESTS_FAULT:
            return Outcome.REFUSED
        return Outcome.FAILED if outcome is Outcome.ANSWERED and self.status >= 400 else outcome

    @property
    def time_to_first_token(self) -> float | None:
        """Seconds from the complete request to the first event of a stream; None without either."""
        if self.whole is None or self.first_byte is None or not self.stream:
            return None
        return self.first_byte - self.whole


class Recorder:
    """Takes each record once and keeps the last :data:`RECENT_RECORDS`. The subclass
    :class:`ztoapi.telemetry.recorder.BoardRecorder` counts them."""

    __slots__ = ("begun", "recent", "total")

    def __init__(self) -> None:
        self.begun = 0
        """The requests that have begun and are not counted, without monitoring requests. The server increments it."""
        self.recent: deque[RequestRecord] = deque(maxlen=RECENT_RECORDS)
        self.total = 0

    def begin_stream(self, record: RequestRecord) -> list[int] | None:
        """Called at the first event of a stream. Returns the counts of the gaps between its chunks, one for each bucket
        of LIVE_EDGES_SECONDS, or None if they are not counted."""
        return None

    def stall(self, record: RequestRecord, *, upstream: bool) -> None:
        """Called when a stream has stood still for long, because of the upstream or because of the client."""

    def submit(self, record: RequestRecord) -> None:
        self.total += 1
        self.recent.append(record)
