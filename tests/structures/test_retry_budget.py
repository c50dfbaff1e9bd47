"""The retry budget against a list of everything that happened."""

from hypothesis import given
from hypothesis import strategies as st

from ztoapi.structures.retry_budget import WINDOW_SECONDS, RetryBudget


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 4.0, 25.0]), st.booleans()), max_size=200),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.integers(0, 3),
)
def test_it_counts_the_seconds_of_the_window(steps: list[tuple[float, bool]], share: float, least: int) -> None:
    budget = RetryBudget(share, least)
    now, refused = 100.0, 0
    requests: list[int] = []
    retries: list[int] = []
    for pause, retry in steps:
        now += pause
        first = int(now) - WINDOW_SECONDS + 1
        requests = [second for second in requests if second >= first]
        retries = [second for second in retries if second >= first]
        if not retry:
            requests.append(int(now))
            budget.deposit(now)
            continue
        allowed = len(retries) + 1 <= least + share * len(requests)
        assert budget.withdraw(now) == allowed
        if allowed:
            retries.append(int(now))
        else:
            refused += 1
    assert budget.refused == refused


def test_a_fifth_of_the_requests_may_be_tried_again() -> None:
    budget = RetryBudget(0.2, 0)
    for _ in range(100):
        budget.deposit(5.0)
    assert sum(budget.withdraw(5.0) for _ in range(100)) == 20
