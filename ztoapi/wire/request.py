"""Request heads: bytes to a :class:`RequestHead`.

``guard.py`` checks, h11 parses (a new ``h11.Connection`` each time costs less than keeping its state machine in step
with responses that it does not frame), and this module interprets the fields that concern the body and the connection.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import h11

from ztoapi.errors import ProtocolError
from ztoapi.wire.guard import check_head, check_version, split_target, valid_host
from ztoapi.wire.limits import Limits

__all__ = ["IsUnbounded", "RequestHead", "every_body_is_bounded", "parse_head", "refused_head"]

IsUnbounded: TypeAlias = Callable[[str], bool]
"""Whether the bodies of requests with a path may be of any size, because they are passed on in parts."""

_METHOD_AND_PATH: Final = re.compile(rb"(?:\r\n){0,2}([A-Z]{1,32}) ([!->@-~]{1,8192})[? ]")
"""The beginning of a request line, after the empty lines that may precede it. Longer paths have no route."""


class RequestHead:
    """One parsed request head. Header names are lower-case; repeated fields are joined with ``, ``."""

    __slots__ = (
        "chunked",
        "content_length",
        "expect_continue",
        "headers",
        "http11",
        "keep_alive",
        "method",
        "notes",
        "path",
        "query",
    )

    def __init__(self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], http11: bool) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.http11 = http11
        self.keep_alive = http11
        self.content_length = 0
        self.chunked = False
        self.expect_continue = False
        self.notes: object = None
        """What the server has concluded from this head."""

    def without(self, name: bytes) -> "RequestHead":
        """Returns the same head without the field ``name``."""
        headers = {each: value for each, value in self.headers.items() if each != name}
        head = RequestHead(self.method, self.path, self.query, headers, self.http11)
        head.keep_alive = self.keep_alive
        head.content_length = self.content_length
        head.chunked = self.chunked
        head.expect_continue = self.expect_continue
        head.notes = self.notes
        return head

    def with_length(self, digits: bytes, length: int) -> "RequestHead":
        """Returns the same head for a body of ``length`` bytes; the field contains ``digits``."""
        headers = {**self.headers, b"content-length": digits}
        head = RequestHead(self.method, self.path, self.query, headers, self.http11)
        head.keep_alive = self.keep_alive
        head.content_length = length
        head.notes = self.notes
        return head


def every_body_is_bounded(_path: str) -> bool:
    """The :data:`IsUnbounded` of a server that holds all bodies in memory."""
    return False


def parse_head(head: bytes, limits: Limits, is_unbounded: IsUnbounded = every_body_is_bounded) -> RequestHead:
    """Parses a whole head. Raises ProtocolError with the status of the response."""
    check_head(head, limits)
    parser = h11.Connection(h11.SERVER, limits.max_head_bytes + 1)
    parser.receive_data(head)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        # h11 suggests 501 for an unknown transfer coding, else 400. Sizes have been checked.
        # Messages that quote the offending line are replaced, because it may contain a secret.
        message = str(error)
        if "bytearray" in message:
            message = "a line of the request head is malformed"
        raise ProtocolError(error.error_status_hint, message) from error
    if not isinstance(event, h11.Request):
        raise ProtocolError(400, "the request head is malformed")
    http11 = check_version(event.http_version)
    authority, path, query = split_target(event.method, event.target)
    headers: dict[bytes, bytes] = {}
    for name, value in event.headers:
        if name in headers:
            if name == b"host":
                raise ProtocolError(400, "there is more than one Host field")
            headers[name] += b", " + value
        else:
            headers[name] = value
    request = RequestHead(event.method.decode("ascii"), path, query, headers, http11)
    _check_fields(request, limits, is_unbounded)
    if authority is not None:
        # RFC 9112 section 3.2.2: the authority of the target replaces the Host field.
        headers[b"host"] = authority
    return request


def refused_head(buffer: bytes) -> RequestHead:
    """Returns the method and the path of a request whose head was refused, each "-" if it cannot be read. The path
    selects the format of the error."""
    line = _METHOD_AND_PATH.match(buffer)
    if line is not None:
        try:
            _, path, _ = split_target(line[1], line[2])
        except ProtocolError:
            pass
        else:
            return RequestHead(line[1].decode("ascii"), path, b"", {}, True)
    return RequestHead("-", "-", b"", {}, True)


def _check_fields(request: RequestHead, limits: Limits, is_unbounded: IsUnbounded) -> None:
    headers = request.headers
    host = headers.get(b"host")
    if host is None:
        if request.http11:
            raise ProtocolError(400, "the Host field is missing")
    elif not valid_host(host):
        raise ProtocolError(400, "the Host field is not a host name with an optional port")
    length = headers.get(b"content-length")
    if b"transfer-encoding" in headers:
        if length is not None:
            raise ProtocolError(400, "Transfer-Encoding and Content-Length exclude each other")
        if not request.http11:
            raise ProtocolError(400, "Transfer-Encoding is not defined for HTTP/1.0")
        request.chunked = True
    elif length is not None:
        request.content_length = int(length)
        if request.content_length > limits.max_body_bytes and not is_unbounded(request.path):
            raise ProtocolError(413, f"the request body is larger than {limits.max_body_bytes} bytes")
    expect = headers.get(b"expect")
    if expect is not None and request.http11:
        if expect.lower() != b"100-continue":
            raise ProtocolError(417, "the only expectation that can be met is 100-continue")
        request.expect_continue = True
    connection = headers.get(b"connection")
    if connection is not None:
        tokens = [token.strip() for token in connection.lower().split(b",")]
        if b"close" in tokens:
            request.keep_alive = False
        elif b"keep-alive" in tokens:
            request.keep_alive = True
