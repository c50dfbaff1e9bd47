"""A real upstream on a loopback port that the test controls step by step, and a sink that records its callbacks.

Nothing here sleeps: each wait ends with a byte, a close or a callback. After ``WAIT_SECONDS`` it fails.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar, cast

from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import UpstreamError
from ztoapi.structures.deadlines import Deadlines
from ztoapi.telemetry.samples import Sample
from ztoapi.upstream.client import Client, NativeClient, UpstreamCall, UpstreamRequest
from ztoapi.upstream.connection import Timeouts, UpstreamConnection
from ztoapi.upstream.pool import Origin
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead

T = TypeVar("T")

LONG: Final = Timeouts(60.0, 60.0, 600.0)

ANYWHERE: Final = Origin(False, "upstream.test", 80)
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EVENTS_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


async def turn() -> None:
    """Waits for one turn of the event loop."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_soon(passed.set_result, None)
    await passed


async def soon(what: Awaitable[T]) -> T:
    """Returns the result of ``what``. Raises TimeoutError instead of waiting for ever."""
    async with asyncio.timeout(WAIT_SECONDS):
        return await what


async def settle(reached: Callable[[], bool]) -> None:
    """Waits turn by turn of the event loop until ``reached``."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not reached():
            await turn()


def no_tls() -> ssl.SSLContext:
    raise AssertionError("no TLS origin in this test")


class StillLoop:
    """The running loop with a clock that stands still, so that :meth:`Native.pass_time` is exact on a busy machine."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        return 1000.0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the loop
        return getattr(self._loop, name)


class Native(NamedTuple):
    """The native client, and the deadlines that a test expires."""

    client: NativeClient
    deadlines: Deadlines

    def by_hand(self, origin: Origin = ANYWHERE) -> UpstreamConnection:
        """Returns a connection in the pool without a socket; ``read`` gives it input."""
        connection = UpstreamConnection(self.client.loop, self.client.pool, self.client.read_buffer, self.client.heads)
        Silent(connection)
        self.client.pool.opened(origin, connection)
        return connection

    def pass_time(self, seconds: float) -> None:
        """Runs one deadline scan with a clock that is ``seconds`` ahead."""
        self.deadlines.expire(self.client.loop.time() + seconds)


def no_task_is_left() -> bool:
    """Whether only the test runner's own tasks run."""
    return all("TestRunner." in repr(task.get_coro()) for task in asyncio.all_tasks())


class Changing:
    """An object whose changes can be waited for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


class Received(NamedTuple):
    """A request as it came over the wire."""

    head: bytes
    body: bytes


class Peer(asyncio.Protocol, Changing):
    """The upstream's end of one connection."""

    transport: asyncio.Transport

    def __init__(self, upstream: "Upstream") -> None:
        Changing.__init__(self)
        self._upstream = upstream
        self._received = bytearray()
        self.gone = False
        """The gateway has closed or reset the connection."""
        self.appetite: int | None = None
        """Number of unread bytes at which reading stops."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._upstream.accepted(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self.appetite is not None and len(self._received) >= self.appetite:
            self.transport.pause_reading()
        self.changed()

    def eof_received(self) -> None:
        self.gone = True
        self.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.changed()

    async def request(self) -> Received:
        """Returns the next whole request."""
        await self.until(lambda: b"\r\n\r\n" in self._received)
        head = bytes(self._received).partition(b"\r\n\r\n")[0]
        length = 0
        for line in head.lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        await self.until(lambda: len(self._received) >= len(head) + 4 + length)
        body = bytes(self._received[len(head) + 4 : len(head) + 4 + length])
        del self._received[: len(head) + 4 + length]
        self._upstream.requests += 1
        return Received(head, body)

    @property
    def unread(self) -> int:
        return len(self._received)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.close()

    def close_unseen(self) -> None:
        """Closes at once, so that the gateway's event loop cannot notice before it sends a request."""
        sock = self.transport.get_extra_info("socket")
        # The transport's own close waits for the next turn of the loop.
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        self.transport.abort()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def closed_by_gateway(self) -> None:
        await self.until(lambda: self.gone)


def read(connection: UpstreamConnection, data: bytes) -> None:
    """Makes ``connection`` read ``data`` in one piece."""
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


