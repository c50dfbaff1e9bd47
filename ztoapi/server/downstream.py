"""The interface that a relay writes its response to."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from ztoapi.errors import ApiError
from ztoapi.telemetry.record import RequestRecord
from ztoapi.wire.request import RequestHead

__all__ = ["Downstream", "DownstreamStream"]


class DownstreamStream(Protocol):
    """A :class:`~ztoapi.server.stream.ResponseStream`, or the stream of a response that several clients share."""

    def write_chunks(self, chunks: bytes) -> None:
        """Writes whole HTTP chunks of whole events."""

    def write(self, payload: bytes) -> None: ...

    def hold(self, data: bytes) -> None:
        """Sends whole HTTP chunks in one write with the next piece, or at ``flush``."""

    def flush(self) -> None:
        """Sends what waits to be sent with the next piece."""

    def end(self, payload: bytes = b"") -> None: ...

    def comment(self, payload: bytes) -> None: ...


class Downstream(Protocol):
    """The :class:`~ztoapi.server.exchange.Exchange` of one client, or a response that several clients share."""

    on_gone: Callable[[], None] | None
    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def started(self) -> bool: ...

    @property
    def streaming(self) -> bool: ...

    @property
    def paused(self) -> bool: ...

    @property
    def piece_bytes(self) -> int:
        """The largest piece of a stream that should be written at once; 0 for any size."""

    @property
    def trace(self) -> bytes: ...

    @property
    def stream(self) -> DownstreamStream:
        """The body of the response, while ``streaming``."""

    @property
    def record(self) -> RequestRecord: ...

    @property
    def request(self) -> RequestHead: ...

    def respond(self, status: int, body: bytes) -> None: ...

    def fail(self, error: ApiError) -> None: ...

    def crash(self, error: BaseException) -> None: ...

    def start_stream(self) -> DownstreamStream: ...

    def idle(self, seconds: float) -> None: ...

    def spawn(self, handler: Coroutine[object, object, None]) -> None: ...
