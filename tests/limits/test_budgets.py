"""Budgets: exact over workers, whole after any process is killed, and kept in a file."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits import spending
from tests.limits.programs import run
from ztoapi.config.model import KeyBudgets
from ztoapi.limits.budgets import (
    Account,
    BudgetLedger,
    BudgetMemory,
    Charge,
    Exhausted,
    budgets_of,
    next_period,
    periods,
)

NOON = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC)
HOUR, DAY = 3600.0, 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON.timestamp()

    def __call__(self) -> float:
        return self.now


def ledger(path: Path | None = None, *, slots: int = 1, slot: int = 0, clock: Clock | None = None) -> BudgetLedger:
    return BudgetLedger(BudgetMemory(slots, path), slot, clock or Clock())


def account(ledger: BudgetLedger, name: str = "alice", **budgets: float) -> Account:
    return ledger.account(name, budgets_of(KeyBudgets(**budgets), KeyBudgets()))  # type: ignore[arg-type]


def charged(decision: Charge | Exhausted) -> Charge:
    assert isinstance(decision, Charge)
    return decision


def exhausted(decision: Charge | Exhausted) -> Exhausted:
    assert isinstance(decision, Exhausted)
    return decision


def turn(ledger: BudgetLedger, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    ledger.on_deadline(0.0)


def test_requests_are_admitted_until_a_budget_is_used_up() -> None:
    limits = ledger()
    alice = account(limits, tokens_per_day=100)
    for used in (60, 39, 1):
        limits.settle(charged(limits.charge(alice, 1000, 0)), used, 0)
    refusal = exhausted(limits.charge(alice, 1, 0))
    assert (refusal.budget.name, refusal.in_flight) == ("tokens_per_day", False)
    assert limits.used(alice) == {"tokens_per_day": 100}


def test_the_estimates_of_requests_in_flight_count() -> None:
    limits = ledger()
    alice = account(limits, tokens_per_day=100)
    first = charged(limits.charge(alice, 70, 0))
    second = charged(limits.charge(alice, 70, 0))
    assert exhausted(limits.charge(alice, 1, 0)).in_flight
    limits.settle(first, 10, 0)
    third = charged(limits.charge(alice, 70, 0))
    limits.settle(second, 90, 0)
    assert not exhausted(limits.charge(alice, 1, 0)).in_flight
    limits.settle(third, 0, 0)
    assert not exhausted(limits.charge(alice, 1, 0)).in_flight
    assert limits.used(alice) == {"tokens_per_day": 100}


def test_a_refusal_charges_nothing_and_names_the_budget_that_lasts_longest() -> None:
    limits = ledger()
    alice = account(limits, tokens_per_day=50, tokens_per_month=1000, usd_per_day=1.0, usd_per_month=1.0)
    limits.settle(charged(limits.charge(alice, 10, 0)), 20, 10**9)
    for _ in range(3):
        assert exhausted(limits.charge(alice, 10, 5)).budget.name == "usd_per_month"
    assert limits.used(alice) == {
        "tokens_per_day": 20, "tokens_per_month": 20, "usd_per_day": 10**9, "usd_per_month": 10**9,
    }  # fmt: skip


def test_keys_have_budgets_of_their_own() -> None:
    limits = ledger()
    alice, bob = account(limits, tokens_per_day=5), account(limits, "bob", tokens_per_day=5)
    limits.settle(charged(limits.charge(alice, 1, 0)), 5, 0)
    exhausted(limits.charge(alice, 1, 0))
    charged(limits.charge(bob, 1, 0))
    assert (limits.used(alice), limits.used(bob)) == ({"tokens_per_day": 5}, {"tokens_per_day": 1})


def test_a_changed_budget_continues_with_the_same_count() -> None:
    limits = ledger()
    limits.settle(charged(limits.charge(account(limits, tokens_per_day=10), 1, 0)), 10, 0)
    exhausted(limits.charge(account(limits, tokens_per_day=10), 1, 0))
    more = account(limits, tokens_per_day=11)
    limits.settle(charged(limits.charge(more, 1, 0)), 1, 0)
    exhausted(limits.charge(more, 1, 0))
    assert limits.used(more) == {"tokens_per_day": 11}


def test_a_day_and_a_month_begin_anew() -> None:
    clock = Clock()
    limits = ledger(clock=clock)
    alice = account(limits, tokens_per_day=100, tokens_per_month=150)
    clock.now -= DAY
    limits = ledger(clock=clock)
    alice = account(limits, tokens_per_day=100, tokens_per_month=150)
    limits.settle(charged(limits.charge(alice, 1, 0)), 100, 0)
    exhausted(limits.charge(alice, 1, 0))
    turn(limits, clock, DAY)
    assert limits.used(alice) == {"tokens_per_day": 0, "tokens_per_month": 100}
    limits.settle(charged(limits.charge(alice, 1, 0)), 50, 0)
    assert exhausted(limits.charge(alice, 1, 0)).budget.name == "tokens_per_month"
    turn(limits, clock, DAY)
    assert limits.used(alice) == {"tokens_per_day": 0, "tokens_per_month": 0}


def test_a_request_counts_for_the_day_on_which_it_begins() -> None:
    clock = Clock()
    clock.now -= DAY
    limits = ledger(clock=clock)
    alice = account(limits, tokens_per_day=100, tokens_per_month=1000)
    early, late = (charged(limits.charge(alice, 40, 0)) for _ in range(2))
    turn(limits, clock, DAY)
    limits.settle(early, 70, 0)
    assert limits.used(alice) == {"tokens_per_day": 0, "tokens_per_month": 110}
    turn(limits, clock, DAY)
    limits.settle(late, 70, 0)
    assert limits.used(alice) == {"tokens_per_day": 0, "tokens_per_month": 0}


def test_a_clock_that_is_set_back_frees_nothing(tmp_path: Path) -> None:
    clock = Clock()
    limits = ledger(tmp_path / "b", clock=clock)
    limits.settle(charged(limits.charge(account(limits, tokens_per_day=10), 1, 0)), 10, 0)
    clock.now -= 3 * DAY
    limits.on_deadline(0.0)
    exhausted(limits.charge(account(limits, tokens_per_day=10), 1, 0))
    limits = ledger(tmp_path / "b", clock=clock)
    assert not exhausted(limits.charge(account(limits, tokens_per_day=10), 1, 0)).in_flight


def test_the_counts_are_in_the_file(tmp_path: Path) -> None:
    clock = Clock()
    limits = ledger(tmp_path / "b", clock=clock)
    alice = account(limits, tokens_per_day=100, tokens_per_month=100, usd_per_month=2.0)
    limits.settle(charged(limits.charge(alice, 5, 7)), 30, 10**9)
    charged(limits.charge(alice, 5, 7))
    again = ledger(tmp_path / "b", clock=clock)
    expected = {"tokens_per_day": 35, "tokens_per_month": 35, "usd_per_month": 10**9 + 7}
    assert again.used(account(again, tokens_per_day=100, tokens_per_month=100, usd_per_month=2.0)) == expected
    clock.now += 31 * DAY
    later = ledger(tmp_path / "b", clock=clock)
    assert later.used(account(later, tokens_per_month=100)) == {"tokens_per_month": 0}
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(b"something else " * 10)
    with pytest.raises(ValueError, match="not a file of budgets"):
        BudgetMemory(1, path)
    with pytest.raises(OSError):
        BudgetMemory(1, tmp_path)


def test_the_estimates_of_a_dead_worker_stay_charged_and_are_not_in_flight(tmp_path: Path) -> None:
    memory, clock = BudgetMemory(2, tmp_path / "b"), Clock()
    one, other = BudgetLedger(memory, 0, clock), BudgetLedger(memory, 1, clock)
    charged(other.charge(account(other, tokens_per_day=100), 100, 0))
    assert exhausted(one.charge(account(one, tokens_per_day=100), 1, 0)).in_flight
    memory.reclaim(1)
    assert not exhausted(one.charge(account(one, tokens_per_day=100), 1, 0)).in_flight
    assert one.used(account(one, tokens_per_day=100)) == {"tokens_per_day": 100}


@pytest.mark.parametrize(
    ("name", "moment"),
    [("tokens_per_day", "2026-12-01"), ("usd_per_month", "2026-12-01"), ("usd_per_day", "2026-12-01")],
)
def test_the_reset_is_the_next_midnight_in_utc(name: str, moment: str) -> None:
    (budget,) = budgets_of(KeyBudgets(**{name: 5}), KeyBudgets())
    expected = datetime.datetime.fromisoformat(moment).replace(tzinfo=datetime.UTC)
    assert next_period(budget, NOON.timestamp()) == expected
    assert periods(expected.timestamp() - 0.001)[0] + 1 == periods(expected.timestamp())[0]


def test_a_year_ends_with_december() -> None:
    (budget,) = budgets_of(KeyBudgets(tokens_per_month=5), KeyBudgets())
    december = datetime.datetime(2026, 12, 31, 23, 59, tzinfo=datetime.UTC)
    assert next_period(budget, december.timestamp()) == datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)


def test_the_smallest_budget_is_not_zero() -> None:
    """Shares of it are computed."""
    (budget,) = budgets_of(KeyBudgets(usd_per_day=1e-12), KeyBudgets())
    assert budget.limit == 1


def test_a_default_applies_to_what_a_key_does_not_set() -> None:
    budgets = budgets_of(KeyBudgets(tokens_per_day=5), KeyBudgets(tokens_per_day=9, usd_per_month=1.5))
    assert [(budget.name, budget.limit) for budget in budgets] == [
        ("tokens_per_day", 5),
        ("usd_per_month", 1_500_000_000),
    ]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(0, 3)), max_size=60), st.integers(1, 200))
def test_a_budget_is_exceeded_by_the_last_request_and_wrong_estimates_only(
    requests: list[tuple[int, int, int]], limit: int
) -> None:
    """Requests with an estimate and a use; each ends after so many others have begun."""
    limits = ledger()
    alice = account(limits, tokens_per_day=limit)
    in_flight: list[tuple[Charge, int]] = []
    used = above_estimates = last = 0
    for estimate, use, others in requests:
        decision = limits.charge(alice, estimate, 0)
        pending = sum(charge.tokens for charge, _ in in_flight)
        assert isinstance(decision, Charge) == (used + pending < limit), "exact"
        if isinstance(decision, Charge):
            in_flight.append((decision, use))
            last = max(estimate, use)
            above_estimates += max(use - estimate, 0)
        elif not decision.in_flight:
            assert used >= limit
        while len(in_flight) > others:
            charge, use = in_flight.pop(0)
            limits.settle(charge, use, 0)
            used += use
            assert used <= limit - 1 + last + above_estimates
    for charge, use in in_flight:
        limits.settle(charge, use, 0)
        used += use
    assert limits.used(alice) == {"tokens_per_day": used}


def test_workers_never_admit_two_last_requests() -> None:
    outcome = run("spending", "the_last_tokens", dict)
    assert outcome == {"granted": spending.LIMIT, "used": spending.LIMIT}


def test_workers_killed_at_any_moment_leave_no_use_uncounted() -> None:
    outcome = run("spending", "killed_anywhere", dict)
    kills = spending.KILLS + spending.WORKERS
    assert outcome["counted"] <= outcome["used"] <= outcome["counted"] + kills * spending.ESTIMATE


def test_all_processes_killed_at_once_leave_the_file_complete() -> None:
    outcome = run("spending", "killed_together", dict)
    assert outcome["counted"] <= outcome["used"] <= outcome["counted"] + spending.WORKERS * spending.ESTIMATE
    assert outcome["counted"] > 0
