"""Request heads: what is read out of them, and every refusal with its status."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import bytewise, cut, cut_points, whole_split_and_bytewise
from tests.support.table import table
from ztoapi.errors import ProtocolError
from ztoapi.wire.limits import Limits
from ztoapi.wire.request import RequestHead
from ztoapi.wire.server import ServerWire, State

LIMITS = Limits(max_body_bytes=1000)
HOST = b"host: a\r\n"


def requests(pieces: list[bytes], limits: Limits = LIMITS) -> Iterator[tuple[RequestHead, bytes]]:
    """Head and body of each request, as a connection that answers at once would read them."""
    wire = ServerWire(limits)
    head: RequestHead | None = None
    for piece in pieces:
        wire.receive_data(piece)
        while True:
            if wire.state is State.HEAD:
                head = wire.next_head()
            if wire.state is not State.COMPLETE:
                break
            assert head is not None
            yield head, bytes(wire.body)
            wire.next_request()


def read(data: bytes, limits: Limits = LIMITS) -> RequestHead:
    ((head, _),) = requests([data], limits)
    return head


def refusal(pieces: list[bytes], limits: Limits = LIMITS) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        list(requests(pieces, limits))
    return refused.value


def get(fields: bytes = HOST, target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return b"GET %b HTTP/%b\r\n%b\r\n" % (target, version, fields)


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "fields", "host"),
    [
        (b"http://b:1/x?q", HOST, b"b:1"),
        (b"HTTPS://[::1]", HOST, b"[::1]"),
        (b"http://b/x", b"", b"b"),
        (b"/x", HOST, b"a"),
    ],
)
def test_an_absolute_target_replaces_the_host(target: bytes, fields: bytes, host: bytes) -> None:
    """RFC 9112 section 3.2.2: the Host field does not matter, here or in the next request."""
    data = get(fields, target, b"1.1" if fields else b"1.0")
    assert read(data).headers[b"host"] == host
    if fields:
        assert [head.headers[b"host"] for head, _ in requests([data, data, get()])] == [host, host, b"a"]


def test_a_head_is_read_alike_at_every_split() -> None:
    data = b"POST /v1/chat?a=1&b HTTP/1.1\r\nHost: api:80\r\nX-A: 1\r\nx-a:  2\t\r\nContent-Length: 4\r\n\r\nbody"
    for pieces in whole_split_and_bytewise(data):
        ((head, body),) = requests(pieces)
        assert (head.method, head.path, head.query, head.http11, head.keep_alive) == (
            "POST",
            "/v1/chat",
            b"a=1&b",
            True,
            True,
        )
        assert head.headers == {b"host": b"api:80", b"x-a": b"1, 2", b"content-length": b"4"}
        assert body == b"body"


def test_pipelined_requests_are_read_in_order_at_every_split() -> None:
    data = (
        get(target=b"/1")
        + b"POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
        + b"\r\n"
        + b"POST /3 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n"
        + get(target=b"/4")
        + b"GET /unfinished HTTP/1.1\r\n"
    )
    for pieces in whole_split_and_bytewise(data):
        assert [(head.path, body) for head, body in requests(pieces)] == [
            ("/1", b""),
            ("/2", b"abc"),
            ("/3", b"de"),
            ("/4", b""),
        ]


@table(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a/b?", "/a/b", b""),
        (b"//evil/x", "/evil/x", b""),
        (b"/a%20b?q=%2F?x", "/a%20b", b"q=%2F?x"),
        (b"http://a/path?q", "/path", b"q"),
        (b"HTTPS://a:443/p", "/p", b""),
        (b"http://a", "/", b""),
        (b"http://[::1]:80?q", "/", b"q"),
    ],
)
def test_target_forms(target: bytes, path: str, query: bytes) -> None:
    head = read(get(target=target))
    assert (head.path, head.query) == (path, query)


def test_the_asterisk_belongs_to_options() -> None:
    assert read(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").path == "*"


@table(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"connection: close\r\n", False),
        (b"1.1", b"connection: x, Close\r\n", False),
        (b"1.1", b"connection: keep-alive\r\nconnection: close\r\n", False),
        (b"1.1", b"connection: closed\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"connection: Keep-Alive\r\n", True),
        (b"1.0", b"connection: close, keep-alive\r\n", False),
        (b"1.2", b"", True),
    ],
)
def test_which_connections_are_kept(version: bytes, connection: bytes, kept: bool) -> None:
    assert read(get(HOST + connection, version=version)).keep_alive is kept


def test_a_host_is_not_required_in_http10() -> None:
    assert read(get(b"", version=b"1.0")).http11 is False


@table(
    "host",
    [b"a", b"api.example.com", b"a:0", b"a:65535", b"127.0.0.1:8080", b"[::1]", b"[::ffff:1.2.3.4]:8080", b"x_y-z"],
)
def test_hosts_that_are_hosts(host: bytes) -> None:
    assert read(get(b"host: " + host + b"\r\n")).headers[b"host"] == host


@pytest.mark.parametrize("lead", [b"\r\n", b"\r\n\r\n"])
def test_up_to_two_empty_lines_before_a_request_are_ignored(lead: bytes) -> None:
    for pieces in whole_split_and_bytewise(lead + get(target=b"/1") + lead + get(target=b"/2")):
        assert [head.path for head, _ in requests(pieces)] == ["/1", "/2"]


def test_equal_lengths_are_one_length() -> None:
    ((_, body),) = requests([b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab"])
    assert body == b"ab"


def test_obs_text_in_a_value_passes_as_bytes() -> None:
    assert read(get(HOST + b"x: \xe4\xff\x80\r\n")).headers[b"x"] == b"\xe4\xff\x80"


def test_bytes_after_the_request_in_hand_wait() -> None:
    wire = ServerWire(LIMITS)
    wire.receive_data(get() + b"\x00 not HTTP")
    assert wire.next_head() is not None
    assert (wire.state, len(wire.held)) == (State.COMPLETE, 10)
    wire.receive_data(b"more")
    assert (wire.state, len(wire.held)) == (State.COMPLETE, 14)


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSALS = {
    "NUL in a value": (400, get(HOST + b"x: a\x00b\r\n")),
    "BEL in a value": (400, get(HOST + b"x: \x07\r\n")),
    "DEL in a value": (400, get(HOST + b"x: \x7f\r\n")),
    "vertical tab in a value": (400, get(HOST + b"x: \x0b\r\n")),
    "control byte in a name": (400, get(HOST + b"x\x01: a\r\n")),
    "control byte in the target": (400, get(target=b"/\x1b")),
    "tab in the request line": (400, b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    "bare LF after a field": (400, b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n"),
    "bare LF after the request line": (400, b"GET / HTTP/1.1\nhost: a\r\n\r\n"),
    "bare LF all through": (400, b"GET / HTTP/1.1\nhost: a\n\n\r\n\r\n"),
    "bare LF before the request": (400, b"\n" + get()),
    "bare CR in a value": (400, get(HOST + b"x: a\rb\r\n")),
    "bare CR before CRLF": (400, get(HOST + b"x: a\r\r\n")),
    "folded line": (400, get(HOST + b"x: a\r\n b\r\n")),
    "line folded with a tab": (400, get(HOST + b"x: a\r\n\tb\r\n")),
    "folded Transfer-Encoding": (400, get(HOST + b"transfer-encoding:\r\n chunked\r\n")),
    "blank before the first field": (400, b"GET / HTTP/1.1\r\n host: a\r\n\r\n"),
    "blank before the colon": (400, get(HOST + b"x : a\r\n")),
    "field without a colon": (400, get(HOST + b"x\r\n")),
    "field without a name": (400, get(HOST + b": a\r\n")),
    "blank in a name": (400, get(HOST + b"x y: a\r\n")),
    "both framings": (400, get(HOST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n")),
    "both framings, length 0": (400, get(HOST + b"transfer-encoding: chunked\r\ncontent-length: 0\r\n")),
    "Transfer-Encoding in HTTP/1.0": (400, get(HOST + b"transfer-encoding: chunked\r\n", version=b"1.0")),
    "unknown coding": (501, get(HOST + b"transfer-encoding: gzip\r\n")),
    "coding before chunked": (501, get(HOST + b"transfer-encoding: gzip, chunked\r\n")),
    "chunked twice": (501, get(HOST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n")),
    "identity": (501, get(HOST + b"transfer-encoding: identity\r\n")),
    "different lengths": (400, get(HOST + b"content-length: 1\r\ncontent-length: 2\r\n")),
    "negative length": (400, get(HOST + b"content-length: -1\r\n")),
    "signed length": (400, get(HOST + b"content-length: +1\r\n")),
    "length in hexadecimal": (400, get(HOST + b"content-length: 0x1\r\n")),
    "length with an underscore": (400, get(HOST + b"content-length: 1_0\r\n")),
    "empty length": (400, get(HOST + b"content-length:\r\n")),
    "length of 21 digits": (400, get(HOST + b"content-length: " + b"1" * 21 + b"\r\n")),
    "length over the limit": (413, get(HOST + b"content-length: 1001\r\n")),
    "length far over the limit": (413, get(HOST + b"content-length: 99999999999999999999\r\n")),
    "no Host": (400, get(b"x: y\r\n")),
    "no Host in HTTP/1.2": (400, get(b"", version=b"1.2")),
    "two Hosts": (400, get(b"host: a\r\nhost: b\r\n")),
    "two equal Hosts": (400, get(HOST + HOST)),
    "two Hosts in HTTP/1.0": (400, get(HOST + HOST, version=b"1.0")),
    "two Hosts in HTTP/1.2": (400, get(HOST + HOST, version=b"1.2")),
    "empty Host": (400, get(b"host: \r\n")),
    "Host with userinfo": (400, get(b"host: u@a\r\n")),
    "Host with password": (400, get(b"host: u:p@a\r\n")),
    "Host with a path": (400, get(b"host: a/b\r\n")),
    "Host with a comma": (400, get(b"host: a, b\r\n")),
    "Host list without blanks": (400, get(b"host: a/,b\r\n")),
    "Host with a blank": (400, get(b"host: a b\r\n")),
    "Host with a query": (400, get(b"host: a?b\r\n")),
    "Host with a fragment": (400, get(b"host: a#b\r\n")),
    "Host with a backslash": (400, get(b"host: a\\b\r\n")),
    "Host with obs-text": (400, get(b"host: \xe4\r\n")),
    "port too large": (400, get(b"host: a:65536\r\n")),
    "port not a number": (400, get(b"host: a:b\r\n")),
    "two ports": (400, get(b"host: a:1:2\r\n")),
    "port without a host": (400, get(b"host: :80\r\n")),
    "IPv6 address without brackets": (400, get(b"host: ::1\r\n")),
    "open bracket": (400, get(b"host: [::1\r\n")),
    "asterisk with GET": (400, get(target=b"*")),
    "authority form with GET": (400, get(target=b"a:443")),
    "relative path": (400, get(target=b"a/b")),
    "absolute form with userinfo": (400, get(target=b"http://u@a/")),
    "absolute form without a host": (400, get(target=b"http:///x")),
    "absolute form of another scheme": (400, get(target=b"ftp://a/")),
    "fragment": (400, get(target=b"/#x")),
    "fragment in absolute form": (400, get(target=b"http://a#x")),
    "obs-text in the target": (400, get(target=b"/\xe4")),
    "no target": (400, b"GET HTTP/1.1\r\nhost: a\r\n\r\n"),
    "two blanks": (400, b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /\r\nhost: a\r\n\r\n"),
    "method that is no token": (400, b"G@T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "lower-case protocol": (400, b"GET / http/1.1\r\nhost: a\r\n\r\n"),
    "three-part version": (400, b"GET / HTTP/1.1.1\r\nhost: a\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"),
    "HTTP/2.0": (505, get(version=b"2.0")),
    "HTTP/0.9 in full": (505, get(version=b"0.9")),
    "HTTP/9.9": (505, get(version=b"9.9")),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "unknown expectation": (417, get(HOST + b"expect: 200-ok\r\n")),
    "two expectations": (417, get(HOST + b"expect: 100-continue, x\r\n")),
    "three empty lines": (400, b"\r\n" * 3 + get()),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
}


@table("name", REFUSALS)
def test_refusals(name: str) -> None:
    status, data = REFUSALS[name]
    assert refusal([data]).status == status
    assert refusal([data + get()]).status == status


@table("name", sorted(REFUSALS.keys() - {"three empty lines"}))
def test_refusals_do_not_depend_on_the_pieces(name: str) -> None:
    """Empty lines are the exception: those that come alone are dropped alone."""
    status, data = REFUSALS[name]
    for pieces in whole_split_and_bytewise(data):
        assert refusal(pieces).status == status


@table("name", REFUSALS)
def test_a_refusal_is_the_end_of_the_connection(name: str) -> None:
    wire = ServerWire(LIMITS)
    wire.receive_data(REFUSALS[name][1])
    with pytest.raises(ProtocolError):
        wire.next_head()
    assert wire.state is State.BROKEN


@table(
    "data",
    [
        get(HOST + b"authorization Bearer secret\r\n"),
        get(HOST + b"authorization : Bearer secret\r\n"),
        get(HOST + b"authorization: Bearer secret\x00\r\n"),
        get(HOST + b"Authorization: Bearer\r\n secret\r\n"),
        b"GET /?token=secret\r\nhost: a\r\n\r\n",
        get(target=b"secret"),
        get(b"host: secret@a\r\n"),
        get(HOST + b"expect: secret\r\n"),
        get(HOST + b"content-length: secret\r\n"),
        get(HOST + b"transfer-encoding: secret\r\n"),
        get(version=b"secret"),
    ],
)
def test_a_refusal_never_quotes_the_head(data: bytes) -> None:
    assert "secret" not in refusal([data]).message


def test_bare_line_feeds_are_refused_as_they_come() -> None:
    """Such a head would never end."""
    for pieces in whole_split_and_bytewise(b"GET / HTTP/1.1\nhost: a\n\n"):
        assert refusal(pieces).status == 400
    assert refusal([b"GET / HTTP/1.1\r\nhost: a", b"\n"]).status == 400


def test_expectations_are_read_in_http11_only() -> None:
    expecting = HOST + b"expect: 100-Continue\r\ncontent-length: 0\r\n"
    assert read(get(expecting)).expect_continue
    assert not read(get(expecting, version=b"1.0")).expect_continue
    assert not read(get(HOST + b"expect: other\r\n", version=b"1.0")).expect_continue


@given(st.binary(max_size=200), cut_points(200))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes, points: list[int]) -> None:
    status = 400
    try:
        list(requests(cut(data, points)))
    except ProtocolError as error:
        status = error.status
    assert 400 <= status <= 505


@given(
    st.integers(0, 120),
    st.sampled_from([b"", b"\x00", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b"\xff", b"\x7f", b"HTTP/1.1"]),
    cut_points(150),
)
def test_damaged_heads_fare_alike_whole_and_in_pieces(place: int, damage: bytes, points: list[int]) -> None:
    data = b"POST /a?b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    data = data[:place] + damage + data[place + 1 :]

    def outcome(pieces: list[bytes]) -> list[tuple[str, bytes]] | str:
        try:
            return [(head.path, body) for head, body in requests(pieces)]
        except ProtocolError:
            return "refused"

    assert outcome(bytewise(data)) == outcome(cut(data, points)) == outcome([data])


# -- sizes ------------------------------------------------------------------------------------------------------------

SMALL = Limits(max_request_line_bytes=100, max_head_bytes=300, max_head_fields=5, max_body_bytes=50)


def sized(line: int = 30, head: int = 0, fields: int = 2) -> bytes:
    """A request with a request line, a whole head and a number of fields of just these sizes."""
    data = b"GET /" + b"x" * (line - 14) + b" HTTP/1.1\r\n" + HOST + b"a:b\r\n" * (fields - 2)
    padding = head - len(data) - 6
    return data + b"z:" + b"y" * max(padding, 1) + b"\r\n\r\n"


@table(
    ("data", "status"),
    [
        (sized(line=100), None),
        (sized(line=101), 414),
        (sized(line=100, head=300), None),
        (sized(line=100, head=301), 431),
        (sized(fields=5), None),
        (sized(fields=6), 431),
        (sized(line=5000), 414),
        (sized(head=5000), 431),
    ],
)
def test_sizes_are_bounded_alike_at_every_split(data: bytes, status: int | None) -> None:
    variants = whole_split_and_bytewise(data) if len(data) < 400 else iter([[data], bytewise(data)])
    for pieces in variants:
        if status is None:
            assert len(list(requests(pieces, SMALL))) == 1
        else:
            assert refusal(pieces, SMALL).status == status


def test_a_head_is_refused_as_soon_as_it_is_too_large() -> None:
    assert refusal([b"GET /" + b"x" * 97], SMALL).status == 414
    assert refusal([b"GET / HTTP/1.1\r\n" + b"x" * 290], SMALL).status == 431


def test_a_whole_head_beyond_any_limit_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser's own limit bites on unfinished heads only."""
    monkeypatch.setattr("h11.Connection", None)
    assert refusal([get(HOST + b"x: " + b"y" * 200_000 + b"\r\n")]).status == 431
    assert refusal([get(HOST + b"a:\r\n" * 50_000)]).status == 431
    assert refusal([get(HOST + b"a:\r\n" * 100)]).status == 431


