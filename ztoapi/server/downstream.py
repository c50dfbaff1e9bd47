"""The interface that a relay writes its response to, and the one through which the client's state reaches the relay."""

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from ztoapi.errors import ApiError
from ztoapi.telemetry.record import RequestRecord
from ztoapi.wire.request import RequestHead

__all__ = ["Downstream", "DownstreamStream", "Producer"]


class Producer(Protocol):
    """The object that writes a response, such as a relay."""

    def cancel(self) -> None:
        """The client has left, or the response is ended from outside: nothing more is needed."""

    def pause(self) -> None:
        """The client's socket is full, or the stream has to rest."""

    def resume(self) -> None:
        """There is room again."""


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

    producer: Producer | None
    """Called until the response ends."""

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
