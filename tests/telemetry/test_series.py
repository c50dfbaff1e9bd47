"""The last five minutes of /dashboard/stats: series, quantiles and maxima from the seconds of all workers."""

from hypothesis import given
from hypothesis import strategies as st

from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.layout import SECOND_BUCKETS, SECOND_HISTOGRAMS
from ztoapi.telemetry.seconds import INTER_TOKEN, OVERHEAD, Second, buckets_of, counts_of, widened
from ztoapi.telemetry.stats import make_figures

NOW = 1_795_392_000


def note(board: MetricsBoard, at: int, seconds: float, count: int, *, slot: int = 0) -> None:
    """``count`` requests in second ``at``, all of whose times are ``seconds``."""
    second = Second()
    for histogram in range(len(SECOND_HISTOGRAMS)):
        second.add(histogram, [seconds] * count, buckets_of([seconds] * count))
    board.slot(slot).write_second(at, (count, 0, 0, 0, 0), second.doubles, second.bytes())


def near(value: float | None, true: float) -> bool:
    return value is not None and abs(value / true - 1) < 0.0325


def test_quantiles_are_those_of_ten_seconds_and_all_workers() -> None:
    board = MetricsBoard(2)
    for slot in range(2):
        for second in range(30):
            note(board, NOW + second, 1.0, 0, slot=slot)
    note(board, NOW + 5, 0.015, 10)
    note(board, NOW + 8, 0.3, 10, slot=1)
    figures = make_figures(board, NOW + 30.5)
    series = figures.series
    highest, middle = series.ttft_p99, series.ttft_p50
    assert series.seconds == list(range(NOW, NOW + 30))
    assert [at for at, value in enumerate(highest) if value is not None] == list(range(5, 18))
    assert all(near(value, 0.015) for value in highest[5:8] + middle[8:15])
    assert all(near(value, 0.3) for value in highest[8:18])
    # Events of ten seconds ago do not count any more.
    assert all(near(value, 0.3) for value in middle[15:18])
    assert figures.duration.maximum == 0.3
    assert near(figures.duration.p50, 0.015) and near(figures.duration.p95, 0.3)
    assert abs((figures.duration.average or 0) - 0.1575) < 1e-9


def test_no_quantile_is_above_the_maximum() -> None:
    board = MetricsBoard()
    note(board, NOW, 0.3001, 3)
    figures = make_figures(board, NOW + 1.5).overhead
    assert (figures.p50, figures.p99, figures.maximum) == (0.3001, 0.3001, 0.3001)


def test_the_highest_gap_between_chunks_is_that_of_its_bucket() -> None:
    board, second = MetricsBoard(), Second()
    second.add_gaps(buckets_of([0.02, 0.05]))
    board.slot(0).write_second(NOW, (1, 0, 0, 0, 0), second.doubles, second.bytes())
    assert near(make_figures(board, NOW + 1.5).inter_token.maximum, 0.05)


@given(st.lists(st.lists(st.floats(0.0, 2000.0), max_size=50), min_size=1, max_size=40))
def test_seconds_add_up_and_are_subtracted_again(seconds: list[list[float]]) -> None:
    size = 2 * SECOND_BUCKETS
    noted = []
    for values in seconds:
        second = Second()
        second.add(OVERHEAD, values, buckets_of(values))
        noted.append(widened(second.bytes()[OVERHEAD * size :]))
    for kept in (0, len(seconds) // 2):
        true = buckets_of(value for values in seconds[kept:] for value in values)
        counts = counts_of(sum(noted) - sum(noted[:kept]))
        assert {bucket: number for bucket, number in enumerate(counts) if number} == true


def test_more_than_a_bucket_can_count_is_the_most_it_can() -> None:
    second = Second()
    second.add_gaps({7: 70_000, 8: 1})
    size = 2 * SECOND_BUCKETS
    fields = widened(second.bytes()[INTER_TOKEN * size : (INTER_TOKEN + 1) * size])
    assert counts_of(fields * 300)[6:10] == [0, 300 * 65_535, 300, 0]
