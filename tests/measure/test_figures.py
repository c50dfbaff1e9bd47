"""The arithmetic of ``ztoapi bench``, on plain numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.measure.figures import Spread, compare, percentile, spread

times = st.lists(st.floats(min_value=0, max_value=1000), min_size=1, max_size=200)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


@given(times)
def test_percentiles_are_values_in_order(values: list[float]) -> None:
    found = spread(values)
    assert found.p50 <= found.p90 <= found.p99
    assert set(found) <= {value * 1000 for value in values}


def test_what_is_added_is_the_difference_of_the_percentiles() -> None:
    comparison = compare([0.010, 0.010, 0.010], [0.012, 0.012, 0.012])
    assert comparison is not None
    assert comparison.added_ms == pytest.approx((2, 2, 2))
    assert comparison.noise_ms == 0
    assert comparison.significant


def test_a_difference_within_the_scatter_is_noise() -> None:
    comparison = compare([0.010, 0.020, 0.030, 0.040], [0.011, 0.021, 0.031, 0.041])
    assert comparison is not None
    assert comparison.added_ms.p50 == pytest.approx(1)
    assert comparison.noise_ms > 10
    assert not comparison.significant


@given(times)
def test_an_arm_compared_with_itself_adds_nothing(values: list[float]) -> None:
    comparison = compare(values, values)
    assert comparison is not None
    assert comparison.added_ms == Spread(0, 0, 0)
    assert not comparison.significant


def test_an_arm_without_times_is_not_compared() -> None:
    assert compare([], [1.0]) is None
    assert compare([1.0], []) is None
