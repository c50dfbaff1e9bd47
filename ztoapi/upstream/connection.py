"""One HTTP/1.1 connection to an upstream.

All connections of a worker read into one preallocated buffer. Data goes from there to the sink within the protocol
callback; data that must wait is copied. So an idle stream holds no buffer, and a read is never larger than the buffer.

A read needs no task, queue or future. The work of one turn of the event loop is bounded: a full read is the last of its
connection, and of a read with many line ends (empty events, comments, chunks of one byte) the rest waits for the next
turn. Reading is paused meanwhile.

A connection is *idle* (in the pool; ``sink`` is None; it keeps reading, so that a close by the upstream is noticed at
once) or *busy* with one request.
"""

import asyncio
import fcntl
import mmap
import socket
import struct
import sys
import termios
from typing import Final, Protocol, cast

from ztoapi.errors import ProtocolError, UpstreamError
from ztoapi.structures.cork import Cork
from ztoapi.structures.deadlines import NEVER
from ztoapi.upstream.bounds import ERROR_SECONDS, ErrorBody
from ztoapi.upstream.failures import (
    accepted_nothing,
    broken_http,
    closed,
    fell_silent,
    internal,
    no_byte_in_time,
    took_too_long,
    truncated,
)
from ztoapi.upstream.sink import TAKE_NOTHING, Sink, Take, log_failure, report_end, report_error
from ztoapi.upstream.upload import Upload
from ztoapi.wire.client import ClientWire, ResponseHeads
from ztoapi.wire.limits import (
    HIGH_WATER_BYTES,
    LOW_WATER_BYTES,
    READ_BUFFER_BYTES,
    SOCKET_BUFFER_BYTES,
    SPARSE_READ_BYTES,
    TURN_LINE_ENDS,
)

__all__ = [
    "CHECKS_PER_SECOND",
    "CHECK_SECONDS",
    "Owner",
    "Resend",
    "Timeouts",
    "UpstreamConnection",
    "make_read_buffer",
    "share_bytes",
]

JOIN_BYTES: Final = 16384
"""Largest body that is joined to the head for one write; larger ones are not copied."""
TLS_ALERT_BYTES: Final = 64
"""A TLS connection responds to its peer's close with an alert of some 30 bytes, which is not part of the request."""
LOOP_DELAY_SECONDS: Final = 0.02
"""Time in which an event loop under load notices a reset. A peer that has read a request may take 40 ms to acknowledge
it, so the value is below that."""
CHECK_SECONDS: Final = 10.0
"""Longest time between two checks of a busy connection. Owners keep the times of the scans for longer."""
CHECKS_PER_SECOND: Final = 4
"""Owners check the connections of the same quarter of a second together. It is the usual time between scans."""
_NOT_READ: Final = -1
_TCP_INFO_RTT_AT: Final = 68
"""Offset of tcpi_rtt and tcpi_rttvar, in microseconds (linux/tcp.h)."""


class Owner(Protocol):
    """The owner of a connection, which is notified of its state: the pool. The pool imports this module."""

    scans: int
    """The number of deadline scans so far."""

    def watch(self, connection: "UpstreamConnection") -> None:
        """Calls ``on_deadline`` of a busy connection at the first scan from its deadline on."""
        ...

    def scanned_at(self, number: int) -> float:
        """Returns the time of the scan with this number."""
        ...

    def connection_released(self, connection: "UpstreamConnection") -> None: ...

    def close_connection(self, connection: "UpstreamConnection") -> None: ...

    def connection_closed(self, connection: "UpstreamConnection") -> None: ...


class Resend(Protocol):
    """A request that can be sent again: the call. The module of calls imports this one."""

    def resend(self) -> bool:
        """Sends the request over a new connection, unless this one is new itself. Returns whether it does."""
        ...


class Timeouts:
    """Seconds for one request: until the first byte of the response, between two reads, in total; and without any byte
    until the sink is notified."""

    __slots__ = ("between_bytes", "check", "first_byte", "idle", "silence", "soonest", "total")

    def __init__(self, first_byte: float, between_bytes: float, total: float, idle: float = 0.0) -> None:
        self.first_byte = first_byte
        self.between_bytes = between_bytes
        self.total = total
        self.idle = idle
        self.check = min(between_bytes, CHECK_SECONDS)
        """Longest time between two checks: a response that begins after a check may be silent from then on."""
        self.soonest = min(first_byte, total, idle, self.check)
        """Seconds from the request until the first of them may be due."""
        self.silence = min(idle, self.check)
        """Seconds from a read until the first of them may be due."""


