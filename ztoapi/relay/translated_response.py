"""The response to a client of another API than chat: the relay writes chat events, the client gets that API's own."""

from collections.abc import Awaitable, Callable
from functools import partial

from ztoapi.apis.writing import EventWriter
from ztoapi.errors import ApiError, UpstreamError, unfinished
from ztoapi.relay.exchange_response import ExchangeResponse
from ztoapi.server.exchange import Exchange
from ztoapi.wire.chunked import CHUNK_LINES, ChunkDecoder

__all__ = ["TranslatedResponse"]


class TranslatedResponse(ExchangeResponse):
    """The :class:`~ztoapi.server.downstream.Downstream` of ``exchange``, whose response ``writer`` translates.

    ``headers`` are raw lines of every successful response, each ended by CRLF. ``on_complete`` is called with the last
    bytes of a complete response, and returns those to be sent.
    """

    __slots__ = ("_has_begun", "_headers", "_on_complete", "_writer")

    def __init__(
        self,
        exchange: Exchange,
        writer: EventWriter,
        headers: bytes = b"",
        on_complete: Callable[[bytes], Awaitable[bytes]] | None = None,
    ) -> None:
        super().__init__(exchange)
        self._writer = writer
        self._headers = headers
        self._on_complete = on_complete
        self._has_begun = False
        """Whether the events before the first chunk have been sent."""

    def start_stream(self) -> "TranslatedResponse":
        self._exchange.start_stream(headers=self._headers).error_event = self._writer.fail
        return self

    @property
    def stream(self) -> "TranslatedResponse":
        return self

    def write(self, payload: bytes) -> None:
        """Translates ``payload``: whole chat events."""
        writer = self._writer
        out = writer.feed(payload)
        self._has_begun = True
        if writer.error is not None:
            self._cut(out, writer.error)
        elif out:
            self._exchange.stream.write(out)

    def write_chunks(self, chunks: bytes) -> None:
        """Translates whole HTTP chunks of whole chat events."""
        size = len(chunks)
        line = CHUNK_LINES[size] if size < len(CHUNK_LINES) else b""
        # Nearly all reads of a paced stream are one chunk.
        if line and chunks[: len(line)] == line:
            self.write(chunks[len(line) : -2])
        else:
            self.write(ChunkDecoder().decode(chunks))

    def hold(self, data: bytes) -> None:
        self.write_chunks(data)

    def flush(self) -> None:
        """Nothing waits."""

    def end(self, payload: bytes = b"") -> None:
        """Ends the stream, with an error unless the response is complete."""
        writer = self._writer
        out = writer.feed(payload)
        if writer.error is None and writer.done:
            self._complete(out, self._exchange.stream.end)
        else:
            self._cut(out, writer.error or unfinished())

    def _cut(self, out: bytes, error: UpstreamError) -> None:
        self._exchange.stream.write(out)
        self._exchange.cancel(error)

    def comment(self, payload: bytes) -> None:
        """Sends the API's keepalive in place of ``payload``, after the events that have to come first."""
        writer = self._writer
        start = b"" if self._has_begun else writer.start()
        self._has_begun = True
        self._exchange.stream.comment(start + writer.keepalive())

    def respond(self, status: int, body: bytes) -> None:
        try:
            translated = self._writer.whole(body)
        except UpstreamError as error:
            self.fail(error)
            return
        self._complete(translated, partial(self._exchange.respond, status, headers=self._headers))

    def fail(self, error: ApiError) -> None:
        self._writer.explain(error)
        self._exchange.fail(error)

    def _complete(self, last: bytes, send: Callable[[bytes], None]) -> None:
        if self._on_complete is None:
            send(last)
        else:
            self._exchange.spawn(_send_later(self._on_complete(last), send))


async def _send_later(last: Awaitable[bytes], send: Callable[[bytes], None]) -> None:
    send(await last)
