"""The series of /dashboard/stats: quantiles of the ten seconds before each second."""

from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.layout import SECOND_HISTOGRAMS, SECOND_SUMS
from ztoapi.telemetry.stats import make_figures

NOW = 1_795_392_000


def note(board: MetricsBoard, at: int, bucket: int, count: int, *, slot: int = 0) -> None:
    """``count`` requests in second ``at``, whose times are all in this bucket."""
    ints = [count, 0, 0, 0]
    for edges in SECOND_HISTOGRAMS.values():
        counts = [0] * (len(edges) + 1)
        counts[bucket] = count
        ints += [0, *counts]
    board.slot(slot).write_second(at, ints, [(place, 0.0) for place in SECOND_SUMS])


def test_quantiles_are_those_of_ten_seconds_and_all_workers() -> None:
    board = MetricsBoard(2)
    for slot in range(2):
        for second in range(30):
            note(board, NOW + second, 0, 0, slot=slot)
    note(board, NOW + 5, 3, 10)
    note(board, NOW + 8, 7, 10, slot=1)
    series = make_figures(board, NOW + 30.5).series
    edges = SECOND_HISTOGRAMS["time_to_first_token"]
    highest, middle = series.ttft_p99, series.ttft_p50
    assert series.seconds == list(range(NOW, NOW + 30))
    assert [at for at, value in enumerate(highest) if value is not None] == list(range(5, 18))
    assert all(value is not None and edges[2] < value <= edges[3] for value in highest[5:8])
    assert all(value is not None and edges[6] < value <= edges[7] for value in highest[8:18])
    assert all(value == edges[3] for value in middle[8:15])
    # Events of ten seconds ago do not count any more.
    assert all(value is not None and edges[6] < value <= edges[7] for value in middle[15:18])