class Silent(asyncio.Transport):
    """A transport without a socket. ``lose`` calls connection_lost, as the loop does after a close."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.closing = self.aborted = False
        protocol.connection_made(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def lose(self) -> None:
        self.closing = True
        self.protocol.connection_lost(None)


class Upstream:
    """A listening upstream; ``requests`` counts those that its peers have read."""

    port: int
    server: asyncio.Server

    def __init__(self, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.tls = tls
        self.host = host
        self.requests = 0
        self.peers: list[Peer] = []
        self.at_accept: Callable[[Peer], None] | None = None
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()

    @property
    def origin(self) -> Origin:
        return Origin(self.tls, self.host, self.port)

    @property
    def connections(self) -> int:
        """Accepted since the start."""
        return len(self.peers)

    def stop(self) -> None:
        """Stops listening. Connections stay open."""
        self.server.close()

    def accepted(self, peer: Peer) -> None:
        self.peers.append(peer)
        self._waiting.put_nowait(peer)
        if self.at_accept is not None:
            self.at_accept(peer)

    async def accept(self) -> Peer:
        """Returns the next connection that the gateway opens."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._waiting.get()

    async def accept_request(self) -> Peer:
        """Returns the next connection, after its first request has been read."""
        peer = await self.accept()
        await peer.request()
        return peer

    def request(self, body: bytes | bytearray = b"{}", *, method: str = "POST", path: str = "/chat") -> UpstreamRequest:
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.origin.authority}\r\ncontent-length: {len(body)}\r\n\r\n"
        return UpstreamRequest(self.origin, method, head.encode("ascii"), body)


@contextlib.asynccontextmanager
async def listening(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Upstream]:
    upstream = Upstream(tls=tls is not None, host=host)
    loop = asyncio.get_running_loop()
    upstream.server = await loop.create_server(lambda: Peer(upstream), "127.0.0.1", 0, ssl=tls)
    upstream.port = upstream.server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        upstream.server.close()
        for peer in upstream.peers:
            peer.transport.abort()
        await turn()
        await turn()


class Heard(Changing, Sink):
    """A sink. ``calls`` has the names of its callbacks in order; consecutive data counts once.

    ``at`` maps names of callbacks to functions that are called within them.
    """

    call: UpstreamCall

    def __init__(self, **at: Callable[[], None]) -> None:
        Changing.__init__(self)
        self.at = at
        self.calls: list[str] = []
        self.body = bytearray()
        self.idle: list[float] = []
        self._head: ResponseHead | None = None
        self._error: UpstreamError | None = None

    @property
    def head(self) -> ResponseHead:
        assert self._head is not None
        return self._head

    @property
    def error(self) -> UpstreamError:
        assert self._error is not None
        return self._error

    def _heard(self, name: str) -> None:
        if name != "data" or self.calls[-1:] != ["data"]:
            self.calls.append(name)
        self.changed()
        if name in self.at:
            self.at[name]()

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        self._heard("head")

    def on_data(self, payload: bytes) -> None:
        self.body += payload
        self._heard("data")

    def on_end(self) -> None:
        self._heard("end")

    def on_error(self, error: UpstreamError) -> None:
        self._error = error
        self._heard("error")

    def on_idle(self, seconds: float) -> None:
        self.idle.append(seconds)

    @property
    def over(self) -> bool:
        return self.calls[-1:] in (["end"], ["error"])

    async def ended(self) -> "Heard":
        await self.until(lambda: self.over)
        return self

    async def data(self, size: int) -> None:
        await self.until(lambda: len(self.body) >= size)

    def cancel(self) -> None:
        self.call.cancel()

    def pause(self) -> None:
        self.call.pause()


class Pieces(Heard):
    """A sink that records the size of each piece, and pauses after the first."""

    def __init__(self) -> None:
        super().__init__(data=self._pause)
        self.sizes: list[int] = []

    def on_data(self, payload: bytes) -> None:
        self.sizes.append(len(payload))
        super().on_data(payload)

    def _pause(self) -> None:
        if len(self.sizes) == 1:
            self.call.pause()


async def comes_in_small_pieces(client: Client, upstream: Upstream, size: int) -> tuple[Peer, Pieces]:
    """Sends a response of ``size`` bytes to a sink that requests pieces of 100 bytes, and checks that a pause takes
    effect after one piece. Returns the upstream's connection and the sink."""
    pieces = Pieces()
    pieces.call = client.send(upstream.request(), pieces, None, 100)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    await pieces.until(lambda: bool(pieces.sizes))
    for _ in range(10):
        await turn()
    assert len(pieces.sizes) == 1
    pieces.call.resume()
    await pieces.ended()
    return peer, pieces


class FailingCall:
    """The call of a FailingClient."""

    def cancel(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def write(self, part: bytes | bytearray, *, last: bool) -> None: ...

    def offer_raw_reads(self, take: object) -> None: ...

    def finish(self) -> None: ...


class FailingClient:
    """A client whose requests all fail with ``error``."""

    def __init__(self, error: UpstreamError) -> None:
        self.error = error

    def send(
        self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, max_bytes: int = 0
    ) -> UpstreamCall:
        asyncio.get_running_loop().call_soon(sink.on_error, self.error)
        return FailingCall()

    def samples(self) -> Iterator[Sample]:
        return iter(())

    async def close(self) -> None: ...
