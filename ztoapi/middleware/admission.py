"""Admission control: limits the requests in flight of a worker, and queues a few more for a short time.

The last gate. It runs before the body is read, so a refusal costs very little: an overloaded gateway continues to serve
as many requests as it can, and a queued request waits no longer than ``queue_seconds``.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final

from ztoapi.errors import ApiError, Ending
from ztoapi.server.context import Verdict
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.samples import Sample

__all__ = ["Admission"]

_RETRY_AFTER_SECONDS: Final = 1.0
"""Clients double it by their own back-off; with a shorter one they would return into the same overload."""


class Admission:
    """A gate: at most ``max_in_flight`` exchanges, and ``queued`` more that wait for up to ``seconds``.

    They leave the queue in order of arrival, those for which ``is_urgent`` returns True first. An urgent exchange that
    finds the queue full takes the place of the one that is not urgent and has come last.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_in_flight: int,
        queued: int,
        seconds: float,
        is_urgent: Callable[[Exchange], bool],
    ) -> None:
        self.admitted: dict[Exchange, None] = {}
        """The exchanges in flight, the oldest first."""
        self.refused = 0
        self._loop = loop
        self._max_in_flight = max_in_flight
        self._queued = queued
        self._seconds = seconds
        self._is_urgent = is_urgent
        self._shedding = False
        # In the order of arrival, each with its deadline.
        self._urgent: dict[Exchange, float] = {}
        self._waiting: dict[Exchange, float] = {}
        self._handing_over = False
        self._timer: asyncio.TimerHandle | None = None
        # Bound once and not per request.
        self._finished: Callable[[Exchange], None] = self._finish
        self._only_finished = (self._finished,)

    @property
    def in_flight(self) -> int:
        """Admitted exchanges that are not finished."""
        return len(self.admitted)

    @property
    def waiting(self) -> int:
        """Exchanges in the queue."""
        return len(self._waiting) + len(self._urgent)

    def oldest(self, count: int) -> list[Exchange]:
        """Returns up to ``count`` exchanges, those in flight in the order of their admission, then those that wait."""
        return [*islice(chain(self.admitted, self._urgent, self._waiting), count)]

    def shed(self, shedding: bool) -> None:
        """Refuses all exchanges from now on, or none."""
        self._shedding = shedding

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_admission_waiting", self.waiting)
        yield Sample("ztoapi_admission_refused", self.refused)

    def check(self, exchange: Exchange) -> ApiError | Verdict | None:
        """Admits (None), queues or refuses an exchange. An admitted exchange holds a slot until it is finished."""
        if self._shedding:
            self.refused += 1
            return _overloaded("the gateway uses too much memory")
        if len(self.admitted) < self._max_in_flight:
            self.admitted[exchange] = None
            # The same as on_finish, which is a call of its own for every request.
            exchange.callbacks = (self._finished, *exchange.callbacks) if exchange.callbacks else self._only_finished
            return None
        queue = self._urgent if self._is_urgent(exchange) else self._waiting
        if self.waiting >= self._queued and not (queue is self._urgent and self._displace()):
            self.refused += 1
            return _overloaded()
        queue[exchange] = self._loop.time() + self._seconds
        exchange.on_finish(self._finished)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._expire)
        return Verdict.WAIT

    def _displace(self) -> bool:
        """Refuses the exchange that has come last and is not urgent. Returns False if there is none."""
        if not self._waiting:
            return False
        self.refused += 1
        next(reversed(self._waiting)).reject(_overloaded())
        return True

    def _finish(self, exchange: Exchange) -> None:
        """Removes the exchange from the queue, or gives its slot to the exchange that is next."""
        if not (self._waiting or self._urgent):
            del self.admitted[exchange]
            return
        for queue in (self._urgent, self._waiting):
            if queue.pop(exchange, None) is not None:
                return
        del self.admitted[exchange]
        if not self._handing_over:
            self._hand_over()

    def _hand_over(self) -> None:
        # An exchange that finishes at once calls `_finish` in this loop; the flag prevents a recursion per exchange.
        self._handing_over = True
        try:
            while (queue := self._urgent or self._waiting) and len(self.admitted) < self._max_in_flight:
                exchange = next(iter(queue))
                del queue[exchange]
                self.admitted[exchange] = None
                exchange.proceed()
        finally:
            self._handing_over = False

    def _expire(self) -> None:
        now = self._loop.time()
        self._timer = None
        for queue in (self._urgent, self._waiting):
            while queue and (oldest := next(iter(queue.items())))[1] <= now:
                self.refused += 1
                oldest[0].reject(_overloaded())
        deadlines = [next(iter(queue.values())) for queue in (self._urgent, self._waiting) if queue]
        if deadlines:
            self._timer = self._loop.call_later(min(deadlines) - now, self._expire)


def _overloaded(reason: str = "the gateway has reached its limit of requests in flight") -> ApiError:
    return ApiError(
        f"{reason}: try again later",
        status=503,
        type="server_error",
        code="overloaded",
        retry_after=_RETRY_AFTER_SECONDS,
        ending=Ending.REJECTED,
    )
