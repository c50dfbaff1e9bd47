"""Overload: how many requests a worker has in hand, how many wait for that, and for how long.

The last gate. It is asked before the body is read, so that a refusal costs next to nothing: an overloaded gateway goes
on answering as many requests as it can, and those that it takes wait no longer than ``queue_seconds``.
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
"""The clients' own back-off doubles it; a shorter one would bring them back into the same overload."""


class Admission:
    """A gate: at most ``most`` exchanges in hand, ``queued`` more that wait for ``seconds`` each, first come first
    served. It is the ``on_finish`` of every exchange it lets in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, most: int, queued: int, seconds: float) -> None:
        self.in_flight = 0
        self.refused = 0
        self._loop = loop
        self._most = most
        self._queued = queued
        self._seconds = seconds
        # In the order of arrival, each with the time at which it gives up.
        self._waiting: dict[Exchange, float] = {}
        self._handing_over = False
        self._timer: asyncio.TimerHandle | None = None
        # Made once, not for every request.
        self._leaving: Callable[[Exchange], None] = self.leave
        self._forgetting: Callable[[Exchange], None] = self._forget

    @property
    def waiting(self) -> int:
        """Exchanges in the queue."""
        return len(self._waiting)

    def samples(self) -> Iterator[Sample]:
        """What telemetry shows of it."""
        yield Sample("ztoapi_admission_waiting", self.waiting)
        yield Sample("ztoapi_admission_refused", self.refused)

    def check(self, exchange: Exchange) -> ApiError | Verdict | None:
        """None takes a place that the exchange gives back when it is finished."""
        if self.in_flight < self._most:
            self.in_flight += 1
            exchange.on_finish = self._leaving
            return None
        if len(self._waiting) >= self._queued:
            self.refused += 1
            return _overloaded()
        self._waiting[exchange] = self._loop.time() + self._seconds
        exchange.on_finish = self._forgetting
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._expire)
        return Verdict.WAIT

    def leave(self, _: Exchange) -> None:
        """A place is free: it goes to the one that has waited longest."""
        self.in_flight -= 1
        if self._waiting and not self._handing_over:
            self._hand_over()

    def _hand_over(self) -> None:
        # Whoever is finished at once leaves in here: the loop goes on for it, rather than one call deeper each time.
        self._handing_over = True
        try:
            while self._waiting and self.in_flight < self._most:
                exchange = next(iter(self._waiting))
                del self._waiting[exchange]
                self.in_flight += 1
                exchange.on_finish = self._leaving
                exchange.proceed()
        finally:
            self._handing_over = False

    def _forget(self, exchange: Exchange) -> None:
        self._waiting.pop(exchange, None)

    def _expire(self) -> None:
        now = self._loop.time()
        self._timer = None
        while self._waiting:
            exchange, gives_up = next(iter(self._waiting.items()))
            if gives_up > now:
                self._timer = self._loop.call_later(gives_up - now, self._expire)
                return
            self.refused += 1
            exchange.reject(_overloaded())


def _overloaded() -> ApiError:
    return ApiError(
        "the gateway has as many requests in hand as it takes: try again later",
        status=503,
        type="server_error",
        code="overloaded",
        retry_after=_RETRY_AFTER_SECONDS,
        ending=Ending.REJECTED,
    )
