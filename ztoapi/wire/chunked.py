"""The chunk walk: decodes a chunked body in place, over a ring. RFC 9112 section 7.1.

Serves both directions: request bodies and upstream answers. One regular-expression call per chunk reads the size
line; payload moves only when it has to close up to payload that is still unread.
"""

import re
from typing import Final

from ztoapi.errors import ProtocolError
from ztoapi.wire.buffer import Ring
from ztoapi.wire.limits import CHUNK_LINE_BYTES, CHUNK_OVERHEAD_BYTES, TRAILER_BYTES

__all__ = ["ChunkDecoder"]

# Up to 8 hexadecimal digits (4 GiB); an extension may hold anything but control octets. The two parts of the
# pattern share no octet, so that a match never backtracks.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_AFTER_DATA: Final = -1
_TRAILER: Final = -2
_DONE: Final = -3


class ChunkDecoder:
    """State between reads. ``done`` becomes True once the last chunk and the trailer section have been read."""

    __slots__ = ("_left", "_overhead", "_payload", "_trailer")

    def __init__(self) -> None:
        self._left = 0
        self._overhead = 0
        self._payload = 0
        self._trailer = 0

    @property
    def done(self) -> bool:
        return self._left == _DONE

    def decode(self, ring: Ring) -> bool:
        """Turn the ring's undecoded octets into payload; True once the body is complete.

        Octets after the end of the body stay undecoded. Raises ProtocolError (400 or 431).
        """
        buf, view, raw, tail, end = ring.buf, ring.view, ring.raw, ring.tail, ring.end
        left = self._left
        while left != _DONE:
            if left > 0:
                count = tail - raw
                if not count:
                    break
                if count > left:
                    count = left
                if end != raw:
                    if ring.start == end:
                        ring.start = end = raw
                    else:
                        view[end : end + count] = view[raw : raw + count]
                end += count
                raw += count
                left -= count
                if left:
                    break
                left = _AFTER_DATA
            if left == _AFTER_DATA:
                if not buf.startswith(b"\r\n", raw, tail):
                    if tail - raw >= 2 or (tail > raw and buf[raw] != 13):
                        raise ProtocolError(400, "a chunk is not followed by CRLF")
                    break
                raw += 2
                left = 0
            if left == 0:
                match = _SIZE_LINE.match(buf, raw, tail)
                if match is None:
                    self._check_partial_line(ring, raw, tail)
                    break
                left = int(match[1], 16)
                self._account(match.end() - raw, left)
                raw = match.end()
                if left == 0:
                    left = _TRAILER
            if left == _TRAILER:
                raw, complete = self._skip_trailer(ring, raw, tail)
                if not complete:
                    break
                left = _DONE
        self._left = left
        if raw == tail and left != _DONE:
            # Nothing undecoded is left: the next read may land right behind the payload.
            raw = ring.tail = end
        ring.raw = raw
        ring.end = end
        return left == _DONE

    def _account(self, line_bytes: int, size: int) -> None:
        if line_bytes > CHUNK_LINE_BYTES + 2:
            raise ProtocolError(400, f"a chunk-size line is longer than {CHUNK_LINE_BYTES} bytes")
        self._overhead += line_bytes + 2
        self._payload += size
        # One octet of data in each chunk costs five of framing, which is allowed: hence the factor.
        if self._overhead > CHUNK_OVERHEAD_BYTES + 6 * self._payload:
            raise ProtocolError(400, "the chunk framing outweighs the body")

    def _check_partial_line(self, ring: Ring, raw: int, tail: int) -> None:
        if tail - raw > CHUNK_LINE_BYTES or ring.buf.find(b"\n", raw, tail) >= 0:
            raise ProtocolError(400, "a chunk-size line is malformed")

    def _skip_trailer(self, ring: Ring, raw: int, tail: int) -> tuple[int, bool]:
        buf = ring.buf
        while True:
            stop = buf.find(b"\n", raw, tail)
            if stop < 0:
                if self._trailer + tail - raw > TRAILER_BYTES:
                    raise ProtocolError(431, f"the trailer section is larger than {TRAILER_BYTES} bytes")
                return raw, False
            if stop == raw or buf[stop - 1] != 13:
                raise ProtocolError(400, "a trailer line ends in a bare LF")
            self._trailer += stop + 1 - raw
            if self._trailer > TRAILER_BYTES:
                raise ProtocolError(431, f"the trailer section is larger than {TRAILER_BYTES} bytes")
            if stop == raw + 1:
                return stop + 1, True
            raw = stop + 1
