"""All limits that one demand is held to, as they lie on a board, made ready to be decided in a few flat loops."""

from typing import Final

from ztoapi.limits.fields import openai_template
from ztoapi.limits.model import IN_FLIGHT_WAIT_NS, Denial, InFlightLimit, Limit, Quota, RateLimit, Unit, unit_of
from ztoapi.limits.table import CHANGES, Table
from ztoapi.structures.bucket import SECOND_NS, Rate
from ztoapi.structures.buckets import Buckets, Place, Words

__all__ = ["Bucket", "Gauge", "Plan", "tightest"]

_PIECE_NS: Final = SECOND_NS // 10
"""How long a paced stream should rest at a time: nobody notices a tenth of a second, and ten timers cost nothing."""
_NEVER: Final = -1
"""No count of changes: the rows have to be looked for."""


class Bucket:
    """A rate limit of one subject; ``at`` is where its TAT was last seen, right after the key."""

    __slots__ = ("_table", "_words", "at", "by_token", "key", "limit", "rate", "subject")

    def __init__(self, words: Words, table: Table, limit: RateLimit, rate: Rate, subject: str, key: int) -> None:
        self._words, self._table = words, table
        self.limit, self.rate, self.by_token = limit, rate, limit.unit is Unit.TOKENS
        self.subject, self.key, self.at = subject, key, table.shared + 1

    def find(self, now: int) -> int:
        """Where the TAT is now; the lock is held."""
        if self._words[self.at - 1] != self.key:
            self.at = 1 + self._table.find(self.key, lambda row: self.rate.idle(self._words[row + 1], now))
        return self.at

    @property
    def is_shared(self) -> bool:
        return self.at == self._table.shared + 1

    def quota(self, tat: int, now: int) -> Quota:
        return Quota(self.limit, self.rate.burst, *self.rate.state(tat, now))


class Gauge:
    """A limit on one subject's requests in flight; ``at`` is where the workers' counts were last seen."""

    __slots__ = ("_table", "_words", "_workers", "at", "key", "limit", "subject")

    def __init__(self, words: Words, table: Table, limit: InFlightLimit, workers: int, subject: str, key: int) -> None:
        self._words, self._table, self._workers = words, table, workers
        self.limit, self.subject, self.key, self.at = limit, subject, key, table.shared + 1

    def find(self, _now: int) -> int:
        """Where the counts are now; the lock is held."""
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

    def quota(self, count: int) -> Quota:
        return Quota(self.limit, self.limit.most, max(self.limit.most - count, 0), IN_FLIGHT_WAIT_NS if count else 0)


