"""Relays one chat answer from an upstream to a client, from protocol callback to protocol callback.

The relay is the sink of the upstream call and the owner of the exchange's callbacks. Per block of events it does one
``feed`` of the reader and one write to the client; no task, queue, lock or log line. It is where every ending is
decided; whether a request is tried again is the matter of ``tries.py``.
"""

import asyncio
import enum
from typing import Final

from ztoapi.dialects.collect import Collector
from ztoapi.dialects.reader import Reader, Usage
from ztoapi.dialects.translate import Translation
from ztoapi.errors import Ending, Fault, UpstreamError
from ztoapi.relay.bodies import Body, kind_of, plain_text, skip_blanks
from ztoapi.relay.platforms import Upstream
from ztoapi.relay.rules import Otherwise, RelayRules, Steps, coded, no_body, retry_after, too_large
from ztoapi.relay.tries import Tries
from ztoapi.server.downstream import Downstream
from ztoapi.upstream.client import Call, Client
from ztoapi.upstream.connection import Timeouts
from ztoapi.wire.buffer import RingOverflow
from ztoapi.wire.client import ResponseHead
from ztoapi.wire.sse import EventBlocks

__all__ = ["Relay"]

_REFUSAL_BYTES: Final = 65536
"""As much of an error page is read as could hold a message."""
_KEEPALIVE: Final = b": keepalive\n\n"


class _Mode(enum.Enum):
    """What the upstream is sending."""

    NOTHING = enum.auto()
    BEGINNING = enum.auto()
    EVENTS = enum.auto()
    WHOLE = enum.auto()
    REFUSAL = enum.auto()
    OVER = enum.auto()


# Looked up on every request: members of an enumeration are slow, 300 instructions against 15.
_NOTHING, _BEGINNING, _EVENTS, _WHOLE, _REFUSAL, _OVER = _Mode