def test_a_declared_length_is_judged_before_any_of_the_body() -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
    assert refusal([head % 51], SMALL).status == 413
    ((_, body),) = requests([head % 50 + b"x" * 50], SMALL)
    assert body == b"x" * 50


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_chunked_body_may_be_as_large_as_the_limit(size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    data = CHUNKED + chunk * (50 // size) + b"0\r\n\r\n"
    for pieces in whole_split_and_bytewise(data):
        ((_, body),) = requests(pieces, SMALL)
        assert body == b"x" * (50 // size * size)


@pytest.mark.parametrize("size", [1, 51, 5000])
def test_a_chunked_body_over_the_limit_is_refused(size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    data = CHUNKED + chunk * (51 // size + 1) + b"0\r\n\r\n"
    for pieces in ([data], [CHUNKED, data[len(CHUNKED) :]], bytewise(data)):
        assert refusal(pieces, SMALL).status == 413


def test_a_chunked_body_over_the_limit_is_refused_while_it_is_counted() -> None:
    assert refusal([CHUNKED, b"ff\r\n", b"x" * 51], SMALL).status == 413


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4), cut_points(1000))
def test_trailers_never_become_headers(chunks: list[bytes], points: list[int]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    data = CHUNKED + body + b"0\r\nauthorization: Bearer no\r\n\r\n" + get(target=b"/next")
    (first, received), (second, _) = requests(cut(data, points), Limits())
    assert received == b"".join(chunks)
    assert first.headers == {b"host": b"a", b"transfer-encoding": b"chunked"}
    assert second.path == "/next"


def test_a_declared_length_alone_takes_no_copy_of_the_body() -> None:
    wire = ServerWire(Limits())
    wire.receive_data(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nab")
    wire.next_head()
    body = wire.body
    wire.receive_data(b"c" * 998 + get(target=b"/next"))
    assert wire.body is body
    assert (wire.state, bytes(body), len(wire.held)) == (State.COMPLETE, b"ab" + b"c" * 998, len(get(target=b"/next")))


def test_a_declared_length_takes_no_memory_before_the_body_comes() -> None:
    wire = ServerWire(Limits())
    wire.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nx")
    assert wire.next_head() is not None
    assert sys.getsizeof(wire.body) < 1000
