"""The reader of zread.ai's event streams; ``zread_request.py`` makes the calls before them.

The events have names: ``answer`` has increments of reasoning and text, ``round_finish`` the whole text of the round,
``finish`` ends the response, and ``error`` fails it. The upstream counts no tokens, so ``usage`` stays None.
"""

import msgspec

from ztoapi.dialects.chunk_writer import DONE, ChunkWriter
from ztoapi.dialects.events import events
from ztoapi.dialects.lenient import decode_part
from ztoapi.dialects.reader import TranslatingReader
from ztoapi.dialects.reports import read_report
from ztoapi.dialects.thinking import Layout, ThinkMode
from ztoapi.dialects.web_errors import status_error
from ztoapi.dialects.zread_request import UPSTREAM
from ztoapi.errors import Failure, UpstreamError, empty_response, too_large, unfinished

__all__ = ["ZreadReader", "refusal"]

ROUND_MAX_CHARS = 16 * 1024 * 1024
"""Longest text of one round. It is kept for the comparison with the whole text that ends the round. A longer text ends
in an error."""


class _Answer(msgspec.Struct):
    # "content" was the field's name for some time; other clients read both.
    text: str | None = None
    content: str | None = None
    reasoning_content: str | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


class ZreadReader(TranslatingReader):
    """Reads one zread stream; see :class:`ztoapi.dialects.reader.Reader`."""

    __slots__ = ("_layout", "_round", "_round_chars", "_started", "_writer")

    def __init__(self, writer: ChunkWriter, mode: ThinkMode, include_usage: bool) -> None:
        super().__init__()
        del include_usage  # The upstream reports no usage, and clients would take invented counts for real ones.
        self._writer = writer
        # The upstream's text has no markup, so "raw" keeps its two fields.
        self._layout = Layout("reasoning" if mode == "raw" else mode)
        self._round: list[str] = []
        self._round_chars = 0
        self._started = False

    def feed(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for name, payload in events(block):
            try:
                self._read(name, payload, out)
            except UpstreamError as error:
                self.error = error
            if self.done or self.error:
                break
        return b"".join(out)

    def eof(self) -> bytes:
        if self.done or self.error:
            return b""
        self.error = unfinished() if self._started else empty_response()
        return b""

    def _read(self, name: str, payload: bytes, out: list[bytes]) -> None:
        if name == "answer":
            if payload.strip():
                self._answer(self._decode(payload), out)
        elif name == "round_finish":
            self._end_round(self._decode(payload) if payload.strip() else _Answer(), out)
        elif name == "finish":
            self._finish(out)
        elif name == "error":
            raise status_error(UPSTREAM, read_report(payload), 200)

    def _decode(self, payload: bytes) -> _Answer:
        return decode_part(_decode_answer, payload, "an event", retryable=not self._started)

    def _answer(self, answer: _Answer, out: list[bytes]) -> None:
        if answer.reasoning_content:
            self._layout.think(answer.reasoning_content)
        text = answer.text or answer.content
        if text:
            self._say(text)
        self._write(out)

    def _say(self, text: str) -> None:
        self._round.append(text)
        self._round_chars += len(text)
        if self._round_chars > ROUND_MAX_CHARS:
            raise too_large("response", Failure.LARGE_RESPONSE, f"{ROUND_MAX_CHARS} characters")
        self._layout.say(text)

    def _end_round(self, answer: _Answer, out: list[bytes]) -> None:
        """Sends the part of the round's whole text that the increments did not contain."""
        whole = answer.text or answer.content or ""
        prefix = "".join(self._round)
        if whole.startswith(prefix) and whole != prefix:
            self._say(whole[len(prefix) :])
        self._round = []
        self._round_chars = 0
        self._write(out)

    def _finish(self, out: list[bytes]) -> None:
        if not self._started:
            raise empty_response()
        self._layout.end()
        self._write(out)
        out.append(self._writer.finish("stop"))
        out.append(DONE)
        self.done = True

    def _write(self, out: list[bytes]) -> None:
        # No text is rewritten later, so none is held back.
        reasoning, content = self._layout.take_rest()
        if (reasoning or content) and not self._started:
            self._started = True
            out.append(self._writer.role())
        if reasoning:
            out.append(self._writer.reasoning(reasoning))
        if content:
            out.append(self._writer.content(content))


def refusal(status: int, body: bytes, retry_after: float | None = None) -> UpstreamError:
    """Returns the error for a response that is not an event stream."""
    return status_error(UPSTREAM, read_report(body), status, retry_after)
