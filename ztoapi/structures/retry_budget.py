"""A budget for retries: a share of the requests of the last seconds, and a few in any case.

Without one, an upstream that fails gets as many times its load as there are tries, in the moment in which it can bear
it least. https://sre.google/sre-book/handling-overload/ (a retry budget of 10 %), Finagle's RetryBudget (20 %).
"""

from typing import Final

__all__ = ["WINDOW_SECONDS", "RetryBudget"]

WINDOW_SECONDS: Final = 10
"""Long enough to hold some requests of a quiet gateway, short enough to forget a busy hour (Finagle: 10)."""


class RetryBudget:
    """``share`` of the requests (0.2: one retry for five), and ``least`` retries, in :data:`WINDOW_SECONDS`.

    ``now`` is in seconds of a clock that does not go back; a second is counted as a whole.
    """

    __slots__ = ("_last", "_least", "_requests", "_retries", "_share", "refused")

    def __init__(self, share: float, least: int) -> None:
        self._share = share
        self._least = least
        self._requests = [0] * WINDOW_SECONDS
        self._retries = [0] * WINDOW_SECONDS
        self._last = 0
        self.refused = 0
        """Retries that it did not allow."""

    def deposit(self, now: float) -> None:
        """A request was made."""
        second = int(now)
        if second != self._last:
            self._turn(second)
        self._requests[second % WINDOW_SECONDS] += 1

    def withdraw(self, now: float) -> bool:
        """Take one retry, if there is one to take."""
        second = int(now)
        if second != self._last:
            self._turn(second)
        if sum(self._retries) + 1 > self._least + self._share * sum(self._requests):
            self.refused += 1
            return False
        self._retries[second % WINDOW_SECONDS] += 1
        return True

    def _turn(self, second: int) -> None:
        """Forget what is no longer in the window."""
        for old in range(max(self._last + 1, second - WINDOW_SECONDS + 1), second + 1):
            self._requests[old % WINDOW_SECONDS] = self._retries[old % WINDOW_SECONDS] = 0
        self._last = second
