"""One request and its response.

A handler responds to an exchange in one of three ways: ``respond`` (a whole response), ``fail`` (an error), or
``start_stream``, which opens a :class:`~ztoapi.server.stream.ResponseStream`. In all cases ``finish`` runs exactly
once: it completes the record, calls the callbacks of ``on_finish`` and releases the connection.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Final, Protocol, cast

import msgspec

from ztoapi.errors import ApiError, Ending
from ztoapi.server.downstream import Producer
from ztoapi.server.request_body import RequestBody
from ztoapi.server.responses import error_event
from ztoapi.server.routes import Route, Routes
from ztoapi.server.stream import STALL_SECONDS, ResponseStream
from ztoapi.structures.cork import Cork
from ztoapi.telemetry.layout import OTHER
from ztoapi.telemetry.record import MESSAGE_CHARACTERS, USER_AGENT_BYTES, Recorder, RequestRecord
from ztoapi.wire.address import Network, forwarded_client, forwarded_hops
from ztoapi.wire.framing import fixed_head, relayed_head, stream_head, valid_request_id
from ztoapi.wire.request import RequestHead
from ztoapi.wire.trace import TRACEPARENT, Trace, field_lines, read_trace

__all__ = ["CLIENT_CLOSED", "Connection", "Exchange", "Tracer", "Worker", "open_exchange"]

_log = logging.getLogger(__name__)
CLIENT_CLOSED: Final = 499
"""nginx's status for a client that has left; it appears in records only."""
_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


class Tracer(Protocol):
    """Exports traces: see ``telemetry/tracing.py``."""

    def begin(self, record: RequestRecord, caller: Trace | None) -> bytes: ...


class Worker(Protocol):
    """The part of a :class:`~ztoapi.server.context.ServerContext` that an exchange needs."""

    loop: asyncio.AbstractEventLoop
    recorder: Recorder
    tracer: Tracer | None
    trusted_proxies: tuple[Network, ...]
    forwarded_header: bytes
    draining: bool
    date: bytes
    routes: "Routes[Exchange]"
    next_id: Callable[[], str]
    cork: Cork


class Connection(Protocol):
    """The part of a :class:`~ztoapi.server.protocol.HTTPProtocol` that others need."""

    client: str
    peer: str
    proxied: bool
    admin: bool
    write_paused: bool
    transport: asyncio.Transport
    deadline: float

    @property
    def context(self) -> Worker: ...

    @property
    def exchange(self) -> "Exchange | None": ...

    @property
    def busy(self) -> bool: ...

    @property
    def idle(self) -> bool: ...

    def proceed(self, exchange: "Exchange") -> None: ...

    def reject(self, exchange: "Exchange", refusal: ApiError) -> None: ...

    def share_head(self, generation: int) -> None: ...

    def exchange_finished(self, exchange: "Exchange", close: bool) -> None: ...

    def close_idle(self) -> bool: ...

    def stop(self, error: ApiError) -> None: ...


def _no_handler(_exchange: "Exchange") -> None:
    raise AssertionError("no gate has chosen a handler")


class HeadNotes(msgspec.Struct):
    """What follows from a request head alone. A remembered head keeps its notes, so that a client's next request with
    the same head needs no lookup: a request of 1 KB takes 200 opcodes less.

    ``handler``, ``extra_headers`` and ``key`` are the results of the gates for a request that they have admitted. An
    exchange begins with them. They hold while the keys have the generation ``generation``; -1 is none.
    """

    route: "Route[Exchange] | None"
    template: str
    monitoring: bool
    user_agent: bytes | None
    request_id: str | None
    """The client's id of the request, if it may be used."""
    traced: bool
    """Whether the request has a trace context."""
    two_keys: bool
    """Whether it has two client keys, one of which may be for somewhere else."""
    generation: int = -1
    handler: "Callable[[Exchange], None]" = _no_handler
    extra_headers: bytes = b""
    key: str | None = None


def _read_notes(head: RequestHead, routes: "Routes[Exchange]") -> HeadNotes:
    headers = head.headers
    route = routes.find(head.path)
    template, monitoring = (OTHER, False) if route is None else (route.template, route.monitoring)
    agent, id = headers.get(b"user-agent"), headers.get(b"x-request-id")
    return HeadNotes(
        route,
        template,
        monitoring,
        None if agent is None else agent[:USER_AGENT_BYTES],
        None if id is None or not valid_request_id(id) else id.decode("ascii"),
        TRACEPARENT in headers,
        b"authorization" in headers and b"x-api-key" in headers,
    )


