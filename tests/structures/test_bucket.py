"""Buckets against an exact model, and against their bound in every window of time."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ztoapi.limits.buckets import BucketPlace, Buckets
from ztoapi.structures.bucket import FULL, LAST_TICK, SECOND_NS, Rate

MINUTE_NS = 60 * SECOND_NS
YEAR_NS = 366 * 86400 * SECOND_NS

periods = st.sampled_from([SECOND_NS, MINUTE_NS, 3600 * SECOND_NS, 7, 1_000_003])
bursts = st.integers(1, 20) | st.integers(1, 1000)
rates = (
    st.builds(Rate, st.integers(1, 10**7), periods.filter(lambda period: period > 10**6), bursts)
    | st.builds(Rate, st.sampled_from([1, 3, 7, 11, 60]), periods, bursts)
    | st.builds(Rate, st.sampled_from([10_007, 999_983, 10**9, 7 * 10**9]), st.just(SECOND_NS), bursts)
)
starts = st.integers(0, 20 * YEAR_NS)


def units_in(rate: Rate, nanoseconds: int) -> Fraction:
    return Fraction(rate.limit * nanoseconds, rate.period_ns)


def nanoseconds_of(rate: Rate, units: Fraction | int) -> Fraction:
    return units * Fraction(rate.period_ns, rate.limit)


def take(rate: Rate, tat: int, now: int, cost: int) -> int | None:
    """The TAT after taking ``cost`` units at ``now``, or None if the bucket holds fewer."""
    words = [tat]
    return words[0] if Buckets([BucketPlace(0, rate, by_token=True)]).take(words, now, cost) else None


class Level:
    """The bucket as textbooks have it: a level that rises with time. Slow, and exact."""

    def __init__(self, rate: Rate, now: int) -> None:
        self._rate, self._last, self.level = rate, now, Fraction(rate.burst)

    def rise(self, now: int) -> None:
        self.level = min(self.level + units_in(self._rate, now - self._last), Fraction(self._rate.burst))
        self._last = now

    def take(self, now: int, cost: int) -> bool:
        self.rise(now)
        if cost > self.level:
            return False
        self.level -= cost
        return True

    def charge(self, now: int, amount: int) -> None:
        self.rise(now)
        self.level = min(self.level - amount, Fraction(self._rate.burst))


# Steps are counted in hundredths of the time of a unit, so that they matter at every rate.
steps = st.lists(
    st.tuples(st.integers(0, 300) | st.just(0), st.sampled_from(["take", "charge"]), st.integers(-5, 12)),
    max_size=60,
)


@given(rate=rates, now=starts, history=steps)
def test_no_window_sees_more_than_rate_and_burst(rate: Rate, now: int, history: list[tuple[int, str, int]]) -> None:
    """Without the units that are given back in it. The order and the taker do not matter."""
    tat, seen = FULL, list[tuple[int, int]]()
    for hundredths, what, amount in history:
        now += int(nanoseconds_of(rate, Fraction(hundredths, 100)))
        if what == "charge":
            amount = min(amount, 0)
            tat = rate.charge(tat, now, amount)
        else:
            amount = abs(amount)
            after = take(rate, tat, now, amount)
            if after is None:
                continue
            tat = after
        seen.append((now, amount))
    for first, (start, _) in enumerate(seen):
        total = 0
        for end, amount in seen[first:]:
            total += amount
            assert total <= units_in(rate, end - start) + rate.burst


@pytest.mark.parametrize(("limit", "period_ns"), [(2, 7), (3, 7), (11, 70), (13, 30), (31, 70), (17, 7)])
def test_the_bound_is_strict_to_the_nanosecond(limit: int, period_ns: int) -> None:
    """The greediest client, from every phase of the rate's clock: all that is there at every nanosecond."""
    rate = Rate(limit, period_ns, 3)
    for start in range(30):
        tat, total = FULL, 0
        for now in range(start, start + 30):
            while (after := take(rate, tat, now, 1)) is not None:
                tat, total = after, total + 1
            assert total <= units_in(rate, now - start) + rate.burst


