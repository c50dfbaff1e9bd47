"""Blocks of whole events out of the ring: nothing lost, nothing cut in the middle, nothing searched twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import bytewise, cut, cut_points, whole_split_and_bytewise
from ztoapi.wire.buffer import Ring, RingOverflow
from ztoapi.wire.sse import take_events

LIMIT = 40000


def put(ring: Ring, octets: bytes) -> None:
    ring.writable()[: len(octets)] = octets
    ring.wrote(len(octets))
    ring.decoded_all()


def blocks(pieces: list[bytes], ring: Ring | None = None) -> tuple[list[bytes], bytes]:
    """The blocks taken, and what is left."""
    ring = ring or Ring(8192, LIMIT)
    taken = []
    for piece in pieces:
        for at in range(0, len(piece), 4096):
            put(ring, piece[at : at + 4096])
            taken.append(take_events(ring))
    return [block for block in taken if block], ring.take_all()


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
def test_arbitrary_octets_come_out_as_they_went_in(stream: bytes, points: list[int]) -> None:
    taken, left = blocks(cut(stream, points))
    assert b"".join(taken) + left == stream
    at = 0
    for block in taken:
        at += len(block)
        assert stream[:at].endswith((b"\n\n", b"\n\r\n", b"\r\r"))


def test_the_rest_behind_a_block_is_searched_anew() -> None:
    ring = Ring(8192, LIMIT)
    put(ring, b"data: 1\n\ndata: 2")
    assert take_events(ring) == b"data: 1\n\n"
    put(ring, b"\n\nx")
    assert take_events(ring) == b"data: 2\n\n"
    assert ring.take_all() == b"x"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_an_event_larger_than_the_ring_comes_out_whole(ending: bytes) -> None:
    event = b"data: " + bytes(range(32, 127)) * 350 + ending + ending
    assert 8192 < len(event) < LIMIT
    ring = Ring(8192, LIMIT)
    taken, left = blocks([b"data: small\n\n", event[:10], event[10:], b"data: next\n\n"], ring)
    assert taken == [b"data: small\n\n", event, b"data: next\n\n"]
    assert left == b""
    assert len(ring.buf) == 8192


def test_an_event_larger_than_the_limit_overflows() -> None:
    ring = Ring(8192, LIMIT)
    fits = b"x" * LIMIT
    assert blocks([fits + b"\n\n"], Ring(8192, LIMIT + 2))[0] == [fits + b"\n\n"]
    with pytest.raises(RingOverflow):
        blocks([fits + b"x"], ring)


def test_whole_events_of_more_than_the_limit_do_not_overflow() -> None:
    stream = b"data: event\n\n" * 10000
    taken, left = blocks([stream])
    assert len(stream) > LIMIT
    assert b"".join(taken) == stream
    assert left == b""


class CountedBytearray(bytearray):
    """Counts the octets that searches look at."""

    looked_at = 0

    def rfind(self, sub: object, start: object = 0, end: object = None) -> int:
        assert isinstance(sub, bytes)
        assert isinstance(start, int)
        assert isinstance(end, int)
        self.looked_at += end - start
        return super().rfind(sub, start, end)


def test_a_large_event_in_small_pieces_is_searched_once() -> None:
    size = 30000
    ring = Ring(65536, LIMIT)
    counted = ring.buf = CountedBytearray(65536)
    ring.view = memoryview(counted)
    for _ in range(size):
        put(ring, b"x")
        assert take_events(ring) == b""
    assert ring.buf is counted
    # Three marks, each over what is new and two octets before it.
    assert size <= counted.looked_at <= 3 * 3 * size


@given(streams())
def test_as_many_blank_lines_come_out_as_went_in(stream: bytes) -> None:
    taken, _ = blocks([stream])
    assert events_of(b"".join(taken)) == events_of(stream)