# Over 250 lines: whole, streamed and relayed responses have one end.
class Exchange(msgspec.Struct, eq=False):
    """See the module docstring. :func:`open_exchange` makes it. A Struct sets the defaults of most fields in C, which
    saves 0.3 us of a request.
    """

    _connection: Connection
    request: RequestHead
    """Requests of the connection, or of others, may share it."""
    request_id: str
    record: RequestRecord
    notes: HeadNotes
    worker: Worker
    loop: asyncio.AbstractEventLoop
    _close: bool
    chunked: bool
    """Whether a stream goes out in HTTP chunks."""
    paused: bool
    handler: "Callable[[Exchange], None]" = _no_handler
    """The handler that responds; ``admit`` sets it if the server has routes."""
    extra_headers: bytes = b""
    """Header lines of every response of this exchange, such as those of CORS; gates set it."""
    trace: bytes = b""
    """Header lines that pass the trace context of the request on to an upstream."""
    request_body: bytes | bytearray = b""
    """The whole body of the request; empty if it is passed on in parts."""
    body: RequestBody | None = None
    """The body of a request that is passed on in parts."""
    pace: Callable[[int], int] | None = None
    """Called with the size of each piece of a stream; returns the time in ns for which the stream must rest. Set before
    the stream starts."""
    piece_bytes: int = 0
    """The largest piece of a paced stream that should be written at a time; larger ones cause long rests. 0 without a
    pace."""
    started: bool = False
    """Whether any byte of the response has gone out."""
    streaming: bool = False
    relayed: bool = False
    """Whether the response is passed on as it is, so that nothing may be added to its body."""
    finished: bool = False
    gone: bool = False
    producer: Producer | None = None
    """Called when the state of the client changes, until the response ends."""
    stream: ResponseStream = cast("ResponseStream", None)
    """The body of the response; set while ``streaming``. A property would be a call for each chunk."""
    _full_since: float | None = None
    _task: asyncio.Task[None] | None = None
    callbacks: "tuple[Callable[[Exchange], None], ...]" = ()
    """The callbacks of :meth:`on_finish`, the latest first. A tuple costs no memory block of its own, unlike a list."""

    # The other one would show the headers, and so the key.
    __repr__ = object.__repr__

    @property
    def route(self) -> "Route[Exchange] | None":
        """The route of the path; None for an unknown path."""
        return self.notes.route

    @property
    def recorder(self) -> Recorder:
        return self.worker.recorder

    @property
    def transport(self) -> asyncio.Transport:
        """The client's socket; only for purposes that no method here serves."""
        return self._connection.transport

    def on_finish(self, callback: "Callable[[Exchange], None]") -> None:
        """Calls ``callback`` once, when the exchange is finished. Later callbacks are called first."""
        # Half as expensive as an unpacking, and without a list in between.
        self.callbacks = (callback,) + self.callbacks  # noqa: RUF005

    def start_body(self, body: RequestBody) -> None:
        """The handler receives ``body`` in parts. A response that begins before its end closes the connection."""
        self.body = body
        body.closes = self._close
        self._close = True

    def end_body(self, body: RequestBody) -> None:
        """The last part of ``body`` has arrived."""
        self.record.whole = monotonic()
        if not self.streaming:
            self._close = body.closes

    def close_after(self) -> None:
        """Closes the connection after this response."""
        self._close = True

    def forget_notes(self) -> None:
        """Starts without what the gates have found for an earlier request with the same head."""
        self.handler = _no_handler
        self.extra_headers = b""
        self.record.key = None

    def keep_notes(self, generation: int) -> None:
        """Notes what the gates have found. It must depend on the head alone, and on the keys of ``generation``."""
        notes = self.notes
        notes.handler = self.handler
        notes.extra_headers = self.extra_headers
        notes.key = self.record.key
        notes.generation = generation
        self._connection.share_head(generation)

    def proceed(self) -> None:
        """Continues an exchange that had to wait to be admitted."""
        self._connection.proceed(self)

    def reject(self, error: ApiError) -> None:
        """Refuses an exchange that had to wait to be admitted."""
        self._connection.reject(self, error)

    def respond(
        self,
        status: int,
        body: bytes,
        *,
        content_type: bytes = _JSON,
        headers: bytes = b"",
        ending: Ending = Ending.DONE,
    ) -> None:
        """Sends a whole response in one write. ``headers`` are raw lines, each ended by CRLF."""
        if self.finished or self.gone:
            return
        worker = self.worker
        close = self._close = self._close or worker.draining
        if not (close or self.chunked):
            headers += b"connection: keep-alive\r\n"
        size = len(body)
        headers = self.extra_headers + headers
        data = fixed_head(status, content_type, size, worker.date, self.request_id.encode(), headers, close)
        if self.request.method == "HEAD":
            size = 0
        else:
            data += body
        self.started = True
        record = self.record
        record.status = status
        record.bytes_out = size
        worker.cork.write(self._connection.transport, data)
        self.finish(ending)

    @property
    def for_operators(self) -> bool:
        """Whether the request came to an address for operators (``admin`` in ``server.listen``)."""
        return self._connection.admin

    def fail(self, error: ApiError) -> None:
        """Sends ``error``: as the response or, once a stream has started, as an event after which the connection is
        closed without the final chunk, so that the stream cannot be mistaken for a complete one. A relayed response
        ends without the event."""
        if self.finished or self.gone:
            return
        self.record.error_code = error.code
        self.record.error_message = error.message[:MESSAGE_CHARACTERS]
        if not self.started:
            request = self.request
            errors = self.worker.routes.errors_for(self.route, request.path, request.headers)
            status, headers, body = errors(error, self.request_id)
            self.respond(status, body, headers=headers, ending=error.ending)
            return
        if not self.relayed:
            self.stream.write((self.stream.error_event or error_event)(error))
        self._close = True
        self.finish(error.ending)

    def start_stream(self, *, content_type: bytes = _EVENT_STREAM, headers: bytes = b"") -> ResponseStream:
        """Begins a streamed response. Its head goes out in one write with the first piece."""
        worker = self.worker
        self._close = self._close or worker.draining or not self.chunked
        head = stream_head(
            content_type,
            date=worker.date,
            request_id=self.request_id.encode("ascii"),
            headers=self.extra_headers + headers,
            chunked=self.chunked,
            close=self._close,
        )
        stream = self._open(head, 200)
        if self.streaming:
            self.record.stream = True
        return stream

    def start_relayed(self, status: int, fields: bytes, *, framed: bool) -> ResponseStream:
        """Begins a response that is passed on with the header lines ``fields``. ``framed`` is whether its end is known
        from them, or from the status and the method."""
        self.relayed = True
        self.chunked = self.chunked and not framed
        worker = self.worker
        close = self._close = self._close or worker.draining or not (framed or self.chunked)
        if not (close or self.request.http11):
            fields += b"connection: keep-alive\r\n"
        head = relayed_head(
            status,
            fields,
            date=worker.date,
            request_id=self.request_id.encode("ascii"),
            headers=self.extra_headers,
            chunked=self.chunked,
            close=close,
        )
        return self._open(head, status)

    def _open(self, head: bytes, status: int) -> ResponseStream:
        transport = self._connection.transport
        cork = self.worker.cork
        if cork.waiting:
            # A stream writes past the cork.
            cork.flush(transport)
        stream = self.stream = ResponseStream(self, head, transport.write)
        if self.finished or self.gone:
            stream.close()
            return stream
        self.streaming = True
        self.record.status = status
        return stream

    def idle(self, seconds: float) -> None:
        """Called repeatedly while the upstream sends nothing, with the time since its last byte."""
        if self.streaming:
            self.stream.idle(seconds)

    def socket_full(self) -> None:
        """The client's socket takes no more for now."""
        self.paused = True
        self._full_since = self.loop.time()
        self.pause()

    def socket_ready(self) -> None:
        """The client's socket has room again."""
        self.paused = False
        self._end_stall()
        if not (self.streaming and self.stream.held):
            self._resume()

    def rested(self) -> None:
        """The rest that ``pace`` has imposed is over."""
        if not self.paused:
            self._resume()

    def pause(self) -> None:
        """Pauses the producer."""
        if self.producer is not None:
            self._call(self.producer.pause)

    def _resume(self) -> None:
        if self.producer is not None:
            self._call(self.producer.resume)

    def _call(self, callback: Callable[[], None]) -> None:
        """Calls the producer. An exception ends the exchange: otherwise the client would wait."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - it is logged, and the response is 500
            self.crash(error)

    def _end_stall(self) -> None:
        """The socket is no longer full, or the exchange is finished."""
        since, self._full_since = self._full_since, None
        if self.streaming and since is not None and self.loop.time() - since >= STALL_SECONDS:
            self.worker.recorder.stall(self.record, upstream=False)

    def abort(self, ending: Ending = Ending.TRUNCATED) -> None:
        """Closes the connection without the end of the response: the client sees a truncated one."""
        if self.finished:
            return
        self._close = True
        self.finish(ending)

    def spawn(self, handler: Coroutine[object, object, None]) -> None:
        """Runs an asynchronous handler; it is cancelled when the client leaves."""
        self._task = self.loop.create_task(handler)
        self._task.add_done_callback(self._handler_done)

    def _handler_done(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if task.cancelled():
            # Cancelled by something that the handler awaited, unless this exchange has cancelled it.
            if not self.finished:
                self.crash(asyncio.CancelledError())
            return
        error = task.exception()
        if error is not None:
            self.handler_failed(error)

    def handler_failed(self, error: BaseException) -> None:
        """Responds with the error that a handler has raised, or with 500 if it is an unexpected one."""
        if isinstance(error, ApiError):
            self.fail(error)
        else:
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """Responds with 500 to an unexpected failure of a handler, and logs the traceback."""
        _log.error("request %s failed", self.request_id, exc_info=error)
        internal = ApiError(
            "internal error", status=500, type="server_error", code="internal", ending=Ending.INTERNAL_ERROR
        )
        try:
            self.fail(internal)
        except Exception:  # noqa: BLE001 - it is logged, and the connection closes
            _log.exception("request %s: the error could not be sent", self.request_id)
            self.abort(internal.ending)

    def client_gone(self, ending: Ending = Ending.CLIENT_DISCONNECT) -> None:
        """Cancels the exchange, because the client has left."""
        if self.finished or self.gone:
            return
        self.gone = True
        if not self.started:
            self.record.status = CLIENT_CLOSED
        self._cancel_handler()
        self.finish(ending)

    def cancel(self, error: ApiError) -> None:
        """Cancels the exchange from outside, and sends ``error``."""
        if self.finished:
            return
        self._cancel_handler()
        self._close = True
        self.fail(error)

    def _cancel_handler(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self.producer is not None:
            self._call(self.producer.cancel)

    def finish(self, ending: Ending) -> None:
        """Releases everything and submits the record. Runs once; later calls do nothing."""
        if self.finished:
            return
        self.finished = True
        record = self.record
        if self.streaming:
            stream = self.stream
            stream.close()
            record.bytes_out += stream.sent
            record.last_write = stream.last_write
        record.ending = ending
        record.finished = monotonic()
        if self._full_since is not None:
            self._end_stall()
        for callback in self.callbacks:
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - it is logged, and the other callbacks still run
                _log.exception("request %s: a resource could not be released", self.request_id)
        self.callbacks = ()
        self.producer = None
        try:
            self.worker.recorder.submit(record)
        except Exception:  # noqa: BLE001 - it is logged, and the connection still serves the next request
            _log.exception("request %s could not be recorded", self.request_id)
        self._connection.exchange_finished(self, self._close)


def open_exchange(connection: Connection, head: RequestHead) -> Exchange:
    """Returns the exchange of a new request."""
    worker, client = connection.context, connection.client
    if connection.proxied:
        field = head.headers.get(worker.forwarded_header, b"").decode("ascii", "replace")
        hops = forwarded_hops(field) if worker.forwarded_header == b"forwarded" else field.split(",")
        client = forwarded_client(client, hops, worker.trusted_proxies)
    notes = head.notes
    if not isinstance(notes, HeadNotes):
        notes = head.notes = _read_notes(head, worker.routes)
    id = notes.request_id or worker.next_id()
    loop = worker.loop
    record = RequestRecord(
        id,
        head.method,
        head.path,
        loop.time(),
        notes.template,
        notes.monitoring,
        key=notes.key,
        client=client,
        peer=connection.peer,
        user_agent=notes.user_agent,
    )
    if not notes.monitoring:
        worker.recorder.begun += 1
    exchange = Exchange(
        connection,
        head,
        id,
        record,
        notes,
        worker,
        loop,
        not head.keep_alive,
        head.http11,
        connection.write_paused,
        notes.handler,
        notes.extra_headers,
    )
    if worker.tracer is not None:
        if not notes.monitoring:
            exchange.trace = worker.tracer.begin(record, read_trace(head.headers))
    elif notes.traced and (trace := read_trace(head.headers)) is not None:
        record.trace_id = trace.trace_id
        exchange.trace = field_lines(trace.value, trace.state)
    return exchange
