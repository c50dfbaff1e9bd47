"""The asyncio shell of one client connection: transport, deadlines and flow control around ``wire.server``.

Phases, each with its own deadline, which the worker's scan checks. Received bytes do not extend it, except in BODY::

    NEW      waits for its first request: closed without a response
    IDLE     waits for another request: closed without a response
    HEAD     a head has begun: 408
    QUEUED   a request waits to be admitted: no deadline here, the queue has one
    BODY     a body is arriving: 408 after the total time, or after too long a pause. A body that is passed on in parts
             has the total time for each ``max_body_bytes``, and time in which its receiver is slow does not count
    BUSY     a request is in flight: no deadline here, the handler has its own; a full socket has the stall timeout
    LINGER   an error has been sent and the sending side is closed, except over TLS, where the event loop cannot close
             one side: further bytes are read and dropped
    CLOSING  the last response is being sent: aborted if the client stops reading

A client that half-closes (FIN after its request) may only have stopped sending, which is legal (RFC 9112 section 9.6),
or may have left. Both look the same, so the connection is probed: an interim response, or a comment in a stream that
has begun, makes the kernel of a client that has left reset the connection. HTTP/1.0 has no interim responses, and the
body of a relayed response has no place for a comment, so such clients are assumed to be present.

A worker takes up a bounded number of first requests of connections in one turn of the event loop (``TurnLimit``).
A connection does a bounded amount of work in one turn: it takes up ``TURN_REQUESTS``, decodes
``TURN_FRAMING_BYTES`` of chunk framing, and reads more than ``TURN_BULK_BYTES`` only once. Then it rests: reading
pauses, and the work continues in the next turn, after the other connections.
"""

import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from time import monotonic
from typing import Final, cast

from ztoapi.errors import ApiError, Ending, ProtocolError
from ztoapi.server.context import ServerContext, Verdict
from ztoapi.server.exchange import Exchange, open_exchange
from ztoapi.server.request_body import RequestBody
from ztoapi.structures.deadlines import NEVER
from ztoapi.wire.address import LOOPBACK, authority, is_in, peer_address
from ztoapi.wire.framing import CONTINUE
from ztoapi.wire.limits import (
    HIGH_WATER_BYTES,
    LINGER_BYTES,
    LOW_WATER_BYTES,
    PIPELINE_BYTES,
    TURN_BULK_BYTES,
    TURN_REQUESTS,
    UNCOUNTED_BYTES,
    UNUSED_BODY_BYTES,
    Limits,
)
from ztoapi.wire.request import RequestHead, refused_head
from ztoapi.wire.server import ServerWire, State

__all__ = ["HTTPProtocol"]

PROBE_SECONDS: Final = (0.01, 0.04)
"""Delays after the probe at which a half-closed client is checked; later checks come with the deadline scan."""
_PROBE_COMMENT: Final = b": half-closed\n\n"


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """See the module docstring."""

    name: str
    seconds: Callable[[Limits], float] | None
    """Reads the timeout from the limits; None for a phase without one."""
    reads: bool = True
    last: bool = False
    """Whether the timeout also holds while the socket is full, because the connection is about to end."""


NEW: Final = Phase("NEW", attrgetter("head_timeout_seconds"))
IDLE: Final = Phase("IDLE", attrgetter("keepalive_timeout_seconds"))
HEAD: Final = Phase("HEAD", attrgetter("head_timeout_seconds"))
QUEUED: Final = Phase("QUEUED", None, reads=False)
BODY: Final = Phase("BODY", attrgetter("body_idle_timeout_seconds"))
BUSY: Final = Phase("BUSY", None)
LINGER: Final = Phase("LINGER", attrgetter("linger_seconds"), last=True)
CLOSING: Final = Phase("CLOSING", attrgetter("write_stall_timeout_seconds"), reads=False, last=True)
_NOT_DISPATCHED: Final = (HEAD, QUEUED, BODY)
_WAITING: Final = (NEW, IDLE)
_BETWEEN_REQUESTS: Final = (*_WAITING, HEAD)
# Globals, because every request reads them: a member of an enumeration takes 300 machine instructions, a global 15.
_UNREAD: Final = State.BODY
_READ: Final = State.COMPLETE
_BODY_METHODS: Final = frozenset(("POST", "PUT", "PATCH"))
"""RFC 9110 section 9.3: a body has no meaning in the requests of other methods."""


