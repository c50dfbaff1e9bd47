"""Units taken from a common bucket in advance, so that not every request needs a call to the store.

The bound holds because a lease expires. A part of the burst is reserved for leases, and the common bucket holds the
rest. A lease expires no later than the rate replaces that part. The requests admitted in a window use units granted in
that window or in one lifetime before it: at most rate * t + the reserved part + the rest of the burst. A gateway never
holds more than the reserved part, which is also the most that is lost when it dies.

The common bucket is a debt in whole numbers. It rises by ``unit`` for each unit taken, and falls by ``per_microsecond``
with the store's clock. It stays below 2^53, because the store computes in floating point.
"""

import hashlib
from collections import deque
from math import gcd
from typing import Final, NamedTuple

from ztoapi.limits.model import LimitStatus, RateLimit, Unit
from ztoapi.structures.bucket import FULL, SECOND_NS

__all__ = ["QuotaLease", "Reply", "check", "max_at_once"]

_RESERVED_DIVISOR: Final = 10
"""At most a tenth of the burst is reserved for leases: a client that uses the whole burst at once is refused that much
earlier."""
_LONGEST_NS: Final = SECOND_NS
"""Longer leases would not save calls: a second of the rate is far longer than a call takes."""
_REFUSAL_CACHE_NS: Final = SECOND_NS // 4
"""A refusal is cached for at most this time, because another request may refund units."""
_MAX_DEBT: Final = 2**53
_KEY_BYTES: Final = 16


class Reply(NamedTuple):
    """The store's reply for one lease: units granted, units left, and the wait if there were too few (else 0)."""

    granted: int
    left: int
    wait_ns: int


class QuotaLease:
    """The units of one limit held for one subject. Times are nanoseconds of this machine's clock."""

    __slots__ = (
        "_batch", "_lots", "_per_microsecond", "_refused", "_refused_until", "_stale_at", "_tat", "_unit",
        "_used", "burst", "by_token", "key", "lifetime_ns", "limit", "max_held", "owed", "subject",
    )  # fmt: skip

    def __init__(self, limit: RateLimit, subject: str) -> None:
        rate = limit.rate
        self.limit = limit
        self.subject = subject
        self.by_token = limit.unit is Unit.TOKENS
        digest = hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).hexdigest()
        # The rate is part of the key: a debt at another rate means something else. One hash tag puts all keys on one
        # node of a cluster.
        self.key = f"ztoapi:{{limits}}:{limit.name}:{rate.limit}/{rate.period_ns}:{digest}"
        self.burst = max_at_once(limit)
        self.max_held = rate.burst - self.burst
        self.lifetime_ns = min(self.max_held * rate.period_ns // rate.limit, _LONGEST_NS)
        common = gcd(rate.limit * 1000, rate.period_ns)
        self._unit = rate.period_ns // common
        self._per_microsecond = rate.limit * 1000 // common
        self._lots: deque[tuple[int, int]] = deque()
        self._used = 0
        self._batch = 0
        self.owed = 0
        self._tat = FULL
        self._refused = 0
        self._refused_until = 0
        self._stale_at = 0

    def cost(self, tokens: int) -> int:
        """Returns the units that a request with ``tokens`` takes."""
        return tokens if self.by_token else 1

    def held(self, now: int) -> int:
        """Returns the units that can be used without a call."""
        lots = self._lots
        while lots and lots[0][0] < now:
            lots.popleft()
        return sum(units for _, units in lots)

    def use(self, cost: int, now: int) -> None:
        """Uses ``cost`` of the units held."""
        self._used += cost
        self._tat = self.limit.rate.charge(self._tat, now, cost)
        while cost:
            end, units = self._lots.popleft()
            if units > cost:
                self._lots.appendleft((end, units - cost))
            cost -= min(units, cost)

    def low(self, now: int) -> bool:
        """Returns whether to request more units: half of the last batch is used."""
        return self.max_held > 0 and self.held(now) * 2 <= self._batch

    def refused(self, cost: int, now: int) -> int:
        """Returns the wait if the store has recently refused ``cost`` or less; else 0."""
        return self._refused_until - now if cost >= self._refused and now < self._stale_at else 0

    def order(self, cost: int, now: int, *, ahead: bool = True) -> tuple[int, ...]:
        """Returns the arguments of a call for ``cost`` units. It also settles ``owed``. With ``ahead`` it requests
        twice the recent usage in advance."""
        owed, self.owed = self.owed, 0
        more = 0
        if ahead:
            self._batch = min(self.max_held, 2 * (self._used + cost))
            self._used = 0
            more = max(self._batch - self.held(now), 0)
        return self._unit, self._per_microsecond, self.burst, cost, more, owed

    def receive(self, reply: Reply, cost: int, sent: int, now: int) -> None:
        """Applies the reply to an order of ``cost`` that was sent at ``sent``. The lifetime of the units beyond
        ``cost`` begins at ``sent``."""
        ahead = reply.granted - cost
        if reply.wait_ns:
            self._refused = cost
            self._refused_until = now + reply.wait_ns
            self._stale_at = min(self._refused_until, now + _REFUSAL_CACHE_NS)
        elif ahead > 0:
            self._lots.append((sent + self.lifetime_ns, ahead))
        rate = self.limit.rate
        self._tat = rate.charge(FULL, now, self.burst - min(reply.left + self.held(now), self.burst))

    def status(self, now: int) -> LimitStatus:
        """Returns the last known state of the common bucket."""
        rate = self.limit.rate
        left = max(rate.remaining(self._tat, now) - self.max_held, 0)
        return LimitStatus(self.limit, self.burst, left, rate.reset(self._tat, now))


def max_at_once(limit: RateLimit) -> int:
    """Returns the largest number of units that one request can take: the capacity of the common bucket."""
    rate = limit.rate
    in_longest = -(-rate.limit * _LONGEST_NS // rate.period_ns)
    return rate.burst - min(rate.burst // _RESERVED_DIVISOR, in_longest)


def check(limit: RateLimit) -> None:
    """Raises ValueError if a store cannot count the limit exactly."""
    rate = limit.rate
    if rate.burst * (rate.period_ns // gcd(rate.limit * 1000, rate.period_ns)) > _MAX_DEBT:
        raise ValueError(
            f"the burst of {limit.name} is too large for Redis to count exactly; use a smaller burst or a round rate"
        )
