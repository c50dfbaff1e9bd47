"""The limits that apply to one request, with their positions in shared memory precomputed."""

from typing import Final

from ztoapi.limits.buckets import BucketPlace, Buckets, Words
from ztoapi.limits.fields import openai_template
from ztoapi.limits.model import (
    IN_FLIGHT_WAIT_NS,
    InFlightLimit,
    Limit,
    LimitStatus,
    RateLimit,
    Rejection,
    Unit,
    unit_of,
)
from ztoapi.limits.table import CHANGES, RowTable
from ztoapi.structures.bucket import SECOND_NS, Rate

__all__ = ["CompiledLimits", "InFlightCounter", "RateBucket", "tightest"]

_PIECE_NS: Final = SECOND_NS // 10
"""Pause between two pieces of a paced stream: too short to be noticed, and ten timers a second are cheap."""
_NEVER: Final = -1
"""Not a count of changes: the rows have to be looked up."""


class RateBucket:
    """A rate limit of one subject. ``at`` is the last known index of its TAT, which follows the key."""

    __slots__ = ("_table", "_words", "at", "by_token", "key", "limit", "rate", "subject")

    def __init__(self, words: Words, table: RowTable, limit: RateLimit, rate: Rate, subject: str, key: int) -> None:
        self._words = words
        self._table = table
        self.limit = limit
        self.rate = rate
        self.by_token = limit.unit is Unit.TOKENS
        self.subject = subject
        self.key = key
        self.at = table.shared + 1

    def find(self, now: int) -> int:
        """Returns the index of the TAT. The caller holds the lock."""
        if self._words[self.at - 1] != self.key:
            self.at = 1 + self._table.find(self.key, lambda row: self.rate.idle(self._words[row + 1], now))
        return self.at

    @property
    def is_shared(self) -> bool:
        return self.at == self._table.shared + 1

    def status(self, tat: int, now: int) -> LimitStatus:
        return LimitStatus(self.limit, self.rate.burst, *self.rate.state(tat, now))


class InFlightCounter:
    """A limit on the requests in flight of one subject. ``at`` is the last known index of the workers' counts."""

    __slots__ = ("_table", "_words", "_workers", "at", "key", "limit", "subject")

    def __init__(
        self, words: Words, table: RowTable, limit: InFlightLimit, workers: int, subject: str, key: int
    ) -> None:
        self._words = words
        self._table = table
        self._workers = workers
        self.limit = limit
        self.subject = subject
        self.key = key
        self.at = table.shared + 1

    def find(self, _now: int) -> int:
        """Returns the index of the counts. The caller holds the lock."""
        if self._words[self.at - 1] != self.key:
            self.at = 1 + self._table.find(self.key, lambda row: self._count(row + 1) == 0)
        return self.at

    @property
    def is_shared(self) -> bool:
        return self.at == self._table.shared + 1

    def count(self) -> int:
        return self._count(self.at)

    def _count(self, at: int) -> int:
        return self._words[at] if self._workers == 1 else sum(self._words[at : at + self._workers])

    def status(self, count: int) -> LimitStatus:
        capacity = self.limit.max_requests
        return LimitStatus(self.limit, capacity, max(capacity - count, 0), IN_FLIGHT_WAIT_NS if count else 0)


