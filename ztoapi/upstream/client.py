"""Sends requests to upstreams, over a pooled connection if there is one, else over a new one.

A request on a reused connection is sent a second time, on a new connection, if the upstream cannot have received it
whole (RFC 9110 section 9.2.2). There are two such cases, both without a byte of a response: the upstream closes and its
kernel has not acknowledged the end of the request, so that the close came first; or the connection is reset within a
round trip of the request. Every other retry is the caller's decision.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from ztoapi.config.model import UpstreamConfig
from ztoapi.config.proxies import Proxy
from ztoapi.errors import UpstreamError
from ztoapi.structures.cork import Cork
from ztoapi.structures.deadlines import Deadlines
from ztoapi.structures.turn_limit import TurnLimit
from ztoapi.telemetry.samples import Sample
from ztoapi.upstream.bounds import REST_SECONDS, Rest
from ztoapi.upstream.connect import connect
from ztoapi.upstream.connection import Timeouts, UpstreamConnection, make_read_buffer
from ztoapi.upstream.failures import closing, connect_failed, connect_timeout, internal
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.upstream.resolver import Address, Resolver
from ztoapi.upstream.sink import Sink, log_failure, report_error
from ztoapi.upstream.tunnel import open_tunnel
from ztoapi.upstream.upload import Upload
from ztoapi.wire.client import ResponseHeads
from ztoapi.wire.framing import LAST_CHUNK, chunk
from ztoapi.wire.limits import TURN_CONNECTS

__all__ = ["Client", "NativeClient", "UpstreamCall", "UpstreamRequest"]


class UpstreamRequest(msgspec.Struct, gc=False):
    """One request, ready to send: ``head`` is the whole head, with the blank line. A body that is written in parts has
    an ``upload``; it is sent over a new connection, because it could not be sent a second time."""

    origin: Origin
    method: str
    head: bytes
    body: bytes | bytearray
    upload: Upload | None = None


class UpstreamCall(Protocol):
    """A request in flight."""

    def cancel(self) -> None:
        """Stops at once; the sink is not called again."""

    def pause(self) -> None:
        """Stops reading the response."""

    def resume(self) -> None:
        """Continues reading."""

    def write(self, part: bytes | bytearray, *, last: bool) -> None:
        """Sends a part of the body of a request with an upload, once that is writable."""

    def offer_raw_reads(self, take: Callable[[bytes], bytes]) -> None:
        """See :meth:`UpstreamConnection.offer_raw_reads`. A transport without access to the framing offers nothing."""

    def finish(self) -> None:
        """The completion has ended: the sink is not called again. The connection is used again if the rest of the
        response arrives soon, and closed otherwise."""


class Client(Protocol):
    """The interface of both transports."""

    def send(
        self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, max_bytes: int = 0
    ) -> UpstreamCall:
        """Sends ``request``. ``sink`` receives the response or the error, never before this returns, in pieces of at
        most ``max_bytes``, so that a pause takes effect soon; 0 for any size."""
        ...

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        ...

    async def close(self) -> None: ...


class NativeClient:
    """The client over the gateway's own connections. ``tls`` creates the TLS settings for the first TLS origin.
    ``proxy_of`` returns the proxy that tunnels the connections to an origin."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: UpstreamConfig,
        deadlines: Deadlines,
        *,
        tls: Callable[[], ssl.SSLContext],
        cork: Cork | None = None,
        proxy_of: Callable[[Origin], Proxy | None] | None = None,
    ) -> None:
        self.loop = loop
        self.config = config
        self.proxy_of = proxy_of or (lambda _: None)
        self.pool = Pool(
            deadlines,
            max_idle=config.max_idle_connections,
            max_idle_per_origin=config.max_idle_per_origin,
            idle_timeout=config.idle_timeout_seconds,
        )
        self.timeouts = Timeouts(
            config.first_byte_timeout_seconds, config.between_bytes_timeout_seconds, config.total_timeout_seconds
        )
        self.names = Resolver(loop.getaddrinfo, loop.time)
        self.read_buffer = make_read_buffer()
        self.heads = ResponseHeads()
        self.cork = cork or Cork(loop.call_soon)
        self.connects = TurnLimit(loop.call_soon, TURN_CONNECTS)
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self.closed = False

    def tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    def send(
        self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, max_bytes: int = 0
    ) -> "NativeCall":
        """See Client.send."""
        timeouts = timeouts or self.timeouts
        connection = None if request.upload is not None else self.pool.acquire(request.origin)
        if connection is None:
            call = NativeCall(self, request, sink, timeouts, max_bytes)
            call.connect()
        else:
            call = NativeCall(self, request, sink, timeouts, max_bytes, connection, connection.requests + 1, True)
            connection.send(request.method, request.head, request.body, sink, timeouts, max_bytes, call)
        return call

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield from self.pool.samples()
        yield from self.names.samples()

    async def close(self) -> None:
        """Drops every connection. One that is being opened is dropped when it is open."""
        self.closed = True
        self.names.close()
        self.pool.close()
        await asyncio.sleep(0)


