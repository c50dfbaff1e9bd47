"""Deadlines: which callbacks run, when, and with changes during the scan."""

from functools import partial

import pytest

from ztoapi.structures.deadlines import NEVER, Deadlines


def no_other_turn(*_: object) -> object:
    raise AssertionError("a few items need one turn")


class Item:
    def __init__(self, deadline: float = NEVER) -> None:
        self.deadline = deadline
        self.told: list[float] = []

    def on_deadline(self, now: float) -> None:
        self.told.append(now)


def test_only_objects_past_their_deadline_are_called() -> None:
    deadlines, early, due, late, never = Deadlines(no_other_turn), Item(1.0), Item(2.0), Item(2.1), Item()
    for item in (early, due, late, never):
        deadlines.add(item)
    deadlines.expire(2.0)
    assert (early.told, due.told, late.told, never.told) == ([2.0], [2.0], [], [])


def test_one_that_keeps_its_deadline_is_called_at_every_scan() -> None:
    deadlines, item = Deadlines(no_other_turn), Item(1.0)
    deadlines.add(item)
    deadlines.expire(1.0)
    deadlines.expire(2.0)
    item.deadline = 3.0
    deadlines.expire(2.5)
    assert item.told == [1.0, 2.0]


def test_the_discarded_are_not_called() -> None:
    deadlines, item = Deadlines(no_other_turn), Item(0.0)
    deadlines.add(item)
    deadlines.add(item)
    assert len(deadlines) == 1
    deadlines.discard(item)
    deadlines.discard(item)
    assert len(deadlines) == 0
    deadlines.expire(1.0)
    assert item.told == []


def test_the_set_may_change_during_the_scan() -> None:
    deadlines = Deadlines(no_other_turn)
    added = Item(0.0)

    class Adding(Item):
        def on_deadline(self, now: float) -> None:
            deadlines.discard(self)
            deadlines.add(added)

    for _ in range(10):
        deadlines.add(Adding(0.0))
    deadlines.expire(1.0)
    assert len(deadlines) == 1
    deadlines.expire(2.0)
    assert added.told == [2.0]


@pytest.mark.parametrize("way", ["discarded", "postponed"])
def test_one_that_another_has_discarded_is_not_called(way: str) -> None:
    """A connection that is cut off at its deadline takes what hangs on it with it."""
    deadlines = Deadlines(no_other_turn)

    class Rival(Item):
        other: Item

        def on_deadline(self, now: float) -> None:
            super().on_deadline(now)
            if way == "discarded":
                deadlines.discard(self.other)
            else:
                self.other.deadline = NEVER

    one, two = Rival(0.0), Rival(0.0)
    one.other, two.other = two, one
    deadlines.add(one)
    deadlines.add(two)
    deadlines.expire(1.0)
    assert one.told + two.told == [1.0]


def test_a_turn_looks_at_a_bounded_number_of_items() -> None:
    turns: list[partial[object]] = []
    deadlines = Deadlines(lambda callback, *arguments: turns.append(partial(callback, *arguments)))
    items = [Item(1.0) for _ in range(2500)]
    for item in items:
        deadlines.add(item)
    deadlines.expire(1.0)
    called = [sum(len(item.told) for item in items)]
    while turns:
        turns.pop()()
        called.append(sum(len(item.told) for item in items))
    assert called == [1000, 2000, 2500]
    assert all(item.told == [1.0] for item in items)
