"""Relays one chat answer from an upstream to a client, from protocol callback to protocol callback.

The relay is the sink of the upstream call and the owner of the exchange's callbacks. Per block of events it does one
``feed`` of the reader and one write to the client; no task, queue, lock or log line. It is the place where a request
is tried again (only before the first octet of an answer has gone out) and where every ending is decided.
"""

import asyncio
import enum
import secrets
from typing import Final

from ztoapi.dialects.collect import Collector
from ztoapi.dialects.contract import Reader, Usage
from ztoapi.dialects.translate import Translation
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.relay.platforms import Upstream
from ztoapi.server.exchange import Exchange
from ztoapi.upstream.client import Call, Client
from ztoapi.wire.buffer import RingOverflow, Rings
from ztoapi.wire.client import ResponseHead
from ztoapi.wire.sse import EventBlocks

__all__ = ["Relay", "RelayRules"]

_FIRST_BACKOFF_SECONDS: Final = 0.25
_LONGEST_BACKOFF_SECONDS: Final = 5.0
"""An upstream that asks for a longer wait than this is not waited for: the client is told, with retry-after."""
_REFUSAL_BYTES: Final = 65536
"""As much of an error page is read as could hold a message."""
_KEEPALIVE: Final = b": keepalive\n\n"


class RelayRules:
    """What all relays of a worker share: what the configuration says (seconds and octets), and the rings."""

    __slots__ = ("keepalive", "keepalive_early", "max_event_bytes", "max_response_bytes", "max_tries", "rings")

    def __init__(
        self,
        *,
        max_tries: int,
        max_event_bytes: int,
        max_response_bytes: int,
        keepalive: float,
        keepalive_early: bool,
    ) -> None:
        self.max_tries = max_tries
        self.max_event_bytes = max_event_bytes
        self.max_response_bytes = max_response_bytes
        self.rings = Rings(max_event_bytes)
        self.keepalive = keepalive
        self.keepalive_early = keepalive_early


class _Mode(enum.Enum):
    """What the upstream is sending."""

    NOTHING = enum.auto()
    EVENTS = enum.auto()
    WHOLE = enum.auto()
    REFUSAL = enum.auto()
    OVER = enum.auto()


