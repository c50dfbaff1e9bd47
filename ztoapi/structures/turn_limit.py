"""Bounds how often expensive work is begun in one turn of the event loop, so that streams do not wait for all of it.

When a load balancer or a benchmark opens hundreds of connections at once, the streams of all other clients would stand
still until all of them have been taken up.
"""

from collections import deque
from collections.abc import Callable

__all__ = ["TurnLimit"]


class TurnLimit:
    """Work may begin ``per_turn`` times in a turn. ``call_soon`` is that of the event loop."""

    __slots__ = ("_call_soon", "_left", "_per_turn", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], per_turn: int) -> None:
        self._call_soon = call_soon
        self._per_turn = self._left = per_turn
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, go_on: Callable[[], None]) -> bool:
        """Returns whether work may begin now. If not, ``go_on`` is called in a later turn."""
        if self._left == self._per_turn:
            self._call_soon(self._next_turn)
        if self._left:
            self._left -= 1
            return True
        self._waiting.append(go_on)
        return False

    def _next_turn(self) -> None:
        count = min(len(self._waiting), self._per_turn)
        self._left = self._per_turn - count
        if count:
            self._call_soon(self._next_turn)
        for _ in range(count):
            self._waiting.popleft()()
