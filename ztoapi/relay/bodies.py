"""The bodies of upstream responses: their kind, by the first bytes, and the text of compressed errors.

Servers and proxies send streams as ``text/plain``, errors as ``text/event-stream``, and whole completions to requests
for a stream. The first bytes decide where the content type does not.
"""

import enum
import zlib
from typing import Final

from ztoapi.upstream.bounds import ERROR_BYTES

__all__ = ["Body", "kind_of", "plain_text", "skip_blanks"]

_MARKS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
"""Beginnings of an event stream."""
_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"
"""The byte order mark and white space. Some servers send white space while a response is not ready."""
_ANY_ZLIB: Final = 47
"""zlib's wbits for data in either format, gzip or zlib."""


class Body(enum.Enum):
    """The kind of a body."""

    EVENTS = enum.auto()
    JSON = enum.auto()
    OTHER = enum.auto()


def skip_blanks(start: bytes) -> bytes:
    """Returns ``start`` without the blanks before the first event or value."""
    return start.lstrip(_BLANKS)


def kind_of(start: bytes, *, events: bool) -> Body | None:
    """Returns the kind of a body that begins with ``start``, None if more bytes are needed. With ``events`` it is an
    event stream unless the first byte belongs to JSON or HTML."""
    first = start[:1]
    if first == b"{":
        return Body.JSON
    if first in (b"<", b"["):
        # A page, or a list of errors as Gemini sends it.
        return Body.OTHER
    if first and (events or start.startswith(_MARKS)):
        return Body.EVENTS
    return None if any(mark.startswith(start) for mark in _MARKS) else Body.OTHER


def plain_text(body: bytes, coding: str) -> bytes:
    """Returns the beginning of a compressed ``body``; empty if the coding is unknown or the body is broken."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        return b""
    try:
        return zlib.decompressobj(_ANY_ZLIB).decompress(body, ERROR_BYTES)
    except zlib.error:
        return b""
