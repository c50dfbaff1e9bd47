"""A head that comes again is recognised, and only then."""

from typing import NamedTuple

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.pieces import cut, cut_points
from tests.support.table import table
from ztoapi.errors import ProtocolError
from ztoapi.wire.head_memory import MEMORY_HEADS, PERIOD_SECONDS, HeadMemory, KnownHead, cut_head
from ztoapi.wire.limits import Limits
from ztoapi.wire.request import RequestHead, parse_head
from ztoapi.wire.server import ServerWire, State

LIMITS = Limits(max_body_bytes=1000)
HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nAuthorization: Bearer k\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def make(raw: bytes) -> KnownHead | None:
    return HeadMemory(LIMITS).make(cut_head(raw), parse_head(raw, LIMITS))


def remembered(raw: bytes) -> KnownHead:
    known = make(raw)
    assert known is not None
    return known


@given(st.integers(0, 1000), st.integers(0, 1000), st.binary(max_size=20))
def test_the_same_head_with_another_length_is_what_parsing_would_give(first: int, second: int, rest: bytes) -> None:
    known = remembered(HEAD % first)
    head = known.match(HEAD % second + rest)
    parsed = parse_head(HEAD % second, LIMITS)
    assert known.end == len(HEAD % second)
    for name in parsed.__slots__:
        assert getattr(head, name) == getattr(parsed, name)


@table(
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
    assert remembered(HEAD % 5).match(other) is None


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"y" * 3000),
    ],
)
def test_heads_that_are_not_remembered(head: bytes) -> None:
    assert make(head) is None


@pytest.mark.parametrize(
    "head", [HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close"), HEAD.replace(b"1.1", b"1.0")]
)
def test_the_last_head_of_a_connection_is_remembered_for_the_next(head: bytes) -> None:
    known = remembered(head % 5).match(head % 12)
    assert known is not None
    assert (known.keep_alive, known.content_length) == (False, 12)


@pytest.mark.parametrize(
    ("head", "other"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: content-length: 5\r\nContent-Length: %d\r\n\r\n", b"X: content-length: 6"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Content-Length: 5\r\n\r\n", b"X-Content-Length: 6"),
        (b"POST /content-length:5 HTTP/1.1\r\nHost: x\r\ncONTENT-lENGTH:%d\r\n\r\n", b"/content-length:6"),
    ],
)
def test_only_the_digits_of_the_field_may_differ(head: bytes, other: bytes) -> None:
    known = remembered(head % 5)
    found = known.match(head % 70)
    assert found is not None
    assert found.content_length == 70
    assert known.match(head.replace(other[:-1] + b"5", other) % 5) is None


def test_a_body_over_the_limit_is_refused() -> None:
    memory = HeadMemory(LIMITS)
    assert read(HEAD % 2 + b"ab" + HEAD % 1001, [], memory)[1] == 413
    assert read(HEAD % 1001, [], memory)[1] == 413
    assert read(HEAD % 2 + b"ab", [], memory)[1] == b""


def test_a_connection_answers_remembered_and_new_heads_alike() -> None:
    wire = ServerWire(LIMITS)
    wire.receive_data(HEAD % 2 + b"ab" + HEAD % 3 + b"cde" + GET + GET + HEAD % 0)
    seen: list[tuple[str, bytes]] = []
    while len(wire.held) or not seen:
        head = wire.next_head()
        assert head is not None
        assert wire.state is State.COMPLETE
        seen.append((head.method, bytes(wire.body)))
        wire.next_request()
    assert seen == [("POST", b"ab"), ("POST", b"cde"), ("GET", b""), ("GET", b""), ("POST", b"")]


class Found(NamedTuple):
    """A request as it was read."""

    method: str
    target: tuple[str, bytes]
    headers: dict[bytes, bytes]
    http11: bool
    keep_alive: bool
    expect_continue: bool
    body: bytes


def read(raw: bytes, points: list[int], memory: HeadMemory | None = None) -> tuple[list[Found], int | bytes]:
    """The requests that a connection finds in ``raw``, and the status of the refusal or the rest after them. It shares
    its heads in ``memory``."""
    wire, found = ServerWire(LIMITS, memory=memory), []
    head: RequestHead | None = None
    try:
        for piece in cut(raw, points):
            if wire.state is not State.HEAD or (head := wire.take_request(piece)) is None:
                wire.receive_data(piece)
            while head is not None or wire.held:
                head = head or wire.next_head()
                if head is None or wire.state is not State.COMPLETE:
                    break
                target = head.path, head.query
                fields = dict(head.headers)
                keep, expect = head.keep_alive, head.expect_continue
                found.append(Found(head.method, target, fields, head.http11, keep, expect, bytes(wire.body)))
                if memory is not None:
                    wire.share_head(1)
                wire.next_request()
                head = None
    except ProtocolError as error:
        return found, error.status
    return found, wire.held if head is None else bytes(wire.body)