# Over 250 lines: a request and its response share the timeouts, and end together.
class UpstreamConnection(asyncio.BufferedProtocol):
    """See the module docstring. ``owner`` is the pool; ``requests`` counts the requests sent over it; ``read_buffer``
    is one of :func:`make_read_buffer`."""

    __slots__ = (
        "_bytes",
        "_call",
        "_cork",
        "_held",
        "_last_activity",
        "_max_bytes",
        "_offered",
        "_paused",
        "_read_after",
        "_reported",
        "_resting",
        "_resumed",
        "_room",
        "_room_of_all",
        "_sent_at",
        "_started",
        "_take",
        "_timeouts",
        "_unsent",
        "_upload",
        "_wire",
        "deadline",
        "first_check",
        "idle_since",
        "loop",
        "owner",
        "requests",
        "sink",
        "transport",
        "undelivered",
        "watched_for",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        read_buffer: memoryview,
        heads: ResponseHeads,
        cork: Cork | None = None,
    ) -> None:
        self.loop = loop
        self._cork = cork or Cork(loop.call_soon)
        assert isinstance(read_buffer.obj, mmap.mmap)
        self._bytes = read_buffer.obj
        self._room = self._room_of_all = read_buffer
        self._max_bytes = 0
        self.owner = owner
        self.sink: Sink | None = None
        self.deadline = NEVER
        """Time of the next check while busy."""
        self.watched_for: float = NEVER
        """The quarter of a second for which the owner watches it."""
        self.first_check = 1.0
        """The share of the usual time after which a request is checked first. It differs among connections, so that
        those of requests that begin together are not checked together for ever after."""
        self.idle_since = 0.0
        self.requests = 0
        self.undelivered = False
        """Whether the connection has ended before the upstream had the whole request."""
        self._wire = ClientWire(heads)
        self._paused = False
        self._resumed = False
        """Whether reading has been resumed since the last check."""
        self._reported = False
        """Whether the sink has been notified of the last silence."""
        self._resting = False
        """Whether reading waits for the next turn of the loop, after a full or a dense read."""
        self._held = b""
        """The part of a dense read that waits for the next turn."""
        self._read_after = _NOT_READ
        """The number of scans before the last read of the current response."""
        self._last_activity = 0.0
        """Time of the first scan after the last read, or before that of the request; while paused, of the last check or
        of the pause."""
        self._sent_at = 0.0
        self._started = 0.0
        """Start of the total time, without the time in which the client was slow."""
        self._timeouts: Timeouts | None = None
        self._offered: Take = TAKE_NOTHING
        self._take: Take = TAKE_NOTHING
        """Takes the next read, if that begins with a chunk."""
        self._call: Resend | None = None
        self._upload: Upload | None = None
        """The body that is being written in parts."""
        self._unsent = 0
        """Bytes of it in the transport's buffer, at the last scan."""

    def __repr__(self) -> str:
        return f"<UpstreamConnection {'busy' if self.sink else 'idle'} requests={self.requests}>"

    # -- called by the call -------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        head: bytes,
        body: bytes | bytearray,
        sink: Sink,
        timeouts: Timeouts,
        max_bytes: int = 0,
        call: Resend | None = None,
    ) -> None:
        """Sends one request. ``sink`` receives the response, in reads of at most ``max_bytes`` unless that is 0; of an
        error's body it receives the beginning. From here on ``requests`` is the number of this request. ``call`` sends
        it again if the upstream has closed the connection before it had the whole request."""
        self.sink = sink
        self._call = call
        if max_bytes != self._max_bytes:
            self._max_bytes = max_bytes
            self._room = self._room_of_all[:max_bytes] if max_bytes else self._room_of_all
        self.requests += 1
        self._read_after = _NOT_READ
        self._timeouts = timeouts
        wire = self._wire
        if wire.head is not None or method == "HEAD":
            # Otherwise the response before was whole in one read, and has left the wire as it was.
            wire.start(method)
        now = self._last_activity = self._sent_at = self._started = self.loop.time()
        # As _check_at, which is a call of its own for every request.
        deadline = self.deadline = now + timeouts.soonest * self.first_check
        if deadline * CHECKS_PER_SECOND < self.watched_for:
            self.owner.watch(self)
        if len(body) <= JOIN_BYTES:
            self._cork.write(self.transport, head + body)
        else:
            # An earlier request on this connection has been responded to, so nothing of it waits in the cork.
            self.transport.writelines((head, body))

    def start_upload(self, upload: Upload) -> None:
        """The head has been sent; ``upload`` writes the body by ``write_body``."""
        self._cork.flush(self.transport)
        self._upload = upload
        self._unsent = 0
        self._check_at(0.0)
        upload.on_writable()

    def write_body(self, part: bytes | bytearray, *, last: bool) -> None:
        """Sends a part of the body. The time until the first byte of the response begins with the last one."""
        if last:
            self._upload = None
            self._sent_at = self._last_activity = self.loop.time()
        if part:
            self.transport.write(part)

    def offer_raw_reads(self, take: Take) -> None:
        """Offers ``take`` each read of this response that begins with a chunk, with its framing. It returns the rest of
        the read without the whole chunks that it has processed. The rest is parsed as usual; ``on_data`` follows in the
        same turn, possibly with nothing."""
        self._offered = take
        if self._wire.between_chunks:
            self._take = take

    def pause(self) -> None:
        """Stops reading, because the client is slow."""
        if not self._paused:
            self._paused = True
            # The time since the last check, up to CHECK_SECONDS, is the upstream's.
            self._last_activity = self.loop.time()
            self._check_at(0.0)
            if not self._resting:
                self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._resumed = True
            if self._resting:
                return
            if self._held:
                self._resting = True
                self.loop.call_soon(self._next_turn)
            else:
                self.transport.resume_reading()

    @property
    def complete(self) -> bool:
        """Whether the end of the current response has been read."""
        return self._wire.complete

    def hand_over(self, sink: Sink, seconds: float) -> None:
        """Passes the rest of this response to ``sink``; it has ``seconds`` to end, else an error follows."""
        self.sink = sink
        self._take = self._offered = TAKE_NOTHING
        timeouts = self._timeouts
        assert timeouts is not None
        self._timeouts = Timeouts(timeouts.first_byte, timeouts.between_bytes, seconds, timeouts.idle)
        self._started = now = self.loop.time()
        self._check_at(now + seconds)
        self.resume()

    def cut(self) -> None:
        """Ends this response here, as if it were complete, and closes the connection."""
        sink = self.sink
        self.cancel()
        if sink is not None:
            report_end(self.loop, sink)

    def cancel(self) -> None:
        """Closes the connection at once, which makes the upstream stop."""
        self.sink = self._call = self._upload = None
        self._take = self._offered = TAKE_NOTHING
        self.transport.abort()

    # -- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        data = self._bytes[:nbytes]
        self._read_after = self.owner.scans
        if nbytes == READ_BUFFER_BYTES:
            self._rest()
        try:
            rest = self._take(data)
        except Exception as error:  # noqa: BLE001 - the last frame: the loop would close the connection
            if self.sink is not None:
                self._sink_failed(self.sink, error)
            return
        if not rest:
            # Nearly every read of a stream.
            return
        sink = self.sink
        if sink is None:
            # Bytes without a request must not become part of the next response.
            self.transport.abort()
            return
        try:
            if self._wire.head is None:
                self._read_head(sink, data)
            else:
                self._read_body(sink, rest, rest is not data)
        except ProtocolError as error:
            self._fail(broken_http(error.message))
        except Exception as error:  # noqa: BLE001 - the last frame: the loop would close the connection
            self._sink_failed(sink, error)

    def _read_head(self, sink: Sink, data: bytes) -> None:
        """Reads the head of a response, and what follows it in the same read."""
        wire = self._wire
        head = wire.find_head(data)
        if head is None:
            return
        rest = wire.rest
        if len(rest) == head.whole_bytes and sink.takes_whole and not wire.head_request:
            # Nearly every response that is no stream: one callback for three, and the wire stays as it was (60 opcodes
            # instead of 190).
            self._release(head.keep_alive)
            try:
                sink.on_whole(head, rest)
            except Exception as error:  # noqa: BLE001 - the last frame of the sink
                log_failure(self.loop, error)
                report_error(self.loop, sink, internal())
            return
        wire.begin_body(head)
        if not 200 <= head.status < 300:
            sink = ErrorBody(self, sink)
            self.hand_over(sink, ERROR_SECONDS)
        take = sink.on_head(head)
        if self.sink is not sink:
            # It has been replaced, or has cancelled.
            return
        taken = False
        if take is not None and wire.between_chunks:
            self._offered = self._take = take
            others = take(rest) if rest else rest
            if not others or self.sink is not sink:
                return
            taken = others is not rest
            rest = others
        self._read_body(sink, rest, taken)

    def _read_body(self, sink: Sink, data: bytes, taken: bool) -> None:
        """Reads a part of the body; ``taken`` is whether the sink has taken the beginning of the read."""
        wire = self._wire
        if not wire.complete:
            if len(data) > SPARSE_READ_BYTES:
                data = self._share(data)
            payload = wire.read_body(data)
            self._take = self._offered if wire.between_chunks else TAKE_NOTHING
            if payload or taken:
                sink.on_data(payload)
        if wire.complete and self.sink is sink:
            self._release(wire.keep_alive)
            report_end(self.loop, sink)

    def _share(self, data: bytes) -> bytes:
        """Returns the part of a read that is for this turn of the loop. If it is not the whole read, reading is paused
        until the next turn. What the sink has taken needs no bound: 32 KiB of the smallest plain chunks take 0.4 ms."""
        end = share_bytes(data)
        if end == len(data):
            return data
        self._held = data[end:]
        self._rest()
        return data[:end]

    def _rest(self) -> None:
        """Pauses reading until the next turn of the loop. uvloop reads up to 32 times from an upstream that sends fast
        before any other connection has its turn."""
        if self._resting:
            return
        if not self._paused:
            self.transport.pause_reading()
        self._resting = True
        self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if self._held and not self._paused and not self.transport.is_closing():
            self._continue()
            if self._held:
                self.loop.call_soon(self._next_turn)
                return
        self._resting = False
        if not self._paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _continue(self) -> None:
        """Handles the next part of a dense read."""
        held = self._held
        end = share_bytes(held)
        self._held = held[end:]
        self._bytes[:end] = held[:end]
        self.buffer_updated(end)

    def eof_received(self) -> None:
        sink = self.sink
        if sink is None:
            return
        if self._wire.eof():
            self._release(keep_alive=False)
            report_end(self.loop, sink)
        elif self._read_after < 0:
            # A FIN acknowledges what had arrived before it was sent.
            self.undelivered = self._cork.drop(self.transport) or _is_unacknowledged(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        while self._held and self.sink is not None:
            self._continue()
        self.owner.connection_closed(self)
        if self.sink is not None:
            if self._read_after >= 0:
                self._report(truncated(exc))
            else:
                if self._cork.drop(self.transport):
                    self.undelivered = True
                elif isinstance(exc, ConnectionError):
                    elapsed = self.loop.time() - self._sent_at
                    self.undelivered = self.undelivered or elapsed <= _round_trip_seconds(self.transport)
                self._report(closed(exc))

    def pause_writing(self) -> None:
        """A body that is whole is in the transport's buffer anyway."""
        if self._upload is not None:
            self._upload.on_full()

    def resume_writing(self) -> None:
        """See pause_writing."""
        if self._upload is not None:
            # A write in this callback of the transport would call it again, in itself.
            self.loop.call_soon(self._writable)

    def _writable(self) -> None:
        if self._upload is not None and not self.transport.is_closing():
            self._upload.on_writable()

    # -- deadlines ----------------------------------------------------------------------------------------------------

    def _check_at(self, deadline: float) -> None:
        """The next check is at the first scan from ``deadline`` on."""
        self.deadline = deadline
        if deadline * CHECKS_PER_SECOND < self.watched_for:
            self.owner.watch(self)

    def on_deadline(self, now: float) -> None:
        """Checks the timeouts of a busy connection, and sets the deadline of the next check."""
        timeouts, sink = self._timeouts, self.sink
        assert timeouts is not None and sink is not None
        read_after = self._read_after
        if read_after >= 0 and not (self._paused or self._resumed or self._reported):
            # Nearly every check: the response goes on (60 opcodes instead of 130).
            last = self.owner.scanned_at(read_after + 1)
            silence, total = last + timeouts.silence, self._started + timeouts.total
            if now < silence and now < total:
                self._last_activity = last
                self.deadline = silence if silence < total else total
                return
        # Some states are checked at every scan.
        self.deadline = 0.0
        if self._upload is not None and read_after < 0:
            self._check_upload(now, timeouts)
            return
        if self._paused:
            # The client is slow, not the upstream: this time does not count.
            self._started += now - self._last_activity
            self._last_activity = now
            return
        total = self._started + timeouts.total
        if now >= total:
            self._fail(took_too_long(timeouts.total))
            return
        last = self._last_activity
        if self._resumed or read_after == self.owner.scans - 1:
            self._resumed = False
            last = now
        elif read_after >= 0:
            last = max(last, self.owner.scanned_at(read_after + 1))
        self._last_activity = last
        silent = now - last
        if read_after < 0:
            limit = self._sent_at + timeouts.first_byte
            if silent and now >= limit:
                self._fail(no_byte_in_time(timeouts.first_byte))
                return
        else:
            limit = last + timeouts.between_bytes
            if now >= limit:
                self._fail(fell_silent(timeouts.between_bytes))
                return
        if silent:
            is_long = silent >= timeouts.idle
            if is_long or self._reported:
                # The sink is also notified of the first short silence after a long one.
                self._reported = is_long
                self._report_idle(sink, silent)
        if not self._reported:
            self.deadline = min(limit, total, last + timeouts.idle, now + timeouts.check)

    def _check_upload(self, now: float, timeouts: Timeouts) -> None:
        """Checks the timeouts while the body is being written: the upstream must accept bytes of it."""
        unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if not self._unsent:
            # The client is slow, not the upstream.
            self._started += now - self._last_activity
        elif now >= self._started + timeouts.total:
            self._fail(took_too_long(timeouts.total))
            return
        if not self._unsent or self._unsent != unsent:
            self._last_activity = now
        elif now - self._last_activity >= timeouts.between_bytes:
            self._fail(accepted_nothing(timeouts.between_bytes))

    def _report_idle(self, sink: Sink, seconds: float) -> None:
        try:
            sink.on_idle(seconds)
        except Exception as error:  # noqa: BLE001 - one sink must not stop the scan for all the others
            self._sink_failed(sink, error)

    # -- endings ------------------------------------------------------------------------------------------------------

    def _release(self, keep_alive: bool) -> None:
        """The response is complete: the connection becomes idle, or closes."""
        self.sink = self._call = None
        self._take = self._offered = TAKE_NOTHING
        surplus = self._held
        if surplus:
            self._held = b""
        if self._paused:
            self.resume()
        self._resumed = self._reported = False
        transport = self.transport
        if self._upload is not None or transport.get_write_buffer_size() or transport in self._cork.waiting:
            # A response before the whole request was read, such as an early refusal: the upstream may never read the
            # rest, which would delay the next request and a graceful close.
            self._upload = None
            transport.abort()
        elif keep_alive and not surplus and not transport.is_closing():
            self.owner.connection_released(self)
        else:
            self.owner.close_connection(self)

    def _fail(self, error: UpstreamError) -> None:
        self.transport.abort()
        self._report(error)

    def _report(self, error: UpstreamError) -> None:
        sink, self.sink, self._upload = self.sink, None, None
        call, self._call = self._call, None
        self._take = self._offered = TAKE_NOTHING
        if sink is not None and not (self.undelivered and call is not None and call.resend()):
            report_error(self.loop, sink, error)

    def _sink_failed(self, sink: Sink, error: Exception) -> None:
        """A callback of ``sink`` has raised. In it, another sink may have been set, or the call been cancelled."""
        log_failure(self.loop, error)
        current = self.sink or sink
        self.cancel()
        report_error(self.loop, current, internal())


def make_read_buffer() -> memoryview:
    """Returns the buffer of the connections of a worker. A slice of an ``mmap`` is a bytes object, in one step: a read
    takes 0.1 us less than with the slice of a memoryview that is converted."""
    return memoryview(mmap.mmap(-1, READ_BUFFER_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def share_bytes(data: bytes, line_ends: int = TURN_LINE_ENDS, sparse_bytes: int = SPARSE_READ_BYTES) -> int:
    """Returns how many bytes of ``data`` are for one turn of the loop: so many that they have at most ``line_ends`` CR
    and LF, but about ``sparse_bytes`` at least."""
    end = len(data)
    # A line has two line ends at most. Splitting takes half of the time of counting two bytes, which is a tenth of that
    # of a stream in one read.
    if 2 * len(data.splitlines()) <= line_ends:
        return end
    while end > sparse_bytes and data.count(b"\n", 0, end) + data.count(b"\r", 0, end) > line_ends:
        end //= 2
    return end


def _is_unacknowledged(transport: asyncio.Transport) -> bool:
    """Whether the peer's kernel has not received all written bytes."""
    if transport.get_write_buffer_size():
        return True
    sock = transport.get_extra_info("socket")
    if sock is None or sys.platform != "linux":
        return False
    # tcp(7): SIOCOUTQ, which is the same number. It counts the bytes that the peer has not acknowledged.
    (unacknowledged,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return bool(unacknowledged > TLS_ALERT_BYTES)


def _round_trip_seconds(transport: asyncio.Transport) -> float:
    """Returns the longest time in which a reset responds to the first segment of a request: the kernel's measured round
    trip and the delay of the event loop."""
    sock = transport.get_extra_info("socket")
    if sock is None or sys.platform != "linux":
        return LOOP_DELAY_SECONDS
    smoothed, deviation = struct.unpack_from(
        "II", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), _TCP_INFO_RTT_AT
    )
    return LOOP_DELAY_SECONDS + float(smoothed + 4 * deviation) / 1e6
