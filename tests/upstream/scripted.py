"""A real upstream on a loopback port, played step by step by the test, and a sink that writes down what it hears.

Nothing here sleeps: whoever waits is woken by the octet, the close or the callback it waits for. ``HANG_SECONDS`` only
turns a test that would hang into one that fails.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, NamedTuple, TypeVar, cast

from ztoapi.errors import UpstreamError
from ztoapi.structures.deadlines import Deadlines
from ztoapi.telemetry.samples import Sample
from ztoapi.upstream.client import Client, NativeClient, UpstreamCall, UpstreamRequest
from ztoapi.upstream.connection import Timeouts, UpstreamConnection
from ztoapi.upstream.pool import Origin
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead

T = TypeVar("T")

HANG_SECONDS: Final = 20.0
LONG: Final = Timeouts(60.0, 60.0, 600.0)

ANYWHERE: Final = Origin(False, "upstream.test", 80)
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EVENTS_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


async def turn() -> None:
    """Let the event loop go round once."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_soon(passed.set_result, None)
    await passed


async def soon(what: Awaitable[T]) -> T:
    """The result of ``what``, or a failure where there would be a hang."""
    async with asyncio.timeout(HANG_SECONDS):
        return await what


async def settle(reached: Callable[[], bool]) -> None:
    """Let the event loop go round until ``reached``."""
    async with asyncio.timeout(HANG_SECONDS):
        while not reached():
            await turn()


def no_tls() -> ssl.SSLContext:
    raise AssertionError("no TLS origin in this test")


class Native(NamedTuple):
    """The native client and what drives its time."""

    client: NativeClient
    deadlines: Deadlines

    def by_hand(self, origin: Origin = ANYWHERE) -> UpstreamConnection:
        """A connection in the pool whose transport leads nowhere; see ``read``."""
        connection = UpstreamConnection(self.client.loop, self.client.pool, self.client.read_buffer, self.client.heads)
        Silent(connection)
        self.client.pool.opened(origin, connection)
        return connection

    def pass_time(self, seconds: float) -> None:
        """One deadline scan as if it were so much later."""
        self.deadlines.expire(self.client.loop.time() + seconds)


def no_task_is_left() -> bool:
    """Whether only the test runner's own tasks run."""
    return all("TestRunner." in repr(task.get_coro()) for task in asyncio.all_tasks())


class Changing:
    """Something that can be waited for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
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
        self._octets = bytearray()
        self.gone = False
        """The gateway has closed or reset the connection."""
        self.appetite: int | None = None
        """Stop reading once so many octets lie here unread."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._upstream.accepted(self)

    def data_received(self, data: bytes) -> None:
        self._octets += data
        if self.appetite is not None and len(self._octets) >= self.appetite:
            self.transport.pause_reading()
        self.changed()

    def eof_received(self) -> None:
        self.gone = True
        self.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.changed()

    async def request(self) -> Received:
        """The next request, whole."""
        await self.until(lambda: b"\r\n\r\n" in self._octets)
        head = bytes(self._octets).partition(b"\r\n\r\n")[0]
        length = 0
        for line in head.lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        await self.until(lambda: len(self._octets) >= len(head) + 4 + length)
        body = bytes(self._octets[len(head) + 4 : len(head) + 4 + length])
        del self._octets[: len(head) + 4 + length]
        self._upstream.requests += 1
        return Received(head, body)

    @property
    def unread(self) -> int:
        return len(self._octets)

    def send(self, octets: bytes) -> None:
        self.transport.write(octets)

    def close(self) -> None:
        self.transport.close()

    def close_unseen(self) -> None:
        """Close in this very moment: the gateway's event loop has no time to see it before it sends a request."""
        sock = self.transport.get_extra_info("socket")
        # The transport's own close waits for the next turn of the loop.
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        self.transport.abort()

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def closed_by_gateway(self) -> None:
        await self.until(lambda: self.gone)


def read(connection: UpstreamConnection, octets: bytes) -> None:
    """Have ``connection`` read ``octets`` in one piece."""
    connection.get_buffer(-1)[: len(octets)] = octets
    connection.buffer_updated(len(octets))


class Silent(asyncio.Transport):
    """A transport that leads nowhere, for what needs no socket: ``lose`` is what the loop does after a close."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.closing = False
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

    abort = close

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
        """Listen no more; connections live on."""
        self.server.close()

    def accepted(self, peer: Peer) -> None:
        self.peers.append(peer)
        self._waiting.put_nowait(peer)
        if self.at_accept is not None:
            self.at_accept(peer)

    async def accept(self) -> Peer:
        """The next connection that a gateway opens."""
        async with asyncio.timeout(HANG_SECONDS):
            return await self._waiting.get()

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


class Heard(Changing):
    """A sink. ``calls`` holds the names of its callbacks in their order, runs of data as one.

    What a test wants to happen within a callback it puts into ``at`` under the callback's name.
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
    """Notes how much it is given at a time, and pauses after the first piece."""

    def __init__(self) -> None:
        super().__init__(data=self._pause)
        self.sizes: list[int] = []

    def on_data(self, payload: bytes) -> None:
        self.sizes.append(len(payload))
        super().on_data(payload)

    def _pause(self) -> None:
        if len(self.sizes) == 1:
            self.call.pause()


async def comes_in_small_pieces(client: Client, upstream: Upstream, octets: int) -> tuple[Peer, Pieces]:
    """An answer of so many ``octets``, asked for by the hundred: a pause comes after one piece, however much there is.
    Returns who gave it, and how it came."""
    pieces = Pieces()
    pieces.call = client.send(upstream.request(), pieces, None, 100)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % octets + b"x" * octets)
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
