"""One request and its answer.

The Exchange is the one object a request lives in. A handler answers it in one of three ways: ``respond`` (a whole
answer), ``fail`` (an error), or ``start_stream`` with ``write`` ... ``end``. Whatever happens, ``finish`` runs exactly
once: it completes the record, calls the callbacks of ``on_finish`` and releases the connection.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec

from ztoapi.errors import ApiError, Ending
from ztoapi.server.responses import error_body, error_event, error_headers
from ztoapi.server.routes import Route
from ztoapi.telemetry.layout import GAP_EDGES_SECONDS
from ztoapi.telemetry.record import USER_AGENT_BYTES, RequestRecord
from ztoapi.wire.address import forwarded_client
from ztoapi.wire.framing import LAST_CHUNK, chunk, fixed_head, stream_head
from ztoapi.wire.request import RequestHead
from ztoapi.wire.trace import TRACEPARENT, field_lines, read_trace

if TYPE_CHECKING:
    from ztoapi.server.protocol import HTTPProtocol

__all__ = ["CLIENT_CLOSED", "Exchange", "Request"]

_log = logging.getLogger(__name__)
CLIENT_CLOSED: Final = 499
"""nginx's status for a client that went away; it only ever stands in records."""
STALL_SECONDS: Final = 5.0
"""A stream that stands still for so long counts as stalled: no model takes it between two tokens in ordinary work."""
_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