class CompiledLimits:
    """The limits of one request in worker ``slot`` of ``workers``. Empty at first: add limits, then use it. The caller
    of every method but :meth:`add_rate` and :meth:`add_counter` holds the lock.

    ``places`` are the indexes of this worker's in-flight counts. ``header_buckets`` are the limits on requests and on
    tokens with the smallest burst, which appear in response headers: to find those with the least remaining would cost
    more than the decision. ``template`` are their header lines, as OpenAI has them. ``nanosecond_pair`` are the unit
    and the burst of each in nanoseconds, if there are two whose ticks are nanoseconds.
    """

    __slots__ = (
        "_buckets", "_changes", "_counters", "_header_places", "_levels", "_slot", "_taken", "_words", "_workers",
        "bandwidths", "header_buckets", "nanosecond_pair", "piece", "places", "settles", "template",
    )  # fmt: skip

    def __init__(self, words: Words, workers: int, slot: int) -> None:
        self._words = words
        self._workers = workers
        self._slot = slot
        self._buckets: list[RateBucket] = []
        self._counters: list[InFlightCounter] = []
        self.bandwidths: list[RateBucket] = []
        self.piece = 0
        """See :attr:`~ztoapi.limits.model.Reservation.piece`."""
        self.settles = False
        """Whether the number of tokens used has to be settled."""
        self.header_buckets: list[RateBucket] = []
        self.nanosecond_pair: tuple[int, int, int, int] | None = None
        self.template = b""
        # The following are set when the rows have been found.
        self._changes = _NEVER
        self._taken = Buckets([])
        self._levels: list[tuple[int, int]] = []
        self.places: list[int] = []
        self._header_places = CHANGES, CHANGES

    def add_rate(self, bucket: RateBucket) -> None:
        unit = bucket.limit.unit
        if unit is Unit.BANDWIDTH:
            self.bandwidths.append(bucket)
            rates = [bandwidth.rate for bandwidth in self.bandwidths]
            self.piece = min(max(rate.limit * _PIECE_NS // rate.period_ns, 1) for rate in rates)
            return
        self._buckets.append(bucket)
        self.settles = self.settles or bucket.by_token
        smallest = {other.limit.unit: other for other in self.header_buckets}
        if unit not in smallest or bucket.rate.burst < smallest[unit].rate.burst:
            smallest[unit] = bucket
        self.header_buckets = list(smallest.values())
        rates = [each.rate for each in self.header_buckets]
        if len(rates) == 2 and all(rate.in_nanoseconds for rate in rates):
            first, second = rates
            self.nanosecond_pair = first.unit_ticks, first.burst_ticks, second.unit_ticks, second.burst_ticks
        else:
            self.nanosecond_pair = None
        self.template = b"".join(openai_template(bucket.limit) for bucket in self.header_buckets)

    def add_counter(self, counter: InFlightCounter) -> None:
        self._counters.append(counter)

    def take(self, now: int, tokens: int) -> tuple[int, ...] | None:
        """Takes from every limit and returns the TATs of ``header_buckets`` and perhaps of more. Returns None and
        takes nothing if a limit refuses."""
        words = self._words
        alone = self._workers == 1
        if words[CHANGES] != self._changes:
            self._find(now)
        if not self._taken.take(words, now, tokens):
            return None
        for own, max_requests in self._levels:
            own_count = words[own]
            if own_count >= max_requests or (not alone and self._in_flight(own) >= max_requests):
                for before in self.places[: self.places.index(own)]:
                    words[before] -= 1
                self._taken.give_back(words, now, tokens)
                return None
            words[own] = own_count + 1
        first, second = self._header_places
        return words[first], words[second]

    def _in_flight(self, own: int) -> int:
        """Returns the count of all workers; ``own`` is the index of this worker's count."""
        first = own - self._slot
        return sum(self._words[first : first + self._workers])

    def _find(self, now: int) -> None:
        """Looks up the position of every row."""
        rows: list[RateBucket | InFlightCounter] = [*self._buckets, *self._counters]
        for row in rows:
            row.find(now)
        self._taken = Buckets([BucketPlace(bucket.at, bucket.rate, bucket.by_token) for bucket in self._buckets])
        # New lists: a reservation keeps the lists that it was made with.
        self.places = [counter.at + self._slot for counter in self._counters]
        self._levels = [(counter.at + self._slot, counter.limit.max_requests) for counter in self._counters]
        first, second, *_ = [*(bucket.at for bucket in self.header_buckets), CHANGES, CHANGES]
        self._header_places = first, second
        # A subject on a shared row may get a row of its own at the next request.
        self._changes = _NEVER if any(row.is_shared for row in rows) else self._words[CHANGES]

    def settle(self, now: int, difference: int) -> None:
        """Charges ``difference`` tokens beyond those taken. A refund (negative) does not depend on ``now``."""
        words = self._words
        if words[CHANGES] != self._changes:
            if difference < 0:
                # A row that now belongs to another subject held a full bucket: there is nothing to refund. A subject on
                # the shared row must not be given a row for a refund.
                for bucket in self._buckets:
                    if bucket.by_token and (bucket.is_shared or words[bucket.at - 1] == bucket.key):
                        words[bucket.at] = bucket.rate.charge(words[bucket.at], now, difference)
                return
            self._find(now)
        self._taken.settle(words, now, difference)

    def in_flight(self) -> list[LimitStatus]:
        return [counter.status(counter.count()) for counter in self._counters]

    def reject(self, now: int, tokens: int) -> Rejection:
        """Returns the refusal after :meth:`take` has returned None."""
        refusals: list[tuple[Limit, str, int | None]] = []
        statuses: list[LimitStatus] = []
        for bucket in self._buckets:
            tat = self._words[bucket.at]
            wait = bucket.rate.wait(tat, now, tokens if bucket.by_token else 1)
            if wait != 0:
                refusals.append((bucket.limit, bucket.subject, wait))
            statuses.append(bucket.status(tat, now))
        for counter in self._counters:
            count = counter.count()
            if count >= counter.limit.max_requests:
                refusals.append((counter.limit, counter.subject, IN_FLIGHT_WAIT_NS))
            statuses.append(counter.status(count))
        if not refusals:
            # Another worker has ended a request since; it does so without the lock.
            fullest = min(self._counters, key=lambda counter: counter.limit.max_requests - counter.count())
            refusals.append((fullest.limit, fullest.subject, IN_FLIGHT_WAIT_NS))
        limit, subject, longest = max(refusals, key=lambda refusal: float("inf") if refusal[2] is None else refusal[2])
        return Rejection(limit, subject, longest, tightest(statuses))


def tightest(statuses: list[LimitStatus]) -> tuple[LimitStatus, ...]:
    """Returns, for each unit, the limit with the least remaining."""
    by_unit: dict[Unit, LimitStatus] = {}
    for status in statuses:
        unit = unit_of(status.limit)
        if unit not in by_unit or status.remaining < by_unit[unit].remaining:
            by_unit[unit] = status
    return tuple(by_unit.values())