def read_by_h11(raw: bytes) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """The fields and the body that h11 alone finds at the beginning of ``raw``; None where it refuses them."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    body = b""
    try:
        request = connection.next_event()
        assert isinstance(request, h11.Request)
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    return list(request.headers), body if isinstance(event, h11.EndOfMessage) else b"?"


def in_any_case(word: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([word, word.upper(), word.title(), word.swapcase()[:3] + word[3:]])


WORDS = b"content-length transfer-encoding chunked expect connection close keep-alive host 100-continue 5 05 0 12 a:80"
PHRASES = [b"content-length: 5", b"transfer-encoding: chunked", b"5, 5"]
framing_words = st.sampled_from([*WORDS.split(), *PHRASES]).flatmap(in_any_case)
affixes = st.sampled_from([b"", b"", b"x-", b"-x", b"_", b"\xff", b" ", b";", b":", b": ", b"x: "])
names = st.tuples(affixes, framing_words, affixes).map(b"".join)
values = st.lists(names | st.sampled_from([b"\xc3\xa9", b"x"]), max_size=3).map(b" ".join)
blanks = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t "])
fields = st.tuples(names, blanks, values, blanks).map(lambda parts: b"%b:%b%b%b\r\n" % parts)
SOUND_FIELDS = [
    b"Content-Length: 5\r\n",
    b"content-length:5\r\n",
    b"Content-Length: \t05 \r\n",
    b"X-Content-Length: 5\r\n",
    b"Content-Length-X: 5\r\n",
    b"User-Agent: content-length: 41\r\n",
    b"X: \xe9\xffContent-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"X: Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: Keep-Alive, x\r\n",
]
sound_fields = st.sampled_from(SOUND_FIELDS)
targets = st.sampled_from(
    [b"/", b"/content-length:5", b"/?content-length:%205", b"http://b/content-length", b"http://b?content-length:5"]
)
lines = st.tuples(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"content-length"]), targets, st.sampled_from([b"1.1", b"1.1", b"1.0"])
).map(lambda parts: b"%b %b HTTP/%b\r\nHost: a\r\n" % parts)
heads = st.tuples(lines, st.lists(sound_fields | fields, max_size=4).map(b"".join)).map(lambda pair: b"%b%b\r\n" % pair)
bodies = st.sampled_from([b"", b"hello", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"content-len"])


@given(heads, bodies, cut_points())
@example(b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Content-Length: 5\r\n\r\n", b"", [])
@example(b"GET /livez HTTP/1.1\r\nHost: a\r\nUser-Agent: content-length: 41\r\n\r\n", b"", [])
def test_every_reading_of_a_head_on_a_connection_equals_the_first(head: bytes, body: bytes, points: list[int]) -> None:
    whole = head + body
    first, end = read(whole, [])
    assert read(whole, points) == (first, end)
    # Other connections, too, which find it in the memory of the worker.
    memory = HeadMemory(LIMITS)
    assert [read(whole, where, memory) for where in ([], points, [])] == [(first, end)] * 3
    if not first:
        return
    alone = read_by_h11(whole)
    assert alone is not None
    fields, payload = alone
    assert first[0].body == payload
    assert first[0].headers.get(b"content-length", b"") == dict(fields).get(b"content-length", b"")
    if len(first) == 1 and end == b"":
        # The body ends where the head has announced it, so the same request may come again.
        for following in (GET, HEAD % 3 + b"abc"):
            assert read(whole * 3 + following, points) == (first * 3 + read(following, [])[0], b"")
        # One request a read.
        steps = [len(whole) * number for number in range(1, 4)]
        assert read(whole * 4, steps, memory) == (first * 4, b"")


@given(heads, st.lists(heads, max_size=4), bodies)
def test_a_head_is_read_alike_whatever_the_worker_remembers(head: bytes, before: list[bytes], body: bytes) -> None:
    memory = HeadMemory(LIMITS)
    for other in before:
        read(other + body, [], memory)
    assert read(head + body, [], memory) == read(head + body, [])


def test_another_connection_does_not_parse_a_shared_head(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = HeadMemory(LIMITS)
    first = read(HEAD % 2 + b"ab", [], memory)
    monkeypatch.setattr("ztoapi.wire.server.parse_head", None)
    assert read(HEAD % 2 + b"ab", [], memory) == first
    assert read(HEAD % 10 + b"abcdefghij", [], memory)[0][0].body == b"abcdefghij"
    with pytest.raises(TypeError):
        read(HEAD % 2 + b"ab", [], HeadMemory(LIMITS))


def shared(memory: HeadMemory, number: int) -> KnownHead | None:
    """Finds a head that differs from those of other numbers."""
    return memory.find(cut_head(HEAD.replace(b"Bearer k", b"Bearer %d" % number) % 5))


def share(memory: HeadMemory, number: int, generation: int = 1) -> None:
    raw = HEAD.replace(b"Bearer k", b"Bearer %d" % number) % 5
    known = memory.make(cut_head(raw), parse_head(raw, LIMITS))
    assert known is not None
    memory.share(known, generation)


def test_the_memory_of_a_worker_is_bounded_and_keeps_what_is_used() -> None:
    memory = HeadMemory(LIMITS)
    for number in range(4 * MEMORY_HEADS):
        share(memory, number)
        assert shared(memory, 0) is not None
        assert memory.size <= 2 * MEMORY_HEADS
    assert shared(memory, 1) is None


def test_a_head_that_is_not_used_is_dropped() -> None:
    memory = HeadMemory(LIMITS)
    memory.expire(0.0)
    share(memory, 1)
    share(memory, 2)
    for period in range(1, 4):
        memory.expire(period * PERIOD_SECONDS)
        assert shared(memory, 2) is not None
    assert shared(memory, 1) is None
    assert memory.size == 1


def test_other_keys_empty_the_memory() -> None:
    memory = HeadMemory(LIMITS)
    share(memory, 1)
    share(memory, 2, generation=2)
    assert shared(memory, 1) is None
    assert shared(memory, 2) is not None
