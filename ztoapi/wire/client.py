"""The client side of one HTTP/1.1 exchange: an upstream's response, bytes in, payload out.

The head is parsed by hand: h11's client side requires the request to be sent through it, and costs about 5 us per
chunk. Upstreams are held to the same grammar as clients: a head with a control byte, a bare LF, two framings or an
unknown transfer coding is refused, because a wrong guess about the end of a response would send one user's data to
another.
"""

import functools
import re
from typing import Final

from ztoapi.errors import ProtocolError
from ztoapi.wire.chunked import ChunkDecoder

__all__ = ["ClientWire", "ResponseHead", "ResponseHeads"]

MAX_HEAD_BYTES: Final = 65536
"""Upstream heads carry cookies and policies; Go's client allows 1 MiB, aiohttp 8 KiB a line."""
MEMORY_BYTES: Final = 2048
REMEMBERED_HEADS: Final = 64
"""Number of cached heads, and their largest size. Parsing a head costs 5 us, a look-up a quarter."""
MAX_INFORMATIONAL: Final = 8
"""Interim (1xx) responses that are skipped; more would be a loop."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_NO_BODY = frozenset((204, 304))


class ResponseHead:
    """One parsed response head. It never changes: responses may share it. Header names are lower-case;
    repeated fields are joined with ``, ``. ``content_length`` is None without the field."""

    __slots__ = (
        "chunked",
        "coding",
        "content_length",
        "event_stream",
        "headers",
        "keep_alive",
        "status",
        "whole_bytes",
    )

    def __init__(self, status: int, headers: dict[bytes, bytes], http11: bool) -> None:
        self.status = status
        self.headers = headers
        connection = headers.get(b"connection", b"").lower()
        self.keep_alive = b"close" not in connection and (http11 or b"keep-alive" in connection)
        # Without a type it is assumed to be of the requested kind.
        self.event_stream = b"text/event-stream" in headers.get(b"content-type", b"text/event-stream").lower()
        self.coding = _codings(headers[b"content-encoding"]) if b"content-encoding" in headers else ""
        """The content codings of the body, ``""`` if it has none."""
        self.chunked = False
        self.content_length: int | None = None
        self.whole_bytes = -1
        """The size of the body of a successful response; -1 for any other response, and if the head has no size."""


def _codings(field: bytes) -> str:
    codings = map(str.strip, field.decode("latin-1").lower().split(","))
    return ", ".join(coding for coding in codings if coding not in ("", "identity"))


class ResponseHeads:
    """Parses response heads, and caches those of all connections of the worker: a server that streams sends the same
    head on every connection until the Date in it changes."""

    def __init__(self) -> None:
        self.parse_once = functools.lru_cache(REMEMBERED_HEADS)(_parse)
        """Same as :meth:`parse`, for heads of at most ``MEMORY_BYTES``."""

    def parse(self, data: bytes) -> ResponseHead:
        """Returns the head in ``data``, which excludes the blank line. Raises ProtocolError."""
        return _parse(data) if len(data) > MEMORY_BYTES else self.parse_once(data)


class ClientWire:
    """Reads one response after another. Call ``start`` for each request that is sent; then ``read_head`` with received
    bytes until it returns a head; then ``read_body`` with ``rest`` and further bytes.

    ``read_head`` is ``find_head`` and ``begin_body``. A response whose body is ``rest`` needs no ``begin_body``: then
    ``head`` is None, and the wire is as after ``start``."""

    __slots__ = (
        "_chunks",
        "_heads",
        "_held",
        "_informational",
        "_left",
        "_parse_once",
        "_searched",
        "between_chunks",
        "complete",
        "head",
        "head_request",
        "keep_alive",
        "rest",
    )

    def __init__(self, heads: ResponseHeads) -> None:
        self._heads = heads
        self._parse_once = heads.parse_once
        self._informational = 0
        self._held: bytes | bytearray = b""
        """The beginning of a head."""
        self._searched = 0
        self.rest = b""
        """Bytes after the head."""
        self.keep_alive = False
        self.start("GET")

    def start(self, method: str) -> None:
        """A request with ``method`` has been sent, so its response is next. The one before is complete."""
        self.head_request = method == "HEAD"
        self._chunks: ChunkDecoder | None = None
        self._left: int | None = None
        self.head: ResponseHead | None = None
        self.between_chunks = False
        """Whether the next bytes are a chunk of the body. Whole chunks may be left out of ``read_body`` then."""
        self.complete = False

    def read_head(self, data: bytes) -> ResponseHead | None:
        """Returns the head once it is whole; before that None. Raises ProtocolError."""
        head = self.find_head(data)
        if head is not None:
            self.begin_body(head)
        return head

    def find_head(self, data: bytes) -> ResponseHead | None:
        """Same as ``read_head``, but ``rest`` may be the whole body."""
        if not self._searched:
            # Nearly every head is whole in the first read.
            end = data.find(b"\r\n\r\n")
            if 0 < end <= MEMORY_BYTES:
                head = self._parse_once(data[:end])
                if head.status >= 200:
                    self.rest = data[end + 4 :]
                    return head
        held: bytes | bytearray = data
        if self._held:
            # A bytearray, which grows in place: a head may arrive byte by byte.
            held = self._held
            if not isinstance(held, bytearray):
                held = bytearray(held)
            held += data
        start = 0
        while True:
            end = held.find(b"\r\n\r\n", start + max(self._searched - 3, 0))
            if (end if end >= 0 else len(held)) - start > MAX_HEAD_BYTES:
                raise ProtocolError(502, f"the response head is larger than {MAX_HEAD_BYTES} bytes")
            if end < 0:
                self._held = held[start:] if start else held
                # Not 0 after an interim response: a later part of the response leaves the fast path.
                self._searched = len(self._held) or 1
                if self._searched >= 5 and not self._held.startswith(b"HTTP/"):
                    raise ProtocolError(502, "the response is not HTTP/1.1")
                return None
            head = self._heads.parse(bytes(held[start:end]))
            start = end + 4
            self._searched = 0
            if head.status >= 200:
                break
            self._informational += 1
            if head.status == 101 or self._informational > MAX_INFORMATIONAL:
                raise ProtocolError(502, "the response is an upgrade or an endless row of interim responses")
        self._held = b""
        self._informational = 0
        self.rest = bytes(held[start:])
        return head

    def begin_body(self, head: ResponseHead) -> None:
        """The response has ``head``: its body is read, or skipped, from ``rest`` on."""
        self.head = head
        self.keep_alive = head.keep_alive
        if self.head_request or head.status in _NO_BODY:
            self._complete(self.rest)
        elif head.chunked:
            self._chunks = ChunkDecoder()
            self.between_chunks = True
        elif head.content_length is None:
            self.keep_alive = False
        elif head.content_length:
            self._left = head.content_length
        else:
            self._complete(self.rest)

    def read_body(self, data: bytes) -> bytes:
        """Returns the payload in ``data``. Must not be called when ``complete``. Raises ProtocolError."""
        chunks = self._chunks
        if chunks is not None:
            payload = chunks.decode(data)
            if not chunks.done:
                self.between_chunks = chunks.between
                return payload
            self.between_chunks = False
            self.complete = True
            if chunks.rest:
                self.keep_alive = False
            return payload
        left = self._left
        if left is None:
            return data
        if len(data) < left:
            self._left = left - len(data)
            return data
        self._complete(data[left:])
        return data[:left]

    def _complete(self, surplus: bytes) -> None:
        self.complete = True
        if surplus:
            # Bytes after the response, without a request: the connection cannot be trusted any more.
            self.keep_alive = False

    def eof(self) -> bool:
        """The upstream has closed the connection. Returns True if the response ends there, False if it is truncated."""
        if self.head is not None and not self.complete and self._chunks is None and self._left is None:
            self.complete = True
        return self.complete


def _parse(data: bytes) -> ResponseHead:
    lines = data.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(lines[0])
    if status is None:
        raise ProtocolError(502, "the response's status line is malformed")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ProtocolError(502, "a header line of the response is malformed")
        name, value = field[1].lower(), field[2].strip(b" \t")
        headers[name] = headers[name] + b", " + value if name in headers else value
    http11 = status[1] == b"1"
    head = ResponseHead(int(status[2]), headers, http11)
    length = headers.get(b"content-length")
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or coding.lower() != b"chunked" or not http11:
            raise ProtocolError(502, "the response's framing is ambiguous or unknown")
        head.chunked = True
    elif length is not None:
        values = {value.strip() for value in length.split(b",")}
        value = values.pop()
        if values or not value.isdigit() or len(value) > 18:
            raise ProtocolError(502, "the response's Content-Length is malformed")
        head.content_length = int(value)
        if 200 <= head.status < 300 and head.status not in _NO_BODY:
            head.whole_bytes = head.content_length
    return head
