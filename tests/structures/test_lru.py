"""The bounded map against a plain list of its entries, and its bound against the memory that Python measures."""

import tracemalloc

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ztoapi.structures.lru import ENTRY_BYTES, Lru

MOST_BYTES = 5 * ENTRY_BYTES
KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])


class LruMachine(RuleBasedStateMachine):
    """The model is a list of key, value and end, the next to go first."""

    def __init__(self) -> None:
        super().__init__()
        self.lru = Lru(MOST_BYTES)
        self.model: list[tuple[bytes, bytes, int]] = []
        self.now = 0

    def held(self) -> int:
        return sum(ENTRY_BYTES + len(value) for _, value, _ in self.model)

    @rule(seconds=st.integers(1, 20))
    def time_goes_on(self, seconds: int) -> None:
        self.now += seconds

    @rule(key=KEYS, size=st.integers(0, MOST_BYTES), letter=st.sampled_from([b"x", b"y"]), life=st.integers(-1, 30))
    def put(self, key: bytes, size: int, letter: bytes, life: int) -> None:
        value = letter * size
        self.lru.put(key, value, self.now, self.now + life)
        self.model = [entry for entry in self.model if entry[0] != key]
        if life <= 0 or ENTRY_BYTES + size > MOST_BYTES:
            return
        while self.model and (self.model[0][2] <= self.now or self.held() + ENTRY_BYTES + size > MOST_BYTES):
            del self.model[0]
        self.model.append((key, value, self.now + life))

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        found = next((entry for entry in self.model if entry[0] == key), None)
        if found is not None:
            self.model.remove(found)
            if found[2] > self.now:
                self.model.append(found)
            else:
                found = None
        assert self.lru.get(key, self.now) == (None if found is None else found[1])

    @invariant()
    def is_within_its_bound(self) -> None:
        assert self.lru.bytes == self.held() <= MOST_BYTES
        assert len(self.lru) == len(self.model)
        assert repr(self.lru) == f"<Lru {len(self.model)} entries, {self.held()} of {MOST_BYTES} bytes>"


TestLru = LruMachine.TestCase


def test_the_bound_is_one_of_memory() -> None:
    entries = 2000
    tracemalloc.start()
    try:
        lru = Lru(10**9)
        for number in range(entries):
            lru.put(number.to_bytes(32, "big"), bytes([number % 256]) * 200, 0.0, 1000.0 + number)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(lru) == entries
    assert lru.bytes * 0.8 < used < lru.bytes * 1.05
