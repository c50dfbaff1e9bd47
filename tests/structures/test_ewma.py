"""Latencies: a peak is believed at once, an improvement slowly."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ztoapi.structures.ewma import PeakEwma


def test_a_peak_counts_at_once_and_fades_by_the_time_that_passes() -> None:
    latency = PeakEwma(10.0)
    assert latency.value is None
    assert latency.observe(0.0, 1.0) == 1.0
    assert latency.observe(1.0, 5.0) == 5.0
    assert latency.observe(1.0, 1.0) == 5.0
    assert math.isclose(latency.observe(11.0, 1.0), 1.0 + 4.0 / math.e)


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 1000.0)), min_size=1))
def test_it_lies_between_the_last_and_the_greatest(steps: list[tuple[float, float]]) -> None:
    latency, now, greatest = PeakEwma(10.0), 0.0, 0.0
    for pause, seconds in steps:
        now += pause
        greatest = max(greatest, seconds)
        value = latency.observe(now, seconds)
        assert seconds <= value * (1 + 1e-9)
        assert value <= greatest * (1 + 1e-9)
