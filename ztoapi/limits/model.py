"""What is limited, and what a limiter answers. ``docs/decisions/0022-limits.md`` shows how it is used."""

import enum
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from ztoapi.structures.bucket import SECOND_NS, Rate

__all__ = [
    "IN_FLIGHT_WAIT_NS",
    "Demand",
    "Denial",
    "Grant",
    "InFlightLimit",
    "Limit",
    "Limiter",
    "OnStoreError",
    "Quota",
    "RateLimit",
    "Scope",
    "Unit",
]

IN_FLIGHT_WAIT_NS: Final = SECOND_NS
"""What a client is told to wait when too many of its requests are in flight: nobody knows when one ends."""

OnStoreError: TypeAlias = Literal["local", "deny"]
"""What decides while the common store is away: each machine by its share of the limits, or nobody."""


class Unit(enum.Enum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    BANDWIDTH = "bandwidth"
    """What is streamed, in the unit of the caller's choice: tokens or bytes."""
    IN_FLIGHT = "in_flight"


class RateLimit(NamedTuple):
    """So many of ``unit`` in a time. ``name`` is for metrics and messages, and unique."""

    name: str
    unit: Unit
    rate: Rate


class InFlightLimit(NamedTuple):
    """At most ``most`` requests at once. ``name`` as above."""

    name: str
    most: int


Limit: TypeAlias = RateLimit | InFlightLimit


@dataclass(frozen=True, eq=False, slots=True)
class Scope:
    """Limits that each subject of a kind has for itself: each key of a class, each model, each address, or everybody.

    ``subjects`` is for how many of them there is room. Further ones share one bucket for each limit, until one of the
    others has been full for a while: choose it so that only addresses can come near.
    """

    name: str
    limits: tuple[Limit, ...]
    subjects: int


Demand: TypeAlias = tuple[tuple[Scope, str], ...]
"""Whose limits a request has to pass: scopes, and the subject's name in each. No scope comes twice."""


class Quota(NamedTuple):
    """How a limit stands, for ``x-ratelimit-*``. ``reset_ns`` is the time until it is whole again."""

    limit: Limit
    most: int
    remaining: int
    reset_ns: int


class Grant(Protocol):
    """Leave to go ahead. It must be finished once, however the request ends."""

    @property
    def piece(self) -> int:
        """How much should be streamed at a time where there is a limit on bandwidth: what the lowest one brings in a
        tenth of a second, so that the pauses are short. 0: there is none, and nothing has to be charged."""
        ...

    def quota(self, unit: Unit) -> Quota | None:
        """That of the limits on ``unit`` (not BANDWIDTH) which holds the least, after this request; None if there is
        none."""
        ...

    def fields(self) -> bytes:
        """OpenAI's header lines of :meth:`quota`, for requests and tokens."""
        ...

    def charge(self, amount: int) -> int:
        """``amount`` (tokens or bytes) was streamed; returns for how many nanoseconds the stream must pause."""
        ...

    def finish(self, tokens: int | None = None) -> None:
        """The request has ended and used ``tokens``; None: unknown, the estimate stands."""
        ...


class Denial(NamedTuple):
    """A refusal; it has cost nothing.

    ``limit`` and ``subject`` are what asks for the longest wait; ``limit`` is None if the common store is away and
    nobody may decide. ``wait_ns`` is for Retry-After, None if the request is greater than the limit ever allows.
    ``quotas`` has the tightest limit of each unit.
    """

    limit: Limit | None
    subject: str
    wait_ns: int | None
    quotas: tuple[Quota, ...]

    def quota(self, unit: Unit) -> Quota | None:
        """As :meth:`Grant.quota`."""
        for quota in self.quotas:
            if unit_of(quota.limit) is unit:
                return quota
        return None


class Limiter(Protocol):
    """Decides over all limits of a request at once: either it passes every one, or it costs nothing at any."""

    def add(self, scope: Scope) -> None:
        """Take up a scope that was not known at the start. Raises MemoryError if there is no room for it."""
        ...

    def burst(self, limit: RateLimit) -> int:
        """The most units of ``limit`` that one request can ever take."""
        ...

    def take(self, demand: Demand, tokens: int = 0) -> Grant | Denial | None:
        """One request with an estimate of ``tokens``. None: this one has to :meth:`ask`, which waits for the network.

        Only a limiter with a common store ever returns None.
        """
        ...

    async def ask(self, demand: Demand, tokens: int = 0) -> Grant | Denial:
        """As :meth:`take`, at the latest after the store's timeout."""
        ...


def unit_of(limit: Limit) -> Unit:
    return limit.unit if isinstance(limit, RateLimit) else Unit.IN_FLIGHT
