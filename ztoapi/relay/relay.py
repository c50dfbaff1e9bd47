"""Relays one chat response from an upstream to a client, from protocol callback to protocol callback.

The relay is the sink of the upstream call and the producer of the downstream. For each block of events it
calls ``feed`` of the reader and writes to the client once, without task, queue, lock or log line. Every ending is
decided here; ``retries.py`` decides about further attempts.
"""

import enum
from time import monotonic
from typing import Final

from ztoapi.dialects.reader import Reader, Usage
from ztoapi.dialects.reports import presentable
from ztoapi.dialects.translate import EventCollector, Translation
from ztoapi.errors import Failure, Fault, UpstreamError, empty_response, too_large, unexpected_coding
from ztoapi.relay.attempts import Attempts
from ztoapi.relay.bodies import Body, kind_of, plain_text, skip_blanks
from ztoapi.relay.credentials import CredentialLease
from ztoapi.relay.options import OnFailure, Prepare, RelayOptions
from ztoapi.relay.retry_after import retry_after
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.downstream import Downstream
from ztoapi.server.exchange import Exchange
from ztoapi.server.stream import ResponseStream
from ztoapi.upstream.bounds import ERROR_BYTES
from ztoapi.upstream.client import Client
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.sink import Sink, Take
from ztoapi.wire.buffer import RingOverflow
from ztoapi.wire.client import ResponseHead
from ztoapi.wire.delta_template import DeltaTemplate
from ztoapi.wire.sse import EventBlocks

__all__ = ["Relay"]

_CODING_CHARACTERS: Final = 100
"""Longest part of an unexpected content coding in the error."""
_EVENT_HEAD_BYTES: Final = 1024
"""Bytes of a response in which the part of an event is searched that all of its events begin with."""
_KEEPALIVE: Final = b": keepalive\n\n"


class _Mode(enum.Enum):
    """The part of a response that is expected next."""

    HEAD = enum.auto()
    BODY = enum.auto()
    EVENTS = enum.auto()
    WHOLE = enum.auto()
    ERROR = enum.auto()
    OVER = enum.auto()


# Used in every request: a member of an enumeration takes 300 instructions, a global 15.
_HEAD, _BODY, _EVENTS, _WHOLE, _ERROR, _OVER = _Mode


