"""Deadlines without timers: one periodic scan checks all of them.

A timer per request costs a heap push and a cancellation; a scan of a thousand connections four times a second costs
less than a tenth of a percent of a core. A watched object has a ``deadline`` in seconds of the caller's clock. Once the
deadline has passed, the scan calls the object, which may set a new one.
"""

from typing import Final, Protocol

__all__ = ["NEVER", "Deadlines", "Watched"]

NEVER: Final = float("inf")


class Watched(Protocol):
    """An object with a deadline."""

    deadline: float

    def on_deadline(self, now: float) -> None: ...


class Deadlines:
    """The set of watched objects; ``expire(now)`` calls those whose deadline has passed."""

    __slots__ = ("_watched",)

    def __init__(self) -> None:
        self._watched: set[Watched] = set()

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, item: Watched) -> None:
        self._watched.add(item)

    def discard(self, item: Watched) -> None:
        self._watched.discard(item)

    def expire(self, now: float) -> None:
        """Calls ``on_deadline`` of each item whose deadline is not after ``now``."""
        for item in [item for item in self._watched if item.deadline <= now]:
            # The call of an earlier item may have discarded or postponed this one.
            if item.deadline <= now and item in self._watched:
                item.on_deadline(now)
