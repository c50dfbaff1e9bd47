"""Work on many items that is divided among turns of the event loop, so that streams do not wait for all of it."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

__all__ = ["CallSoon", "in_turns"]

T = TypeVar("T")


CallSoon: TypeAlias = Callable[..., object]
"""The method of an event loop: takes a function and its arguments."""


def in_turns(call_soon: CallSoon, work: Callable[[list[T]], None], items: list[T], per_turn: int) -> None:
    """Calls ``work`` with ``per_turn`` of ``items`` now, and with the next ones in each following turn."""
    if len(items) > per_turn:
        # Before the work, which may raise.
        call_soon(in_turns, call_soon, work, items[per_turn:], per_turn)
        items = items[:per_turn]
    work(items)
