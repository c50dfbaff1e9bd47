"""Several workers on one shared: exact to the last unit, and whole after any of them is killed."""

from tests.limits import sharing
from tests.limits.programs import run
from ztoapi.structures.bucket import SECOND_NS


def test_two_workers_never_take_the_last_unit_both() -> None:
    outcome = run("sharing", "the_last_unit", dict)
    assert outcome["granted"] == sharing.BURST
    assert outcome["tokens"] == 2 * sharing.BURST
    assert outcome["streams"] == 0


def test_two_workers_never_open_the_last_stream_both() -> None:
    assert sum(run("sharing", "the_last_stream", list)) == sharing.MOST_STREAMS


def test_no_window_sees_more_than_rate_and_burst_over_all_workers() -> None:
    moments = run("sharing", "the_real_clock", list)
    assert len(moments) >= sharing.GRANTS
    # The most that any window ending here holds beyond what the rate brought in it.
    beyond = 0.0
    last = moments[0]
    for moment in moments:
        beyond = max(beyond - (moment - last) * 3000 / SECOND_NS, 0.0) + 1
        last = moment
        assert beyond <= 20 + 1e-6


def test_workers_killed_at_any_moment_leave_a_whole_board() -> None:
    outcome = run("sharing", "killed_anywhere", dict)
    assert outcome["streams"] == 0
    # A worker that dies has at most one request on the books that it had not counted yet.
    kills = sharing.KILLS + sharing.WORKERS
    assert outcome["counted"] <= outcome["charged"] <= outcome["counted"] + kills


def test_the_lock_of_a_killed_worker_is_free_and_its_streams_come_back() -> None:
    assert run("sharing", "killed_with_the_lock", dict) == {"before": 2, "reclaimed": 1, "finished": 0}