# Over 250 lines: every ending of a response is decided in one place.
class Relay:
    """See the module docstring. ``model`` and ``session`` as in Tries; ``stream`` says whether the client gets a
    stream."""

    __slots__ = (
        "_amended",
        "_answering",
        "_blocks",
        "_call",
        "_client",
        "_collector",
        "_exchange",
        "_head",
        "_kept_alive",
        "_mode",
        "_otherwise",
        "_parts",
        "_reader",
        "_retry",
        "_rules",
        "_size",
        "_steps",
        "_stream",
        "_translation",
        "_tries",
    )

    _reader: Reader
    _head: ResponseHead

    def __init__(
        self,
        exchange: Downstream,
        client: Client,
        upstream: Upstream,
        translation: Translation,
        rules: RelayRules,
        model: str,
        stream: bool,
        session: bytes | None,
        steps: Steps | None,
        otherwise: Otherwise | None,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._tries = Tries(exchange, upstream, model, rules.max_tries, rules.timeouts, session)
        self._translation = translation
        self._rules = rules
        self._stream = stream
        self._steps, self._otherwise = steps, otherwise
        self._call: Call | None = None
        self._blocks: EventBlocks | None = None
        self._retry: asyncio.Handle | None = None
        self._collector: Collector | None = None
        self._mode = _OVER
        self._amended = False
        """Whether the request is sent again without something that the gateway had added."""
        self._answering = False
        """Whether part of a streamed answer has gone to the client: no other attempt can replace it then. Keepalive
        comments are no part of an answer."""
        self._parts: list[bytes] = []
        self._size, self._kept_alive = 0, 0.0

    def start(self) -> None:
        """Take over the exchange."""
        exchange = self._exchange
        exchange.record.platform = self._tries.upstream.platform.id
        exchange.record.stream = self._stream
        exchange.on_gone = self._cancel
        exchange.on_pause = self._pause
        exchange.on_resume = self._resume
        try:
            self._attempt()
        except UpstreamError as error:
            self._give_up(error)

    def _attempt(self) -> None:
        timeouts = self._tries.begin()
        self._parts.clear()
        self._size = 0
        if self._steps is not None:
            self._exchange.spawn(self._take_steps(self._steps, timeouts))
            return
        try:
            self._send(timeouts)
        except BaseException:
            self._tries.drop()
            raise

    def _send(self, timeouts: Timeouts | None, path: str | None = None) -> None:
        exchange, translation, tries = self._exchange, self._translation, self._tries
        self._collector = None
        if translation.streams:
            self._reader = translation.reader()
            self._collector = None if self._stream else Collector()
        self._mode = _NOTHING
        assert tries.lease is not None
        request = tries.upstream.request(tries.lease, translation.body, exchange.trace, path)
        call = self._call = self._client.send(request, self, timeouts, exchange.piece_bytes)
        exchange.record.ask(alone=path is None)
        if exchange.paused:
            call.pause()

    async def _take_steps(self, steps: Steps, timeouts: Timeouts | None) -> None:
        try:
            assert self._tries.lease is not None
            headers = self._tries.upstream.headers(self._tries.lease, self._exchange.trace)
            path, self._translation.body = await steps(headers)
            self._send(timeouts, path)
        except UpstreamError as error:
            self._failed(error)
        except BaseException:
            self._tries.drop()
            raise

    def _try_again(self, last: UpstreamError) -> None:
        self._retry = None
        try:
            self._attempt()
        except UpstreamError:
            # Others were quicker. What the upstream has said tells more.
            self._give_up(last)
        except Exception as error:  # noqa: BLE001 - the last frame of a timer; it is logged and answered with 500
            self._exchange.crash(error)

    # -- the exchange calls these ---------------------------------------------------------------------------------

    def _cancel(self) -> None:
        if self._mode is _EVENTS and self._stream:
            # Some upstreams count in every event.
            self._note(self._reader.usage)
        self._end()
        if self._retry is not None:
            self._retry.cancel()
        self._hang_up()
        self._tries.drop()

    def _pause(self) -> None:
        if self._call is not None:
            self._call.pause()

    def _resume(self) -> None:
        if self._call is not None:
            self._call.resume()

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    # -- the upstream call calls these ----------------------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        if not _is_success(head):
            self._mode = _REFUSAL
        elif head.coding:
            self._hang_up()
            self._failed(coded(head.coding))
        else:
            self._mode = _BEGINNING

    def on_data(self, payload: bytes) -> None:
        blocks = self._blocks
        if blocks is None:
            self._keep(payload)
            return
        template = self._reader.template
        if template is not None and blocks.ring is None and self._collector is None:
            # Nearly every read of a stream: whole events that say nothing but a delta.
            out = template.apply(payload)
            if out is not None:
                exchange = self._exchange
                if not self._answering:
                    self._start_stream()
                exchange.write(out)
                if exchange.chunked and self._call is not None:
                    self._call.divert(self._pass_on)
                return
        try:
            block = blocks.feed(payload)
        except RingOverflow:
            self._hang_up()
            self._failed(too_large("event", self._rules.max_event_bytes))
            return
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
            if not self._answering:
                self._start_stream()
            self._exchange.write(out)

    def _begin(self, payload: bytes) -> None:
        """Choose how to read a successful response, by its first bytes."""
        start = skip_blanks(b"".join((*self._parts, payload)))
        head, translation = self._head, self._translation
        # A response without a content type is taken for what was requested.
        events = head.event_stream and (translation.streams or b"content-type" in head.headers)
        kind = kind_of(start, events=events)
        self._parts = [start] if kind is None else []
        if kind is Body.EVENTS:
            if not translation.streams:
                self._reader, self._collector = translation.reader(), Collector()
            self._blocks = EventBlocks(self._rules.rings)
            self._mode = _EVENTS
            self.on_data(start)
        elif kind is not None:
            self._mode = _WHOLE if kind is Body.JSON else _REFUSAL
            self._keep(start)

    def _pass_on(self, read: bytes) -> bool:
        """A read of a stream whose events have been plain so far: the quickest way from socket to socket."""
        blocks, template = self._blocks, self._reader.template
        if blocks is None or blocks.ring is not None or template is None:
            return False
        out = template.apply_to_chunks(read)
        if out is not None:
            self._exchange.write_framed(out)
        return out is not None

    def on_end(self) -> None:
        mode = self._mode
        if mode is _BEGINNING and not any(self._parts) and self._translation.streams:
            mode = _EVENTS
        if mode is _EVENTS:
            out = self._reader.eof()
            if self._reader.error is not None:
                self._failed(self._reader.error, out)
            else:
                self._done(out)
        elif mode is _WHOLE:
            self._answer_whole()
        elif mode is _BEGINNING and not any(self._parts):
            self._failed(no_body(self._head.status))
        elif mode is _BEGINNING or mode is _REFUSAL:
            self._failed(self._refusal())

    def on_error(self, error: UpstreamError) -> None:
        if self._mode is _Mode.OVER:
            # Only a failure of our own can come now, in what answered the client: it must hear of it all the same.
            self._exchange.fail(error)
        else:
            self._failed(error)

    def on_idle(self, seconds: float) -> None:
        self._exchange.idle(seconds)
        keepalive = self._rules.keepalive
        if not keepalive or self._mode is _Mode.OVER or not self._stream or self._exchange.paused:
            return
        if seconds < self._kept_alive:
            self._kept_alive = 0.0
        exchange = self._exchange
        if seconds - self._kept_alive < keepalive or not (exchange.started or self._rules.keepalive_early):
            return
        if not exchange.streaming:
            exchange.start_stream()
        self._kept_alive = seconds
        exchange.comment(_KEEPALIVE)

    def _start_stream(self) -> None:
        """Commit to this attempt: the first part of an answer is about to be sent."""
        self._answering = True
        self._tries.answered()
        if not self._exchange.streaming:
            self._exchange.start_stream()

    # -- endings --------------------------------------------------------------------------------------------------

    def _refusal(self) -> UpstreamError:
        head, body = self._head, b"".join(self._parts)
        if head.coding:
            body = plain_text(body, head.coding)
        wait = retry_after(head.headers, self._tries.upstream.clock())
        return self._translation.refusal(head.status, body, wait)

    def _collect(self, out: bytes) -> None:
        assert self._collector is not None
        try:
            self._collector.feed(out)
        except UpstreamError as error:
            self._hang_up()
            self._failed(error)

    def _keep(self, part: bytes) -> None:
        """Collect a body that is not read event by event."""
        if self._mode is _BEGINNING:
            self._begin(part)
            return
        if self._mode is _OVER or (self._mode is _REFUSAL and self._size > _REFUSAL_BYTES):
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._rules.max_response_bytes:
            self._hang_up()
            self._failed(too_large("response", self._rules.max_response_bytes))

    def _done(self, out: bytes) -> None:
        """The stream is complete; what the upstream still sends (its last chunk) only frees the connection."""
        self._end()
        if self._amended:
            self._tries.upstream.refuses_usage()
        exchange, call = self._exchange, self._call
        exchange.record.answer()
        self._note(self._reader.usage)
        if self._collector is not None:
            try:
                self._collector.feed(out)
                body = self._collector.body()
            except UpstreamError as error:
                self._hang_up()
                self._failed(error)
                return
            self._tries.complete()
            self._detach()
            exchange.respond(200, body)
        else:
            self._tries.complete()
            if not exchange.streaming:
                exchange.start_stream()
            self._detach()
            exchange.end(out)
        if call is not None:
            call.finish()

    def _answer_whole(self) -> None:
        self._mode = _OVER
        self._exchange.record.answer()
        try:
            body, usage = self._translation.completion(b"".join(self._parts))
            if self._stream:
                # The upstream does not stream: the client gets the completion in one piece.
                body = self._translation.events(body)
        except UpstreamError as error:
            self._failed(error)
            return
        self._note(usage)
        self._tries.complete()
        self._detach()
        exchange = self._exchange
        if not self._stream:
            exchange.respond(200, body)
            return
        if not exchange.streaming:
            exchange.start_stream()
        exchange.end(body)

    def _note(self, usage: Usage | None) -> None:
        if usage is not None:
            usage.keep()
            self._exchange.record.usage = usage

    def _failed(self, error: UpstreamError, out: bytes = b"") -> None:
        """A try has failed: another one, or the end, after what came before it."""
        if self._mode is _Mode.EVENTS and self._stream:
            self._note(self._reader.usage)
        self._end()
        if not self._translation.streams and error.ending is Ending.UPSTREAM_TIMEOUT:
            # An answer that comes whole is silent until it is there, however well the upstream is.
            error.fault = Fault.REQUEST
        exchange = self._exchange
        amended = not self._answering and self._translation.amend(error)
        self._tries.upstream.disclose(error)
        if amended:
            self._amended = True
            self._tries.drop()
            self._retry = exchange.loop.call_soon(self._try_again, error)
            return
        exchange.record.upstream_code = error.upstream_code
        self._tries.fail(error)
        if not self._answering and error.elsewhere:
            delay = self._tries.delay(error)
            if delay is not None:
                self._retry = exchange.loop.call_later(delay, self._try_again, error)
                return
        self._give_up(error, out)

    def _give_up(self, error: UpstreamError, out: bytes = b"") -> None:
        """No more tries: another model if there is one, or the error to the client."""
        exchange = self._exchange
        self._detach()
        if self._otherwise is not None and not self._answering and self._otherwise(error):
            return
        if out and self._collector is None:
            if not exchange.streaming:
                exchange.start_stream()
            exchange.write(out)
        exchange.fail(error)

    def _end(self) -> None:
        """Nothing more is wanted of this try."""
        self._mode = _OVER
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None

    def _detach(self) -> None:
        """The exchange is about to end: cut what would make a cycle of it, the relay and the call."""
        exchange = self._exchange
        exchange.on_gone = exchange.on_pause = exchange.on_resume = None
        self._call = None


def _is_success(head: ResponseHead) -> bool:
    """Whether a completion may follow: a 201 or 206 with one is as good as a 200."""
    return 200 <= head.status < 300
