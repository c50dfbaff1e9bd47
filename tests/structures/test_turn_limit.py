"""Work that begins a bounded number of times in a turn of the event loop."""

from collections.abc import Callable
from functools import partial

import pytest

from ztoapi.structures.turn_limit import TurnLimit


class Turns:
    """A limit of two, and the callbacks of the next turn."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.limit = TurnLimit(self.callbacks.append, 2)

    def next(self) -> None:
        (callback,) = self.callbacks
        self.callbacks.clear()
        callback()


def test_each_turn_begins_what_waits_longest() -> None:
    turns, done = Turns(), list[int]()
    taken = [turns.limit.take(partial(done.append, number)) for number in range(5)]
    assert taken == [True] * 2 + [False] * 3
    turns.next()
    assert done == [2, 3]
    assert not turns.limit.take(lambda: done.append(5))
    turns.next()
    assert done == [2, 3, 4, 5]
    turns.next()
    assert not turns.callbacks
    assert turns.limit.take(lambda: None)


def test_the_rest_begins_after_work_that_has_failed() -> None:
    turns, done = Turns(), list[int]()
    for work in (lambda: None, lambda: None, lambda: done.append(1 // 0), lambda: done.append(3)):
        turns.limit.take(work)
    with pytest.raises(ZeroDivisionError):
        turns.next()
    turns.next()
    assert done == [3]
