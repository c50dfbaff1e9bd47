"""One HTTP/1.1 connection to an upstream.

All connections of a worker read into one preallocated landing buffer: from there to the sink everything runs in the
protocol callback, and what must wait is copied out of it. So an idle stream holds no buffer, and one read is no larger
than the landing buffer however much the kernel has.

No task, queue or future per read.

A connection is *idle* (in the pool, ``sink`` is None; reading goes on, so that the upstream's close is noticed at
once) or *busy* with one request.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Protocol, cast

from ztoapi.errors import Ending, Fault, ProtocolError, UpstreamError
from ztoapi.structures.deadlines import NEVER
from ztoapi.wire.client import AnswerHeads, ClientWire, ResponseHead
from ztoapi.wire.limits import HIGH_WATER_BYTES, LOW_WATER_BYTES, SOCKET_BUFFER_BYTES

__all__ = ["Owner", "Sink", "Timeouts", "UpstreamConnection"]

JOIN_BYTES: Final = 16384
"""Bodies up to this size are joined to the head and written as one; larger ones are not copied for that."""


class Sink(Protocol):
    """Takes one answer, by callbacks in this order: head, data ..., then end or error. All are synchronous."""

    def on_head(self, head: ResponseHead) -> None: ...

    def on_data(self, payload: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_error(self, error: UpstreamError) -> None: ...

    def on_idle(self, seconds: float) -> None:
        """Nothing has come for ``seconds``; called at each deadline scan while an answer is under way."""


class Owner(Protocol):
    """Who is told what becomes of a connection: the call it works for, or the pool."""

    def connection_released(self, connection: "UpstreamConnection") -> None: ...

    def connection_closed(self, connection: "UpstreamConnection") -> None: ...


class Timeouts:
    """Seconds for one request: until the first byte of the answer, between two reads, in total."""

    __slots__ = ("between_bytes", "first_byte", "total")

    def __init__(self, first_byte: float, between_bytes: float, total: float) -> None:
        self.first_byte = first_byte
        self.between_bytes = between_bytes
        self.total = total


class UpstreamConnection(asyncio.BufferedProtocol):
    """See the module docstring. ``owner`` is the pool; ``requests`` counts the requests sent over it."""

    __slots__ = (
        "_active",
        "_first_byte_deadline",
        "_landing",
        "_last_activity",
        "_paused",
        "_room",
        "_take",
        "_timeouts",
        "_total_deadline",
        "_wire",
        "answering",
        "deadline",
        "idle_since",
        "loop",
        "owner",
        "requests",
        "sink",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, landing: memoryview, heads: AnswerHeads) -> None:
        self.loop = loop
        self._landing = self._room = landing
        self.owner = owner
        self.sink: Sink | None = None
        self.deadline = NEVER
        self.idle_since = 0.0
        self.requests = 0
        self.answering = False
        """Whether any byte of the current answer has come."""
        self._wire = ClientWire(heads)
        self._active = False
        self._paused = False
        self._last_activity = 0.0
        self._first_byte_deadline = NEVER
        self._total_deadline = NEVER
        self._timeouts: Timeouts | None = None
        self._take: Callable[[bytes], bool] | None = None

    def __repr__(self) -> str:
        return f"<UpstreamConnection {'busy' if self.sink else 'idle'} requests={self.requests}>"

    # -- for the call ---------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        head: bytes,
        body: bytes | bytearray,
        sink: Sink,
        timeouts: Timeouts,
        most_bytes: int = 0,
    ) -> float:
        """Send one request, and say when; its answer goes to ``sink``, in reads of at most ``most_bytes`` if that
        is not 0. From here on ``requests`` is the number of this request."""
        self.sink = sink
        self._room = self._landing[:most_bytes] if most_bytes else self._landing
        self.requests += 1
        self.answering = False
        self._active = False
        self._timeouts = timeouts
        self._wire.start(method)
        now = self._last_activity = self.loop.time()
        self._total_deadline = now + timeouts.total
        self._first_byte_deadline = now + timeouts.first_byte
        self.deadline = 0.0
        if len(body) <= JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        return now

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Offer ``take`` each read of this answer that begins with a chunk, framing and all. It returns whether it was
        whole chunks and has been dealt with; if not, the read goes the usual way."""
        self._take = take

    def pause(self) -> None:
        """Stop reading (the client is slow)."""
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._active = True
            self.transport.resume_reading()

    def cancel(self) -> None:
        """Nobody wants the rest of the answer: close at once, which is how an upstream learns to stop."""
        self.sink = self._take = None
        self.transport.abort()

    # -- the transport calls these --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        data = self._landing[:nbytes].tobytes()
        sink = self.sink
        if sink is None:
            # Octets that nobody asked for: whatever they are, they must not become part of the next answer.
            self.transport.abort()
            return
        self._active = self.answering = True
        wire = self._wire
        try:
            take = self._take
            if take is not None and wire.between_chunks and take(data):
                return
            if wire.head is None:
                head = wire.read_head(data)
                if head is None:
                    return
                sink.on_head(head)
                # The sink may have handed over to another one, or have cancelled.
                sink = self.sink
                if sink is None:
                    return
                data = wire.rest
            if not wire.complete:
                payload = wire.read_body(data)
                if payload:
                    sink.on_data(payload)
        except ProtocolError as error:
            self._fail(
                UpstreamError(
                    f"the upstream's answer breaks HTTP: {error}", code="upstream_protocol_error", fault=Fault.UPSTREAM
                )
            )
            return
        except Exception as error:  # noqa: BLE001 - the last frame: the loop would blame the upstream
            self._sink_failed(error)
            return
        if wire.complete and self.sink is sink:
            self._complete(sink)

    def eof_received(self) -> None:
        sink = self.sink
        if sink is not None and self._wire.eof():
            self._complete(sink)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline = NEVER
        self.owner.connection_closed(self)
        if self.sink is not None:
            if self.answering:
                error = UpstreamError(
                    "the upstream closed the connection in the middle of its answer",
                    code="upstream_truncated",
                    ending=Ending.TRUNCATED,
                    fault=Fault.UPSTREAM,
                )
            else:
                error = UpstreamError(
                    "the upstream closed the connection without an answer",
                    code="upstream_closed",
                    fault=Fault.UPSTREAM,
                )
            error.__cause__ = exc
            self._report(error)

    def pause_writing(self) -> None:
        """The request body waits in the transport; there is nothing more to send."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    # -- deadlines ------------------------------------------------------------------------------------------------

    def on_deadline(self, now: float) -> None:
        """The worker's scan, at every tick while busy."""
        timeouts = self._timeouts
        sink = self.sink
        if sink is None or timeouts is None:
            self.deadline = NEVER
            return
        if self._paused:
            # The client is slow, not the upstream: the time does not count.
            self._total_deadline += now - self._last_activity
            self._last_activity = now
        elif now >= self._total_deadline:
            # A long answer is no sign of a failing upstream.
            self._fail(_late(f"the upstream's answer took longer than {timeouts.total:g} s", Fault.REQUEST))
        elif self._active:
            self._active = False
            self._last_activity = now
        elif not self.answering:
            if now >= self._first_byte_deadline:
                self._fail(_late(f"the upstream sent no byte of an answer within {timeouts.first_byte:g} s"))
            else:
                self._tell_idle(sink, now - self._last_activity)
        elif now - self._last_activity >= timeouts.between_bytes:
            self._fail(_late(f"the upstream fell silent for {timeouts.between_bytes:g} s"))
        else:
            self._tell_idle(sink, now - self._last_activity)

    def _tell_idle(self, sink: Sink, seconds: float) -> None:
        try:
            sink.on_idle(seconds)
        except Exception as error:  # noqa: BLE001 - one sink must not stop the scan for all the others
            self._sink_failed(error)

    # -- endings --------------------------------------------------------------------------------------------------

    def _complete(self, sink: Sink) -> None:
        self.sink = self._take = None
        self.deadline = NEVER
        if self._paused:
            self.resume()
        transport = self.transport
        if transport.get_write_buffer_size():
            # Answered before it had read the whole request (an early refusal): it may never read the rest, which
            # the next request would wait behind, and a graceful close too.
            transport.abort()
        elif self._wire.keep_alive and not transport.is_closing():
            self.owner.connection_released(self)
        else:
            transport.close()
        try:
            sink.on_end()
        except Exception as error:  # noqa: BLE001 - the last frame: nobody else would tell the sink
            self._log_failure(error)
            self._tell_error(sink, _internal())

    def _fail(self, error: UpstreamError) -> None:
        self.transport.abort()
        self._report(error)

    def _report(self, error: UpstreamError) -> None:
        sink, self.sink, self._take = self.sink, None, None
        if sink is not None:
            self._tell_error(sink, error)

    # A callback of a sink that raises is a bug of ours. It ends that one request and nothing else: neither the loop
    # (which would take it for a broken connection and blame the upstream) nor the deadline scan may get to see it.

    def _sink_failed(self, error: Exception) -> None:
        self._log_failure(error)
        self._fail(_internal())

    def _tell_error(self, sink: Sink, error: UpstreamError) -> None:
        try:
            sink.on_error(error)
        except Exception as failure:  # noqa: BLE001 - the last frame, see above
            self._log_failure(failure)

    def _log_failure(self, error: Exception) -> None:
        self.loop.call_exception_handler(
            {"message": "the sink of an upstream answer failed", "exception": error, "protocol": self}
        )


def _late(message: str, fault: Fault = Fault.UPSTREAM) -> UpstreamError:
    return UpstreamError(message, status=504, code="upstream_timeout", ending=Ending.UPSTREAM_TIMEOUT, fault=fault)


def _internal() -> UpstreamError:
    return UpstreamError("internal error", status=500, code="internal", ending=Ending.INTERNAL_ERROR)
