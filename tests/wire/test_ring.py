"""The ring against a plain bytes model, and what it promises about its size."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ztoapi.wire.buffer import MIN_READ_BYTES, Ring, RingOverflow

CAPACITY = 8192
LIMIT = 20000


class AgainstModel(RuleBasedStateMachine):
    """The model is three strings: unread payload, undecoded octets, and the octets taken so far."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(CAPACITY, LIMIT)
        self.payload = b""
        self.undecoded = b""
        self.counter = 0
        self.blocks: list[tuple[bytes, bytes]] = []

    def fresh(self, count: int) -> bytes:
        """Octets that differ from those before them, so that a shift by any amount shows."""
        self.counter += 1
        return (b"%d." % self.counter * (count // 2 + 1))[:count]

    @rule(count=st.integers(1, 6000))
    def read(self, count: int) -> None:
        space = self.ring.writable()
        octets = self.fresh(min(count, len(space)))
        space[: len(octets)] = octets
        self.ring.wrote(len(octets))
        self.undecoded += octets

    @rule()
    def decode_all(self) -> None:
        # As a body without transfer coding: legal only while payload and undecoded octets touch.
        if self.ring.end == self.ring.raw:
            self.ring.decoded_all()
            self.payload += self.undecoded
            self.undecoded = b""

    @rule(framing=st.integers(0, 30), count=st.integers(0, 6000))
    def decode_some(self, framing: int, count: int) -> None:
        """As the chunk walk does: drop ``framing`` octets, move the following ones up to the payload."""
        ring = self.ring
        framing = min(framing, len(self.undecoded))
        count = min(count, len(self.undecoded) - framing)
        raw = ring.raw + framing
        ring.view[ring.end : ring.end + count] = ring.view[raw : raw + count]
        ring.end += count
        ring.raw = raw + count
        self.payload += self.undecoded[framing : framing + count]
        self.undecoded = self.undecoded[framing + count :]

    @precondition(lambda self: self.payload)
    @rule(part=st.floats(0, 1))
    def take(self, part: float) -> None:
        count = int(len(self.payload) * part)
        block = self.ring.take(self.ring.start + count)
        self.blocks.append((block, self.payload[:count]))
        self.payload = self.payload[count:]

    @rule()
    def take_all(self) -> None:
        self.blocks.append((self.ring.take_all(), self.payload))
        self.payload = b""

    @rule()
    def clear(self) -> None:
        self.ring.clear()
        self.payload = self.undecoded = b""

    @rule()
    def check_limit(self) -> None:
        if len(self.payload) > LIMIT:
            with pytest.raises(RingOverflow):
                self.ring.check_limit()
        else:
            self.ring.check_limit()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        ring = self.ring
        assert len(ring) == len(self.payload)
        assert bytes(ring.view[ring.start : ring.end]) == self.payload
        assert bytes(ring.view[ring.raw : ring.tail]) == self.undecoded
        # What was taken is not overwritten by what comes later.
        assert all(block == expected for block, expected in self.blocks[-20:])

    @invariant()
    def is_no_larger_than_its_content_needs(self) -> None:
        ring = self.ring
        held = ring.tail - ring.start
        assert len(ring.buf) <= max(CAPACITY, 4 * (held + MIN_READ_BYTES), ring.limit * 4)
        if not self.payload and not self.undecoded and not ring.tail:
            assert len(ring.buf) == CAPACITY

    @invariant()
    def always_offers_room(self) -> None:
        if self.ring.tail - self.ring.start <= LIMIT:
            assert len(self.ring.writable()) >= MIN_READ_BYTES


AgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstModel = AgainstModel.TestCase


def fill(ring: Ring, octets: bytes) -> None:
    for at in range(0, len(octets), MIN_READ_BYTES):
        part = octets[at : at + MIN_READ_BYTES]
        ring.writable()[: len(part)] = part
        ring.wrote(len(part))
    ring.decoded_all()


def test_a_ring_whose_content_is_always_taken_never_moves_or_grows() -> None:
    ring = Ring(CAPACITY, LIMIT)
    storage = ring.buf
    for _ in range(100):
        fill(ring, b"x" * 8000)
        ring.take_all()
    assert ring.buf is storage
    assert (ring.start, ring.tail) == (0, 0)


def test_an_unread_rest_is_moved_to_the_front_before_the_ring_grows() -> None:
    ring = Ring(CAPACITY, LIMIT)
    storage = ring.buf
    fill(ring, b"x" * 7000 + b"rest")
    ring.take(7000)
    ring.searched = 4
    assert len(ring.writable()) == CAPACITY - 4
    assert ring.buf is storage
    assert ring.take_all() == b"rest"


def test_moving_keeps_what_has_been_searched() -> None:
    ring = Ring(CAPACITY, LIMIT)
    fill(ring, b"x" * 7000 + b"rest")
    ring.take(7000)
    ring.searched = 4
    ring.writable()
    assert ring.searched == 4
    ring.take(ring.start + 1)
    assert ring.searched == 0


def test_a_ring_grows_by_doubling_and_goes_back_to_its_size_once_emptied() -> None:
    ring = Ring(CAPACITY, LIMIT)
    content = bytes(range(256)) * 64
    fill(ring, content)
    ring.check_limit()
    assert len(ring.buf) == 2 * CAPACITY
    assert len(ring.writable()) >= MIN_READ_BYTES
    assert len(ring.buf) == 4 * CAPACITY
    assert ring.take_all() == content
    assert len(ring.buf) == CAPACITY


@pytest.mark.parametrize(("size", "fits"), [(LIMIT, True), (LIMIT + 1, False)])
def test_the_limit_is_on_unread_payload(size: int, fits: bool) -> None:
    ring = Ring(CAPACITY, LIMIT)
    fill(ring, b"x" * size)
    if fits:
        ring.check_limit()
    else:
        with pytest.raises(RingOverflow):
            ring.check_limit()
    ring.take(100)
    ring.check_limit()


def test_the_repr_shows_the_cursors() -> None:
    ring = Ring(CAPACITY, LIMIT)
    fill(ring, b"abc")
    assert repr(ring) == "<Ring 0:3:3:3/8192>"
