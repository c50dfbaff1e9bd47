"""Opens one request on an upstream: a pooled connection if there is one, else a new one.

A request that went out on a reused connection which turned out dead before any byte of an answer came is sent once
more, on a new connection: the upstream closed an idle connection in the moment we used it and has not seen the
request (RFC 9110 section 9.2.2 allows just this). Every other retry is the caller's decision.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import Ending, Fault, UpstreamError
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.connection import Sink, Timeouts, UpstreamConnection
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.wire.client import AnswerHeads, ResponseHead
from ztoapi.wire.limits import LANDING_BYTES

__all__ = ["Call", "Client", "NativeClient", "UpstreamRequest"]


SAFE_RETRY_SECONDS: Final = 5.0
"""An upstream that has closed an idle connection resets the request at once, within a round trip. One that dies later
may have worked on it, and would bill it twice."""


class UpstreamRequest(msgspec.Struct, gc=False):
    """One request, ready to send: ``head`` is the whole head in octets, the blank line included."""

    origin: Origin
    method: str
    head: bytes
    body: bytes | bytearray


class Call(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Stop at once; the sink hears nothing more."""

    def pause(self) -> None:
        """Stop reading the answer."""

    def resume(self) -> None:
        """Read on."""

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """See :meth:`UpstreamConnection.divert`; where no framing is seen, nothing is offered."""


class Client(Protocol):
    """Sends requests to upstreams; both transports are one."""

    def send(self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, most_bytes: int = 0) -> Call:
        """Send ``request``; its answer, or the error, goes to ``sink``, never before this returns. ``most_bytes``: in
        pieces of at most so many octets, so that a pause comes soon; 0 for as many as there are."""
        ...

    async def close(self) -> None: ...