# Over 250 lines: every ending of a response is decided in one place.
class Relay(Attempts[Downstream], Sink):
    """See the module docstring. A relay is used for one model."""

    __slots__ = (
        "_blocks",
        "_client",
        "_collector",
        "_committed",
        "_first_chunks",
        "_head",
        "_kept_alive",
        "_mode",
        "_on_failure",
        "_parts",
        "_prepare",
        "_reader",
        "_size",
        "_stream",
        "_translation",
    )

    takes_whole = True

    _reader: Reader
    _head: ResponseHead
    _parts: list[bytes]
    _size: int

    def __init__(
        self,
        downstream: Downstream,
        client: Client,
        options: RelayOptions,
        upstream: Upstream,
        translation: Translation,
        model: str,
        stream: bool,
        session: bytes | None,
        prepare: Prepare | None,
        on_failure: OnFailure | None,
    ) -> None:
        """``model`` and ``session`` are as in Attempts; ``stream`` is whether the client gets a stream. ``prepare`` is
        called before each attempt, ``on_failure`` after the last one."""
        self._downstream = downstream
        self._client = client
        self._options = options
        self._upstream = upstream
        self._translation = translation
        self._model = model
        self._stream = stream
        self._session = session
        self._prepare = prepare
        self._on_failure = on_failure
        self._lease = self._call = self._retries = self._retry_timer = None
        self._blocks: EventBlocks | None = None
        """The beginning of an event whose rest has not arrived."""
        self._collector: EventCollector | None = None
        self._mode = _OVER
        self._committed = False
        """Whether part of the response has been sent to the client, so that no other attempt can replace this one.
        Keepalive comments are no part of a response."""
        self._first_chunks = b""
        """Plain chunks at the beginning of the response that wait for the rest of their read."""
        self._kept_alive = 0.0

    def _send(self, lease: CredentialLease, timeouts: Timeouts, path: str | None = None) -> None:
        downstream = self._downstream
        if self._prepare is not None and path is None:
            downstream.spawn(self._send_prepared(self._prepare, lease, timeouts))
            return
        translation = self._translation
        self._mode = _HEAD
        lines = downstream.trace + translation.lines
        request = self._upstream.request(lease, translation.body, lines, path, translation.endpoint)
        call = self._call = self._client.send(request, self, timeouts, downstream.piece_bytes)
        downstream.record.mark_sent(alone=path is None)
        if downstream.paused:
            call.pause()

    async def _send_prepared(self, prepare: Prepare, lease: CredentialLease, timeouts: Timeouts) -> None:
        try:
            try:
                headers = self._upstream.headers(lease, self._downstream.trace)
                path, self._translation.body = await prepare(headers)
                self._send(lease, timeouts, path)
            except UpstreamError as error:
                self._failed(error)
        except BaseException:
            self._drop()
            raise

    # -- called by the downstream -------------------------------------------------------------------------------------

    def cancel(self) -> None:
        if self._mode is _EVENTS and self._stream:
            # Some upstreams report usage in every event.
            self._note(self._reader.usage)
        self._stop_reading()
        super().cancel()

    # -- called by the upstream call ----------------------------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> Take | None:
        self._head = head
        self._parts = []
        self._size = 0
        # A 201 or 206 with a completion counts as a 200.
        if not 200 <= head.status < 300:
            self._mode = _ERROR
        elif head.coding:
            self._hang_up()
            self._failed(unexpected_coding(presentable(head.coding)[:_CODING_CHARACTERS]))
        else:
            self._mode = _BODY
            if self._stream and self._translation.streams:
                return self._take_chunks
        return None

    def on_data(self, payload: bytes) -> None:
        if self._mode is not _EVENTS:
            if self._mode is _BODY:
                self._begin(payload)
            else:
                self._keep(payload)
            return
        whole = self._blocks is None and payload[-2:] == b"\n\n"
        block = payload if whole else self._take_events(payload)
        if not block:
            return
        reader = self._reader
        out = reader.feed(block)
        if reader.error is not None:
            self._hang_up()
            self._failed(reader.error, out)
        elif reader.done:
            self._done(out)
        elif self._collector is not None:
            self._collect(out)
        elif out:
            if not self._committed:
                self._start_stream()
            self._downstream.stream.write(out)
        else:
            self._flush()

    def _take_events(self, payload: bytes) -> bytes:
        """Returns the events that are whole with ``payload``. The beginning of another one waits for its rest."""
        if not payload:
            self._flush()
            return b""
        blocks = self._blocks
        if blocks is None:
            blocks = self._blocks = EventBlocks(self._options.rings)
            # The beginning of the response has no byte order mark any more.
            blocks.begun = True
        try:
            block = blocks.feed(payload)
        except RingOverflow:
            self._hang_up()
            self._failed(too_large("event", Failure.LARGE_EVENT, f"{self._options.max_event_bytes} bytes"))
            return b""
        if blocks.ring is None:
            self._blocks = None
        if not block:
            self._flush()
        return block

    def _flush(self) -> None:
        """Sends the chunks that have waited for the rest of their read."""
        if self._first_chunks:
            self._start_stream()
        if self._committed:
            self._downstream.stream.flush()

    def _begin(self, payload: bytes) -> None:
        """Chooses the way to read a successful response, by its first bytes."""
        if not self._parts:
            # Nearly every response.
            if payload[:1] == b"{":
                self._mode = _WHOLE
                self._keep(payload)
                return
            if payload[:5] == b"data:":
                self._read_events(payload)
                return
        start = skip_blanks(b"".join((*self._parts, payload)) if self._parts else payload)
        head = self._head
        translation = self._translation
        # A response without a content type is assumed to be of the requested kind.
        events = head.event_stream and (translation.streams or b"content-type" in head.headers)
        kind = kind_of(start, events=events)
        if kind is None:
            self._parts = [start]
        elif self._parts:
            self._parts = []
        if kind is Body.EVENTS:
            self._read_events(start)
        elif kind is not None:
            self._mode = _WHOLE if kind is Body.JSON else _ERROR
            self._keep(start)

    def _read_events(self, start: bytes) -> None:
        """Begins to read an event stream."""
        translation = self._translation
        self._reader = translation.reader()
        self._collector = None if translation.streams and self._stream else translation.collector()
        self._first_chunks = b""
        self._mode = _EVENTS
        if start:
            self.on_data(start)

    def _take_chunks(self, read: bytes) -> bytes:
        """Forwards the plain deltas that a read begins with in their chunks, and returns the rest: the fastest path."""
        template = self._reader.template if self._mode is _EVENTS else self._expect_chunks(read)
        if template is None or self._blocks is not None:
            return read
        # The first read of a paced stream is one chunk.
        first = None if self._committed else template.take_chunk(read)
        out, rest = (first, b"") if first is not None else template.take_chunks(read)
        if not out:
            return read
        downstream = self._downstream
        if not self._committed:
            if rest and not (isinstance(downstream, Exchange) and downstream.chunked):
                return read
            self._reader.begin()
            if rest:
                # The rest may be an error after which the request is repeated.
                self._first_chunks = out
                return rest
            self._start_stream()
            downstream.stream.write_chunks(out)
            return b""
        stream = downstream.stream
        if not (isinstance(stream, ResponseStream) and stream.chunked):
            if rest:
                return read
            stream.write_chunks(out)
            if self._call is not None:
                self._call.offer_raw_reads(self._take_chunk)
        elif rest:
            stream.hold(out)
        else:
            stream.write_framed(out)
            if stream.template is not template and self._call is not None:
                self._call.offer_raw_reads(stream.expect(template, self._take_chunks))
        return rest

    def _expect_chunks(self, read: bytes) -> DeltaTemplate | None:
        """Begins to read an event stream whose first read begins with a chunk. Returns the template that it probably
        has."""
        at = read.find(b"\n") + 1
        if self._mode is not _BODY or self._parts or read[at : at + 5] != b"data:":
            return None
        self._read_events(b"")
        return self._reader.expect(read[at : at + _EVENT_HEAD_BYTES])

    def _take_chunk(self, read: bytes) -> bytes:
        """Same as ``_take_chunks``, for the stream of another API than chat: nearly every read is one chunk."""
        template = self._reader.template
        if self._blocks is None and template is not None and self._mode is _EVENTS:
            out = template.take_chunk(read)
            if out is not None:
                self._downstream.stream.write_chunks(out)
                return b""
        return self._take_chunks(read)

    def on_end(self) -> None:
        mode = self._mode
        if mode is _OVER:
            # Nearly every stream: [DONE] came before.
            return
        if mode is _BODY and not any(self._parts) and self._translation.streams:
            self._read_events(b"")
            mode = _EVENTS
        if mode is _EVENTS:
            out = self._reader.eof()
            if self._reader.error is not None:
                self._failed(self._reader.error, out)
            else:
                self._done(out)
        elif mode is _WHOLE:
            self._finish_whole(b"".join(self._parts))
        elif mode is _BODY and not any(self._parts):
            self._failed(empty_response(f"response with status {self._head.status}"))
        elif mode is _BODY or mode is _ERROR:
            self._failed(self._error())

    def on_error(self, error: UpstreamError) -> None:
        try:
            if self._mode is _OVER:
                # A failure of the gateway's own in the last callback, such as the one that ends the response.
                self.cancel()
                self._detach()
                self._downstream.fail(error)
            else:
                # Nothing of a read that cannot be decoded is sent.
                self._first_chunks = b""
                self._failed(error)
        except Exception as failure:  # noqa: BLE001 - the last frame: without it the client would wait
            self._crash(failure)

    def on_idle(self, seconds: float) -> None:
        self._downstream.idle(seconds)
        keepalive = self._options.keepalive
        if not keepalive or self._mode is _Mode.OVER or not self._stream or self._downstream.paused:
            return
        if seconds < self._kept_alive:
            self._kept_alive = 0.0
        downstream = self._downstream
        if seconds - self._kept_alive < keepalive or not (downstream.started or self._options.keepalive_early):
            return
        if not downstream.streaming:
            downstream.start_stream()
        self._kept_alive = seconds
        downstream.stream.comment(_KEEPALIVE)

    def _start_stream(self) -> None:
        """Commits to this attempt: the first part of a response is about to be sent."""
        self._committed = True
        assert self._lease is not None
        downstream = self._downstream
        self._upstream.pool.responded(self._lease, downstream.loop.time())
        if self._first_chunks or downstream.streaming:
            self._open_stream()
        else:
            downstream.start_stream()

    def _open_stream(self) -> None:
        """Begins the client's response if it has not begun, with the chunks that wait for the rest of their read."""
        downstream = self._downstream
        if not downstream.streaming:
            downstream.start_stream()
        if self._first_chunks:
            downstream.stream.hold(self._first_chunks)
            self._first_chunks = b""

    # -- endings ------------------------------------------------------------------------------------------------------

    def _error(self) -> UpstreamError:
        head = self._head
        body = b"".join(self._parts)
        if head.coding:
            body = plain_text(body, head.coding)
        wait = retry_after(head.headers, self._upstream.clock())
        return self._translation.refusal(head.status, body, wait)

    def _collect(self, out: bytes) -> None:
        assert self._collector is not None
        self._size += len(out)
        if self._size > self._options.max_response_bytes:
            self._too_large()
            return
        try:
            self._collector.feed(out)
        except UpstreamError as error:
            self._hang_up()
            self._failed(error)

    def _keep(self, part: bytes) -> None:
        """Collects a body that is not read event by event."""
        if self._mode is _OVER or (self._mode is _ERROR and self._size > ERROR_BYTES):
            return
        self._size += len(part)
        if self._size <= self._options.max_response_bytes:
            self._parts.append(part)
        else:
            self._too_large()

    def _too_large(self) -> None:
        """Fails a response that is kept as a whole and is too large."""
        self._hang_up()
        self._failed(too_large("response", Failure.LARGE_RESPONSE, f"{self._options.max_response_bytes} bytes"))

    def _done(self, out: bytes) -> None:
        """The stream is complete. The rest of the upstream's response, its last chunk, only frees the connection."""
        self._mode = _OVER
        if self._blocks is not None:
            self._stop_reading()
        if self._retries is not None and self._retries.amended:
            self._upstream.refuses_usage()
        downstream = self._downstream
        call = self._call
        downstream.record.complete = monotonic()
        self._note(self._reader.usage)
        if self._collector is not None:
            try:
                self._collector.feed(out)
                body = self._collector.body()
            except UpstreamError as error:
                self._hang_up()
                self._failed(error)
                return
            self._complete()
            self._detach()
            downstream.respond(200, body)
        else:
            self._complete()
            if self._first_chunks or not downstream.streaming:
                self._open_stream()
            self._detach()
            downstream.stream.end(out)
        if call is not None:
            call.finish()

    def on_whole(self, head: ResponseHead, body: bytes) -> None:
        if not head.coding and body[:1] == b"{" and len(body) <= self._options.max_response_bytes:
            self._finish_whole(body)
            return
        self.on_head(head)
        if body and self._mode is _BODY:
            self.on_data(body)
        self.on_end()

    def _finish_whole(self, body: bytes) -> None:
        self._mode = _OVER
        downstream = self._downstream
        downstream.record.complete = monotonic()
        translation = self._translation
        try:
            body, usage = translation.completion(body)
            if self._stream:
                # The upstream has not streamed: the client gets the completion in one piece.
                body = translation.events(body)
        except UpstreamError as error:
            self._failed(error)
            return
        if usage is not None:
            self._note(usage)
        self._complete()
        if not self._stream:
            # It ends here, and so drops this relay.
            self._call = None
            downstream.respond(200, body)
            return
        self._detach()
        if not downstream.streaming:
            downstream.start_stream()
        downstream.stream.end(body)

    def _note(self, usage: Usage | None) -> None:
        if usage is not None:
            if usage.prompt_tokens_details or usage.completion_tokens_details:
                usage.keep()
            self._downstream.record.usage = usage

    def _failed(self, error: UpstreamError, out: bytes = b"") -> None:
        """An attempt has failed: begins another one, or ends the response after ``out``."""
        if self._mode is _Mode.EVENTS and self._stream:
            self._note(self._reader.usage)
        self._stop_reading()
        if not self._translation.streams and error.failure is Failure.TIMEOUT:
            # A whole response takes long without any fault of the upstream.
            error.fault = Fault.REQUEST
        downstream = self._downstream
        amended = not self._committed and self._translation.amend(error)
        self._upstream.disclose(error)
        if amended:
            self._retries_begun().amended = True
            self._drop()
            self._first_chunks = b""
            self._retry_timer = downstream.loop.call_soon(self._retry, error)
            return
        downstream.record.upstream_code = error.upstream_code
        retries = self._fail(error)
        if not self._committed and error.elsewhere:
            delay = retries.delay(error)
            if delay is not None:
                self._first_chunks = b""
                self._retry_timer = downstream.loop.call_later(delay, self._retry, error)
                return
        self._give_up(error, out)

    def _give_up(self, error: UpstreamError, out: bytes = b"") -> None:
        """Ends the attempts: with another model if there is one, otherwise with the error."""
        downstream = self._downstream
        self._detach()
        if self._on_failure is not None and not self._committed and self._on_failure(error):
            return
        if (out or self._first_chunks) and self._collector is None:
            self._open_stream()
            if out:
                downstream.stream.write(out)
            else:
                downstream.stream.flush()
        downstream.fail(error)

    def _stop_reading(self) -> None:
        """Ignores the rest of this attempt's response."""
        self._mode = _OVER
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None
