"""The types of rate limiting: limits, scopes, and the interface of a limiter.

``docs/decisions/0020-limits.md`` shows an example and gives the reasons.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from ztoapi.structures.bucket import SECOND_NS, Rate

__all__ = [
    "IN_FLIGHT_WAIT_NS",
    "Descriptors",
    "InFlightLimit",
    "Limit",
    "LimitStatus",
    "Limiter",
    "OnStoreError",
    "RateLimit",
    "Rejection",
    "Reservation",
    "Scope",
    "Unit",
]

IN_FLIGHT_WAIT_NS: Final = SECOND_NS
"""Retry-After for too many requests in flight: the time at which one of them ends cannot be predicted."""

OnStoreError: TypeAlias = Literal["local", "deny"]
"""The policy while the common store is unreachable: use this machine's share of the limits, or refuse."""


class Unit(enum.Enum):
    """The quantity that a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    BANDWIDTH = "bandwidth"
    """Streamed output, in a unit that the caller chooses: tokens or bytes."""
    IN_FLIGHT = "in_flight"


class RateLimit(NamedTuple):
    """A rate of ``unit``. ``name`` is unique and appears in metrics and messages."""

    name: str
    unit: Unit
    rate: Rate


class InFlightLimit(NamedTuple):
    """At most ``max_requests`` requests at the same time. ``name`` as in :class:`RateLimit`."""

    name: str
    max_requests: int


Limit: TypeAlias = RateLimit | InFlightLimit


@dataclass(frozen=True, eq=False, slots=True)
class Scope:
    """Limits that apply separately to each subject of one kind: each key of a class, each model, each address, or the
    gateway as a whole.

    ``subjects`` is the number of subjects that get buckets of their own. Further subjects share one bucket per limit
    until a bucket of another subject has been full for a while. Choose a number that only addresses can reach.
    """

    name: str
    limits: tuple[Limit, ...]
    subjects: int


Descriptors: TypeAlias = tuple[tuple[Scope, str], ...]
"""The limits that apply to one request: scopes, each with the name of its subject. Each scope appears at most once."""


class LimitStatus(NamedTuple):
    """The state of a limit, for ``x-ratelimit-*``. ``reset_ns`` is the time until the limit is unused again."""

    limit: Limit
    capacity: int
    remaining: int
    reset_ns: int


class Reservation(Protocol):
    """Permission for one request. The caller must finish it exactly once, however the request ends."""

    @property
    def piece(self) -> int:
        """The amount to stream at a time under a bandwidth limit: a tenth of a second at the lowest rate, so that
        pauses are short. 0 without such a limit; nothing has to be charged then."""
        ...

    def status(self, unit: Unit) -> LimitStatus | None:
        """Returns the tightest limit on ``unit`` (not BANDWIDTH) after this request; None if there is none."""
        ...

    def fields(self) -> bytes:
        """Returns OpenAI's header lines for the limits on requests and tokens."""
        ...

    def charge(self, amount: int) -> int:
        """Charges ``amount`` streamed tokens or bytes; returns the nanoseconds for which the stream must pause."""
        ...

    def finish(self, tokens: int | None = None, *, sent: int = 0) -> None:
        """Ends the request, which used ``tokens``. With None the usage is unknown, and the estimate is charged, or
        ``sent`` if more tokens than that have reached the client."""
        ...


class Rejection(NamedTuple):
    """A refusal. It charges nothing.

    ``limit`` and ``subject`` are those with the longest wait. ``limit`` is None if the common store is unreachable and
    the policy is "deny". ``wait_ns`` is for Retry-After; None if the request exceeds the limit's whole capacity.
    ``statuses`` contains the tightest limit of each unit.
    """

    limit: Limit | None
    subject: str
    wait_ns: int | None
    statuses: tuple[LimitStatus, ...]

    def status(self, unit: Unit) -> LimitStatus | None:
        """Same as :meth:`Reservation.status`."""
        for status in self.statuses:
            if unit_of(status.limit) is unit:
                return status
        return None


class Limiter(Protocol):
    """Checks all limits of a request at once. A request that exceeds one of them charges none of them."""

    def add(self, scope: Scope) -> None:
        """Adds a scope that did not exist at start. Raises MemoryError if there is no room for it."""
        ...

    def burst(self, limit: RateLimit) -> int:
        """Returns the largest number of units of ``limit`` that one request can take."""
        ...

    def reserve(self, descriptors: Descriptors, tokens: int = 0) -> Reservation | Rejection | None:
        """Decides on one request with an estimate of ``tokens``.

        Returns None if the decision needs the network; call :meth:`wait_to_reserve` then. Only a limiter with a common
        store returns None.
        """
        ...

    def reserver(self, descriptors: Descriptors) -> Callable[[int], Reservation | Rejection | None]:
        """Returns a function that does :meth:`reserve` for ``descriptors``. Keep it for the next requests."""
        ...

    async def wait_to_reserve(self, descriptors: Descriptors, tokens: int = 0) -> Reservation | Rejection:
        """Same as :meth:`reserve`, within the store's timeout."""
        ...


def unit_of(limit: Limit) -> Unit:
    return limit.unit if isinstance(limit, RateLimit) else Unit.IN_FLIGHT
