"""A head that comes again is recognised, and only then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.errors import ProtocolError
from ztoapi.wire.limits import Limits
from ztoapi.wire.request import HeadMemory, parse_head
from ztoapi.wire.server import ServerWire, State

LIMITS = Limits(max_body_bytes=1000)
HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nAuthorization: Bearer k\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def remembering(octets: bytes) -> HeadMemory:
    memory = HeadMemory(LIMITS)
    memory.keep(octets, parse_head(octets, LIMITS))
    return memory


@given(st.integers(0, 1000), st.integers(0, 1000), st.binary(max_size=20))
def test_the_same_head_with_another_length_is_what_parsing_would_give(first: int, second: int, rest: bytes) -> None:
    known = remembering(HEAD % first).recall(HEAD % second + rest)
    assert known is not None
    parsed = parse_head(HEAD % second, LIMITS)
    assert known[1] == len(HEAD % second)
    for name in parsed.__slots__:
        assert getattr(known[0], name) == getattr(parsed, name)


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"Bearer k", b"Bearer l") % 5,
        HEAD.replace(b"/a", b"/b") % 5,
        (HEAD % 5)[:-4],
        (HEAD % 5)[:-1],
        (HEAD % 5).replace(b": 5\r\n", b": +5\r\n"),
        (HEAD % 5).replace(b": 5\r\n", b": 5, 5\r\n"),
        (HEAD % 5).replace(b": 5\r\n", b": \r\n"),
        (HEAD % 5).replace(b": 5\r\n", b": 5\r\nTransfer-Encoding: chunked\r\n"),
        (HEAD % 5).replace(b": 5\r\n", b": 5\nX: y\r\n"),
        HEAD % 10**12,
        GET,
    ],
)
def test_any_other_head_is_parsed(other: bytes) -> None:
    assert remembering(HEAD % 5).recall(other) is None


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX: content-length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"y" * 3000),
    ],
)
def test_heads_that_are_not_remembered(head: bytes) -> None:
    assert remembering(head).recall(head) is None


def test_a_body_over_the_limit_is_refused() -> None:
    memory = remembering(HEAD % 5)
    with pytest.raises(ProtocolError) as caught:
        memory.recall(HEAD % 1001)
    assert caught.value.status == 413


def test_a_connection_answers_remembered_and_new_heads_alike() -> None:
    wire = ServerWire(LIMITS)
    wire.receive_data(HEAD % 2 + b"ab" + HEAD % 3 + b"cde" + GET + GET + HEAD % 0)
    seen: list[tuple[str, bytes]] = []
    while len(wire.held) or not seen:
        head = wire.next_head()
        assert head is not None
        assert wire.state is State.IN_HAND
        seen.append((head.method, bytes(wire.body)))
        wire.next_request()
    assert seen == [("POST", b"ab"), ("POST", b"cde"), ("GET", b""), ("GET", b""), ("POST", b"")]
