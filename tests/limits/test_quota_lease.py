"""Leases of several gateways on one common bucket, with time in the test's hand."""

from hypothesis import example, given, reject
from hypothesis import strategies as st

from ztoapi.config.model import TrafficLimits
from ztoapi.config.options import options_of
from ztoapi.config.sources import Problems, Setting
from ztoapi.config.values import convert
from ztoapi.limits.model import RateLimit, Unit
from ztoapi.limits.quota_lease import QuotaLease, Reply, check
from ztoapi.structures.bucket import SECOND_NS, Rate

START_NS = 10**15
GATEWAYS = 3
MOST = 10**8
"""The fastest rate and the largest burst that a configuration may have."""


class RedisBuckets:
    """The common bucket as the script keeps it."""

    def __init__(self) -> None:
        self.debt, self.at = 0, START_NS

    def answer(self, order: tuple[int, ...], now: int) -> Reply:
        unit, back, burst, need, ahead, owed = order
        self.debt = max(self.debt - (now - self.at) // 1000 * back, 0)
        self.debt, self.at = max(self.debt + owed * unit, 0), now - now % 1000
        if self.debt + need * unit > burst * unit:
            wait = -(-(self.debt + (need - burst) * unit) // back) * 1000
            return Reply(0, max(burst - -(-self.debt // unit), 0), wait)
        granted = min(need + ahead, burst - -(-self.debt // unit))
        self.debt += granted * unit
        return Reply(granted, burst - -(-self.debt // unit), 0)


def lease(rate: Rate) -> QuotaLease:
    return QuotaLease(RateLimit("key_requests", Unit.REQUESTS, rate), "alice")


def ask(one: QuotaLease, store: RedisBuckets, cost: int, sent: int, now: int) -> bool:
    """An order sent at one time is answered by the store in the middle, and known here at the other."""
    reply = store.answer(one.order(cost, sent), (sent + now) // 2)
    one.receive(reply, cost, sent, now)
    return not reply.wait_ns


steps = st.lists(
    st.tuples(st.integers(0, GATEWAYS - 1), st.integers(1, 4), st.integers(0, 400), st.booleans()), max_size=120
)


@given(
    rate=st.builds(Rate, st.sampled_from([10, 50, 700]), st.just(SECOND_NS), st.sampled_from([4, 20, 50, 100])),
    history=steps,
)
def test_no_window_sees_more_than_rate_and_burst(rate: Rate, history: list[tuple[int, int, int, bool]]) -> None:
    store, now = RedisBuckets(), START_NS
    leases = [lease(rate) for _ in range(GATEWAYS)]
    seen: list[tuple[int, int]] = []
    for gateway, cost, milliseconds, ahead in history:
        one = leases[gateway]
        now += milliseconds * 1_000_000
        if ahead:
            # In the background, with an answer that takes its time.
            ask(one, store, 0, now, now + 2_000_000)
            now += 2_000_000
        if one.held(now) >= cost:
            one.use(cost, now)
            seen.append((now, cost))
        elif ask(one, store, cost, now, now):
            seen.append((now, cost))
        assert one.held(now) <= one.max_held
    for first, (start, _) in enumerate(seen):
        total = 0
        for end, cost in seen[first:]:
            total += cost
            # The store counts microseconds: two that differ by less may lie on both sides of one.
            assert (total - rate.burst) * rate.period_ns <= rate.limit * (end - start + 1000)


@given(st.integers(1, MOST), st.integers(1, MOST), st.sampled_from([SECOND_NS, 60 * SECOND_NS]))
@example(MOST - 1, MOST, 60 * SECOND_NS)
@example(1, 38430717, 60 * SECOND_NS)
def test_every_rate_that_can_be_configured_can_be_counted(limit: int, burst: int, period_ns: int) -> None:
    try:
        rate = Rate(limit, period_ns, burst)
    except ValueError:
        # A burst that takes decades to come back is refused.
        reject()
    check(RateLimit("key_requests", Unit.REQUESTS, rate))
    assert f"from 1 to {MOST}" in too_large()


def too_large() -> str:
    """The message for a configured rate that is too large."""
    problems = Problems()
    option = next(option for option in options_of(TrafficLimits) if option.name == "tokens_per_minute")
    convert(Setting(str(MOST + 1), "tokens_per_minute", "test"), option, problems)
    return problems.lines[0]


def test_what_is_not_used_in_time_is_lost() -> None:
    one, store = lease(Rate(100, SECOND_NS)), RedisBuckets()
    assert (one.max_held, one.burst, one.lifetime_ns) == (10, 90, SECOND_NS // 10)
    for _ in range(3):
        assert ask(one, store, 1, START_NS, START_NS)
    held = one.held(START_NS)
    assert 1 <= held <= one.max_held
    assert one.held(START_NS + one.lifetime_ns) == held
    assert one.held(START_NS + one.lifetime_ns + 1) == 0


def test_a_limit_too_small_to_share_needs_a_call_each_time() -> None:
    one, store = lease(Rate(3, SECOND_NS)), RedisBuckets()
    assert (one.max_held, one.burst) == (0, 3)
    assert [ask(one, store, 1, START_NS, START_NS) for _ in range(4)] == [True, True, True, False]
    assert one.held(START_NS) == 0


def test_a_refusal_is_kept_for_a_while_and_has_the_whole_wait() -> None:
    one, store = lease(Rate(60, 60 * SECOND_NS, 10)), RedisBuckets()
    assert ask(one, store, 9, START_NS, START_NS)
    assert not ask(one, store, 5, START_NS, START_NS)
    assert one.refused(5, START_NS) == 5 * SECOND_NS
    assert one.refused(4, START_NS) == 0
    assert one.refused(5, START_NS + SECOND_NS // 4) == 0
