"""Which credential serves, and what becomes of it: the pool without clock or network."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.relay.requests_in_flight import Room, lent
from ztoapi.errors import Fault
from ztoapi.relay.cooldowns import COOLDOWNS
from ztoapi.relay.credentials import CredentialLease, CredentialPool, Unavailable
from ztoapi.structures.breaker import BreakerState


def serve(pool: CredentialPool, now: float, *, latency: float = 1.0, model: str = "m") -> str:
    """One request from beginning to end."""
    lease = lent(pool.acquire(now, model))
    name = lease.name
    pool.responded(lease, now + latency)
    pool.complete(lease)
    return name


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (1.0, 2.0, 5.0), (0.5, 1.5)])
def test_one_after_the_other_they_share_by_weight(weights: tuple[float, ...]) -> None:
    pool = CredentialPool([(f"c{number}", weight) for number, weight in enumerate(weights)])
    served = Counter(serve(pool, float(second)) for second in range(2000))
    for number, weight in enumerate(weights):
        assert abs(served[f"c{number}"] - 2000 * weight / sum(weights)) <= 2


def test_all_at_once_they_share_by_weight() -> None:
    pool = CredentialPool([("a", 3.0), ("b", 1.0)])
    for _ in range(400):
        lent(pool.acquire(0.0, "m"))
    in_flight = {one.name: one.in_flight for one in pool.statistics(0.0)}
    assert abs(in_flight["a"] - 300) <= 2


def test_a_slow_one_is_left_alone_but_not_forgotten() -> None:
    pool = CredentialPool([("quick", 1.0), ("slow", 1.0)])
    served: Counter[str] = Counter()
    for second in range(300):
        lease = lent(pool.acquire(float(second), "m"))
        served[lease.name] += 1
        pool.responded(lease, second + (20.0 if lease.name == "slow" else 0.2))
        pool.complete(lease)
    assert 5 <= served["slow"] <= 15


def test_one_without_a_history_gets_one_request_to_show_itself() -> None:
    pool = CredentialPool([("known", 1.0), ("new", 1.0)])
    for lease in [lent(pool.acquire(0.0, "m")), lent(pool.acquire(0.0, "m"))]:
        if lease.name == "known":
            pool.responded(lease, 0.1)
        pool.drop(lease)
    names = [lent(pool.acquire(1.0, "m")).name for _ in range(10)]
    assert names[0] == "new"
    assert names.count("known") >= 4


def test_a_returning_credential_starts_at_the_tags_of_the_others() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    lease = lent(pool.acquire(0.0, "m"))
    pool.fail(lease, 0.0, Fault.REFUSED)
    for _ in range(100):
        serve(pool, 1.0)
    assert serve(pool, 100.0) in ("a", "b")
    served = Counter(serve(pool, 101.0) for _ in range(20))
    assert abs(served["a"] - served["b"]) <= 2


@pytest.mark.parametrize("fault", [Fault.QUOTA, Fault.THROTTLED, Fault.OVERLOADED, Fault.UPSTREAM])
def test_each_fault_takes_out_what_it_concerns_for_its_time(fault: Fault) -> None:
    rule = COOLDOWNS[fault]
    pool = CredentialPool([("a", 1.0)])
    for number in range(rule.failures):
        news = pool.fail(lent(pool.acquire(0.0, "m")), 0.0, fault)
        assert news == (rule.first if number == rule.failures - 1 else 0.0)
    answer = pool.acquire(0.0, "m")
    assert isinstance(answer, Unavailable)
    assert (answer.seconds, answer.reasons) == (rule.first, {fault: 1})
    assert isinstance(pool.acquire(0.0, "other"), Unavailable) == (not rule.model)
    probe = lent(pool.acquire(rule.first, "m"))
    assert isinstance(pool.acquire(rule.first, "m"), Unavailable)
    pool.fail(probe, rule.first, fault)
    again = pool.acquire(rule.first, "m")
    assert isinstance(again, Unavailable)
    assert again.seconds == min(2 * rule.first, rule.longest)
    probe = lent(pool.acquire(rule.first + again.seconds, "m"))
    pool.responded(probe, rule.first + again.seconds)
    lent(pool.acquire(rule.first + again.seconds, "m"))


def test_the_request_s_own_fault_and_a_client_that_leaves_never_count() -> None:
    pool = CredentialPool([("a", 1.0)])
    for _ in range(1000):
        assert not pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REQUEST)
        pool.drop(lent(pool.acquire(0.0, "m")))
    (one,) = pool.statistics(0.0)
    assert (one.state, one.in_flight, one.failures) == (BreakerState.CLOSED, 0, {})


def test_a_success_in_between_is_no_failure_in_a_row() -> None:
    pool = CredentialPool([("a", 1.0)])
    for _ in range(100):
        for _ in range(COOLDOWNS[Fault.UPSTREAM].failures - 1):
            pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.UPSTREAM)
        serve(pool, 0.0)
    assert pool.statistics(0.0)[0].state is BreakerState.CLOSED


def test_the_upstream_s_own_wait_holds_up_to_an_hour_and_a_quota_s_to_its_end() -> None:
    for fault, asked, waited in [
        (Fault.THROTTLED, 7.0, 7.0),
        (Fault.OVERLOADED, 7.0, 7.0),
        (Fault.THROTTLED, 99999.0, 3600.0),
        (Fault.QUOTA, 99999.0, 99999.0),
    ]:
        pool = CredentialPool([("a", 1.0)])
        assert pool.fail(lent(pool.acquire(0.0, "m")), 0.0, fault, asked)
        answer = pool.acquire(0.0, "m")
        assert isinstance(answer, Unavailable)
        assert answer.seconds == waited


def test_what_was_tried_is_taken_again_only_where_there_is_nothing_else() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    assert {lent(pool.acquire(0.0, "m", tried=(0,))).name for _ in range(10)} == {"b"}
    assert lent(pool.acquire(0.0, "m", tried=(0, 1))).name in ("a", "b")


def test_a_session_stays_and_moves_only_when_it_must() -> None:
    names = [(f"c{number}", 1.0) for number in range(5)]
    pool = CredentialPool(names)
    sessions = [b"session-%d" % number for number in range(500)]

    def homes() -> dict[bytes, str]:
        return {session: lent(pool.acquire(0.0, "m", session=session)).name for session in sessions}

    before = homes()
    assert homes() == before
    assert all(60 <= count <= 140 for count in Counter(before.values()).values())
    pool.fail(lent(pool.acquire(0.0, "m", tried=(1, 2, 3, 4))), 0.0, Fault.REFUSED)
    after = homes()
    assert {session for session in sessions if after[session] != before[session]} == {
        session for session in sessions if before[session] == "c0"
    }
    pool = CredentialPool([("heavy", 4.0), ("light", 1.0)])
    assert 350 <= Counter(homes().values())["heavy"] <= 450


def test_a_full_one_is_skipped_without_a_wait() -> None:
    room = Room({0: 2, 1: 1})
    pool = CredentialPool([("a", 1.0), ("b", 1.0)], room)
    leases = [lent(pool.acquire(0.0, "m")) for _ in range(3)]
    assert sorted(lease.name for lease in leases) == ["a", "a", "b"]
    answer = pool.acquire(0.0, "m")
    assert isinstance(answer, Unavailable)
    assert (answer.seconds, answer.reasons) == (1.0, {None: 2})
    pool.drop(leases[0])
    lent(pool.acquire(0.0, "m"))


def test_troubled_models_are_bounded() -> None:
    pool = CredentialPool([("a", 1.0)])
    for number in range(1000):
        pool.fail(lent(pool.acquire(0.0, f"m{number}")), 0.0, Fault.THROTTLED)
    assert len(pool.statistics(0.0)[0].models) == 64


def test_a_lease_ends_once() -> None:
    pool = CredentialPool([("a", 1.0)])
    lease = lent(pool.acquire(0.0, "m"))
    pool.complete(lease)
    with pytest.raises(AssertionError, match="once"):
        pool.drop(lease)


def test_only_a_pool_of_refused_credentials_is_refused() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    for _ in range(2):
        assert not pool.refused(0.0)
        pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REFUSED)
    assert pool.refused(0.0)
    assert not pool.refused(COOLDOWNS[Fault.REFUSED].first)
    assert not CredentialPool([]).refused(0.0)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.EXCLUDED])
def test_a_refused_one_rests_while_another_serves(fault: Fault) -> None:
    rule = COOLDOWNS[fault]
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    refused = lent(pool.acquire(0.0, "m"))
    assert pool.fail(refused, 0.0, fault) == rule.first
    served = {lent(pool.acquire(rule.first - 1.0, "m")).number for _ in range(5)}
    assert served == {1 - refused.number}
    probed = {lent(pool.acquire(rule.first, "m")).number for _ in range(5)}
    assert refused.number in probed


def test_while_all_are_refused_each_is_used_in_turn_and_a_success_brings_it_back() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    for _ in range(2):
        pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REFUSED)
    until = pool.statistics(0.0)[0].until
    first, second = lent(pool.acquire(1.0, "m")), lent(pool.acquire(1.0, "m"))
    assert {first.name, second.name} == {"a", "b"}
    assert pool.wait(1.0, "m", (first.number,)) == 0.0
    assert pool.wait(1.0, "m", (0, 1)) == math.inf
    pool.fail(first, 1.0, Fault.REFUSED)
    assert pool.statistics(0.0)[first.number].until == until
    pool.responded(second, 1.0)
    pool.complete(second)
    assert [lent(pool.acquire(1.0, "m")).name for _ in range(3)] == [second.name] * 3


def test_the_probe_of_a_refused_credential_does_not_keep_others_waiting() -> None:
    pool = CredentialPool([("a", 1.0)])
    pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REFUSED)
    later = COOLDOWNS[Fault.REFUSED].first
    probe, forced = lent(pool.acquire(later, "m")), lent(pool.acquire(later, "m"))
    pool.complete(forced)
    assert pool.statistics(later)[0].state is BreakerState.HALF_OPEN
    pool.complete(probe)
    assert pool.statistics(later)[0].state is BreakerState.CLOSED


def test_a_model_that_every_credential_is_refused_is_requested_nevertheless() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.EXCLUDED)
    pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REFUSED)
    lease = lent(pool.acquire(0.0, "m"))
    pool.drop(lease)
    pool.complete(lent(pool.acquire(0.0, "m")))


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.QUOTA, Fault.OVERLOADED, Fault.UPSTREAM])
def test_waits_of_an_upstream_are_respected_beside_refusals(fault: Fault) -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REFUSED)
    for _ in range(COOLDOWNS[fault].failures):
        pool.fail(lent(pool.acquire(0.0, "m")), 0.0, fault)
    assert isinstance(pool.acquire(0.0, "m"), Unavailable)


def test_a_last_resort_that_is_throttled_rests() -> None:
    pool = CredentialPool([("a", 1.0)])
    pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.REFUSED)
    pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.THROTTLED, 9.0)
    assert isinstance(pool.acquire(0.0, "m"), Unavailable)


def put_away(pool: CredentialPool, fault: Fault, now: float = 0.0, wait: float | None = None) -> float:
    """Fails until every credential is out of use, the last one with a doubled cooldown. Returns the time after it."""
    while isinstance(lease := pool.acquire(now, "m"), CredentialLease):
        pool.fail(lease, now, fault, wait)
    return now


@pytest.mark.parametrize("fault", [Fault.UPSTREAM, Fault.OVERLOADED])
def test_while_all_are_failing_one_request_a_second_is_sent(fault: Fault) -> None:
    pool = CredentialPool([("a", 1.0)])
    now = 0.0
    for _ in range(10):
        # Each failed probe doubles the cooldown.
        put_away(pool, fault, now)
        now += COOLDOWNS[fault].seconds(20, None)
    start = now = put_away(pool, fault, now)
    sent = 0
    while now < start + 20.0:
        lease = pool.acquire(now, "m")
        if isinstance(lease, CredentialLease):
            sent += 1
            assert pool.fail(lease, now, fault) == 0.0
        now += 0.125
    assert sent == 19
    assert pool.last_resorts >= 19
    lease = lent(pool.acquire(now + 1.0, "m"))
    pool.responded(lease, now + 1.0)
    pool.complete(lease)
    assert [lent(pool.acquire(now + 1.0, "m")).name for _ in range(3)] == ["a"] * 3


def test_the_credential_that_is_due_soonest_is_tested_first() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    put_away(pool, Fault.UPSTREAM)
    # The probe of one fails again, so that its cooldown is twice as long.
    later = lent(pool.acquire(1.0, "m"))
    pool.fail(later, 1.0, Fault.UPSTREAM)
    sooner = lent(pool.acquire(1.0, "m"))
    pool.drop(sooner)
    assert sooner.name != later.name
    pool.fail(lent(pool.acquire(1.0, "m")), 1.0, Fault.UPSTREAM)
    first, second = lent(pool.acquire(2.0, "m")), lent(pool.acquire(2.0, "m"))
    assert {first.name, second.name} == {"a", "b"}
    assert isinstance(pool.acquire(2.0, "m"), Unavailable)


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.QUOTA, Fault.OVERLOADED, Fault.UPSTREAM])
def test_a_time_that_the_upstream_has_named_is_respected(fault: Fault) -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    put_away(pool, fault, wait=30.0)
    assert all(isinstance(pool.acquire(now / 4, "m"), Unavailable) for now in range(4 * 30))
    lent(pool.acquire(30.0, "m"))


def test_a_failing_credential_is_tested_beside_a_throttled_one() -> None:
    pool = CredentialPool([("a", 1.0), ("b", 1.0)])
    throttled = lent(pool.acquire(0.0, "m"))
    pool.fail(throttled, 0.0, Fault.THROTTLED, 30.0)
    put_away(pool, Fault.UPSTREAM)
    put_away(pool, Fault.UPSTREAM, 1.0)
    assert lent(pool.acquire(2.0, "m")).number != throttled.number
    assert isinstance(pool.acquire(2.0, "m"), Unavailable)


def test_a_test_that_is_throttled_rests_for_the_named_time() -> None:
    pool = CredentialPool([("a", 1.0)])
    put_away(pool, Fault.UPSTREAM)
    put_away(pool, Fault.UPSTREAM, 1.0)
    pool.fail(lent(pool.acquire(2.0, "m")), 2.0, Fault.THROTTLED, 30.0)
    assert all(isinstance(pool.acquire(2.0 + now / 4, "m"), Unavailable) for now in range(4 * 30))


def test_a_retry_and_a_full_credential_cause_no_test() -> None:
    room = Room({0: 1, 1: 9})
    pool = CredentialPool([("a", 1.0), ("b", 1.0)], room)
    while pool.usable(0.0) == 2:
        pool.fail(lent(pool.acquire(0.0, "m", {0})), 0.0, Fault.UPSTREAM)
    lent(pool.acquire(0.0, "m"))
    pool.fail(lent(pool.acquire(1.0, "m")), 1.0, Fault.UPSTREAM)
    assert isinstance(pool.acquire(2.5, "m"), Unavailable)
    alone = CredentialPool([("a", 1.0)])
    put_away(alone, Fault.UPSTREAM)
    put_away(alone, Fault.UPSTREAM, 1.0)
    assert isinstance(alone.acquire(2.5, "m", {0}), Unavailable)
    lent(alone.acquire(2.5, "m"))


@pytest.mark.parametrize("ending", ["complete", "fail", "drop"])
def test_a_reset_does_not_depend_on_a_probe_in_flight(ending: str) -> None:
    pool = CredentialPool([("a", 1.0)])
    put_away(pool, Fault.UPSTREAM)
    probe = lent(pool.acquire(1.0, "m"))
    pool.reset(0)
    assert pool.statistics(1.0)[0].state is BreakerState.CLOSED
    if ending == "complete":
        pool.complete(probe)
    elif ending == "fail":
        pool.fail(probe, 1.0, Fault.UPSTREAM)
    else:
        pool.drop(probe)
    (one,) = pool.statistics(1.0)
    assert (one.state, one.in_flight) == (BreakerState.CLOSED, 0)


def test_a_reset_ends_the_waits_of_models_and_their_doubling() -> None:
    pool = CredentialPool([("a", 1.0)])
    for now in (0.0, 10.0):
        pool.fail(lent(pool.acquire(now, "m")), now, Fault.THROTTLED)
    pool.reset(0)
    assert pool.fail(lent(pool.acquire(10.0, "m")), 10.0, Fault.THROTTLED) == COOLDOWNS[Fault.THROTTLED].first


STEPS = st.lists(
    st.tuples(st.sampled_from(["acquire", "responded", "complete", "drop", "fail", "wait"]), st.integers(0, 4)),
    max_size=40,
)
FAULTS = [Fault.OVERLOADED, Fault.THROTTLED, Fault.REFUSED, Fault.UPSTREAM, Fault.REQUEST]


@given(STEPS)
def test_the_only_credential_is_lent_as_by_a_choice(steps: list[tuple[str, int]]) -> None:
    alone, chosen = CredentialPool([("one", 2.0)]), CredentialPool([("one", 2.0)])
    chosen._alone = None
    leases: list[tuple[CredentialLease, CredentialLease]] = []
    now = 0.0
    for step, number in steps:
        now += 0.3
        if step == "wait":
            now += 20.0 * number
        elif step == "acquire":
            one, other = (pool.acquire(now, f"m{number % 2}", (0,) * (number % 2)) for pool in (alone, chosen))
            assert type(one) is type(other)
            if isinstance(one, CredentialLease) and isinstance(other, CredentialLease):
                assert (one.name, one.number) == (other.name, other.number)
                leases.append((one, other))
        elif leases:
            pair = leases[number % len(leases)]
            if step != "responded":
                leases.remove(pair)
            for pool, lease in zip((alone, chosen), pair, strict=True):
                if step == "fail":
                    pool.fail(lease, now, FAULTS[number])
                elif step == "responded":
                    pool.responded(lease, now)
                else:
                    getattr(pool, step)(lease)
        assert alone.statistics(now) == chosen.statistics(now)
