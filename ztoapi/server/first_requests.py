"""Bounds the first requests of connections that a worker takes up in one turn of the event loop.

A first request is the most expensive: its head may have to be parsed, and often an upstream connection is opened for
it. When a load balancer or a benchmark opens hundreds of connections at once, the streams of all other clients would
stand still until all of them have been taken up: 14 to 22 ms for 200.
"""

from collections import deque
from collections.abc import Callable

from ztoapi.wire.limits import TURN_FIRST_REQUESTS

__all__ = ["FirstRequests"]


class FirstRequests:
    """Those of one worker. ``call_soon`` is that of its event loop."""

    __slots__ = ("_call_soon", "_left", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._left = TURN_FIRST_REQUESTS
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, go_on: Callable[[], None]) -> bool:
        """Returns whether a first request may be taken up now. If not, ``go_on`` is called in a later turn."""
        if self._left == TURN_FIRST_REQUESTS:
            self._call_soon(self._next_turn)
        if self._left:
            self._left -= 1
            return True
        self._waiting.append(go_on)
        return False

    def _next_turn(self) -> None:
        count = min(len(self._waiting), TURN_FIRST_REQUESTS)
        self._left = TURN_FIRST_REQUESTS - count
        if count:
            self._call_soon(self._next_turn)
        for _ in range(count):
            self._waiting.popleft()()
