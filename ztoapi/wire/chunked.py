"""Decoding of chunked bodies: bytes in, payload out. RFC 9112 section 7.1.

Used for request bodies and upstream responses. Payload is never held back; only an incomplete size line or trailer line
waits for the next read.
"""

import re
from io import BytesIO
from typing import Final

import msgspec

from ztoapi.errors import ProtocolError
from ztoapi.wire.limits import CHUNK_LINE_BYTES, CHUNK_OVERHEAD_BYTES, TRAILER_BYTES

__all__ = ["CHUNK_LINES", "WHOLE_CHUNK_LINES", "ChunkDecoder"]

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
# Up to 8 hexadecimal digits (4 GiB), then extensions: RFC 9112 section 7.1.1, blanks about ";" and "=" included. The
# quantifiers are possessive, so that a match never backtracks.
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,8})(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)*+\r\n" % (_TOKEN, _TOKEN, _QUOTED)
)
# One field line: RFC 9112 section 5, as strict as the guard of a request head.
_TRAILER_LINE = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*+\r\n" % _TOKEN)
_AFTER_DATA: Final = -1
_TRAILER: Final = -2
_DONE: Final = -3
_SIZE_LINES: Final = [b"%x\r\n" % (size + 1) for size in range(1023)]
"""Size lines by the length of a line; the chunk contains this line and a blank one. A look-up costs a third of
formatting, and most events are smaller than this."""
_END: Final = b"\r\n0\r\n\r\n"
_LAST_CHUNK_BYTES: Final = 5
_LAST_LINES: Final = [b"0\r\n", b"\r\n"]
_LONGEST_CHUNK: Final = 1100
"""Bytes, framing included, up to which a chunk's size line is looked up: events are smaller."""


def _line_of_chunk(chunk_bytes: int) -> bytes:
    for digits in range(1, 4):
        size = chunk_bytes - digits - 4
        if size > 0 and len(b"%x" % size) == digits:
            return b"%x\r\n" % size
    return b""


CHUNK_LINES: Final = [_line_of_chunk(chunk_bytes) for chunk_bytes in range(_LONGEST_CHUNK)]
"""The usual size line of a chunk, by the length of the whole chunk, framing included; empty for impossible lengths. A
read that begins with the line for its own length is one whole chunk: one look-up and one comparison."""
WHOLE_CHUNK_LINES: Final = [line or bytes(size + 1) for size, line in enumerate(CHUNK_LINES)]
"""The same, with a line that is longer than the chunk for impossible lengths, so that no read begins with it."""


class ChunkDecoder(msgspec.Struct, gc=False, eq=False):
    """Decodes one body. ``done`` becomes True after the last chunk and the trailer section; ``rest`` are the bytes
    after them."""

    _held: bytes = b""
    """The beginning of an incomplete line."""
    _left: int = 0
    """Bytes missing of the current chunk; or a negative code for another part of the body."""
    _overhead: int = 0
    _payload: int = 0
    _trailer: int = 0
    done: bool = False
    rest: bytes = b""

    @property
    def between(self) -> bool:
        """Whether the next bytes are a chunk."""
        return not (self._left or self._held)

    def decode(self, data: bytes) -> bytes:
        """Returns the payload in ``data``. Raises ProtocolError (400 or 431)."""
        if not self._left and not self._held:
            # One whole chunk, the usual read of a stream whose upstream writes token by token, or one and the end of
            # the body.
            size = len(data)
            last = data[-7:] == _END
            if last:
                size -= _LAST_CHUNK_BYTES
            line = CHUNK_LINES[size] if size < _LONGEST_CHUNK else b""
            start = len(line)
            if line and data[:start] == line and data[size - 2 : size] == b"\r\n":
                if last:
                    self._left = _DONE
                    self.done = True
                return data[start : size - 2]
            events = self._decode_events(data)
            if events is not None:
                return events
        return self._walk(data)

    def _decode_events(self, data: bytes) -> bytes | None:
        """Returns the payload of chunks that contain one event of one line each; None for anything else.

        Model servers write such chunks of four lines: the size, the event, a blank line, the end of the chunk. If each
        size matches the event after it, the result is that of the full decoder at a third of its cost: iterating over
        the lines of a file is faster than ``split``.
        """
        lines = list(BytesIO(data))
        last = lines[-2:] == _LAST_LINES
        if last:
            del lines[-2:]
        events = lines[1::4]
        count = len(events)
        if len(lines) != 4 * count or lines[2::4].count(b"\n") != count or lines[3::4].count(b"\r\n") != count:
            return None
        try:
            sizes = list(map(_SIZE_LINES.__getitem__, map(len, events)))
        except IndexError:
            return None
        if sizes != lines[::4]:
            return None
        if last:
            self._left = _DONE
            self.done = True
        events.append(b"")
        return b"\n".join(events)

    def _walk(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
            self._held = b""
        parts: list[bytes] = []
        left, at, end = self._left, 0, len(data)
        while left != _DONE:
            if left > 0:
                if at == end:
                    break
                part = data[at : at + left]
                parts.append(part)
                at += len(part)
                left -= len(part)
                if left:
                    break
                left = _AFTER_DATA
            if left == _AFTER_DATA:
                if not data.startswith(b"\r\n", at):
                    if end - at >= 2 or (end > at and data[at] != 13):
                        raise ProtocolError(400, "a chunk is not followed by CRLF")
                    break
                at += 2
                left = 0
            if left == 0:
                match = _SIZE_LINE.match(data, at)
                if match is None:
                    # One more byte than the line: its CR may have arrived before its LF.
                    if end - at > CHUNK_LINE_BYTES + 1 or data.find(b"\n", at) >= 0:
                        raise ProtocolError(400, "a chunk-size line is malformed")
                    break
                left = int(match[1], 16) or _TRAILER
                self._account(match.end() - at, max(left, 0))
                at = match.end()
            if left == _TRAILER:
                at, complete = self._skip_trailer(data, at)
                if not complete:
                    break
                left = _DONE
        self._left = left
        if left == _DONE:
            self.done = True
            self.rest = data[at:]
        else:
            self._held = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _account(self, line_bytes: int, size: int) -> None:
        if line_bytes > CHUNK_LINE_BYTES + 2:
            raise ProtocolError(400, f"a chunk-size line is longer than {CHUNK_LINE_BYTES} bytes")
        self._overhead += line_bytes + 2
        self._payload += size
        # A chunk with one byte of data has five of framing, which is allowed: hence the factor.
        if self._overhead > CHUNK_OVERHEAD_BYTES + 6 * self._payload:
            raise ProtocolError(400, "the chunk framing outweighs the body")

    def _skip_trailer(self, data: bytes, at: int) -> tuple[int, bool]:
        while True:
            stop = data.find(b"\n", at)
            if stop < 0:
                if self._trailer + len(data) - at > TRAILER_BYTES:
                    raise ProtocolError(431, f"the trailer section is larger than {TRAILER_BYTES} bytes")
                return at, False
            self._trailer += stop + 1 - at
            if self._trailer > TRAILER_BYTES:
                raise ProtocolError(431, f"the trailer section is larger than {TRAILER_BYTES} bytes")
            if data[at : stop + 1] == b"\r\n":
                return stop + 1, True
            if not _TRAILER_LINE.fullmatch(data, at, stop + 1):
                raise ProtocolError(400, "a trailer line is malformed")
            at = stop + 1
