"""Deadlines without timers: one periodic scan checks all of them.

A timer per request costs a heap push and a cancellation; a scan of a thousand connections four times a second costs
less than a tenth of a percent of a core. A scan is divided among turns of the event loop. A watched object has a
``deadline`` in seconds of the caller's clock. Once the deadline has passed, the scan calls the object, which may set a
new one.
"""

from functools import partial
from typing import Final, Protocol

from ztoapi.structures.turns import CallSoon, in_turns

__all__ = ["NEVER", "Deadlines", "Watched"]

NEVER: Final = float("inf")
_PER_TURN: Final = 1000
"""Items that are looked at in one turn of the event loop: 0.05 to 0.2 ms."""


class Watched(Protocol):
    """An object with a deadline."""

    deadline: float

    def on_deadline(self, now: float) -> None: ...


class Deadlines:
    """The set of watched objects; ``expire(now)`` calls those whose deadline has passed. ``call_soon`` is that of the
    event loop."""

    __slots__ = ("_watched", "call_soon")

    def __init__(self, call_soon: CallSoon) -> None:
        self.call_soon = call_soon
        self._watched: set[Watched] = set()

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, item: Watched) -> None:
        self._watched.add(item)

    def discard(self, item: Watched) -> None:
        self._watched.discard(item)

    def expire(self, now: float) -> None:
        """Calls ``on_deadline`` of each item whose deadline is not after ``now``."""
        in_turns(self.call_soon, partial(self._expire, now), [*self._watched], _PER_TURN)

    def _expire(self, now: float, items: list[Watched]) -> None:
        for item in [item for item in items if item.deadline <= now]:
            # The call of an earlier item may have discarded or postponed this one.
            if item.deadline <= now and item in self._watched:
                item.on_deadline(now)