class Relay:
    """See the module docstring. ``stream`` says whether the client gets a stream; ``path`` as in Upstream.request."""

    __slots__ = (
        "_blocks",
        "_call",
        "_client",
        "_collector",
        "_exchange",
        "_head",
        "_kept_alive",
        "_mode",
        "_parts",
        "_path",
        "_reader",
        "_retry",
        "_rules",
        "_size",
        "_stream",
        "_translation",
        "_upstream",
    )

    _reader: Reader
    _head: ResponseHead
    _call: Call

    def __init__(
        self,
        exchange: Exchange,
        client: Client,
        upstream: Upstream,
        translation: Translation,
        rules: RelayRules,
        *,
        stream: bool,
        path: str | None = None,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._translation = translation
        self._rules = rules
        self._stream = stream
        self._path = path
        self._blocks: EventBlocks | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._collector: Collector | None = None
        self._mode = _Mode.OVER
        self._parts: list[bytes] = []
        self._size = 0
        self._kept_alive = 0.0

    def start(self) -> None:
        """Take over the exchange. Raises ApiError if nothing can be sent at all."""
        exchange = self._exchange
        exchange.record.platform = self._upstream.platform.id
        exchange.record.stream = self._stream
        self._attempt()
        exchange.on_gone = self._cancel
        exchange.on_pause = self._pause
        exchange.on_resume = self._resume

    def _attempt(self) -> None:
        self._retry = None
        self._exchange.record.attempts += 1
        self._parts.clear()
        self._size = 0
        if self._translation.streams:
            self._reader = self._translation.reader()
            self._collector = None if self._stream else Collector()
        self._mode = _Mode.NOTHING
        request = self._upstream.request(self._translation.body, path=self._path)
        self._call = self._client.send(request, self)
        if self._exchange.paused:
            self._call.pause()

    def _try_again(self) -> None:
        try:
            self._attempt()
        except ApiError as error:
            self._exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - the last frame of a timer; it is logged and answered with 500
            self._exchange.crash(error)

    # -- the exchange calls these ---------------------------------------------------------------------------------

    def _cancel(self) -> None:
        self._end()
        if self._retry is not None:
            self._retry.cancel()
        self._call.cancel()
        del self._call

    def _pause(self) -> None:
        self._call.pause()

    def _resume(self) -> None:
        self._call.resume()

    # -- the upstream call calls these ----------------------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        self._mode = _Mode.REFUSAL
        if head.status != 200:
            return
        if not self._translation.streams:
            self._mode = _Mode.WHOLE
        elif head.event_stream:
            self._blocks = EventBlocks(self._rules.rings)
            self._mode = _Mode.EVENTS

    def on_data(self, payload: bytes) -> None:
        blocks = self._blocks
        if blocks is None:
            self._keep(payload)
            return
        form = self._reader.form
        if form is not None and blocks.ring is None and self._collector is None:
            # Nearly every read of a stream: whole events that say nothing but a delta.
            out = form.apply(payload)
            if out is not None:
                exchange = self._exchange
                if not exchange.streaming:
                    exchange.start_stream()
                exchange.write(out)
                return
        try:
            block = blocks.feed(payload)
        except RingOverflow:
            self._call.cancel()
            self._failed(
                UpstreamError(
                    f"the upstream sent an event larger than {self._rules.max_event_bytes} bytes",
                    code="upstream_event_too_large",
                )
            )
            return
        if not block:
            return
        reader = self._reader
        out = reader.feed(block)
        if reader.error is not None:
            self._call.cancel()
            self._failed(reader.error, out)
        elif reader.done:
            self._done(out)
        elif self._collector is not None:
            self._collect(out)
        elif out:
            exchange = self._exchange
            if not exchange.streaming:
                exchange.start_stream()
            exchange.write(out)

    def on_end(self) -> None:
        mode = self._mode
        if mode is _Mode.EVENTS:
            out = self._reader.eof()
            if self._reader.error is not None:
                self._failed(self._reader.error, out)
            else:
                self._done(out)
        elif mode is _Mode.WHOLE:
            self._answer_whole()
        elif mode is _Mode.REFUSAL:
            self._failed(self._refusal())

    def on_error(self, error: UpstreamError) -> None:
        if self._mode is _Mode.OVER:
            # Only a failure of our own can come now, in what answered the client: it must hear of it all the same.
            self._exchange.fail(error)
        elif self._mode is _Mode.REFUSAL and self._head.status != 200:
            # The status says more than the cut-off body.
            self._failed(self._refusal())
        else:
            self._failed(error)

    def on_idle(self, seconds: float) -> None:
        keepalive = self._rules.keepalive
        if not keepalive or self._mode is _Mode.OVER or not self._stream or self._exchange.paused:
            return
        if seconds < self._kept_alive:
            self._kept_alive = 0.0
        if seconds - self._kept_alive < keepalive:
            return
        exchange = self._exchange
        if not exchange.started:
            if not self._rules.keepalive_early:
                return
            if not exchange.streaming:
                exchange.start_stream()
        self._kept_alive = seconds
        exchange.write(_KEEPALIVE)

    # -- endings --------------------------------------------------------------------------------------------------

    def _refusal(self) -> UpstreamError:
        headers = self._head.headers
        return self._translation.refusal(
            self._head.status, headers.get(b"content-type", b""), b"".join(self._parts), _retry_after(headers)
        )

    def _collect(self, out: bytes) -> None:
        assert self._collector is not None
        try:
            self._collector.feed(out)
        except UpstreamError as error:
            self._call.cancel()
            self._failed(error)

    def _keep(self, part: bytes) -> None:
        """Collect an answer that is not read event by event."""
        if self._mode is _Mode.OVER or (self._mode is _Mode.REFUSAL and self._size > _REFUSAL_BYTES):
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._rules.max_response_bytes:
            self._call.cancel()
            self._failed(
                UpstreamError(
                    f"the upstream's answer is larger than {self._rules.max_response_bytes} bytes",
                    code="upstream_response_too_large",
                )
            )

    def _done(self, out: bytes) -> None:
        """The stream is complete; what the upstream still sends (its last chunk) only frees the connection."""
        self._end()
        exchange = self._exchange
        self._note(self._reader.usage)
        if self._collector is not None:
            try:
                self._collector.feed(out)
                body = self._collector.body()
            except UpstreamError as error:
                self._failed(error)
                return
            self._detach()
            exchange.respond(200, body)
            return
        if not exchange.streaming:
            exchange.start_stream()
        self._detach()
        exchange.end(out)

    def _answer_whole(self) -> None:
        self._mode = _Mode.OVER
        parts = self._parts
        try:
            body, usage = self._translation.completion(parts[0] if len(parts) == 1 else b"".join(parts))
        except UpstreamError as error:
            self._failed(error)
            return
        self._note(usage)
        self._detach()
        self._exchange.respond(200, body)

    def _note(self, usage: Usage | None) -> None:
        if usage is not None:
            usage.keep()
            self._exchange.record.usage = usage

    def _failed(self, error: UpstreamError, out: bytes = b"") -> None:
        """A try has failed: another one, or the error to the client, after what came before it."""
        self._end()
        exchange = self._exchange
        record = exchange.record
        record.upstream_code = error.upstream_code
        if self._translation.streams and self._stream:
            self._note(self._reader.usage)
        if not exchange.started and error.retryable and record.attempts < self._rules.max_tries:
            delay = _backoff(record.attempts) if error.retry_after is None else error.retry_after
            if delay <= _LONGEST_BACKOFF_SECONDS:
                self._retry = exchange.loop.call_later(delay, self._try_again)
                return
        self._detach()
        if out and self._collector is None:
            if not exchange.streaming:
                exchange.start_stream()
            exchange.write(out)
        exchange.fail(error)

    def _end(self) -> None:
        """Nothing more is wanted of this try."""
        self._mode = _Mode.OVER
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None

    def _detach(self) -> None:
        """The exchange is about to end: cut what would make a cycle of it, the relay and the call."""
        exchange = self._exchange
        exchange.on_gone = exchange.on_pause = exchange.on_resume = None
        del self._call


def _backoff(attempt: int) -> float:
    """Seconds before the next try: doubled each time, half of it left to chance, so that clients do not march in
    step."""
    return _FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1) * (0.5 + secrets.randbelow(1000) / 2000)


def _retry_after(headers: dict[bytes, bytes]) -> float | None:
    """Retry-After in seconds; the HTTP-date form is not used by upstreams of ours and is ignored."""
    value = headers.get(b"retry-after", b"")
    return float(value) if value.isdigit() and len(value) < 7 else None