# Over 250 lines: the phases of one connection share its timers and its flow control.
class HTTPProtocol(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_advancing",
        "_body_deadline",
        "_body_paused_at",
        "_buffered",
        "_counted_address",
        "_exchange",
        "_expect_continue",
        "_forwarded",
        "_half_closed",
        "_lingered",
        "_phase",
        "_read_paused",
        "_resting",
        "_stalled_bytes",
        "_wire",
        "admin",
        "client",
        "context",
        "deadline",
        "peer",
        "proxied",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport
    # Set where their phase begins.
    _body_deadline: float
    _body_paused_at: float
    _expect_continue: bool
    _lingered: int
    _stalled_bytes: int

    def __init__(
        self, context: ServerContext, forwarded: tuple[str, int] | None = None, *, admin: bool = False
    ) -> None:
        self.context = context
        self.admin = admin
        """Whether the connection came to an address for operators."""
        # The peer of a Unix socket has no address.
        self.client = LOOPBACK
        self.peer = "unix:"
        self._forwarded = forwarded
        self.proxied = False
        self.deadline = NEVER
        self.write_paused = False
        self._wire = ServerWire(context.limits, context.routes.is_streamed, context.heads)
        self._exchange: Exchange | None = None
        self._phase = NEW
        self._advancing = False
        self._half_closed = False
        self._read_paused = False
        self._resting = False
        """Whether this connection has done its work for this turn of the loop."""
        self._counted_address: str | None = None
        self._buffered = 0
        """Bytes that count in the worker's buffer budget."""

    def __repr__(self) -> str:
        return f"<HTTPProtocol {self.peer} {self._phase.name}>"

    @property
    def exchange(self) -> Exchange | None:
        """The request in flight."""
        return self._exchange

    @property
    def busy(self) -> bool:
        """Whether a request is in flight, from its head on."""
        return self._exchange is not None

    @property
    def idle(self) -> bool:
        """Whether the connection waits for a request, of which no byte has arrived."""
        return self._phase in _WAITING and not self._wire.held and not self.write_paused

    # -- called by the transport -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        peer = self._forwarded or transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.client = peer_address(peer[0])
            self.peer = authority(self.client, peer[1])
        context = self.context
        if context.trusted_proxies:
            self.proxied = is_in(self.client, context.trusted_proxies)
        if not self.proxied:
            self._counted_address = self.client
        sock = transport.get_extra_info("socket")
        descriptor = -1 if sock is None else sock.fileno()
        refusal = context.connection_limits.admit(self._counted_address, descriptor)
        context.connections.add(self)
        context.deadlines.add(self)
        self.deadline = context.loop.time() + context.limits.head_timeout_seconds
        if refusal is not None:
            self._refuse(refusal)
            if context.connection_limits.scarce(descriptor):
                # No descriptor is left for lingering.
                self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.context.connections.discard(self)
        self.context.connection_limits.leave(self._counted_address)
        self.context.deadlines.discard(self)
        self.deadline = NEVER
        if not self._phase.last:
            self._wire.discard()
            self._count_buffers()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        wire = self._wire
        if phase is IDLE:
            head = None if self.write_paused else wire.take_request(data)
            if head is not None:
                # The ordinary request. It is the only one in ``data``, so nothing is left for _advance.
                self._begin(head)
                if len(data) > UNCOUNTED_BYTES:
                    self._settle(len(data))
                return
        elif phase is NEW:
            self._first_data_received(data)
            return
        elif phase is LINGER:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abort()
            return
        try:
            wire.receive_data(data)
        except ProtocolError as error:
            self._refuse(_broken(error))
            return
        if phase is BODY:
            self._body_received()
        elif self._exchange is None:
            self._advance()
        if wire.held or phase is BODY or len(data) > UNCOUNTED_BYTES:
            self._settle(len(data))

    def _first_data_received(self, data: bytes) -> None:
        self._phase = IDLE
        if self.context.first_requests.take(self._next_turn):
            self.data_received(data)
        else:
            self._wire.receive_data(data)
            self._resting = True
            self._pause_reading()
            self._settle(len(data))

    def _settle(self, received: int) -> None:
        """Applies the bounds on buffered bytes after a read of ``received`` bytes."""
        self._count_buffers()
        if self._phase is LINGER or self.transport.is_closing():
            return
        if self._buffered and self.context.buffers.spent:
            if self._phase in _NOT_DISPATCHED:
                self._refuse(self.context.buffers.refusal())
                return
            self._pause_reading()
        elif len(self._wire.held) > PIPELINE_BYTES:
            self._pause_reading()
        if received > TURN_BULK_BYTES:
            self._rest()

    def _count_buffers(self) -> None:
        """Updates the worker's buffer budget."""
        buffered = len(self._wire.held) + len(self._wire.body)
        if buffered <= UNCOUNTED_BYTES:
            buffered = 0
        self.context.buffers.used += buffered - self._buffered
        self._buffered = buffered

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._read_paused or self._resting or not self._phase.reads:
            return
        if self._phase is BODY and self._exchange is not None and _is_paused(self._exchange.body):
            return
        if len(self._wire.held) <= PIPELINE_BYTES:
            self._read_paused = False
            self.transport.resume_reading()

    def _rest(self) -> None:
        """Ends the work for this connection in this turn of the loop."""
        if not self._resting and not self.transport.is_closing():
            self._resting = True
            self._pause_reading()
            self.context.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._resting = False
        if self.transport.is_closing():
            return
        if self._phase is BODY and self._wire.held:
            try:
                self._wire.continue_body()
            except ProtocolError as error:
                self._refuse(_broken(error))
                return
            self._body_received()
        elif self._exchange is None:
            self._advance()
        if self._buffered:
            self._settle(0)
        self._resume_reading()

    def _body_received(self) -> None:
        """More of the body has arrived."""
        exchange = cast("Exchange", self._exchange)
        if exchange.body is not None:
            self._pass_on_body(exchange, exchange.body)
        elif self._wire.state is _READ:
            self._enter(BUSY)
            self._dispatch(exchange)
        else:
            self._extend_body_deadline()
            if self._wire.held:
                self._rest()

    def eof_received(self) -> bool:
        # The result may close the transport.
        self.context.cork.flush(self.transport)
        exchange = self._exchange
        if exchange is None:
            # Requests that wait for room in the socket, or for the next turn, still get responses.
            self._half_closed = (self.write_paused or self._resting) and len(self._wire.held) > 0
            return self._half_closed
        if self._wire.state is not _READ:
            return False
        self._half_closed = True
        self._probe(exchange)
        return True

    def pause_writing(self) -> None:
        self.write_paused = True
        self._stalled_bytes = self.transport.get_write_buffer_size()
        self.deadline = self.context.loop.time() + self.context.limits.write_stall_timeout_seconds
        exchange = self._exchange
        if exchange is not None:
            exchange.socket_full()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._phase is BODY:
            self._extend_body_deadline()
        elif self._phase is IDLE or self._exchange is not None:
            self._enter(self._phase)
        # This may close the connection, and asyncio's transport calls connection_lost twice if that happens in here.
        self.context.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """The client's socket has room again."""
        if self.write_paused or self.transport.is_closing():
            return
        if self._exchange is not None:
            self._exchange.socket_ready()
        elif self._phase is IDLE:
            self._advance()

    def on_deadline(self, now: float) -> None:
        """Called by the worker's scan when the deadline has passed."""
        if self.write_paused or self._phase is CLOSING:
            self._check_stall(now)
        elif self._exchange is not None and (self._half_closed or _is_paused(self._exchange.body)):
            self._check_peer()
        elif self._phase is HEAD or self._phase is BODY:
            part = "head" if self._phase is HEAD else "body"
            self._refuse(_broken(ProtocolError(408, f"the request {part} did not arrive in time")))
        elif self._phase is LINGER and self.transport.can_write_eof():
            self.transport.abort()
        elif self._phase in _WAITING:
            self.close_idle()
        else:
            # Over TLS a lingering connection has not sent its end yet.
            self._close()

    def _enter(self, phase: Phase) -> None:
        """Enters a phase, and sets its deadline."""
        self._phase = phase
        seconds = phase.seconds
        if self.write_paused and not phase.last:
            seconds = CLOSING.seconds
        if seconds is not None:
            self.deadline = self.context.loop.time() + seconds(self.context.limits)
        else:
            # At each scan a half-closed connection is checked for a reset.
            self.deadline = 0.0 if self._half_closed else NEVER

    # -- requests ------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Takes up buffered requests, one after the other, until one is in flight.

        None is taken up while the socket is full: responses would accumulate for a client that reads none.
        """
        if self._advancing:
            return
        self._advancing = True
        left = TURN_REQUESTS
        try:
            while self._exchange is None and self._phase in _BETWEEN_REQUESTS and not self.write_paused:
                if not self._wire.held:
                    break
                if not left:
                    self._rest()
                    return
                left -= 1
                head = self._wire.next_head()
                if head is None:
                    if self._phase is IDLE and self._wire.held:
                        self._enter(HEAD)
                    break
                self._begin(head)
        except ProtocolError as error:
            self._refuse(_broken(error))
        finally:
            self._advancing = False
        if self._read_paused:
            self._resume_reading()
        if self._half_closed and self._exchange is None and not (self.write_paused and self._wire.held):
            self._close()

    def _begin(self, head: RequestHead) -> None:
        exchange = self._exchange = open_exchange(self, head)
        # The same as _enter, for half of its cost: every request begins here, while the socket is not full.
        self._phase = BUSY
        self.deadline = 0.0 if self._half_closed else NEVER
        verdict = self.context.admit(exchange)
        if verdict is None and self._wire.state is _READ:
            self._dispatch(exchange)
            return
        self._expect_continue = head.expect_continue
        if verdict is None:
            self.proceed(exchange)
        elif verdict is Verdict.WAIT:
            self._enter(QUEUED)
            if self._wire.state is _UNREAD:
                self._pause_reading()
        else:
            self.reject(exchange, verdict)

    def proceed(self, exchange: Exchange) -> None:
        """The exchange is admitted: reads the body, or calls the handler if the body is complete."""
        if self._wire.state is not _UNREAD:
            self._enter(BUSY)
            self._dispatch(exchange)
            # A large read may have paused it, and nothing resumes it while the request waits.
            self._resume_reading()
            return
        if exchange.route is not None and exchange.route.streams:
            self._stream_body(exchange)
            return
        if exchange.request.method not in _BODY_METHODS:
            try:
                self._wire.limit_body(UNUSED_BODY_BYTES)
            except ProtocolError as error:
                self._refuse(_broken(error))
                return
        self._enter(BODY)
        self._body_deadline = self.context.loop.time() + self.context.limits.body_timeout_seconds
        self._extend_body_deadline()
        if self._wire.held:
            self._rest()
        self._resume_reading()
        if self._expect_continue:
            self.context.cork.write(self.transport, CONTINUE)

    def share_head(self, generation: int) -> None:
        """The gates have admitted the last head with the keys of ``generation``, and will admit it again."""
        self._wire.share_head(generation)

    def reject(self, exchange: Exchange, refusal: ApiError) -> None:
        """The exchange is not admitted: responds with ``refusal``, without reading the body."""
        if self._wire.state is _UNREAD:
            exchange.close_after()
        exchange.fail(refusal)
        self._resume_reading()

    def _stream_body(self, exchange: Exchange) -> None:
        """Calls the handler, which receives the body in parts."""
        head = exchange.request.headers
        length = int(head[b"content-length"]) if b"content-length" in head else None
        exchange.start_body(RequestBody(self, length))
        self._enter(BODY)
        self._body_deadline = self.context.loop.time() + self.context.limits.body_timeout_seconds
        self.pause_body()
        try:
            exchange.handler(exchange)
        except Exception as error:  # noqa: BLE001 - the last frame of a request
            exchange.handler_failed(error)

    def pause_body(self) -> None:
        """The receiver of the body is slow. At each scan the client is checked for a reset."""
        self._body_paused_at = self.context.loop.time()
        self.deadline = 0.0
        self._pause_reading()

    def resume_body(self, body: RequestBody) -> None:
        """The receiver of ``body`` has room."""
        exchange = self._exchange
        if exchange is None or exchange.body is not body or self.transport.is_closing():
            return
        self._body_deadline += self.context.loop.time() - self._body_paused_at
        self._extend_body_deadline()
        if self._expect_continue:
            self._expect_continue = False
            self.context.cork.write(self.transport, CONTINUE)
        self._body_received()
        self._resume_reading()

    def _pass_on_body(self, exchange: Exchange, body: RequestBody) -> None:
        """Passes on what has arrived of the body, unless its receiver is slow."""
        if body.paused or body.complete:
            return
        part = self._wire.take_body()
        body.received += len(part)
        exchange.record.bytes_in = body.received
        body.complete = self._wire.state is _READ
        if body.complete:
            self._enter(BUSY)
            exchange.end_body(body)
        else:
            limits = self.context.limits
            self._body_deadline += limits.body_timeout_seconds * len(part) / limits.max_body_bytes
            self._extend_body_deadline()
        try:
            if part or body.complete:
                body.on_part(part, body.complete)
        except Exception as error:  # noqa: BLE001 - it is logged, and the response is 500
            exchange.crash(error)
        if self._wire.held and self._phase is BODY:
            self._rest()

    def _extend_body_deadline(self) -> None:
        idle = self.context.loop.time() + self.context.limits.body_idle_timeout_seconds
        self.deadline = min(self._body_deadline, idle)

    def _dispatch(self, exchange: Exchange) -> None:
        """Calls the handler. The connection is BUSY."""
        exchange.request_body = body = self._wire.body
        record = exchange.record
        record.whole = monotonic()
        record.bytes_in = size = len(body)
        if size > UNCOUNTED_BYTES:
            self._count_buffers()
            if self.context.buffers.spent:
                exchange.fail(self.context.buffers.refusal())
                return
        try:
            exchange.handler(exchange)
        except Exception as error:  # noqa: BLE001 - the last frame of a request
            exchange.handler_failed(error)

    def exchange_finished(self, exchange: Exchange, close: bool) -> None:
        """Called by an exchange that is finished: closes, lingers, or continues with the next request."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        context = self.context
        if close or context.draining:
            # The client may be sending more.
            if self._wire.state is not _READ or self._wire.held:
                self._linger()
            else:
                self._close()
        else:
            self._wire.next_request()
            if self._buffered:
                self._count_buffers()
            if self.write_paused:
                self._enter(IDLE)
            else:
                # The same again.
                self._phase = IDLE
                self.deadline = context.loop.time() + context.limits.keepalive_timeout_seconds
            if self._half_closed or self._wire.held:
                self._advance()

    def close_idle(self) -> bool:
        """Closes the connection if it is idle. Returns whether it was.

        A connection is not idle if the socket holds bytes that the loop has not read yet: a close would reset the
        connection, and the request would be lost.
        """
        if not self.idle or self._has_unread_bytes():
            return False
        self._close()
        return True

    def _has_unread_bytes(self) -> bool:
        sock = self.transport.get_extra_info("socket")
        return sock is not None and any(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))

    def stop(self, error: ApiError) -> None:
        """The drain time is over: ends the request in flight with ``error``."""
        if self._exchange is not None:
            self._exchange.cancel(error)

    def _close(self) -> None:
        self._enter(CLOSING)
        self._wire.discard()
        if self._buffered:
            self._count_buffers()
        self.context.cork.flush(self.transport)
        self._stalled_bytes = self.transport.get_write_buffer_size()
        self.transport.close()

    # -- errors, stalls, half-closed clients --------------------------------------------------------------------

    def _refuse(self, error: ApiError) -> None:
        """Responds with ``error`` in the middle of a request, and continues to read: unread bytes would cause a reset,
        which could destroy the response."""
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = open_exchange(self, refused_head(self._wire.held))
        exchange.cancel(error)

    def _linger(self) -> None:
        self._enter(LINGER)
        self._lingered = 0
        self._wire.discard()
        self._count_buffers()
        if not self.transport.is_closing():
            if self._read_paused:
                self._read_paused = False
                self.transport.resume_reading()
            self.context.cork.flush(self.transport)
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def _check_stall(self, now: float) -> None:
        queued = self.transport.get_write_buffer_size()
        if queued < self._stalled_bytes:
            self._stalled_bytes = queued
            self.deadline = now + self.context.limits.write_stall_timeout_seconds
            return
        if self._exchange is not None:
            self._exchange.close_after()
            self._exchange.client_gone(Ending.SLOW_CLIENT)
        self.transport.abort()

    def _probe(self, exchange: Exchange) -> None:
        if exchange.streaming and exchange.started:
            if not exchange.relayed:
                exchange.stream.comment(_PROBE_COMMENT)
        elif exchange.request.http11:
            self.transport.write(CONTINUE)
        for delay in PROBE_SECONDS:
            self.context.loop.call_later(delay, self._check_peer)
        self.deadline = 0.0

    def _check_peer(self) -> None:
        """Aborts a half-closed connection that the client has reset. The reset is the socket's pending error: no read
        reports it any more."""
        if self._exchange is None or self.transport.is_closing():
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()


def _broken(error: ProtocolError) -> ApiError:
    return ApiError(error.message, status=error.status, code="bad_request")


def _is_paused(body: RequestBody | None) -> bool:
    return body is not None and body.paused
