"""Log-linear histograms: the error of their quantiles, and their buckets added up to wider ones."""

from bisect import bisect_left
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from ztoapi.structures.histogram import folded, log_linear, middles, quantiles

EDGES = log_linear(-17, 10)
WIDE = [0.125, 1.0, 64.0]
VALUES = st.floats(0.0001, 600.0)


def quantile(values: list[float], share: float) -> float | None:
    counts = [0] * (len(EDGES) + 1)
    for value in values:
        counts[bisect_left(EDGES, value)] += 1
    return quantiles(middles(EDGES), counts, share)[0]


def test_nothing_counted() -> None:
    assert quantiles((), (), 0.5) == [None]
    assert quantile([], 0.5) is None


def test_edges_grow_by_sixteenths_of_a_doubling() -> None:
    assert EDGES[0] == 2.0**-17 and EDGES[-1] == 1024.0
    assert EDGES[16] == 2.0**-16 and EDGES[17] == 2.0**-16 * 17 / 16


def test_what_is_above_the_last_edge_is_taken_for_it() -> None:
    assert quantile([5000.0], 0.5) == 1024.0


@given(st.lists(VALUES, min_size=1), st.floats(0.0, 1.0))
def test_a_quantile_is_wrong_by_less_than_four_percent(values: list[float], share: float) -> None:
    found = quantile(values, share)
    true = sorted(values)[max(ceil(share * len(values)), 1) - 1]
    assert found is not None
    assert abs(found / true - 1) < 0.0325


@given(st.lists(st.floats(0.0, 2000.0)))
def test_folded_counts_are_those_of_wide_buckets(values: list[float]) -> None:
    fine = [0] * (len(EDGES) + 1)
    wide = [0] * (len(WIDE) + 1)
    for value in values:
        fine[bisect_left(EDGES, value)] += 1
        wide[bisect_left(WIDE, value)] += 1
    assert list(folded(WIDE, EDGES, fine)) == wide
