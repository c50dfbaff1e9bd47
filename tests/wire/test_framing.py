"""Hand-made answers, read by a second implementation: h11 as a client."""

from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import bytewise
from tests.support.table import table
from ztoapi.wire.framing import CONTINUE, LAST_CHUNK, chunk, fixed_head, stream_head, valid_request_id

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
FINAL = sorted(status.value for status in HTTPStatus if status.value >= 200)


def read(raw: bytes, method: str = "GET", *, closed: bool = False) -> tuple[h11.Response, bytes, h11.Connection]:
    """The answer as h11 reads it; its body must end with the bytes (or with the connection)."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    for byte in bytewise(raw):
        client.receive_data(byte)
    if closed:
        client.receive_data(b"")
    response, body = None, b""
    while True:
        event = client.next_event()
        if isinstance(event, h11.InformationalResponse):
            continue
        if isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.EndOfMessage), event
            break
    assert response is not None
    assert client.trailing_data[0] == b""
    return response, body, client


@table("close", [False, True])
@table("status", [*FINAL, 529])
def test_a_fixed_answer_is_read_by_another_implementation(status: int, close: bool) -> None:
    bodiless = status in {204, 304}
    body = b"" if bodiless else b"x" * 300
    head = fixed_head(
        status, b"text/plain", len(body), date=DATE, request_id=b"id-1", headers=b"allow: GET\r\n", close=close
    )
    response, received, client = read(CONTINUE + head + body)
    headers = dict(response.headers)
    assert response.status_code == status
    assert response.http_version == b"1.1"
    assert received == body
    assert headers[b"date"] == DATE
    assert headers[b"x-request-id"] == b"id-1"
    assert headers[b"allow"] == b"GET"
    assert headers.get(b"content-type") == (None if bodiless else b"text/plain")
    assert (client.their_state is h11.MUST_CLOSE) is close


def test_no_content_has_no_framing() -> None:
    head = fixed_head(204, b"text/plain", 0, date=DATE, request_id=b"x", headers=b"", close=False)
    assert b"content-length" not in head
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")


def test_an_answer_to_head_announces_the_length() -> None:
    head = fixed_head(200, b"text/plain", 300, date=DATE, request_id=b"x", headers=b"", close=False)
    response, body, _ = read(head, "HEAD")
    assert dict(response.headers)[b"content-length"] == b"300"
    assert body == b""


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_a_chunked_stream_is_read_by_another_implementation(parts: list[bytes]) -> None:
    head = stream_head(
        b"text/event-stream", date=DATE, request_id=b"id-1", headers=b"vary: origin\r\n", chunked=True, close=False
    )
    response, body, client = read(head + b"".join(map(chunk, parts)) + LAST_CHUNK)
    headers = dict(response.headers)
    assert body == b"".join(parts)
    assert headers[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in headers
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"date"] == DATE
    assert headers[b"x-request-id"] == b"id-1"
    assert client.their_state is h11.DONE


def test_a_stream_without_chunks_ends_with_the_connection() -> None:
    head = stream_head(b"text/event-stream", date=DATE, request_id=b"x", headers=b"", chunked=False, close=True)
    response, body, _ = read(head + b"data: 1\n\n", closed=True)
    assert body == b"data: 1\n\n"
    assert b"transfer-encoding" not in dict(response.headers)


def test_a_stream_without_its_last_chunk_is_no_whole_answer() -> None:
    head = stream_head(b"text/event-stream", date=DATE, request_id=b"x", headers=b"", chunked=True, close=True)
    with pytest.raises(h11.RemoteProtocolError, match="peer closed connection"):
        read(head + chunk(b"data: 1\n\n"), closed=True)


@pytest.mark.parametrize("value", [b"a", b"req-1_2.3:4/5+6=", b"x" * 128])
def test_request_ids_that_may_be_echoed(value: bytes) -> None:
    assert valid_request_id(value)


@given(st.binary(max_size=130))
def test_an_id_that_may_be_echoed_cannot_end_a_header_line(value: bytes) -> None:
    if valid_request_id(value):
        assert 1 <= len(value) <= 128
        assert value.isascii()
        assert value.decode().isprintable()
        assert not set(value) & set(b' ",;\\<>')


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"a b", b"a\r\nx: y", b"a\n", b"\xe4", b'a"'])
def test_request_ids_that_may_not(value: bytes) -> None:
    assert not valid_request_id(value)
