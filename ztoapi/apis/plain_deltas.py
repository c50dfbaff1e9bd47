"""Recognises the bulk of a stream by comparing bytes: chunks that differ from an earlier one in their text only.

Decoding a chunk takes most of the time that its translation costs. Nearly all chunks of a stream have the same bytes
before and after the text, so a comparison finds the text of a further one: 1 us in place of 9.
"""

from typing import Final

import msgspec

from ztoapi.dialects.chunks import ABSENT, Chunk, ChunkChoice, Delta

__all__ = ["PlainDeltas"]

_MAX_SAMPLES: Final = 4
"""Chunks from which the common bytes are taken. A stream whose chunks differ elsewhere too is decoded."""
_NULL: Final = msgspec.Raw(b"null")

_encode = msgspec.json.Encoder().encode


class PlainDeltas:
    """The common bytes of one stream."""

    __slots__ = ("_head", "_head_bytes", "_samples", "_tail", "_tail_bytes")

    def __init__(self) -> None:
        self._samples = 0
        self._head = self._tail = b""
        self._head_bytes = self._tail_bytes = 0

    def text(self, block: bytes) -> str | None:
        """Returns the text of ``block``, if it is one chunk that differs from the sample in a text without escapes."""
        size = self._head_bytes
        if not size or block[:size] != self._head or block[-self._tail_bytes :] != self._tail:
            return None
        try:
            text = str(block[size : -self._tail_bytes], "utf-8")
        except UnicodeDecodeError:
            return None
        # Quotes and backslashes are printable, line ends and other control characters are not.
        return None if not text or '"' in text or "\\" in text or not text.isprintable() else text

    def learn(self, block: bytes, chunk: Chunk) -> None:
        """Takes the common bytes from ``block``, which holds just ``chunk``, if it has a text and nothing else."""
        if self._samples >= _MAX_SAMPLES or len(chunk.choices or ()) != 1 or chunk.usage not in (ABSENT, _NULL):
            return
        assert chunk.choices is not None
        text = _only_text(chunk.choices[0])
        if not text:
            return
        self._samples += 1
        literal = _encode(text)
        if block.count(literal) == 1:
            at = block.index(literal)
            self._head, self._tail = block[: at + 1], block[at + len(literal) - 1 :]
            self._head_bytes, self._tail_bytes = len(self._head), len(self._tail)


def _only_text(choice: ChunkChoice) -> str | None:
    """Returns the text of a choice without anything else that a writer reads."""
    delta = choice.delta
    if delta is None or choice.finish_reason is not None or choice.stop_reason is not None or choice.index != 0:
        return None
    return delta.content if delta == Delta(content=delta.content) else None
