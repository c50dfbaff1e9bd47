"""A client as an httpx transport.

Control-plane calls (model lists, the calls before a zread request) and tests use an ordinary
``httpx.AsyncClient(transport=ClientTransport(client))`` over the same connections as chats.
https://www.python-httpx.org/advanced/transports/
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import httpx

from ztoapi.errors import Failure, UpstreamError, too_large
from ztoapi.upstream.client import Client, UpstreamCall, UpstreamRequest
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.pool import Origin
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead
from ztoapi.wire.limits import HIGH_WATER_BYTES, LOW_WATER_BYTES

__all__ = ["ClientTransport", "origin_of"]

_KINDS: Final[dict[Failure, type[httpx.TransportError]]] = {
    Failure.CONNECT_TIMEOUT: httpx.ConnectTimeout,
    Failure.TIMEOUT: httpx.ReadTimeout,
    Failure.TOTAL_TIMEOUT: httpx.ReadTimeout,
    Failure.UNREACHABLE: httpx.ConnectError,
    Failure.TLS_FAILED: httpx.ConnectError,
    Failure.NO_SOCKET: httpx.ConnectError,
    Failure.CLOSED: httpx.RemoteProtocolError,
    Failure.CUT_OFF: httpx.RemoteProtocolError,
    Failure.BROKEN_HTTP: httpx.RemoteProtocolError,
}
"""The exceptions of httpx (https://www.python-httpx.org/exceptions/)."""


def origin_of(url: httpx.URL) -> Origin:
    """Returns the origin of ``url``."""
    tls = url.scheme == "https"
    return Origin(tls, url.host, url.port or (443 if tls else 80))


class ClientTransport(httpx.AsyncBaseTransport):
    """See the module docstring. A response may have ``max_bytes``, None for any number. Closing the transport does not
    close the client, which others share."""

    def __init__(self, client: Client, timeouts: Timeouts, max_bytes: int | None = None) -> None:
        self._client = client
        self._timeouts = timeouts
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = b"".join([part async for part in request.stream]) if hasattr(request.stream, "__aiter__") else b""
        requested: dict[str, float | None] = request.extensions.get("timeout", {})
        read = requested.get("read")
        timeouts = self._timeouts
        if read is not None:
            timeouts = Timeouts(read, read, timeouts.total)
        sink = _ResponseSink(self._max_bytes)
        sink.call = self._client.send(
            UpstreamRequest(origin_of(request.url), request.method, _head(request, body), body), sink, timeouts
        )
        try:
            head = await sink.head
        except asyncio.CancelledError:
            sink.call.cancel()
            raise
        except UpstreamError as error:
            raise _translated(error, request) from error
        return httpx.Response(
            head.status, headers=list(head.headers.items()), stream=_Body(sink, request), request=request
        )


def _head(request: httpx.Request, body: bytes) -> bytes:
    lines = [request.method.encode("ascii") + b" " + request.url.raw_path + b" HTTP/1.1"]
    for name, value in request.headers.raw:
        if name.lower() not in (b"transfer-encoding", b"content-length", b"connection", b"accept-encoding"):
            lines.append(name + b": " + value)
    lines.append(b"accept-encoding: identity")
    if body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n"


class _ResponseSink(Sink):
    """A sink that passes a response to a coroutine, and pauses the upstream when the coroutine lags behind."""

    call: UpstreamCall

    def __init__(self, max_bytes: int | None) -> None:
        loop = asyncio.get_running_loop()
        self._max_bytes = max_bytes
        self._received = 0
        self.head: asyncio.Future[ResponseHead] = loop.create_future()
        self._parts: list[bytes] = []
        self._size = 0
        self._wake = asyncio.Event()
        self._ended = False
        self._error: UpstreamError | None = None

    def on_head(self, head: ResponseHead) -> None:
        if not self.head.done():
            self.head.set_result(head)

    def on_data(self, payload: bytes) -> None:
        self._received += len(payload)
        if self._max_bytes is not None and self._received > self._max_bytes:
            self.call.cancel()
            self.on_error(too_large("response", Failure.LARGE_RESPONSE, f"{self._max_bytes} bytes"))
            return
        self._parts.append(payload)
        self._size += len(payload)
        if self._size > HIGH_WATER_BYTES:
            self.call.pause()
        self._wake.set()

    def on_end(self) -> None:
        self._ended = True
        self._wake.set()

    def on_error(self, error: UpstreamError) -> None:
        if not self.head.done():
            self.head.set_exception(error)
        self._error = error
        self._wake.set()

    def on_idle(self, seconds: float) -> None:
        """Does nothing: no client waits."""

    async def parts(self) -> AsyncIterator[bytes]:
        """Yields the body as it arrives. Raises UpstreamError."""
        while True:
            while self._parts:
                part = b"".join(self._parts)
                self._parts.clear()
                lagged, self._size = self._size, 0
                if lagged > LOW_WATER_BYTES:
                    self.call.resume()
                yield part
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()


class _Body(httpx.AsyncByteStream):
    def __init__(self, sink: _ResponseSink, request: httpx.Request) -> None:
        self._sink = sink
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._sink.parts():
                yield part
        except UpstreamError as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        self._sink.call.cancel()


def _translated(error: UpstreamError, request: httpx.Request) -> httpx.TransportError:
    """Returns the exception of httpx for ``error``."""
    return _KINDS.get(error.failure, httpx.ReadError)(error.message, request=request)
