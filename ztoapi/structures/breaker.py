"""A circuit breaker: closed, open until a time, half-open while one probe is under way.

What is open lets nothing through until its time has come; then one request goes through as the probe, and alone
decides: what else ends meanwhile was sent before and tells of the past. See M. Nygard, Release It!, 2007.

No clock: ``now`` is an argument, in seconds of any clock that does not go back.
"""

import enum
from typing import Final

__all__ = ["TRANSITIONS", "Breaker", "Event", "State"]


class State(enum.Enum):
    """The values are what statistics show."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(enum.Enum):
    """What may happen to a breaker."""

    SUCCESS = enum.auto()
    TRIP = enum.auto()
    PROBE = enum.auto()
    """Its time has come and a request goes through."""
    PROBE_PASSED = enum.auto()
    PROBE_FAILED = enum.auto()
    PROBE_VOID = enum.auto()
    """The probe ended without a verdict, such as by a client that went away: the next request is one."""


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.CLOSED: {Event.SUCCESS: State.CLOSED, Event.TRIP: State.OPEN},
    State.OPEN: {Event.SUCCESS: State.OPEN, Event.TRIP: State.OPEN, Event.PROBE: State.HALF_OPEN},
    State.HALF_OPEN: {
        Event.SUCCESS: State.HALF_OPEN,
        Event.TRIP: State.HALF_OPEN,
        Event.PROBE_PASSED: State.CLOSED,
        Event.PROBE_FAILED: State.OPEN,
        Event.PROBE_VOID: State.OPEN,
    },
}
"""What is not here cannot happen."""


class Breaker:
    """See the module docstring. ``trips`` counts how often in a row it was opened, for a back-off; ``failures`` how
    many there were in a row, for its owner to decide by."""

    __slots__ = ("failures", "state", "trips", "until")

    def __init__(self) -> None:
        self.state = State.CLOSED
        self.until = 0.0
        """While it is open: when it lets a probe through."""
        self.failures = 0
        self.trips = 0

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value} failures={self.failures} trips={self.trips} until={self.until:g}>"

    def _go(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state][event]

    def allows(self, now: float) -> bool:
        """Whether a request may go through."""
        return self.state is State.CLOSED or (self.state is State.OPEN and now >= self.until)

    def enter(self) -> bool:
        """A request goes through, which :meth:`allows` has allowed; whether it is the probe."""
        if self.state is State.CLOSED:
            return False
        self._go(Event.PROBE)
        return True

    def succeed(self) -> None:
        """A request that was no probe has succeeded."""
        self._go(Event.SUCCESS)
        if self.state is State.CLOSED:
            self.failures = self.trips = 0

    def trip(self, until: float) -> bool:
        """A request that was no probe shows that nothing should go through until ``until``; whether that is news."""
        before = self.state
        self._go(Event.TRIP)
        if before is State.CLOSED or (before is State.OPEN and until > self.until):
            self.until = until
        self.trips += before is State.CLOSED
        return before is State.CLOSED

    def pass_probe(self) -> None:
        """The probe has been answered."""
        self._go(Event.PROBE_PASSED)
        self.failures = 0

    def fail_probe(self, until: float) -> None:
        """The probe has failed too."""
        self._go(Event.PROBE_FAILED)
        self.until = until
        self.trips += 1

    def void_probe(self) -> None:
        """The probe says nothing."""
        self._go(Event.PROBE_VOID)
