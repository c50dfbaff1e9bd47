"""The client side of one HTTP/1.1 exchange: an upstream's answer, octets in, payload out.

The head is parsed here by hand: h11's client side wants the request sent through it first and then costs about 5 us
for each chunk. An upstream is less hostile than a client, but it is held to the same grammar: a head with a control
octet, a bare LF, two framings or an unknown transfer coding is refused, because a wrong guess about where an answer
ends would hand one user's octets to another.
"""

import re
from typing import Final

from ztoapi.errors import ProtocolError
from ztoapi.wire.buffer import Ring
from ztoapi.wire.chunked import ChunkDecoder

__all__ = ["ClientWire", "ResponseHead"]

MAX_HEAD_BYTES: Final = 65536
"""Upstream heads carry cookies and policies; Go's client allows 1 MiB, aiohttp 8 KiB a line."""
MAX_INFORMATIONAL: Final = 8
"""1xx answers that are skipped; more is a loop."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_NO_BODY = frozenset((204, 304))


class ResponseHead:
    """One parsed answer head. Header names are lower-case; repeated fields are joined with ``, ``."""

    __slots__ = ("headers", "http11", "status")

    def __init__(self, status: int, headers: dict[bytes, bytes], http11: bool) -> None:
        self.status = status
        self.headers = headers
        self.http11 = http11


class ClientWire:
    """Reads one answer after another out of ``ring``. Call ``start`` for each request that is sent."""

    __slots__ = ("_chunks", "_head_request", "_informational", "_left", "_searched", "complete", "head", "keep_alive")

    def __init__(self) -> None:
        self.start("GET")

    def start(self, method: str) -> None:
        """A request with ``method`` has been sent; its answer comes next."""
        self._head_request = method == "HEAD"
        self._informational = 0
        self._searched = 0
        self._chunks: ChunkDecoder | None = None
        self._left: int | None = None
        self.head: ResponseHead | None = None
        self.complete = False
        self.keep_alive = False

    def read_head(self, ring: Ring) -> ResponseHead | None:
        """The answer's head once it is whole, None before. Raises ProtocolError."""
        while True:
            end = ring.buf.find(b"\r\n\r\n", max(ring.raw + self._searched - 3, ring.raw), ring.tail)
            if end < 0:
                self._searched = ring.tail - ring.raw
                if self._searched > MAX_HEAD_BYTES:
                    raise ProtocolError(502, f"the answer head is larger than {MAX_HEAD_BYTES} bytes")
                if self._searched >= 5 and not ring.buf.startswith(b"HTTP/", ring.raw, ring.tail):
                    raise ProtocolError(502, "the answer is not HTTP/1.1")
                return None
            head = _parse(bytes(ring.view[ring.raw : end]))
            ring.start = ring.end = ring.raw = end + 4
            self._searched = 0
            if head.status >= 200:
                break
            self._informational += 1
            if head.status == 101 or self._informational > MAX_INFORMATIONAL:
                raise ProtocolError(502, "the answer is an upgrade or an endless row of interim answers")
        self.head = head
        self._frame(head)
        if ring.raw == ring.tail:
            ring.clear()
        return head

    def _frame(self, head: ResponseHead) -> None:
        headers = head.headers
        length = headers.get(b"content-length")
        coding = headers.get(b"transfer-encoding")
        connection = headers.get(b"connection", b"").lower()
        self.keep_alive = b"close" not in connection and (head.http11 or b"keep-alive" in connection)
        if self._head_request or head.status in _NO_BODY:
            self.complete = True
        elif coding is not None:
            if length is not None or coding.lower() != b"chunked" or not head.http11:
                raise ProtocolError(502, "the answer's framing is ambiguous or unknown")
            self._chunks = ChunkDecoder()
        elif length is not None:
            values = {value.strip() for value in length.split(b",")}
            value = values.pop()
            if values or not value.isdigit() or len(value) > 18:
                raise ProtocolError(502, "the answer's Content-Length is malformed")
            self._left = int(value)
            self.complete = self._left == 0
        else:
            self.keep_alive = False

    def read_body(self, ring: Ring) -> bool:
        """Turn what has been read into payload in ``ring``; True once the answer is complete. Raises ProtocolError."""
        if self._chunks is not None:
            self.complete = self._chunks.decode(ring)
        elif self._left is not None:
            count = ring.tail - ring.raw
            if count > self._left:
                count = self._left
            self._left -= count
            ring.end = ring.raw = ring.raw + count
            self.complete = not self._left
        else:
            ring.decoded_all()
        if self.complete and ring.raw != ring.tail:
            # Octets behind the answer: nothing was asked for, so the connection cannot be trusted again.
            self.keep_alive = False
        return self.complete

    def eof(self) -> bool:
        """The upstream has closed; True if that is where the answer ends, False if it was cut off."""
        if self.head is not None and not self.complete and self._chunks is None and self._left is None:
            self.complete = True
        return self.complete


def _parse(head: bytes) -> ResponseHead:
    lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(lines[0])
    if status is None:
        raise ProtocolError(502, "the answer's status line is malformed")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ProtocolError(502, "a header line of the answer is malformed")
        name, value = field[1].lower(), field[2].strip(b" \t")
        headers[name] = headers[name] + b", " + value if name in headers else value
    return ResponseHead(int(status[2]), headers, status[1] == b"1")
