"""Work that is divided among turns of the event loop."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.structures.turns import in_turns


@given(st.lists(st.integers(), max_size=50), st.integers(1, 60))
def test_each_item_gets_its_turn_in_order(items: list[int], per_turn: int) -> None:
    turns: list[partial[object]] = []
    done: list[list[int]] = []
    in_turns(lambda callback, *arguments: turns.append(partial(callback, *arguments)), done.append, items, per_turn)
    assert done == [items[:per_turn]]
    while turns:
        turns.pop()()
    assert [item for part in done for item in part] == items
    assert all(len(part) <= per_turn for part in done)


def test_the_rest_gets_its_turn_after_work_that_has_failed() -> None:
    turns: list[partial[object]] = []

    def fail(_: list[int]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_turns(lambda callback, *arguments: turns.append(partial(callback, *arguments)), fail, [1, 2], 1)
    assert len(turns) == 1
