"""Units taken ahead from a common bucket, to be used without asking for each.

What keeps the bound is that a lease ends. Of the burst a part is set aside, and the common bucket holds the rest; a
lease lasts no longer than the rate takes to bring that part. What is admitted in a window was granted in it or up to
that time before, so it is at most rate * t + what was set aside + the rest of the burst. A gateway never holds more
than what is set aside, so that is also what is lost when it dies.

The common bucket is a debt in whole numbers, which falls with the store's microseconds: of ``unit`` for each unit taken
and ``per_microsecond`` back. It stays below 2^53, for the store counts in floating point.
"""

import hashlib
from collections import deque
from math import gcd
from typing import Final, NamedTuple

from ztoapi.limits.model import Quota, RateLimit, Unit
from ztoapi.structures.bucket import FULL, SECOND_NS

__all__ = ["Lease", "Reply", "check", "most_at_once"]

_ASIDE_DIVISOR: Final = 10
"""A tenth of the burst at most is set aside: so much earlier a client that uses all of it at once is refused."""
_LONGEST_NS: Final = SECOND_NS
"""Longer leases would ask no less: a second of the rate is ahead of the network by far."""
_BELIEVED_NS: Final = SECOND_NS // 4
"""For so long a refusal is believed, at most: somebody may give back what he did not use."""
_MOST_DEBT: Final = 2**53
_KEY_BYTES: Final = 16


class Reply(NamedTuple):
    """What the store says of one lease: units granted, units left, and the wait if there were too few (0: there were
    enough)."""

    granted: int
    left: int
    wait_ns: int


class Lease:
    """One subject's units of one limit. Times are nanoseconds of this machine's clock."""

    __slots__ = (
        "_batch", "_believed_until", "_lots", "_per_microsecond", "_refused", "_refused_until", "_tat", "_unit",
        "_used", "burst", "by_token", "key", "lifetime_ns", "limit", "most", "owed", "subject",
    )  # fmt: skip

    def __init__(self, limit: RateLimit, subject: str) -> None:
        rate = limit.rate
        self.limit, self.subject, self.by_token = limit, subject, limit.unit is Unit.TOKENS
        digest = hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).hexdigest()
        # A bucket of another rate counts otherwise. One hash tag, so that a cluster keeps all in one place.
        self.key = f"ztoapi:{{limits}}:{limit.name}:{rate.limit}/{rate.period_ns}:{digest}"
        self.burst = most_at_once(limit)
        self.most = rate.burst - self.burst
        self.lifetime_ns = min(self.most * rate.period_ns // rate.limit, _LONGEST_NS)
        common = gcd(rate.limit * 1000, rate.period_ns)
        self._unit, self._per_microsecond = rate.period_ns // common, rate.limit * 1000 // common
        self._lots: deque[tuple[int, int]] = deque()
        self._used = self._batch = self.owed = 0
        self._tat = FULL
        self._refused = self._refused_until = self._believed_until = 0

    def cost(self, tokens: int) -> int:
        """What a request with so many tokens takes."""
        return tokens if self.by_token else 1

    def held(self, now: int) -> int:
        """Units that can be used without asking."""
        lots = self._lots
        while lots and lots[0][0] < now:
            lots.popleft()
        return sum(units for _, units in lots)

    def use(self, cost: int, now: int) -> None:
        """Use ``cost`` of what is held."""
        self._used += cost
        self._tat = self.limit.rate.charge(self._tat, now, cost)
        while cost:
            end, units = self._lots.popleft()
            if units > cost:
                self._lots.appendleft((end, units - cost))
            cost -= min(units, cost)

    def low(self, now: int) -> bool:
        """Whether it is time for more: half of what was last asked for is used."""
        return self.most > 0 and self.held(now) * 2 <= self._batch

    def refused(self, cost: int, now: int) -> int:
        """The wait, if the store has lately refused as much; else 0."""
        return self._refused_until - now if cost >= self._refused and now < self._believed_until else 0

    def order(self, cost: int, now: int, *, ahead: bool = True) -> tuple[int, ...]:
        """Ask for ``cost``, and with ``ahead`` for as much as was used lately, twice; and settle what is owed."""
        owed, self.owed = self.owed, 0
        more = 0
        if ahead:
            self._batch = min(self.most, 2 * (self._used + cost))
            self._used = 0
            more = max(self._batch - self.held(now), 0)
        return self._unit, self._per_microsecond, self.burst, cost, more, owed

    def answered(self, reply: Reply, cost: int, sent: int, now: int) -> None:
        """``reply`` came to an order of ``cost`` made at ``sent``: from then on what is beyond it counts."""
        ahead = reply.granted - cost
        if reply.wait_ns:
            self._refused, self._refused_until = cost, now + reply.wait_ns
            self._believed_until = min(self._refused_until, now + _BELIEVED_NS)
        elif ahead > 0:
            self._lots.append((sent + self.lifetime_ns, ahead))
        rate = self.limit.rate
        self._tat = rate.charge(FULL, now, self.burst - min(reply.left + self.held(now), self.burst))

    def quota(self, now: int) -> Quota:
        """How the common bucket stands, as far as is known here."""
        rate = self.limit.rate
        left = max(rate.remaining(self._tat, now) - self.most, 0)
        return Quota(self.limit, self.burst, left, rate.reset(self._tat, now))


def most_at_once(limit: RateLimit) -> int:
    """The most units that one request can take: what the common bucket holds."""
    rate = limit.rate
    in_longest = -(-rate.limit * _LONGEST_NS // rate.period_ns)
    return rate.burst - min(rate.burst // _ASIDE_DIVISOR, in_longest)


def check(limit: RateLimit) -> None:
    """Raises ValueError if a store cannot count the limit."""
    rate = limit.rate
    if rate.burst * (rate.period_ns // gcd(rate.limit * 1000, rate.period_ns)) > _MOST_DEBT:
        raise ValueError(
            f"the burst of {limit.name} is too large for Redis to count exactly; take less, or a round rate"
        )