@given(limit=st.sampled_from([1, 2, 3, 5, 7, 60, 1000, 10**6]), burst=st.integers(1, 20), now=starts, history=steps)
def test_where_the_ticks_are_exact_it_is_the_textbook_bucket(
    limit: int, burst: int, now: int, history: list[tuple[int, str, int]]
) -> None:
    rate = Rate(limit, SECOND_NS, burst)
    tat, model = FULL, Level(rate, now)
    for hundredths, what, amount in history:
        now += int(nanoseconds_of(rate, Fraction(hundredths, 100)))
        if what == "charge":
            tat = rate.charge(tat, now, amount)
            model.charge(now, amount)
        else:
            after = take(rate, tat, now, abs(amount))
            assert (after is not None) == model.take(now, abs(amount))
            tat = tat if after is None else after
        model.rise(now)
        assert rate.remaining(tat, now) == max(int(model.level), 0)
        assert rate.idle(tat, now) == (model.level == burst)
        assert rate.pause(tat, now) == max(ceil(nanoseconds_of(rate, -model.level)), 0)
        assert rate.reset(tat, now) == ceil(nanoseconds_of(rate, burst - model.level))


@given(rate=rates, now=starts, count=st.integers(1, 200))
def test_no_fraction_is_lost(rate: Rate, now: int, count: int) -> None:
    """One unit at a time, each as soon as it is available: the last one at the time given by the rate.

    A tick and a nanosecond late at most, however many there were. Only with a burst so small that each unit finds the
    bucket full is it that for each.
    """
    late = Fraction(rate.period_ns, rate.limit * rate.unit_ticks) + 1
    start, tat = now, FULL
    for _ in range(rate.burst + count):
        wait = rate.wait(tat, now, 1)
        assert wait is not None
        now += wait
        after = take(rate, tat, now, 1)
        assert after is not None
        tat = after
    always_full = nanoseconds_of(rate, rate.burst - 1) < 2 * late
    assert 0 <= now - start - nanoseconds_of(rate, count) <= late * (rate.burst + count if always_full else 1)


@given(rate=rates, now=starts, taken=st.integers(0, 1000), later=st.integers(0, 10**12), cost=st.integers(1, 1000))
def test_the_wait_is_the_shortest(rate: Rate, now: int, taken: int, later: int, cost: int) -> None:
    tat = rate.charge(FULL, now, taken)
    now += later
    wait = rate.wait(tat, now, cost)
    if wait is None:
        assert cost > rate.burst
        assert take(rate, FULL, now, cost) is None
        return
    assert take(rate, tat, now + wait, cost) is not None
    if wait > 0:
        assert take(rate, tat, now + wait - 1, cost) is None


@given(rate=rates, now=starts, amount=st.integers(1, 5000))
def test_a_stream_that_rests_for_the_returned_time_is_out_of_debt(rate: Rate, now: int, amount: int) -> None:
    tat = rate.charge(FULL, now, amount)
    pause = rate.pause(tat, now)
    assert (pause == 0) == (amount <= rate.burst) or pause <= 2
    assert take(rate, tat, now + pause, 0) is not None
    assert pause <= nanoseconds_of(rate, max(amount - rate.burst, 0)) + 3


@given(rate=rates, now=starts, estimate=st.integers(1, 1000), used=st.integers(1, 3000))
def test_a_settled_estimate_costs_what_was_used(rate: Rate, now: int, estimate: int, used: int) -> None:
    assume(estimate <= rate.burst)
    tat = take(rate, FULL, now, estimate)
    assert tat is not None
    assert rate.charge(tat, now, used - estimate) == rate.charge(FULL, now, used)


@given(rate=rates, uptime=st.integers(0, 20 * YEAR_NS), amount=st.integers(0, 2**62))
def test_a_tat_fits_64_bits_for_any_charge(rate: Rate, uptime: int, amount: int) -> None:
    tat = rate.charge(FULL, uptime, amount)
    assert FULL <= tat <= LAST_TICK
    assert FULL <= rate.charge(tat, uptime, -amount) <= LAST_TICK


def test_a_hundred_years_of_uptime_leave_room_for_the_longest_burst() -> None:
    rate = Rate(2, 2, 2**61)
    tat = take(rate, FULL, 100 * YEAR_NS, 2**61)
    assert tat is not None
    assert tat < LAST_TICK


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((0, 1), "limit is 0"),
        ((11, 1), "limit is 11"),
        ((1, 0), "period_ns is 0"),
        ((1, 1, 0), "burst is 0"),
        ((1, 10**9, 2**61), "burst is"),
    ],
)
def test_what_cannot_be_a_rate_is_refused(arguments: tuple[int, ...], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Rate(*arguments)
