"""The ring against a plain bytes model, what it promises about its size, and the lending of rings."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ztoapi.wire.buffer import Ring, RingOverflow, Rings

CAPACITY = 8192
LIMIT = 20000


class AgainstModel(RuleBasedStateMachine):
    """The model is one string: what is unread."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(CAPACITY, LIMIT)
        self.unread = b""
        self.counter = 0
        self.largest = 0
        self.blocks: list[tuple[bytes, bytes]] = []

    @rule(count=st.integers(0, 9000))
    def append(self, count: int) -> None:
        # Bytes that differ from those before them, so that a shift by any amount shows.
        self.counter += 1
        data = (b"%d." % self.counter * (count // 2 + 1))[:count]
        self.ring.append(data)
        self.unread += data
        self.largest = max(self.largest, len(self.unread))

    @precondition(lambda self: self.unread)
    @rule(part=st.floats(0, 1))
    def take(self, part: float) -> None:
        count = int(len(self.unread) * part)
        block = self.ring.take(self.ring.start + count)
        self.blocks.append((block, self.unread[:count]))
        self.unread = self.unread[count:]

    @rule()
    def clear(self) -> None:
        self.ring.clear()
        self.unread = b""

    @rule()
    def check_limit(self) -> None:
        if len(self.unread) > LIMIT:
            with pytest.raises(RingOverflow):
                self.ring.check_limit()
        else:
            self.ring.check_limit()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        ring = self.ring
        assert len(ring) == len(self.unread)
        assert bytes(ring.buf[ring.start : ring.tail]) == self.unread
        # Bytes that were taken are not overwritten by later ones.
        assert all(block == expected for block, expected in self.blocks[-20:])

    @invariant()
    def is_no_larger_than_its_content_needs(self) -> None:
        ring = self.ring
        assert len(ring.buf) <= max(CAPACITY, 2 * self.largest)
        if not ring.tail:
            assert len(ring.buf) == CAPACITY


AgainstModel.TestCase.settings = settings(stateful_step_count=40)
TestAgainstModel = AgainstModel.TestCase


def test_a_ring_whose_content_is_always_taken_never_moves_or_grows() -> None:
    ring = Ring(CAPACITY, LIMIT)
    storage = ring.buf
    for _ in range(100):
        ring.append(b"x" * 8000)
        ring.take(ring.tail)
    assert ring.buf is storage
    assert (ring.start, ring.tail) == (0, 0)


def test_what_is_unread_is_moved_to_the_front_before_the_ring_grows() -> None:
    ring = Ring(CAPACITY, LIMIT)
    storage = ring.buf
    ring.append(b"x" * 7000 + b"rest")
    ring.take(7000)
    ring.searched = 4
    ring.append(b"y" * (CAPACITY - 4))
    assert ring.buf is storage
    # Moving keeps what has been searched, taking does not.
    assert ring.searched == 4
    assert ring.take(4) == b"rest"
    assert ring.searched == 0
    ring.append(b"zzzz")
    assert ring.buf is storage
    assert ring.take(ring.tail) == b"y" * (CAPACITY - 4) + b"zzzz"


def test_a_ring_grows_by_doubling_and_goes_back_to_its_size_once_emptied() -> None:
    ring = Ring(CAPACITY, LIMIT)
    content = bytes(range(256)) * 64
    for at in range(0, len(content), 100):
        ring.append(content[at : at + 100])
    assert len(ring.buf) == 2 * CAPACITY
    ring.append(b"x")
    assert len(ring.buf) == 4 * CAPACITY
    assert ring.take(ring.tail) == content + b"x"
    assert len(ring.buf) == CAPACITY


@pytest.mark.parametrize(("size", "fits"), [(LIMIT, True), (LIMIT + 1, False)])
def test_the_limit_is_on_what_is_unread(size: int, fits: bool) -> None:
    ring = Ring(CAPACITY, LIMIT)
    ring.append(b"x" * size)
    if fits:
        ring.check_limit()
    else:
        with pytest.raises(RingOverflow):
            ring.check_limit()
    ring.take(100)
    ring.check_limit()


def test_the_repr_shows_the_cursors() -> None:
    ring = Ring(CAPACITY, LIMIT)
    ring.append(b"abc")
    assert repr(ring) == "<Ring 0:3/8192>"


def test_rings_are_made_beforehand_lent_and_taken_back_empty() -> None:
    rings = Rings(LIMIT, 2)
    first, second = rings.borrow(), rings.borrow()
    assert first is not second
    first.append(b"x" * 100)
    rings.give_back(first)
    assert rings.borrow() is first
    assert not len(first)


def test_no_more_rings_are_kept_than_were_made() -> None:
    rings = Rings(LIMIT, 2)
    lent = [rings.borrow() for _ in range(4)]
    assert len(set(map(id, lent))) == 4
    for ring in lent:
        rings.give_back(ring)
    assert {id(rings.borrow()) for _ in range(2)} == set(map(id, lent[:2]))
    assert id(rings.borrow()) not in map(id, lent)
