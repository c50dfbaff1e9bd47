"""The interface that a relay writes its response to."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Request
from ztoapi.telemetry.record import RequestRecord

__all__ = ["Downstream"]


class Downstream(Protocol):
    """The :class:`~ztoapi.server.exchange.Exchange` of one client, or a response that several clients share."""

    loop: asyncio.AbstractEventLoop
    started: bool
    streaming: bool
    paused: bool
    piece_bytes: int
    """The largest piece of a stream that should be written at a time; 0 for any size."""
    trace: bytes
    on_gone: Callable[[], None] | None
    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    @property
    def chunked(self) -> bool:
        """Whether the stream goes out in HTTP chunks."""

    @property
    def record(self) -> RequestRecord: ...

    @property
    def request(self) -> Request: ...

    def respond(self, status: int, body: bytes) -> None: ...

    def fail(self, error: ApiError) -> None: ...

    def crash(self, error: BaseException) -> None: ...

    def start_stream(self) -> None: ...

    def write(self, payload: bytes) -> None: ...

    def write_framed(self, data: bytes) -> None:
        """Writes whole HTTP chunks; only for a ``chunked`` stream."""

    def end(self, payload: bytes = b"") -> None: ...

    def comment(self, payload: bytes) -> None: ...

    def idle(self, seconds: float) -> None: ...

    def spawn(self, handler: Coroutine[object, object, None]) -> None: ...
