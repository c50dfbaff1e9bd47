"""Quantiles of bucket counts."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from ztoapi.structures.histogram import maximum, quantile

EDGES = (0.1, 0.2, 0.5, 1.0)


def counted(values: list[float]) -> list[int]:
    counts = [0] * (len(EDGES) + 1)
    for value in values:
        counts[bisect_left(EDGES, value)] += 1
    return counts


def test_nothing_counted() -> None:
    assert quantile(EDGES, [0] * 5, 0.5) is None
    assert maximum(EDGES, [0] * 5) is None


def test_an_even_spread_is_assumed_within_a_bucket() -> None:
    assert quantile(EDGES, [0, 0, 10, 0, 0], 0.5) == 0.35
    assert quantile(EDGES, [10, 0, 0, 0, 0], 0.5) == 0.05


def test_what_is_above_the_last_edge_is_taken_for_it() -> None:
    assert quantile(EDGES, [0, 0, 0, 0, 3], 0.5) == 1.0
    assert maximum(EDGES, [0, 0, 0, 0, 3]) == 1.0


@given(st.lists(st.floats(0.001, 1.0), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = quantile(EDGES, counted(values), share)
    assert found is not None
    rank = share * len(values)
    place = next(number for number in range(len(ordered)) if number + 1 >= rank)
    true = bisect_left(EDGES, ordered[place])
    lower = EDGES[true - 1] if true else 0.0
    assert lower - 1e-9 <= found <= EDGES[true] + 1e-9


@given(st.lists(st.floats(0.001, 1.0), min_size=1))
def test_nothing_is_above_the_maximum(values: list[float]) -> None:
    found = maximum(EDGES, counted(values))
    assert found is not None and max(values) <= found
