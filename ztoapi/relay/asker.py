"""Whom a relay answers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Request
from ztoapi.telemetry.record import RequestRecord

__all__ = ["Asker"]


class Asker(Protocol):
    """The :class:`~ztoapi.server.exchange.Exchange` of one client; or, with a response cache, a
    :class:`~ztoapi.relay.flight.Flight`, on which several ride."""

    loop: asyncio.AbstractEventLoop
    started: bool
    streaming: bool
    paused: bool
    piece_bytes: int
    """At most so much of a stream should be written at a time; 0 for any amount."""
    trace: bytes
    on_gone: Callable[[], None] | None
    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    @property
    def chunked(self) -> bool:
        """Whether it takes a stream in HTTP chunks."""

    @property
    def record(self) -> RequestRecord: ...

    @property
    def request(self) -> Request: ...

    def respond(self, status: int, body: bytes) -> None: ...

    def fail(self, error: ApiError) -> None: ...

    def crash(self, error: BaseException) -> None: ...

    def start_stream(self) -> None: ...

    def write(self, payload: bytes) -> None: ...

    def write_framed(self, octets: bytes) -> None:
        """Only where it is ``chunked``."""

    def end(self, payload: bytes = b"") -> None: ...

    def comment(self, payload: bytes) -> None: ...

    def idle(self, seconds: float) -> None: ...

    def spawn(self, handler: Coroutine[object, object, None]) -> None: ...
