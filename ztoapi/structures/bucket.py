"""Token buckets by the generic cell rate algorithm (GCRA, ITU-T I.371): a bucket is one integer, and nobody refills it.

The integer is the theoretical arrival time (TAT): the moment at which the bucket will be full again. Taking moves it
on by the cost; a taking that would move it further than the burst from now is refused and changes nothing.

No fraction is lost, for time is counted on a clock of the rate's own, of which a unit takes ``unit_ticks``, a whole
number. At 60 a second a unit takes 16666666 2/3 ns; a tick is a third of a nanosecond, and a unit 50000000 of them.
Rates that would need ticks shorter than a tenth of a nanosecond get the shortest tick of at least a nanosecond of which
a unit has a whole number: 10007 a second has 99930 of 1.00000049 ns. The time on such a clock is computed anew from
the absolute time at every call, rounded down, so nothing adds up. Only a bucket found full starts at the next whole
tick, not at the one before: that makes the bound strict, at the price of that tick.

The bound: what is admitted in a window of t seconds, less what is given back in it, is never more than rate * t +
burst. What :meth:`Rate.charge` adds beyond the burst is debt: it is paid by waiting.

Times are nanoseconds of a clock that does not go back. With ticks of a nanosecond a TAT fits 64 bits for 292 years of
uptime, less the burst; with the shortest ticks, for 29.
"""

from math import gcd
from typing import Final

__all__ = ["FULL", "LAST_TICK", "SECOND_NS", "Rate"]

SECOND_NS: Final = 1_000_000_000
FULL: Final = 0
"""The TAT of a bucket that nobody has taken from."""
LAST_TICK: Final = 2**63 - 1
"""Debt ends here: a TAT fits a signed 64-bit integer."""
_TICKS_PER_NANOSECOND: Final = 10
"""At most; also the fastest rate. No gateway counts anything faster, or runs for longer than its 64 bits then last."""
_LONGEST_BURST_TICKS: Final = 2**61
"""73 years at the rate. More is a slip of the pen, and would leave too little of 64 bits to the time."""


class Rate:
    """``limit`` units in each ``period_ns`` nanoseconds, and up to ``burst`` units at once (by default ``limit``).

    Immutable; the methods compute new TATs and keep none. Raises ValueError for what cannot be a rate.
    """

    __slots__ = ("burst", "burst_ticks", "denominator", "limit", "numerator", "period_ns", "unit_ticks")

    def __init__(self, limit: int, period_ns: int, burst: int | None = None) -> None:
        self.limit = limit
        self.period_ns = period_ns
        self.burst = limit if burst is None else burst
        for name, value in (("limit", limit), ("period_ns", period_ns), ("burst", self.burst)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if limit > _TICKS_PER_NANOSECOND * period_ns:
            raise ValueError(f"limit is {limit} in {period_ns} ns; it can be at most {_TICKS_PER_NANOSECOND} in each")
        common = gcd(limit, period_ns)
        exact = limit // common <= _TICKS_PER_NANOSECOND
        self.unit_ticks = period_ns // common if exact else max(period_ns // limit, 1)
        self.burst_ticks = self.burst * self.unit_ticks
        if self.burst_ticks > _LONGEST_BURST_TICKS:
            raise ValueError(f"burst is {self.burst}: at this rate it would take decades to come back; take less")
        # Ticks for each nanosecond, as a fraction; where the ticks are exact the denominator is 1.
        common = gcd(limit * self.unit_ticks, period_ns)
        self.numerator, self.denominator = limit * self.unit_ticks // common, period_ns // common

    def __repr__(self) -> str:
        return f"Rate({self.limit}, {self.period_ns}, {self.burst})"

    def wait(self, tat: int, now: int, cost: int) -> int | None:
        """Nanoseconds after which ``cost`` units can be taken if nobody else takes any; None if more than the burst."""
        spent = cost * self.unit_ticks
        if spent > self.burst_ticks:
            return None
        return max(self._moment(tat + spent - self.burst_ticks) - now, 0)

    def charge(self, tat: int, now: int, amount: int) -> int:
        """The TAT after ``amount`` units were used, whether they were there or not; a negative amount gives back.

        With this an estimate is settled (``charge(tat, now, used - estimate)``), and a stream charged for what it has
        sent. What is missing becomes debt. What is given back to a full bucket is lost.
        """
        if amount > 0:
            start = self._ceiling(now)
            if tat < start:
                tat = start
        tat += amount * self.unit_ticks
        return FULL if tat < FULL else LAST_TICK if tat > LAST_TICK else tat

    def pause(self, tat: int, now: int) -> int:
        """Nanoseconds for which a stream must rest until it is out of debt."""
        return max(self._moment(tat - self.burst_ticks) - now, 0)

    def remaining(self, tat: int, now: int) -> int:
        """Whole units that can be taken now, or at the next tick."""
        return max(self.burst_ticks - max(tat - self._ceiling(now), 0), 0) // self.unit_ticks

    def reset(self, tat: int, now: int) -> int:
        """Nanoseconds until the bucket is full."""
        return max(self._moment(tat) - now, 0)

    def state(self, tat: int, now: int) -> tuple[int, int]:
        """:meth:`remaining` and :meth:`reset` at once."""
        numerator, denominator = self.numerator, self.denominator
        # Every answer tells of it, and large integers are divided slowly.
        ahead = tat - (now * numerator if denominator == 1 else self._ceiling(now))
        if ahead <= 0:
            return self.burst, 0
        remaining = (self.burst_ticks - ahead) // self.unit_ticks if ahead < self.burst_ticks else 0
        return remaining, ahead if numerator == denominator else self._moment(tat) - now

    def idle(self, tat: int, now: int) -> bool:
        """Whether the bucket is full, and so the same as a new one."""
        return tat <= now * self.numerator // self.denominator

    def _ceiling(self, now: int) -> int:
        return -(-now * self.numerator // self.denominator)

    def _moment(self, tick: int) -> int:
        """The first nanosecond at which the clock of the rate shows ``tick``."""
        return -(-tick * self.denominator // self.numerator)