class Plan:
    """Made for worker ``slot`` of ``workers``, and empty; limits are added, then it is used. Whoever calls anything of
    it but the two that add holds the lock.

    ``places`` is where this worker counts its requests in flight. ``shown`` are, of requests and of tokens, the limits
    that hold the least: what a client is told of. To look for the one with the least remaining would cost more than the
    decision. Their ``rates`` and the ``template`` of OpenAI's header lines are for the same.
    """

    __slots__ = (
        "_changes", "_gauges", "_held", "_levels", "_shown_at", "_slot", "_taken", "_words", "_workers", "bandwidths",
        "piece", "places", "rates", "settles", "shown", "template",
    )  # fmt: skip

    def __init__(self, words: Words, workers: int, slot: int) -> None:
        self._words, self._workers, self._slot = words, workers, slot
        self._held: list[Bucket] = []
        self._gauges: list[Gauge] = []
        self.bandwidths: list[Bucket] = []
        self.piece = 0
        """See Grant."""
        self.settles = False
        """Whether it matters how many tokens were used."""
        self.shown: list[Bucket] = []
        self.rates: tuple[Rate | None, Rate | None] = None, None
        self.template = b""
        # What follows is known when the rows have been found.
        self._changes = _NEVER
        self._taken = Buckets([])
        self._levels: list[tuple[int, int]] = []
        self.places: list[int] = []
        self._shown_at = CHANGES, CHANGES

    def add_rate(self, bucket: Bucket) -> None:
        unit = bucket.limit.unit
        if unit is Unit.BANDWIDTH:
            self.bandwidths.append(bucket)
            rates = [one.rate for one in self.bandwidths]
            self.piece = min(max(rate.limit * _PIECE_NS // rate.period_ns, 1) for rate in rates)
            return
        self._held.append(bucket)
        self.settles = self.settles or bucket.by_token
        tightest = {one.limit.unit: one for one in self.shown}
        if unit not in tightest or bucket.rate.burst < tightest[unit].rate.burst:
            tightest[unit] = bucket
        self.shown = list(tightest.values())
        one, other, *_ = [*(one.rate for one in self.shown), None, None]
        self.rates = one, other
        self.template = b"".join(openai_template(one.limit) for one in self.shown)

    def add_gauge(self, gauge: Gauge) -> None:
        self._gauges.append(gauge)

    def take(self, now: int, tokens: int) -> tuple[int, ...] | None:
        """Take everywhere, or nowhere: None. The TATs of what is ``shown``, and perhaps more."""
        words, alone = self._words, self._workers == 1
        if words[CHANGES] != self._changes:
            self._find(now)
        if not self._taken.take(words, now, tokens):
            return None
        for own, most in self._levels:
            mine = words[own]
            if (mine if alone else self._in_flight(own)) >= most:
                for before in self.places[: self.places.index(own)]:
                    words[before] -= 1
                self._taken.give_back(words, now, tokens)
                return None
            words[own] = mine + 1
        one, other = self._shown_at
        return words[one], words[other]

    def _in_flight(self, own: int) -> int:
        """Of all workers, by the place of this one."""
        first = own - self._slot
        return sum(self._words[first : first + self._workers])

    def _find(self, now: int) -> None:
        """Where everything lies."""
        rows: list[Bucket | Gauge] = [*self._held, *self._gauges]
        for row in rows:
            row.find(now)
        self._taken = Buckets([Place(bucket.at, bucket.rate, bucket.by_token) for bucket in self._held])
        # Grants keep the lists that they were made with.
        self.places = [gauge.at + self._slot for gauge in self._gauges]
        self._levels = [(gauge.at + self._slot, gauge.limit.most) for gauge in self._gauges]
        one, other, *_ = [*(bucket.at for bucket in self.shown), CHANGES, CHANGES]
        self._shown_at = one, other
        # Who shares a row for want of one may find one of its own next time.
        self._changes = _NEVER if any(row.is_shared for row in rows) else self._words[CHANGES]

    def settle(self, now: int, difference: int) -> None:
        """``difference`` more tokens were used than taken; if there were fewer it is the same when ``now`` is."""
        words = self._words
        if words[CHANGES] != self._changes:
            if difference < 0:
                # A row that is another's now was that of a full bucket. Whoever shares one must not be given it.
                for bucket in self._held:
                    if bucket.by_token and (bucket.is_shared or words[bucket.at - 1] == bucket.key):
                        words[bucket.at] = bucket.rate.charge(words[bucket.at], now, difference)
                return
            self._find(now)
        self._taken.settle(words, now, difference)

    def in_flight(self) -> list[Quota]:
        return [gauge.quota(gauge.count()) for gauge in self._gauges]

    def deny(self, now: int, tokens: int) -> Denial:
        """Why :meth:`take` has just refused."""
        refusals: list[tuple[Limit, str, int | None]] = []
        quotas: list[Quota] = []
        for bucket in self._held:
            tat = self._words[bucket.at]
            wait = bucket.rate.wait(tat, now, tokens if bucket.by_token else 1)
            if wait != 0:
                refusals.append((bucket.limit, bucket.subject, wait))
            quotas.append(bucket.quota(tat, now))
        for gauge in self._gauges:
            count = gauge.count()
            if count >= gauge.limit.most:
                refusals.append((gauge.limit, gauge.subject, IN_FLIGHT_WAIT_NS))
            quotas.append(gauge.quota(count))
        if not refusals:
            # Another worker, which needs no lock for it, has ended a request since.
            fullest = min(self._gauges, key=lambda gauge: gauge.limit.most - gauge.count())
            refusals.append((fullest.limit, fullest.subject, IN_FLIGHT_WAIT_NS))
        limit, subject, longest = max(refusals, key=lambda refusal: float("inf") if refusal[2] is None else refusal[2])
        return Denial(limit, subject, longest, tightest(quotas))


def tightest(quotas: list[Quota]) -> tuple[Quota, ...]:
    """Of each unit the one with the least remaining."""
    found: dict[Unit, Quota] = {}
    for quota in quotas:
        unit = unit_of(quota.limit)
        if unit not in found or quota.remaining < found[unit].remaining:
            found[unit] = quota
    return tuple(found.values())