class Request(msgspec.Struct, gc=False):
    """What the client asked. Header names are lower-case, repeated fields joined; ``body`` is whole."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    http11: bool
    body: bytes | bytearray = b""


# Over 250 lines: each way to answer ends in the one `finish`.
class Exchange:
    """See the module docstring. ``on_gone`` is called once if the client leaves before the answer is complete;
    ``on_pause`` and ``on_resume`` when its socket is full and when it has room again."""

    __slots__ = (
        "_close",
        "_full_since",
        "_gaps",
        "_head",
        "_hold",
        "_last",
        "_on_finish",
        "_protocol",
        "_sent",
        "_stalled",
        "_task",
        "_write",
        "chunked",
        "extra_headers",
        "finished",
        "gone",
        "handler",
        "loop",
        "on_gone",
        "on_pause",
        "on_resume",
        "pace",
        "paused",
        "piece_bytes",
        "record",
        "request",
        "request_id",
        "route",
        "started",
        "streaming",
        "trace",
    )

    handler: "Callable[[Exchange], None]"
    """The handler that responds; ``admit`` sets it if the server has routes."""
    route: "Route[Exchange] | None"
    """The route of the path; None for an unknown path."""
    chunked: bool
    """Whether a stream goes out in HTTP chunks."""
    extra_headers: bytes
    """Header lines of every response of this exchange, such as those of CORS; gates set it."""
    started: bool
    """Whether any byte of the response has gone out."""
    trace: bytes
    """Header lines that pass the trace context of the request on to an upstream."""

    def __init__(self, protocol: "HTTPProtocol", head: RequestHead, request_id: str) -> None:
        context, client, headers = protocol.context, protocol.client, head.headers
        self._protocol = protocol
        self.loop = loop = context.loop
        method, path = head.method, head.path
        if protocol.proxied:
            hops = headers.get(b"x-forwarded-for", b"").decode("ascii", "replace").split(",")
            client = forwarded_client(client, hops, context.trusted_proxies)
        self.request = Request(method, path, head.query, headers, head.http11)
        self.request_id = request_id
        self.record = record = RequestRecord(request_id, method, path, loop.time())
        record.client, record.peer = client, protocol.peer
        route = self.route = context.routes.find(path)
        if route is not None:
            record.route = route.template
            record.monitoring = route.monitoring
        agent = headers.get(b"user-agent")
        if agent is not None:
            record.user_agent = agent if len(agent) <= USER_AGENT_BYTES else agent[:USER_AGENT_BYTES]
        self.trace = b""
        context.recorder.begin(record)
        if context.tracer is not None:
            if not record.monitoring:
                self.trace = context.tracer.begin(record, read_trace(headers))
        elif TRACEPARENT in headers and (trace := read_trace(headers)) is not None:
            record.trace_id = trace.trace_id
            self.trace = field_lines(trace.value, trace.state)
        self._close = not head.keep_alive
        self.chunked = head.http11
        self._head: bytes = b""
        """The head of a stream, until its first piece goes out."""
        self._sent = 0
        self._gaps: memoryview[int] | None = None
        """Where the gaps between the pieces of a stream are counted."""
        self._last: float | None = None
        """When the last piece of a stream went out."""
        self._full_since: float | None = None
        self._stalled = False
        self._write: Callable[[bytes], None] | None = None
        """While a stream may be written: the transport's ``write``."""
        self._task: asyncio.Task[None] | None = None
        self._hold: asyncio.TimerHandle | None = None
        """While the stream rests because it has been faster than ``pace`` allows."""
        self.extra_headers = b""
        self.pace: Callable[[int], int] | None = None
        """Told of each piece of a stream how many octets it has; returns for how many nanoseconds the stream must rest.
        To be set before the stream starts."""
        self.piece_bytes = 0
        """Where there is a ``pace``: how much of a stream should be written at a time, or it rests seldom and long."""
        self.started = False
        self.streaming = False
        self.finished = False
        self.gone = False
        self.paused = protocol.write_paused
        self.on_gone: Callable[[], None] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self._on_finish: tuple[Callable[[Exchange], None], ...] = ()
        """The callbacks, the latest first. A tuple costs no memory block of its own, unlike a list."""

    @property
    def transport(self) -> asyncio.Transport:
        """The client's socket; only for what no method here can do."""
        return self._protocol.transport

    def on_finish(self, callback: "Callable[[Exchange], None]") -> None:
        """Calls ``callback`` once, when the exchange is finished. Later callbacks are called first."""
        self._on_finish = (callback, *self._on_finish)

    def close_after(self) -> None:
        """End the connection with this answer."""
        self._close = True

    def proceed(self) -> None:
        """Go on with an exchange that had to wait to be admitted."""
        self._protocol.proceed(self)

    def reject(self, error: ApiError) -> None:
        """Refuse an exchange that had to wait to be admitted."""
        self._protocol.reject(self, error)

    def respond(
        self,
        status: int,
        body: bytes,
        *,
        content_type: bytes = _JSON,
        headers: bytes = b"",
        ending: Ending = Ending.DONE,
    ) -> None:
        """Send a whole answer in one write. ``headers`` are raw lines, each ended by CRLF."""
        if self.finished or self.gone:
            return
        close = self._close = self._close or self._protocol.context.draining
        if not self.chunked and not close:
            headers += b"connection: keep-alive\r\n"
        head = fixed_head(
            status,
            content_type,
            len(body),
            date=self._protocol.context.date,
            request_id=self.request_id.encode("ascii"),
            headers=self.extra_headers + headers,
            close=close,
        )
        self.started = True
        self.record.status = status
        self.record.bytes_out = len(body)
        self._protocol.transport.write(head if self.request.method == "HEAD" else head + body)
        self.finish(ending)

    def fail(self, error: ApiError) -> None:
        """Send ``error``: as the answer, or, once a stream has started, as an event after which the connection is
        closed without the final chunk, so that nobody can take the stream for complete."""
        if self.finished or self.gone:
            return
        self.record.error_code = error.code
        if not self.started:
            self.respond(error.status, error_body(error), headers=error_headers(error), ending=error.ending)
            return
        self.write(error_event(error))
        self._close = True
        self.finish(error.ending)

    def start_stream(self, *, content_type: bytes = _EVENT_STREAM, headers: bytes = b"") -> None:
        """Begin a streamed answer. Its head goes out in one write with the first piece."""
        if self.finished or self.gone:
            return
        self._close = self._close or self._protocol.context.draining or not self.chunked
        self.streaming = True
        self._write = self._protocol.transport.write if self.pace is None else self._write_at_pace
        self.record.status = 200
        self.record.stream = True
        self._head = stream_head(
            content_type,
            date=self._protocol.context.date,
            request_id=self.request_id.encode("ascii"),
            headers=self.extra_headers + headers,
            chunked=self.chunked,
            close=self._close,
        )

    def write(self, payload: bytes) -> None:
        """Send one piece of a stream: one HTTP chunk, one socket write."""
        if not payload:
            return
        self.write_framed(b"%x\r\n%b\r\n" % (len(payload), payload) if self.chunked else payload)

    def write_framed(self, octets: bytes) -> None:
        """The same for what is framed already: whole HTTP chunks where the answer is ``chunked``."""
        write = self._write
        if write is None:
            return
        self._sent += len(octets)
        gaps = self._gaps
        if gaps is not None:
            now = monotonic()
            gaps[bisect_left(GAP_EDGES_SECONDS, now - self._last)] += 1  # type: ignore[operator] # set with _gaps
            self._last = now
        elif self.record.first_byte is None:
            self._begin_pieces(octets)
        write(self._begin(octets) if self._head else octets)

    def end(self, payload: bytes = b"", ending: Ending = Ending.DONE) -> None:
        """Send the last piece and the final chunk in one write."""
        if self._write is None:
            return
        if self.chunked:
            payload = chunk(payload) + LAST_CHUNK if payload else LAST_CHUNK
        self.write_framed(payload)
        self.finish(ending)

    def _write_at_pace(self, data: bytes) -> None:
        self._protocol.transport.write(data)
        assert self.pace is not None
        rest = self.pace(len(data))
        if rest and self._hold is None:
            self._hold = self.loop.call_later(rest / 1e9, self._go_on)
            if self.on_pause is not None:
                self.on_pause()

    def _go_on(self) -> None:
        self._hold = None
        if not self.paused and self.on_resume is not None:
            self.on_resume()

    def socket_full(self) -> None:
        """The client's socket takes no more for now."""
        self.paused = True
        self._full_since = self.loop.time()
        if self.on_pause is not None:
            self.on_pause()

    def socket_ready(self) -> None:
        """The client's socket has room again."""
        self.paused = False
        self._end_stall()
        if self._hold is None and self.on_resume is not None:
            self.on_resume()

    def _end_stall(self) -> None:
        """The socket is full no longer, or nobody cares any more."""
        since, self._full_since = self._full_since, None
        if self.streaming and since is not None and self.loop.time() - since >= STALL_SECONDS:
            self._protocol.context.recorder.stall(self.record, upstream=False)

    def idle(self, seconds: float) -> None:
        """The upstream has sent nothing for so long; told again and again while it lasts."""
        if seconds < STALL_SECONDS:
            self._stalled = False
        elif self.started and not self._stalled:
            self._stalled = True
            self._protocol.context.recorder.stall(self.record, upstream=True)

    def _begin(self, data: bytes) -> bytes:
        """The first octets of a stream: ``data`` behind the head."""
        head, self._head = self._head, b""
        self.started = True
        return head + data

    def _begin_pieces(self, octets: bytes) -> None:
        """The first piece of a stream is about to go out."""
        record = self.record
        record.event_bytes = len(octets) // (octets.count(b"data:") or 1)
        record.first_byte = self._last = monotonic()
        self._gaps = self._protocol.context.recorder.begin_stream(record)

    def comment(self, payload: bytes) -> None:
        """Send something in a stream that is none of it, such as an SSE comment."""
        if self._write is not None:
            data = chunk(payload) if self.chunked else payload
            self._sent += len(data)
            self._write(self._begin(data) if self._head else data)

    def abort(self, ending: Ending = Ending.TRUNCATED) -> None:
        """Close the connection without the end of the answer: the client sees a truncated one."""
        if self.finished:
            return
        self._close = True
        self.finish(ending)

    def spawn(self, handler: Coroutine[object, object, None]) -> None:
        """Run an asynchronous handler; it is cancelled when the client goes away."""
        self._task = self.loop.create_task(handler)
        self._task.add_done_callback(self._handler_done)

    def _handler_done(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if task.cancelled():
            # Unless this exchange has cancelled it, something that the handler waited for was: nobody else answers.
            if not self.finished:
                self.crash(asyncio.CancelledError())
            return
        error = task.exception()
        if isinstance(error, ApiError):
            self.fail(error)
        elif error is not None:
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """A handler failed in a way nobody foresaw: 500, and the traceback goes to the log."""
        _log.error("request %s failed", self.request_id, exc_info=error)
        self.fail(
            ApiError("internal error", status=500, type="server_error", code="internal", ending=Ending.INTERNAL_ERROR)
        )

    def client_gone(self, ending: Ending = Ending.CLIENT_DISCONNECT) -> None:
        """The client has left (the protocol says so): cancel what runs for it."""
        if self.finished or self.gone:
            return
        self.gone = True
        self._write = None
        if not self.started:
            self.record.status = CLIENT_CLOSED
        if self._task is not None:
            self._task.cancel()
        if self.on_gone is not None:
            self.on_gone()
        self.finish(ending)

    def cancel(self, error: ApiError) -> None:
        """End the exchange with ``error`` from outside: stop what runs for it, then tell the client."""
        if self.finished:
            return
        if self._task is not None:
            self._task.cancel()
        if self.on_gone is not None:
            self.on_gone()
        self._close = True
        self.fail(error)

    def finish(self, ending: Ending) -> None:
        """Give everything back and file the record. Runs once; later calls do nothing."""
        if self.finished:
            return
        self.finished = True
        self._write = self.pace = None
        if self._hold is not None:
            self._hold.cancel()
        record = self.record
        record.bytes_out += self._sent
        record.ending = ending
        record.finished = monotonic()
        record.last_write = self._last
        if self._full_since is not None:
            self._end_stall()
        for callback in self._on_finish:
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - it is logged, and the other callbacks still run
                _log.exception("request %s: a resource could not be released", self.request_id)
        self._on_finish = ()
        self.on_gone = self.on_pause = self.on_resume = None
        self._protocol.context.recorder.submit(record)
        self._protocol.answered(self, self._close)
