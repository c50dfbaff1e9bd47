"""The body of a request that is passed on while it arrives, so that a body of any size takes little memory.

The connection pauses reading until ``read`` is called, and whenever the receiver is slower than the client.
"""

from collections.abc import Callable
from typing import Protocol

__all__ = ["BodyConnection", "RequestBody"]


class BodyConnection(Protocol):
    """The part of a :class:`~ztoapi.server.protocol.HTTPProtocol` that a body needs."""

    def pause_body(self) -> None: ...

    def resume_body(self, body: "RequestBody") -> None: ...


class RequestBody:
    """A body in parts. ``length`` is its size, None if the client sends chunks."""

    __slots__ = ("_connection", "closes", "complete", "length", "on_part", "paused", "received")

    on_part: Callable[[bytes | bytearray, bool], None]
    """Called with each part, and whether it is the last one. The last part may be empty."""

    def __init__(self, connection: BodyConnection, length: int | None) -> None:
        self._connection = connection
        self.length = length
        self.received = 0
        self.paused = True
        self.complete = False
        self.closes = False
        """Whether the connection closes after the response, even if this body is complete."""

    def read(self, on_part: Callable[[bytes | bytearray, bool], None]) -> None:
        """Begins to read: ``on_part`` receives the body."""
        self.on_part = on_part
        self.resume()

    def pause(self) -> None:
        """Stops reading from the client."""
        if not self.paused and not self.complete:
            self.paused = True
            self._connection.pause_body()

    def resume(self) -> None:
        """Continues reading."""
        if self.paused:
            self.paused = False
            self._connection.resume_body(self)
