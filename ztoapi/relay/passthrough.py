"""Passes requests for configured paths on to a platform as they are, and the responses back.

Nothing of a body is read. Both bodies flow in parts, each at the pace of its receiver, so that neither is held in
memory. A request is repeated only while no byte of its body has been sent.
"""

import socket
import struct
from time import monotonic
from typing import Final

from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import Ending, Failure, UpstreamError
from ztoapi.relay.attempts import Attempts
from ztoapi.relay.bodies import plain_text
from ztoapi.relay.credentials import CredentialLease
from ztoapi.relay.options import RelayOptions
from ztoapi.relay.retry_after import retry_after
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.exchange import Exchange
from ztoapi.server.request_body import RequestBody
from ztoapi.upstream.client import Client
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead

__all__ = ["PassthroughRelay"]

_REQUEST_FIELDS: Final[tuple[bytes, ...]] = (
    b"accept",
    b"content-encoding",
    b"content-language",
    b"content-type",
    b"idempotency-key",
    b"openai-beta",
    b"range",
)
"""The client's fields that the upstream receives. Keys, cookies and everything about the connection are not among
them."""
_RESPONSE_FIELDS: Final[tuple[bytes, ...]] = (
    b"accept-ranges",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"content-type",
    b"etag",
    b"last-modified",
)
_NO_MODEL: Final = ""
"""The model of these requests, for caps and cooldowns of credentials."""


class PassthroughRelay(Attempts[Exchange], Sink):
    """One request. ``path`` is the target below the base URL of ``upstream``, with the query."""

    __slots__ = (
        "_client",
        "_error",
        "_head",
        "_path",
        "_sent",
    )

    def __init__(
        self,
        exchange: Exchange,
        client: Client,
        upstream: Upstream,
        options: RelayOptions,
        path: bytes,
        session: bytes | None,
    ) -> None:
        self._downstream = exchange
        self._client = client
        self._path = path
        self._upstream = upstream
        self._model = _NO_MODEL
        self._options = options
        self._session = session
        self._lease = self._call = self._retries = self._retry_timer = None
        self._head: ResponseHead | None = None
        self._error: list[bytes] = []
        """The body of an error."""
        self._sent = False
        """Whether a part of the request's body has been sent."""

    def _send(self, lease: CredentialLease, timeouts: Timeouts) -> None:
        exchange = self._downstream
        request, body = exchange.request, exchange.body
        whole, length = exchange.request_body, len(exchange.request_body)
        if body is not None and body.length is not None:
            length = body.length
        elif not length and request.method not in ("POST", "PUT", "PATCH"):
            length = -1
        upload = None if body is None else self
        framing = b"" if length < 0 else b"content-length: %d\r\n" % length
        if self.chunked:
            framing = b"transfer-encoding: chunked\r\n"
        fields = {name: request.headers[name] for name in _REQUEST_FIELDS if name in request.headers}
        lines = exchange.trace + framing
        self._head = None
        self._error.clear()
        self._sent = bool(whole)
        outgoing = self._upstream.passed_on(lease, request.method, self._path, fields, lines, whole, upload)
        self._call = self._client.send(outgoing, self, timeouts, exchange.piece_bytes)
        exchange.record.mark_sent(alone=True)
        if exchange.paused:
            self._call.pause()

    # -- the body of the request: called by the exchange and by the upstream call --------------------------------------

    @property
    def chunked(self) -> bool:
        body = self._downstream.body
        return body is not None and body.length is None

    def on_writable(self) -> None:
        body = self._body
        if not self._sent:
            body.read(self._pass_part)
        else:
            body.resume()

    def on_full(self) -> None:
        self._body.pause()

    def _pass_part(self, part: bytes | bytearray, last: bool) -> None:
        self._sent = True
        if self._call is not None:
            self._call.write(part, last=last)

    @property
    def _body(self) -> RequestBody:
        assert self._downstream.body is not None
        return self._downstream.body

    # -- the response: called by the upstream call ---------------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        if not 200 <= head.status < 300:
            return
        exchange = self._downstream
        assert self._lease is not None
        self._upstream.pool.responded(self._lease, exchange.loop.time())
        empty = head.status == 204 or exchange.request.method == "HEAD"
        length = None if head.status == 204 else head.headers.get(b"content-length")
        fields = [(name, head.headers[name]) for name in _RESPONSE_FIELDS if name in head.headers]
        if length is not None:
            fields.append((b"content-length", length))
        framed = empty or length is not None
        if not (framed or exchange.chunked):
            exchange.on_finish(_break_off)
        if b"content-type" in head.headers and head.event_stream:
            exchange.record.stream = True
        exchange.start_relayed(head.status, b"".join([b"%b: %b\r\n" % field for field in fields]), framed=framed)

    def on_data(self, payload: bytes) -> None:
        if self._downstream.streaming:
            self._downstream.stream.write(payload)
        else:
            self._error.append(payload)

    def on_end(self) -> None:
        assert self._head is not None
        exchange = self._downstream
        if not exchange.streaming:
            self._failed(self._refusal(self._head))
            return
        exchange.record.complete = monotonic()
        self._complete()
        self._detach()
        exchange.stream.end()

    def on_error(self, error: UpstreamError) -> None:
        try:
            self._failed(error)
        except Exception as failure:  # noqa: BLE001 - the last frame: without it the client would wait
            self._crash(failure)

    def on_idle(self, seconds: float) -> None:
        self._downstream.idle(seconds)

    # -- endings -------------------------------------------------------------------------------------------------------

    def _refusal(self, head: ResponseHead) -> UpstreamError:
        body = b"".join(self._error)
        if head.coding:
            body = plain_text(body, head.coding)
        error = read_error(body, head.status, retry_after(head.headers, self._upstream.clock()))
        if error.failure is Failure.NO_MODEL:
            error.code = "not_found"
        elif error.failure is Failure.INVALID and 400 <= head.status < 500:
            error.status = head.status
        return error

    def _failed(self, error: UpstreamError) -> None:
        """The attempt has failed: begins another one, or ends the request."""
        exchange = self._downstream
        self._upstream.disclose(error)
        exchange.record.upstream_code = error.upstream_code
        retries = self._fail(error)
        self._call = None
        if not (self._sent or exchange.streaming) and error.elsewhere:
            delay = retries.delay(error)
            if delay is not None:
                if exchange.body is not None:
                    exchange.body.pause()
                self._retry_timer = exchange.loop.call_later(delay, self._retry, error)
                return
        self._give_up(error)

    def _give_up(self, error: UpstreamError) -> None:
        self._detach()
        self._downstream.fail(error)


def _break_off(exchange: Exchange) -> None:
    """Resets the connection of a response that ends with the connection and is not complete."""
    sock = exchange.transport.get_extra_info("socket")
    if exchange.record.ending is not Ending.DONE and sock is not None:
        # Without lingering, closing a socket resets its connection: socket(7).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.transport.abort()
