"""Writes of a turn go out at its end, in the order of each connection."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.structures.cork import MAX_BYTES, MIN_IN_FLIGHT, Cork


class Transport:
    """Keeps what is written; ``at_write`` is called within each write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False
        self.at_write: Callable[[], object] = bool

    def write(self, data: bytes, /) -> None:
        self.written.append(data)
        self.at_write()

    def is_closing(self) -> bool:
        return self.closing


class Turns:
    """A cork under load, and the callbacks that wait for the end of the turn."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.cork = Cork(self.callbacks.append)
        self.cork.load = range(MIN_IN_FLIGHT)

    def end(self) -> None:
        callbacks, self.callbacks[:] = self.callbacks[:], []
        for callback in callbacks:
            callback()


@pytest.fixture
def turns() -> Turns:
    return Turns()


def test_writes_of_a_turn_wait_for_its_end(turns: Turns) -> None:
    one, other = Transport(), Transport()
    turns.cork.write(one, b"a")
    turns.cork.write(other, b"b")
    assert (one.written, other.written, len(turns.callbacks)) == ([], [], 1)
    turns.end()
    assert (one.written, other.written, len(turns.callbacks)) == ([b"a"], [b"b"], 0)
    turns.cork.write(one, b"c")
    turns.end()
    assert one.written == [b"a", b"c"]


@pytest.mark.parametrize("data", [b"x" * MAX_BYTES, b"x" * (MAX_BYTES + 1)])
@pytest.mark.parametrize("in_flight", [MIN_IN_FLIGHT, MIN_IN_FLIGHT - 1])
def test_large_writes_and_those_of_a_gateway_with_few_requests_do_not_wait(
    turns: Turns, data: bytes, in_flight: int
) -> None:
    turns.cork.load = range(in_flight)
    transport = Transport()
    turns.cork.write(transport, data)
    waits = len(data) == MAX_BYTES and in_flight == MIN_IN_FLIGHT
    assert transport.written == [] if waits else [data]


def test_without_a_load_nothing_waits() -> None:
    transport = Transport()
    Cork(lambda _: None).write(transport, b"a")
    assert transport.written == [b"a"]


def test_a_second_write_of_a_connection_goes_out_at_once_with_the_first(turns: Turns) -> None:
    transport = Transport()
    turns.cork.write(transport, b"a")
    turns.cork.load = ()
    turns.cork.write(transport, b"b" * 2 * MAX_BYTES)
    assert transport.written == [b"a" + b"b" * 2 * MAX_BYTES]


def test_a_transport_that_closes_meanwhile_gets_nothing(turns: Turns) -> None:
    aborted, dropped, open = Transport(), Transport(), Transport()
    for transport in (aborted, dropped, open):
        turns.cork.write(transport, b"a")
    aborted.closing = True
    assert turns.cork.drop(dropped)
    assert not turns.cork.drop(dropped)
    turns.end()
    assert (aborted.written, dropped.written, open.written) == ([], [], [b"a"])
    assert not turns.cork.waiting


def test_writes_and_flushes_within_a_write_are_not_lost(turns: Turns) -> None:
    first, second, third = Transport(), Transport(), Transport()

    def react() -> None:
        first.at_write = bool
        turns.cork.flush(second)
        turns.cork.write(third, b"c")
        turns.cork.write(first, b"d")

    first.at_write = react
    turns.cork.write(first, b"a")
    turns.cork.write(second, b"b")
    turns.end()
    turns.end()
    assert (first.written, second.written, third.written) == ([b"a", b"d"], [b"b"], [b"c"])


steps = st.tuples(
    st.sampled_from(["write", "write", "flush", "direct", "turn", "idle", "busy"]),
    st.integers(0, 2),
    st.sampled_from([1, 2, MAX_BYTES, MAX_BYTES + 1]),
)


@given(st.lists(steps, max_size=40))
def test_the_bytes_of_a_connection_keep_their_order(script: list[tuple[str, int, int]]) -> None:
    turns = Turns()
    transports = [Transport() for _ in range(3)]
    expected = [b"", b"", b""]
    for number, (step, at, size) in enumerate(script):
        data = bytes([number]) * size
        if step == "write":
            turns.cork.write(transports[at], data)
            expected[at] += data
        elif step in ("flush", "direct"):
            turns.cork.flush(transports[at])
            assert b"".join(transports[at].written) == expected[at]
            if step == "direct":
                transports[at].write(data)
                expected[at] += data
        elif step == "turn":
            turns.end()
            assert not turns.cork.waiting
        else:
            turns.cork.load = range(MIN_IN_FLIGHT if step == "busy" else 0)
        assert all(len(data) <= MAX_BYTES for data in turns.cork.waiting.values())
    turns.end()
    assert [b"".join(transport.written) for transport in transports] == expected
