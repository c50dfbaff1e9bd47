"""The reads of a stream, handled as the relay handles them."""

from typing import Final

from ztoapi.dialects.reader import Reader
from ztoapi.wire.buffer import Rings
from ztoapi.wire.sse import EventBlocks

__all__ = ["relayed"]

_RING_BYTES: Final = 1 << 20


def relayed(reader: Reader, pieces: list[bytes]) -> bytes:
    """Returns the output for ``pieces``, up to the end or the error."""
    blocks = EventBlocks(Rings(_RING_BYTES, 1))
    out = b""
    for piece in pieces:
        template = reader.template
        passed = template.apply(piece) if template is not None and blocks.ring is None else None
        if passed is not None:
            out += passed
        elif block := blocks.feed(piece):
            out += reader.feed(block)
        if reader.done or reader.error is not None:
            return out
    return out + reader.eof()
