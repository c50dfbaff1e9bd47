"""Token buckets by the generic cell rate algorithm (GCRA, ITU-T I.371): a bucket is one integer and needs no refilling.

The integer is the theoretical arrival time (TAT): the moment at which the bucket will be full again. Taking units
advances it by their cost. If it would move further than the burst beyond the present, the take is refused and changes
nothing.

Fractions are exact, because each rate measures time in its own ticks, of which a unit costs a whole number
(``unit_ticks``). At 60 units a second a unit takes 16666666 2/3 ns; the tick is a third of a nanosecond, and a unit
costs 50000000 ticks. Rates that would need ticks shorter than a tenth of a nanosecond get the shortest tick of at least
a nanosecond that divides a unit: at 10007 units a second a unit costs 99930 ticks of 1.00000049 ns. Ticks are computed
from the absolute time at every call and rounded down, so errors do not add up. Only a full bucket starts at the next
whole tick, not at the previous one: this makes the bound strict and costs at most that tick.

The bound: the units admitted in a window of t seconds, less the units returned in it, never exceed rate * t + burst.
Units that :meth:`Rate.charge` adds beyond the burst are debt, which is paid by waiting.

Times are nanoseconds of a monotonic clock. With ticks of a nanosecond a TAT fits 64 bits for 292 years of uptime, less
the burst; with the shortest ticks for 29 years.
"""

from math import gcd
from typing import Final

__all__ = ["FULL", "LAST_TICK", "SECOND_NS", "Rate"]

SECOND_NS: Final = 1_000_000_000
FULL: Final = 0
"""The TAT of an unused bucket."""
LAST_TICK: Final = 2**63 - 1
"""The upper bound of debt: a TAT fits a signed 64-bit integer."""
_TICKS_PER_NANOSECOND: Final = 10
"""The shortest tick, and also the fastest rate. No gateway needs faster rates or more than 29 years of uptime."""
_MAX_BURST_TICKS: Final = 2**61
"""73 years at the rate. A larger burst is a mistake, and would leave too few of the 64 bits for the time."""


class Rate:
    """``limit`` units in ``period_ns`` nanoseconds, and up to ``burst`` units at once (by default ``limit``).

    A rate is immutable and stores no TAT: its methods take and return TATs. Raises ValueError for invalid values.
    """

    __slots__ = (
        "burst", "burst_ticks", "denominator", "in_nanoseconds", "limit", "numerator", "period_ns", "unit_ticks",
    )  # fmt: skip

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
        if self.burst_ticks > _MAX_BURST_TICKS:
            raise ValueError(f"burst is {self.burst}; at this rate it would take decades to refill; reduce it")
        # Ticks for each nanosecond, as a fraction; where the ticks are exact the denominator is 1.
        common = gcd(limit * self.unit_ticks, period_ns)
        self.numerator, self.denominator = limit * self.unit_ticks // common, period_ns // common
        self.in_nanoseconds = self.numerator == self.denominator
        """Whether a tick is a nanosecond."""

    def __repr__(self) -> str:
        return f"Rate({self.limit}, {self.period_ns}, {self.burst})"

    def wait(self, tat: int, now: int, cost: int) -> int | None:
        """Returns the nanoseconds until ``cost`` units can be taken, if there are no other takes; None if ``cost``
        exceeds the burst."""
        spent = cost * self.unit_ticks
        if spent > self.burst_ticks:
            return None
        return max(self._moment(tat + spent - self.burst_ticks) - now, 0)

    def charge(self, tat: int, now: int, amount: int) -> int:
        """Returns the TAT after ``amount`` units were used, available or not; a negative amount returns units.

        Callers settle estimates with it (``charge(tat, now, used - estimate)``), and charge streams for the units they
        have sent. Missing units become debt. Units returned to a full bucket are lost.
        """
        if amount > 0:
            start = self._ceiling(now)
            if tat < start:
                tat = start
        tat += amount * self.unit_ticks
        return FULL if tat < FULL else LAST_TICK if tat > LAST_TICK else tat

    def pause(self, tat: int, now: int) -> int:
        """Returns the nanoseconds that a stream must pause until its debt is paid."""
        return max(self._moment(tat - self.burst_ticks) - now, 0)

    def remaining(self, tat: int, now: int) -> int:
        """Returns the whole units that can be taken now, or at the next tick."""
        return max(self.burst_ticks - max(tat - self._ceiling(now), 0), 0) // self.unit_ticks

    def reset(self, tat: int, now: int) -> int:
        """Returns the nanoseconds until the bucket is full."""
        return max(self._moment(tat) - now, 0)

    def state(self, tat: int, now: int) -> tuple[int, int]:
        """Returns :meth:`remaining` and :meth:`reset` together."""
        # Every response contains it, and most ticks are nanoseconds: 30 opcodes, 50 with the long way.
        if self.in_nanoseconds:
            ahead = reset = tat - now
        else:
            ahead = tat - self._ceiling(now)
            reset = self._moment(tat) - now
        if ahead <= 0:
            return self.burst, 0
        return (self.burst_ticks - ahead) // self.unit_ticks if ahead < self.burst_ticks else 0, reset

    def idle(self, tat: int, now: int) -> bool:
        """Returns whether the bucket is full, and therefore equal to a new one."""
        return tat <= now * self.numerator // self.denominator

    def _ceiling(self, now: int) -> int:
        return -(-now * self.numerator // self.denominator)

    def _moment(self, tick: int) -> int:
        """Returns the first nanosecond of ``tick``."""
        return -(-tick * self.denominator // self.numerator)
