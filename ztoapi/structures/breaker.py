"""A circuit breaker: closed, open until a given time, or half-open while one probe is in flight.

An open breaker refuses all requests until its cooldown has ended. Then one request passes as the probe, whose result
decides alone: other requests that end meanwhile were sent earlier and show an earlier state. See M. Nygard, Release
It!, 2007. The owner may send a request past an open breaker nevertheless; its success closes the breaker.

There is no clock: ``now`` is an argument, in seconds of any monotonic clock.
"""

import enum
from typing import Final

__all__ = ["TRANSITIONS", "Breaker", "BreakerEvent", "BreakerState"]


class BreakerState(enum.Enum):
    """Statistics show the values."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerEvent(enum.Enum):
    """Events that may change the state."""

    SUCCESS = enum.auto()
    TRIP = enum.auto()
    PROBE = enum.auto()
    """The cooldown has ended and a request passes."""
    PROBE_PASSED = enum.auto()
    PROBE_FAILED = enum.auto()
    PROBE_VOID = enum.auto()
    """The probe ended without a result, such as when the client disconnected. The next request becomes the probe."""
    FORCED_PASSED = enum.auto()
    """A request that was sent although the breaker was not closed has succeeded."""


TRANSITIONS: Final[dict[BreakerState, dict[BreakerEvent, BreakerState]]] = {
    BreakerState.CLOSED: {
        BreakerEvent.SUCCESS: BreakerState.CLOSED,
        BreakerEvent.TRIP: BreakerState.OPEN,
        BreakerEvent.FORCED_PASSED: BreakerState.CLOSED,
    },
    BreakerState.OPEN: {
        BreakerEvent.SUCCESS: BreakerState.OPEN,
        BreakerEvent.TRIP: BreakerState.OPEN,
        BreakerEvent.PROBE: BreakerState.HALF_OPEN,
        BreakerEvent.FORCED_PASSED: BreakerState.CLOSED,
    },
    BreakerState.HALF_OPEN: {
        BreakerEvent.SUCCESS: BreakerState.HALF_OPEN,
        BreakerEvent.TRIP: BreakerState.HALF_OPEN,
        BreakerEvent.PROBE_PASSED: BreakerState.CLOSED,
        BreakerEvent.PROBE_FAILED: BreakerState.OPEN,
        BreakerEvent.PROBE_VOID: BreakerState.OPEN,
        BreakerEvent.FORCED_PASSED: BreakerState.HALF_OPEN,
    },
}
"""Transitions that are not listed cannot happen."""


class Breaker:
    """See the module docstring. ``trips`` counts consecutive openings, for a backoff; ``failures`` counts consecutive
    failures, by which its owner decides when to open it."""

    __slots__ = ("failures", "state", "trips", "until")

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.until = 0.0
        """End of the open state: from then on a probe may pass."""
        self.failures = 0
        self.trips = 0

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value} failures={self.failures} trips={self.trips} until={self.until:g}>"

    def _go(self, event: BreakerEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    def allows(self, now: float) -> bool:
        """Returns whether a request may pass."""
        return self.state is BreakerState.CLOSED or (self.state is BreakerState.OPEN and now >= self.until)

    def enter(self) -> bool:
        """Records that a request allowed by :meth:`allows` passes. Returns whether it is the probe."""
        if self.state is BreakerState.CLOSED:
            return False
        self._go(BreakerEvent.PROBE)
        return True

    def succeed(self) -> None:
        """Records the success of a request that is not the probe."""
        self._go(BreakerEvent.SUCCESS)
        if self.state is BreakerState.CLOSED:
            self.failures = self.trips = 0

    def trip(self, until: float) -> bool:
        """Opens the breaker until ``until``, because of a request that is not the probe. Returns whether it was
        closed."""
        before = self.state
        self._go(BreakerEvent.TRIP)
        if before is BreakerState.CLOSED or (before is BreakerState.OPEN and until > self.until):
            self.until = until
        self.trips += before is BreakerState.CLOSED
        return before is BreakerState.CLOSED

    def pass_probe(self) -> None:
        """Records the success of the probe."""
        self._go(BreakerEvent.PROBE_PASSED)
        self.failures = 0

    def pass_forced(self) -> None:
        """Records the success of a request that was sent although the breaker was not closed."""
        self._go(BreakerEvent.FORCED_PASSED)
        if self.state is BreakerState.CLOSED:
            self.failures = 0

    def fail_probe(self, until: float) -> None:
        """Records the failure of the probe."""
        self._go(BreakerEvent.PROBE_FAILED)
        self.until = until
        self.trips += 1

    def void_probe(self) -> None:
        """Records that the probe ended without a result."""
        self._go(BreakerEvent.PROBE_VOID)
