"""Requests as this server, h11 and httptools (llhttp) read them.

Where two of them read a request out of the same bytes, it is the same request with the same body: otherwise a proxy
with the other parser could be made to disagree about the end of a request. Refusals may differ, for the listed reasons.
"""

import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ztoapi.errors import ProtocolError
from ztoapi.wire.guard import split_target
from ztoapi.wire.limits import Limits
from ztoapi.wire.server import ServerWire, State

EXAMPLES: Final = 300
SECOND: Final = b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n"


class Read(NamedTuple):
    """One request as a parser reads it."""

    method: str
    path: str
    query: bytes
    body: bytes


class Reading(NamedTuple):
    """The requests at the beginning of some bytes, up to one that ends the connection, and the refusal of the next."""

    requests: list[Read]
    refusal: str


def read_here(data: bytes) -> Reading:
    wire = ServerWire(Limits())
    wire.receive_data(data)
    found: list[Read] = []
    try:
        while True:
            head = wire.next_head()
            if head is None:
                return Reading(found, "")
            while wire.state is State.BODY and wire.held:
                wire.continue_body()
            if wire.state is not State.COMPLETE:
                return Reading(found, "")
            found.append(Read(head.method, head.path, head.query, bytes(wire.body)))
            if not head.keep_alive:
                return Reading(found, "")
            wire.next_request()
    except ProtocolError as error:
        return Reading(found, error.message)


