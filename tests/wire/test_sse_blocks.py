"""Blocks of whole events out of the ring: nothing lost, nothing cut in the middle, nothing searched twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import bytewise, cut, cut_points, whole_split_and_bytewise
from ztoapi.wire.buffer import Ring, RingOverflow, Rings
from ztoapi.wire.limits import RING_BYTES
from ztoapi.wire.sse import EventBlocks

LIMIT = 60000


def blocks(pieces: list[bytes], limit: int = LIMIT) -> tuple[list[bytes], bytes]:
    """The blocks taken, and what is left."""
    stream = EventBlocks(Rings(limit, 1))
    taken = [stream.feed(piece) for piece in pieces]
    return [block for block in taken if block], rest_of(stream)


def rest_of(stream: EventBlocks) -> bytes:
    """The incomplete event: the next blank line completes it."""
    return stream.feed(b"\n\n")[:-2]


def events_of(stream: bytes) -> int:
    """The number of blank lines, by the specification's own steps: normalise the line ends, count."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return lines[:-1].count(b"")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30).map(str.encode)
lines = st.builds(bytes.__add__, st.sampled_from([b"data: ", b"data:", b": ", b"event: ", b"id: ", b"x"]), texts)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    ending = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    events = draw(st.lists(st.lists(lines, min_size=1, max_size=4), max_size=6))
    return b"".join(ending.join(event) + 2 * ending for event in events)


@given(streams(), st.binary(max_size=20), cut_points(400))
def test_the_blocks_are_the_stream_and_each_ends_at_a_blank_line(stream: bytes, rest: bytes, points: list[int]) -> None:
    rest = rest.translate(None, b"\r\n")
    taken, left = blocks(cut(stream + rest, points))
    assert b"".join(taken) + left == stream + rest
    assert left == rest
    for block in taken:
        assert block.endswith((b"\n\n", b"\n\r\n", b"\r\r"))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_every_split_yields_every_event_as_soon_as_its_blank_line_has_come(ending: bytes) -> None:
    first, second = ending.join([b"event: a", b"data: 1", b"", b""]), ending.join([b": comment", b"", b""])
    for pieces in whole_split_and_bytewise(first + second + b"data: partial"):
        taken, left = blocks(pieces)
        assert b"".join(taken) == first + second
        assert left == b"data: partial"
    assert blocks(bytewise(first + second)) == ([first, second], b"")
    assert blocks([first + second]) == ([first + second], b"")


def test_a_single_line_end_completes_nothing() -> None:
    assert blocks([b"data: 1\n", b"data: 2\r\n", b"data: 3\r", b"x: 4"]) == (
        [],
        b"data: 1\ndata: 2\r\ndata: 3\rx: 4",
    )


@given(st.binary(max_size=200), cut_points(200))
def test_arbitrary_bytes_come_out_as_they_went_in(stream: bytes, points: list[int]) -> None:
    taken, left = blocks(cut(stream, points))
    # A byte order mark at the start is no part of the stream.
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    assert b"".join(taken) + left == stream
    at = 0
    for block in taken:
        at += len(block)
        assert stream[:at].endswith((b"\n\n", b"\n\r\n", b"\r\r"))


def test_the_rest_behind_a_block_is_searched_anew() -> None:
    stream = EventBlocks(Rings(LIMIT, 1))
    assert stream.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert stream.feed(b"\n\nx") == b"data: 2\n\n"
    assert rest_of(stream) == b"x"


def test_whole_events_pass_without_a_ring() -> None:
    block = b"data: 1\n\n"
    rings = Rings(LIMIT, 0)
    assert EventBlocks(rings).feed(block) is block


def test_a_ring_is_borrowed_while_an_event_is_incomplete_and_no_longer() -> None:
    rings = Rings(LIMIT, 1)
    ring = rings.borrow()
    rings.give_back(ring)
    stream = EventBlocks(rings)
    assert stream.feed(b"data: 1") == b""
    assert rings.borrow() is not ring
    assert stream.feed(b"\n\n") == b"data: 1\n\n"
    assert rings.borrow() is ring
    stream.feed(b"data: 2")
    rings.give_back(ring)
    other = EventBlocks(rings)
    other.feed(b"data: 3")
    other.close()
    other.close()
    assert rings.borrow() is ring
    assert len(ring) == 0


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_an_event_larger_than_a_ring_comes_out_whole(ending: bytes) -> None:
    event = b"data: " + bytes(range(32, 127)) * 400 + ending + ending
    assert RING_BYTES < len(event) < LIMIT
    taken, left = blocks([b"data: small\n\n", event[:10], event[10:], b"data: next\n\n"])
    assert taken == [b"data: small\n\n", event, b"data: next\n\n"]
    assert left == b""


def test_an_event_larger_than_the_limit_overflows() -> None:
    fits = b"x" * LIMIT
    assert blocks([fits, b"\n\n"], LIMIT)[0] == [fits + b"\n\n"]
    with pytest.raises(RingOverflow):
        blocks([fits + b"x"])


def test_whole_events_of_more_than_the_limit_do_not_overflow() -> None:
    stream = b"data: event\n\n" * 10000
    taken, left = blocks([stream])
    assert len(stream) > LIMIT
    assert b"".join(taken) == stream
    assert left == b""


class CountedBytearray(bytearray):
    """Counts the bytes that searches look at."""

    looked_at = 0

    def rfind(self, sub: object, start: object = 0, end: object = None) -> int:
        assert isinstance(sub, bytes)
        assert isinstance(start, int)
        assert isinstance(end, int)
        self.looked_at += end - start
        return super().rfind(sub, start, end)


class CountedRings(Rings):
    """Lends one ring that counts."""

    def __init__(self, size: int) -> None:
        super().__init__(LIMIT, 0)
        self.ring = Ring(size, LIMIT)
        self.counted = self.ring.buf = CountedBytearray(size)
        self.ring._view = memoryview(self.counted)

    def borrow(self) -> Ring:
        return self.ring


def test_a_large_event_in_small_pieces_is_searched_once() -> None:
    size = 30000
    rings = CountedRings(65536)
    stream = EventBlocks(rings)
    for _ in range(size):
        assert stream.feed(b"x") == b""
    # Three marks, each over what is new and two bytes before it.
    assert size <= rings.counted.looked_at <= 3 * 3 * size


@given(streams())
def test_as_many_blank_lines_come_out_as_went_in(stream: bytes) -> None:
    taken, _ = blocks([stream])
    assert events_of(b"".join(taken)) == events_of(stream)
