"""Admission control: limits the requests in flight of a worker, and queues a few more for a short time.

The last gate. It runs before the body is read, so a refusal costs very little: an overloaded gateway continues to serve
as many requests as it can, and a queued request waits no longer than ``queue_seconds``.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from ztoapi.errors import ApiError, Ending
from ztoapi.server.context import Verdict
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.samples import Sample

__all__ = ["Admission"]

_RETRY_AFTER_SECONDS: Final = 1.0
"""Clients double it by their own back-off; with a shorter one they would return into the same overload."""


class Admission:
    """A gate: at most ``max_in_flight`` exchanges, and ``queued`` more that wait for up to ``seconds`` in order of
    arrival."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_in_flight: int, queued: int, seconds: float) -> None:
        self.in_flight = 0
        self.refused = 0
        self._loop = loop
        self._max_in_flight = max_in_flight
        self._queued = queued
        self._seconds = seconds
        # In the order of arrival, each with its deadline.
        self._waiting: dict[Exchange, float] = {}
        self._handing_over = False
        self._timer: asyncio.TimerHandle | None = None
        # Bound once and not per request.
        self._finished: Callable[[Exchange], None] = self._finish

    @property
    def waiting(self) -> int:
        """Exchanges in the queue."""
        return len(self._waiting)

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_admission_waiting", self.waiting)
        yield Sample("ztoapi_admission_refused", self.refused)

    def check(self, exchange: Exchange) -> ApiError | Verdict | None:
        """Admits (None), queues or refuses an exchange. An admitted exchange holds a slot until it is finished."""
        if self.in_flight < self._max_in_flight:
            self.in_flight += 1
            exchange.on_finish(self._finished)
            return None
        if len(self._waiting) >= self._queued:
            self.refused += 1
            return _overloaded()
        self._waiting[exchange] = self._loop.time() + self._seconds
        exchange.on_finish(self._finished)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._expire)
        return Verdict.WAIT

    def _finish(self, exchange: Exchange) -> None:
        """Removes the exchange from the queue, or gives its slot to the exchange that has waited longest."""
        if self._waiting and self._waiting.pop(exchange, None) is not None:
            return
        self.in_flight -= 1
        if self._waiting and not self._handing_over:
            self._hand_over()

    def _hand_over(self) -> None:
        # An exchange that finishes at once calls `_finish` in this loop; the flag prevents a recursion per exchange.
        self._handing_over = True
        try:
            while self._waiting and self.in_flight < self._max_in_flight:
                exchange = next(iter(self._waiting))
                del self._waiting[exchange]
                self.in_flight += 1
                exchange.proceed()
        finally:
            self._handing_over = False

    def _expire(self) -> None:
        now = self._loop.time()
        self._timer = None
        while self._waiting:
            exchange, deadline = next(iter(self._waiting.items()))
            if deadline > now:
                self._timer = self._loop.call_later(deadline - now, self._expire)
                return
            self.refused += 1
            exchange.reject(_overloaded())


def _overloaded() -> ApiError:
    return ApiError(
        "the gateway has reached its limit of requests in flight: try again later",
        status=503,
        type="server_error",
        code="overloaded",
        retry_after=_RETRY_AFTER_SECONDS,
        ending=Ending.REJECTED,
    )
