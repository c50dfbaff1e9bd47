"""A retry budget: a share of the requests of the last seconds, and a small minimum.

Without a budget, retries multiply the load of a failing upstream when it can bear it least.
https://sre.google/sre-book/handling-overload/ (a retry budget of 10 %), Finagle's RetryBudget (20 %).
"""

from typing import Final

__all__ = ["WINDOW_SECONDS", "RetryBudget"]

WINDOW_SECONDS: Final = 10
"""Long enough to contain some requests of a quiet gateway, short enough to follow the load (Finagle: 10)."""


class RetryBudget:
    """Allows ``minimum`` retries plus ``share`` of the requests (0.2: one retry per five) in :data:`WINDOW_SECONDS`.

    ``now`` is in seconds of a monotonic clock; requests are counted by whole seconds.
    """

    __slots__ = ("_last", "_minimum", "_requests", "_retries", "_share", "_slot", "_turn_at", "refused")

    def __init__(self, share: float, minimum: int) -> None:
        self._share = share
        self._minimum = minimum
        self._requests = [0] * WINDOW_SECONDS
        self._retries = [0] * WINDOW_SECONDS
        self._last = 0
        self._slot = 0
        """The place of this second in both lists."""
        self._turn_at = 0.0
        """The end of this second."""
        self.refused = 0
        """Number of retries that were refused."""

    def deposit(self, now: float) -> None:
        """Records a request."""
        if now >= self._turn_at:
            self._turn(now)
        self._requests[self._slot] += 1

    def withdraw(self, now: float) -> bool:
        """Takes one retry. Returns False, and counts a refusal, if none is left."""
        if now >= self._turn_at:
            self._turn(now)
        if sum(self._retries) + 1 > self._minimum + self._share * sum(self._requests):
            self.refused += 1
            return False
        self._retries[self._slot] += 1
        return True

    def _turn(self, now: float) -> None:
        """Begins a second, and clears those that have left the window."""
        second = int(now)
        for old in range(max(self._last + 1, second - WINDOW_SECONDS + 1), second + 1):
            self._requests[old % WINDOW_SECONDS] = self._retries[old % WINDOW_SECONDS] = 0
        self._last = second
        self._slot = second % WINDOW_SECONDS
        self._turn_at = second + 1.0