class NativeClient:
    """The client over our own connections. ``tls`` makes the TLS settings when the first TLS origin is used."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: UpstreamConfig,
        deadlines: Deadlines,
        *,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self.loop = loop
        self.config = config
        self.pool = Pool(
            deadlines,
            max_idle=config.max_idle_connections,
            max_idle_per_origin=config.max_idle_per_origin,
            idle_timeout=config.idle_timeout_seconds,
        )
        self.timeouts = Timeouts(
            config.first_byte_timeout_seconds, config.between_bytes_timeout_seconds, config.total_timeout_seconds
        )
        self.landing = memoryview(bytearray(LANDING_BYTES))
        self.heads = AnswerHeads()
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self.closed = False

    def tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    def send(
        self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, most_bytes: int = 0
    ) -> "NativeCall":
        """See Client.send."""
        call = NativeCall(self, request, sink, timeouts or self.timeouts, most_bytes)
        connection = self.pool.acquire(request.origin)
        if connection is not None:
            call.send_over(connection)
        else:
            call.connect()
        return call

    async def close(self) -> None:
        """Drop every connection; what still connects is dropped when it is there."""
        self.closed = True
        self.pool.close()
        await asyncio.sleep(0)


class NativeCall:
    """One request of a NativeClient; between the connection and the caller's sink only until the first byte."""

    __slots__ = (
        "_client",
        "_connecting",
        "_connection",
        "_most_bytes",
        "_number",
        "_paused",
        "_request",
        "_reused",
        "_sent_at",
        "_sink",
        "_timeouts",
    )

    def __init__(
        self, client: NativeClient, request: UpstreamRequest, sink: Sink, timeouts: Timeouts, most_bytes: int
    ) -> None:
        self._client = client
        self._request = request
        self._sink = sink
        self._timeouts = timeouts
        self._most_bytes = most_bytes
        self._connection: UpstreamConnection | None = None
        self._number = 0
        self._connecting: asyncio.Task[None] | None = None
        self._reused = False
        self._sent_at = 0.0
        self._paused = False

    def send_over(self, connection: UpstreamConnection) -> None:
        """Send the request over a connection of the pool."""
        self._reused = True
        self._send(connection)

    def connect(self) -> None:
        """Send the request over a connection of its own."""
        self._reused = False
        self._connecting = self._client.loop.create_task(self._connect())

    def cancel(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        connection = self._mine()
        if connection is not None:
            connection.cancel()
        self._connection = None

    def pause(self) -> None:
        self._paused = True
        connection = self._mine()
        if connection is not None:
            connection.pause()

    def resume(self) -> None:
        self._paused = False
        connection = self._mine()
        if connection is not None:
            connection.resume()

    def divert(self, take: Callable[[bytes], bool]) -> None:
        connection = self._mine()
        if connection is not None:
            connection.divert(take)

    def _mine(self) -> UpstreamConnection | None:
        """The connection, as long as it works for this call: it may be idle, gone, or work for another one by now."""
        connection = self._connection
        if connection is None or connection.sink is None or connection.requests != self._number:
            return None
        return connection

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        request = self._request
        self._sent_at = connection.send(
            request.method, request.head, request.body, self, self._timeouts, self._most_bytes
        )
        self._number = connection.requests

    async def _connect(self) -> None:
        client, origin = self._client, self._request.origin
        seconds = client.config.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                _, connection = await client.loop.create_connection(
                    lambda: UpstreamConnection(client.loop, client.pool, client.landing, client.heads),
                    origin.host,
                    origin.port,
                    ssl=client.tls_context() if origin.tls else None,
                )
        except TimeoutError as error:
            self._connecting = None
            self._sink.on_error(_unreachable(origin, f"no connection within {seconds:g} s", 504, error))
        except ssl.SSLError as error:
            self._connecting = None
            failure = _unreachable(origin, f"TLS failed: {_tls_reason(error)}", 502, error)
            failure.retryable = False
            self._sink.on_error(failure)
        except (OSError, UnicodeError) as error:
            # UnicodeError: a host name that IDNA cannot encode.
            self._connecting = None
            reason = error.strerror if isinstance(error, OSError) else None
            self._sink.on_error(_unreachable(origin, reason or str(error), 502, error))
        else:
            self._connecting = None
            if client.closed:
                connection.transport.abort()
                self._sink.on_error(_shut_down())
                return
            client.pool.opened(origin, connection)
            self._send(connection)
            if self._paused:
                connection.pause()

    # -- the connection's sink until the head has come --------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        # From here on the connection speaks to the caller's sink without a detour.
        connection = self._connection
        assert connection is not None
        connection.sink = self._sink
        self._sink.on_head(head)

    def on_data(self, payload: bytes) -> None:
        raise AssertionError("data before a head")

    def on_end(self) -> None:
        raise AssertionError("end before a head")

    def on_idle(self, seconds: float) -> None:
        self._sink.on_idle(seconds)

    def on_error(self, error: UpstreamError) -> None:
        self._connection = None
        # The code says that no byte of an answer had come.
        unseen = self._reused and error.code == "upstream_closed" and not self._client.closed
        if unseen and self._client.loop.time() - self._sent_at < SAFE_RETRY_SECONDS:
            self.connect()
            return
        self._sink.on_error(error)


def _unreachable(origin: Origin, reason: str, status: int, cause: BaseException) -> UpstreamError:
    error = UpstreamError(
        f"cannot connect to the upstream {origin.authority}: {reason}",
        status=status,
        code="upstream_timeout" if status == 504 else "upstream_unreachable",
        ending=Ending.UPSTREAM_TIMEOUT if status == 504 else Ending.UPSTREAM_ERROR,
        retryable=True,
        fault=Fault.UPSTREAM,
    )
    error.__cause__ = cause
    return error


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # E.g. "unable to get local issuer certificate"; ``reason`` only says that the certificate was refused.
        return f"the certificate is not accepted: {error.verify_message}"
    return error.reason or str(error)


def _shut_down() -> UpstreamError:
    return UpstreamError("the gateway is shutting down", code="upstream_closed")