def read_by_h11(data: bytes) -> Reading:
    found: list[Read] = []
    try:
        while data:
            parser = h11.Connection(h11.SERVER)
            parser.receive_data(data)
            head = parser.next_event()
            if not isinstance(head, h11.Request):
                break
            body = b""
            while isinstance(event := parser.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                break
            found.append(Read(head.method.decode(), *parts(head.method, head.target), body))
            data = parser.trailing_data[0]
    except h11.RemoteProtocolError as error:
        return Reading(found, str(error))
    return Reading(found, "")


class _Messages:
    """Callbacks of httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.found: list[Read] = []

    def on_message_begin(self) -> None:
        self.target = self.body = b""

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        method = self.parser.get_method()
        self.found.append(Read(method.decode(), *parts(method, self.target), self.body))


def read_by_llhttp(data: bytes) -> Reading:
    messages = _Messages()
    try:
        messages.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        return Reading(messages.found, repr(error))
    return Reading(messages.found, "")


def parts(method: bytes, target: bytes) -> tuple[str, bytes]:
    try:
        return split_target(method, target)[1:]
    except (ProtocolError, UnicodeDecodeError):
        return target.decode("latin-1"), b""


STRICTER: Final = {
    "CONNECT is not supported": "no tunnels",
    "Found multiple Host: headers": "RFC 9112 section 3.2; llhttp leaves Host to its caller",
    "Missing mandatory Host: header": "the same",
    "the Host field is missing": "in HTTP/1.2 too, where h11 accepts it",
    "the Host field is not a host name with an optional port": "a proxy could route by another reading of it",
    "Only Transfer-Encoding: chunked is supported": "RFC 9112 section 6.1; llhttp reads to the connection's end",
    "a line of the request head does not end in CRLF": "section 2.2 permits a bare LF; proxies disagree",
    "a line of the request head is malformed": "llhttp accepts several blanks, and CONNECT with any target",
    "a folded header line is not accepted; send it as one line": "RFC 9112 section 5.2; h11 unfolds",
    "the request head contains a control character": "RFC 9110 section 5.5; both pass on some",
    "only HTTP/1.0 and HTTP/1.1 are supported": "RFC 9110 section 15.6.6; both leave the version to their caller",
    "the only expectation that can be met is 100-continue": "RFC 9110 section 10.1.1; both leave it to their caller",
    "the request target contains a fragment": "RFC 9112 section 3.2; both leave the target to their caller",
    "the request target is neither a path nor an absolute http URL": "the same",
    "Transfer-Encoding and Content-Length exclude each other": "RFC 9112 section 6.1; h11 ignores the length",
    "Transfer-Encoding is not defined for HTTP/1.0": "RFC 9112 section 6.1; both read the chunks",
    "a chunk-size line is malformed": "RFC 9112 section 7.1; h11 accepts blanks, and empty extensions",
    "a trailer line is malformed": "RFC 9112 section 7.1.2; h11 unfolds",
}
"""Refusals of this server where another parser reads a request."""
LOOSER: Final = {
    "no request line received": "RFC 9112 section 2.2: an empty line before a request line; h11 refuses it",
    "HttpParserInvalidMethodError": "RFC 9110 section 9.1: any token is a method; routes refuse unknown ones with 405",
    "Invalid HTTP version": "RFC 9110 section 2.5: a minor version above 1.1 is read as 1.1",
}
"""Refusals of another parser where this server reads a request."""

METHODS = st.sampled_from(
    [b"GET", b"POST", b"PUT", b"OPTIONS", b"HEAD", b"CONNECT", b"G@T", b"get", b"PURGE", b"X", b""]
)
TARGETS = st.sampled_from(
    [
        b"/a",
        b"/a?b=c",
        b"*",
        b"http://b/a",
        b"a:443",
        b"/a#b",
        b"/\xe4",
        b"/a b",
        b"",
        b"//a",
        b"/%2e",
        b"ftp://a/",
        b"/\x7f",
    ]
)
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"HTTP/0.9", b""]
)
LINE_ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n "])
NAMES = st.sampled_from(
    (
        b"Content-Length|content-length|Transfer-Encoding|Connection|Host|Expect|Upgrade|X|Content-Length |"
        b" Content-Length|Transfer_Encoding|Transfer-Encoding\t|x\x00||\xe4"
    ).split(b"|")
)
COLONS = st.sampled_from([b": "] * 8 + [b":", b":\t", b" :", b"", b"::", b": \x0b"])
VALUES = st.sampled_from(
    (
        b"0|2|5|33|02|+2|-2|2, 2|2,3|0x2|2 2||9999999999999999999999999|\xb2|chunked|Chunked|gzip, chunked|"
        b'chunked, chunked|identity|chunked\x00|"chunked"|,chunked|close|keep-alive|upgrade|websocket|'
        b"100-continue|a|b|a/b|\x01|a\rb| 2\t"
    ).split(b"|")
)
BODIES = st.sampled_from(
    (
        b"|ab|0\r\n\r\n|2\r\nab\r\n0\r\n\r\n|2;a=b\r\nab\r\n0\r\n\r\n|2\nab\n0\n\n|"
        b"02\r\nab\r\n0\r\nx: y\r\n\r\n|2 \r\nab\r\n0\r\n\r\n|0x2\r\nab\r\n0\r\n\r\n|+2\r\nab\r\n0\r\n\r\n|"
        b"2\r\nabc\r\n0\r\n\r\n|3\r\nab\r\n0\r\n\r\n|2;a\nab\r\n0\r\n\r\n|2;\r\nab\r\n0\r\n\r\n|0\r\nx\r\n\r\n|"
        b"0\r\nx: y\n\r\n|0\r\n|2\r\nab\r0\r\n\r\n|ffffffffffffffff2\r\nab\r\n0\r\n\r\n|2\r\nab0\r\n\r\n|"
        b'2;a="\r\n"\r\nab\r\n0\r\n\r\n|0\n\r\n|\r\n|A\r\n0123456789\r\n0\r\n\r\n'
    ).split(b"|")
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request out of usual and unusual parts, with a few bytes replaced."""
    line = draw(METHODS) + b" " + draw(TARGETS) + b" " + draw(VERSIONS) + draw(LINE_ENDS)
    fields = [b"host: a\r\n"] if draw(st.integers(0, 9)) else []
    fields += draw(st.sampled_from([[], [b"transfer-encoding: chunked\r\n"], [b"content-length: 5\r\n"]]))
    for _ in range(draw(st.integers(0, 3))):
        fields.append(draw(NAMES) + draw(COLONS) + draw(VALUES) + draw(LINE_ENDS))
    data = line + b"".join(fields) + draw(LINE_ENDS) + draw(BODIES)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=2)) + data[place + draw(st.integers(0, 2)) :]
    return data + SECOND


def disagreement(data: bytes, others: Reading) -> str:
    """Returns the refusal by which two readings differ; an empty string if they agree. Fails if both read a request,
    and not the same one."""
    here = read_here(data)
    for ours, theirs in itertools.zip_longest(here.requests, others.requests):
        if ours is None:
            # After the last request of a connection this server reads nothing.
            return here.refusal
        if theirs is None:
            return others.refusal
        assert ours == theirs
    return ""


@pytest.mark.parametrize("read", [read_by_h11, read_by_llhttp])
@settings(max_examples=EXAMPLES)
@given(data=requests())
def test_two_parsers_read_the_same_request(read: Callable[[bytes], Reading], data: bytes) -> None:
    refusal = disagreement(data, read(data))
    assert not refusal or refusal in STRICTER or any(reason in refusal for reason in LOOSER)


SEEN: Final = [
    b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" + SECOND,
    b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n01234" + SECOND,
]


@pytest.mark.parametrize("data", SEEN)
def test_plain_requests_are_read_by_all(data: bytes) -> None:
    """A parser that refused everything would agree with any other."""
    assert len(read_here(data).requests) == 2
    assert read_here(data) == read_by_h11(data) == read_by_llhttp(data)
