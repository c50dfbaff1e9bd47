"""An event loop with a manual clock, and a transport for it: tests of timers need not wait."""

import asyncio
import functools
import heapq
import itertools
from collections.abc import Callable
from typing import ParamSpec, cast

from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol

__all__ = ["Connection", "FakeTransport", "ManualLoop"]

P = ParamSpec("P")


class Handle:
    """A scheduled callback, as call_later returns it."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualLoop:
    """The part of an event loop that connections use. ``advance`` moves its clock and runs due callbacks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Handle]] = []

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Handle:
        handle = Handle(functools.partial(callback, *args, **kwargs))
        heapq.heappush(self._due, (self.now + delay, next(self._order), handle))
        return handle

    def call_soon(self, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Handle:
        return self.call_later(0.0, callback, *args, **kwargs)

    def turn(self) -> None:
        """Runs the callbacks that are due now, but none that they schedule."""
        due = [heapq.heappop(self._due) for _ in range(sum(when <= self.now for when, _, _ in self._due))]
        for _, _, handle in due:
            if not handle.cancelled:
                handle.callback()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, handle = heapq.heappop(self._due)
            if not handle.cancelled:
                handle.callback()
        self.now = end


class FakeTransport(asyncio.Transport):
    """Keeps all written bytes in ``sent``. While ``blocked`` it queues them until ``take``, with water marks as real
    transports have."""

    def __init__(self, loop: ManualLoop) -> None:
        super().__init__({"peername": ("192.0.2.1", 4711)})
        self.loop = loop
        self.protocol: asyncio.Protocol
        self.sent = bytearray()
        self.queued = bytearray()
        self.blocked = False
        self.write_closed = False
        self.reading = True
        self.closed = False
        self.aborted = False
        self.lost = False
        self._closing = False
        self._paused = False
        self._high, self._low = 65536, 16384

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None
        self._high, self._low = high, low

    def get_write_buffer_size(self) -> int:
        return len(self.queued)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.write_closed, "written after the end was sent"
        assert not self._closing, "written after close"
        self.queued += data
        if not self.blocked:
            self.take(len(self.queued))
        elif len(self.queued) > self._high and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def take(self, count: int) -> None:
        """Delivers ``count`` queued bytes to the peer."""
        self.sent += self.queued[:count]
        del self.queued[:count]
        if self._paused and len(self.queued) <= self._low:
            self._paused = False
            self.protocol.resume_writing()
        if self._closing and not self.queued:
            self._lose()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.write_closed = True

    def close(self) -> None:
        self.closed = self._closing = True
        if not self.queued:
            self._lose()

    def abort(self) -> None:
        self.aborted = self._closing = True
        self.queued.clear()
        self._lose()

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading and not self._closing


class Connection:
    """A client connection of ``context`` on a fake transport."""

    def __init__(self, context: ServerContext, loop: ManualLoop) -> None:
        self.loop = loop
        self.transport = FakeTransport(loop)
        self.protocol = HTTPProtocol(context)
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes, *, piece: int = 262144) -> int:
        """Delivers ``data`` while the transport reads. Returns the number of bytes delivered."""
        for at in range(0, len(data), piece):
            if not self.transport.is_reading():
                return at
            self.protocol.data_received(data[at : at + piece])
        return len(data)

    def half_close(self) -> None:
        if not self.protocol.eof_received():
            self.transport.close()

    @property
    def received(self) -> bytes:
        return bytes(self.transport.sent)

    def aborted(self) -> bool:
        return self.transport.aborted

    def is_open(self) -> bool:
        """Whether the server may still send or read."""
        return not self.transport.is_closing() and not self.transport.write_closed