class NativeCall(msgspec.Struct, eq=False):
    """One request of a NativeClient. A Struct, because creating one takes half of the time of another object."""

    _client: NativeClient
    _request: UpstreamRequest
    _sink: Sink
    _timeouts: Timeouts
    _max_bytes: int
    _connection: UpstreamConnection | None = None
    """The connection that serves the call, or has served it."""
    _number: int = 0
    """The number of its request."""
    _reused: bool = False
    """Whether it comes from the pool."""
    _connecting: asyncio.Task[None] | None = None
    _paused: bool = False
    _cancelled: bool = False

    def connect(self) -> None:
        """Sends the request over a new connection."""
        self._connection = None
        self._reused = False
        if self._client.connects.take(self._begin_to_connect):
            self._begin_to_connect()

    def _begin_to_connect(self) -> None:
        if not self._cancelled:
            self._connecting = self._client.loop.create_task(self._connect())

    def cancel(self) -> None:
        self._cancelled = True
        if self._connecting is not None:
            self._connecting.cancel()
        connection = self._own_connection()
        if connection is not None:
            connection.cancel()
        self._connection = None

    def pause(self) -> None:
        self._paused = True
        connection = self._own_connection()
        if connection is not None:
            connection.pause()

    def resume(self) -> None:
        self._paused = False
        connection = self._own_connection()
        if connection is not None:
            connection.resume()

    def write(self, part: bytes | bytearray, *, last: bool) -> None:
        connection, upload = self._own_connection(), self._request.upload
        if connection is None or upload is None:
            return
        if upload.chunked:
            part = (chunk(part) if part else b"") + (LAST_CHUNK if last else b"")
        connection.write_body(part, last=last)

    def offer_raw_reads(self, take: Callable[[bytes], bytes]) -> None:
        connection = self._own_connection()
        if connection is not None:
            connection.offer_raw_reads(take)

    def finish(self) -> None:
        connection = self._connection
        # Usually the end has arrived with the last event.
        if connection is not None and not connection.complete and self._own_connection() is not None:
            connection.hand_over(Rest(connection), REST_SECONDS)

    def _own_connection(self) -> UpstreamConnection | None:
        """Returns the connection while it serves this call: it may have become idle, closed, or another call's."""
        connection = self._connection
        if connection is None or connection.sink is None or connection.requests != self._number:
            return None
        return connection

    def resend(self) -> bool:
        """See :meth:`Resend.resend`."""
        if not self._reused or self._client.closed:
            return False
        self.connect()
        return True

    async def _connect(self) -> None:
        client = self._client
        try:
            connection = await self._open()
            self._connecting = None
            request = self._request
            client.pool.opened(request.origin, connection)
            self._connection, self._number = connection, 1
            connection.send(
                request.method, request.head, request.body, self._sink, self._timeouts, self._max_bytes, self
            )
            if request.upload is not None:
                connection.start_upload(request.upload)
            if self._paused:
                connection.pause()
        except UpstreamError as error:
            self._connecting = None
            report_error(client.loop, self._sink, error)
        except Exception as error:  # noqa: BLE001 - the last frame of the task
            self._connecting = None
            log_failure(client.loop, error)
            if self._connection is not None:
                self._connection.cancel()
            report_error(client.loop, self._sink, internal())

    async def _open(self) -> UpstreamConnection:
        """Returns a new connection. Raises UpstreamError."""
        client = self._client
        origin = self._request.origin
        seconds = client.config.connect_timeout_seconds
        names = client.names
        proxy = client.proxy_of(origin)
        host, port = (origin.host, origin.port) if proxy is None else proxy.address
        address: Address | None = None
        try:
            async with asyncio.timeout(seconds):
                tls = client.tls_context() if origin.tls else None
                addresses = await names.resolve(host, port)
                sock, address = await connect(client.loop, addresses, seconds)
                if proxy is not None:
                    await open_tunnel(client.loop, sock, origin, proxy)
                _, connection = await client.loop.create_connection(
                    lambda: UpstreamConnection(client.loop, client.pool, client.read_buffer, client.heads, client.cork),
                    sock=sock,
                    ssl=tls,
                    server_hostname=None if tls is None else origin.host,
                )
        except TimeoutError as error:
            names.failed(host, port, address)
            raise connect_timeout(origin.authority, seconds, error) from error
        except (OSError, UnicodeError) as error:
            names.failed(host, port, address)
            raise connect_failed(origin.authority, error) from error
        names.connected(host, port, address)
        if client.closed:
            connection.transport.abort()
            raise closing()
        return connection
