"""The history: every count is saved once, by any process, even if processes die; the hours and days of the report."""

import multiprocessing
import multiprocessing.synchronize
import os
import secrets
import signal
import sqlite3
from bisect import bisect_left
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.history import HISTORY_DAYS, HISTORY_HOURS, History
from ztoapi.telemetry.layout import (
    KEYS,
    LIVE_EDGES_SECONDS,
    MODELS,
    PLATFORMS,
    Cell,
    KeyCell,
    ModelCell,
    PlatformCell,
)
from ztoapi.telemetry.steps import HOUR, MINUTES_KEPT, step_of
from ztoapi.telemetry.usage import USAGE_HOURS

NOW = 1_795_392_000.0 + 9 * 3600.0
MINUTE, DAY = 60, 86400


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "of" / "history.db"


def opened(path: Path, board: MetricsBoard, clock: Callable[[], float]) -> History:
    history = History(path, board, clock)
    history.create()
    return history


def count(board: MetricsBoard, requests: int = 1, *, model: str = "glm-4.6", slot: int = 0, failed: int = 0) -> None:
    ints, floats = board.slot(slot).row(MODELS, (model, "zai"))
    ints[ModelCell.REQUESTS] += requests
    ints[ModelCell.FAILED] += failed
    ints[ModelCell.OUTPUT] += 10 * requests
    floats[ModelCell.SECONDS] += 0.5 * requests


def shown(history: History, which: str = "hours") -> list[tuple[int, int, int]]:
    """Start, requests and failed of each bucket."""
    buckets = history.read()[which]
    assert isinstance(buckets, list)
    return [(one["start"], one["requests"], one["failed"]) for one in buckets]


def test_counts_are_saved_once_and_in_their_hour(path: Path, clock: Clock) -> None:
    board = MetricsBoard(2)
    history = opened(path, board, clock)
    count(board, 3)
    count(board, 4, slot=1, failed=1)
    history.save()
    history.save()
    assert shown(history) == [(NOW, 7, 1)]
    clock.now += HOUR - 5
    count(board)
    history.save()
    clock.now += 5
    count(board)
    history.save()
    assert shown(history) == [(NOW, 9, 1), (NOW + HOUR, 0, 0)], "what had come by the end of an hour is that hour's"
    clock.now += 2 * HOUR + 10
    count(board, 2)
    history.save()
    assert shown(history) == [(NOW, 9, 1), (NOW + HOUR, 0, 0), (NOW + 2 * HOUR, 0, 0), (NOW + 3 * HOUR, 2, 0)]
    assert shown(history, "days") == [(NOW - 9 * HOUR, 11, 1)]


def test_another_process_goes_on_with_the_file(path: Path, clock: Clock) -> None:
    for _ in range(3):
        board = MetricsBoard()
        history = opened(path, board, clock)
        count(board, 5)
        history.close()
    assert shown(history) == [(NOW, 15, 0)]


def test_gateways_may_share_a_file(path: Path, clock: Clock) -> None:
    boards = MetricsBoard(), MetricsBoard()
    histories = [opened(path, board, clock) for board in boards]
    for _ in range(2):
        for board, history in zip(boards, histories, strict=True):
            count(board, 2)
            history.save()
    assert shown(histories[0]) == [(NOW, 8, 0)]


def test_the_figures_of_a_bucket(path: Path, clock: Clock) -> None:
    board = MetricsBoard()
    history = opened(path, board, clock)
    count(board, 2)
    count(board, 1, model="glm-4.5")
    ints, _ = board.slot(0).row(MODELS, ("glm-4.6", "zai"))
    place = ModelCell.TTFT + 1 + bisect_left(LIVE_EDGES_SECONDS, 0.4)
    ints[place] += 1
    history.save()
    ints[place] += 1
    ints[ModelCell.GAPS - 1] += 2
    ints[ModelCell.CANCELLED] += 1
    ints[ModelCell.REFUSED] += 1
    history.save()
    buckets = history.read()["hours"]
    assert isinstance(buckets, list)
    (bucket,) = buckets
    assert (bucket["requests"], bucket["cancelled"], bucket["output_tokens"]) == (3, 1, 30)
    assert (bucket["average_seconds"], bucket["refused"]) == (1.5, 1)
    times = bucket["time_to_first_token"]
    assert times["p50"] == pytest.approx(0.4, rel=0.032)
    assert times["p95"] == times["p99"] == 1024.0
    assert bucket["inter_token"] == {"p50": None, "p95": None, "p99": None, "bands": {}}
    assert [(one["model"], one["requests"]) for one in bucket["models"]] == [("glm-4.5", 1), ("glm-4.6", 2)]


def test_a_file_of_an_earlier_version_is_read_and_continued(path: Path, clock: Clock) -> None:
    """Its counts have the upper edges of wide buckets, and there is no table of refused requests."""
    board = MetricsBoard()
    history = opened(path, board, clock)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DROP TABLE refusals")
        database.execute("DROP TABLE steps")
        database.execute("DROP TABLE step_totals")
        database.execute(
            "INSERT INTO hours VALUES (?, 'glm-4.6', 'zai', 4, 0, 0, 0, 0, 0, 0, 2.0, ?, '{}')",
            (NOW, '{"0.02":3,"inf":1}'),
        )
    opened(path, board, clock)
    opened(path, board, clock)
    (hour,) = columns(history, NOW - 2 * DAY, NOW + HOUR)
    assert (hour["requests"], hour["average_seconds"]) == (4, 0.5)
    clock.now = NOW + HOUR + 90
    assert history.read_chart(NOW, NOW + HOUR)["step"] == HOUR, "no minutes are kept of this hour"
    assert history.read_chart(NOW + HOUR, NOW + 2 * HOUR)["step"] == MINUTE
    clock.now = NOW
    (before,) = columns(history, NOW, NOW + HOUR, model="glm-4.6")
    count(board, 1)
    ints, _ = board.slot(0).row(MODELS, ("glm-4.6", "zai"))
    ints[ModelCell.REFUSED] += 1
    ints[ModelCell.TTFT + 1 + bisect_left(LIVE_EDGES_SECONDS, 0.3)] += 6
    history.save()
    (after,) = columns(history, NOW, NOW + HOUR, model="glm-4.6")
    assert before["time_to_first_token"] == {"p50": 0.015, "p95": 80.0, "p99": 80.0, "bands": {-13: 3, 12: 1}}
    assert (before["requests"], before["refused"], before["average_seconds"]) == (4, 0, 0.5)
    assert (after["requests"], after["refused"]) == (5, 1)
    times = after["time_to_first_token"]
    assert isinstance(times, dict)
    assert times["p50"] == pytest.approx(0.3, rel=0.032)


def columns(history: History, first: float, last: float, **chosen: str) -> list[dict[str, object]]:
    chart = history.read_chart(first, last, **chosen)
    found = chart["columns"]
    assert isinstance(found, list)
    return found


def test_charts_have_columns_of_minutes_hours_and_days(path: Path, clock: Clock) -> None:
    board = MetricsBoard()
    history = opened(path, board, clock)
    ints, _ = board.slot(0).row(PLATFORMS, ("zai",))
    for second, requests in ((10, 2), (70, 3), (HOUR + 10, 4)):
        clock.now = NOW + second
        count(board, requests)
        count(board, 1, model="glm-4.5", failed=1)
        ints[PlatformCell.DURATION + 1 + bisect_left(LIVE_EDGES_SECONDS, 0.4)] += requests
        history.save()
    minutes = columns(history, NOW, NOW + HOUR)
    assert [(one["start"], one["requests"], one["failed"]) for one in minutes] == [(NOW, 3, 1), (NOW + MINUTE, 4, 1)]
    duration = minutes[1]["duration"]
    assert isinstance(duration, dict)
    assert duration["p50"] == pytest.approx(0.4, rel=0.032)
    assert duration["bands"] == {-3: 3}, "0.4 s is between 2**-1.5 and 2**-1"
    hours = columns(history, NOW - 2 * DAY, NOW + 2 * HOUR)
    assert [(one["start"], one["requests"]) for one in hours] == [(NOW, 7), (NOW + HOUR, 5)]
    (day,) = columns(history, NOW - 20 * DAY, NOW + DAY)
    assert (day["start"], day["requests"], day["output_tokens"]) == (NOW - 9 * HOUR, 12, 120)


@pytest.mark.parametrize(
    ("length", "minutes", "step"),
    [
        (HOUR, True, MINUTE),
        (3 * HOUR, True, MINUTE),
        (DAY, True, 10 * MINUTE),
        (HOUR, False, HOUR),
        (7 * DAY, False, HOUR),
        (30 * DAY, False, DAY),
        (300 * DAY, False, DAY),
    ],
)
def test_the_columns_of_a_chart_are_as_short_as_is_kept(length: int, minutes: bool, step: int) -> None:
    assert step_of(NOW, NOW + length, minutes=minutes) == step


def spend(board: MetricsBoard, key: str, model: str, requests: int) -> None:
    ints, _ = board.slot(0).row(KEYS, (key, model, "zai"))
    ints[KeyCell.REQUESTS] += requests
    ints[KeyCell.COST] += 500_000_000 * requests


def test_charts_of_a_key_and_of_a_model(path: Path, clock: Clock) -> None:
    board = MetricsBoard()
    history = opened(path, board, clock)
    for later, requests in ((MINUTE, 2), (HOUR + MINUTE, 3), (DAY + MINUTE, 4)):
        clock.now = NOW + later
        for model in ("glm-4.6", "glm-4.5"):
            count(board, 2 * requests, model=model, failed=1)
            spend(board, "alice", model, requests)
            spend(board, "bob", model, requests)
        history.save()

    def shown_of(days: int, **chosen: str) -> list[tuple[object, ...]]:
        fields = ("start", "requests", "failed", "cost_usd")
        return [tuple(map(one.get, fields)) for one in columns(history, NOW, NOW + days * DAY, **chosen)]

    hours = (NOW, NOW + HOUR, NOW + DAY)
    both = {"key": "alice", "model": "glm-4.6"}
    assert shown_of(2, key="alice") == [(hours[0], 4, None, 2), (hours[1], 6, None, 3), (hours[2], 8, None, 4)]
    assert shown_of(2, **both) == [(hours[0], 2, None, 1), (hours[1], 3, None, 1.5), (hours[2], 4, None, 2)]
    assert shown_of(2, model="glm-4.6") == [(hours[0], 4, 1, 2), (hours[1], 6, 1, 3), (hours[2], 8, 1, 4)]
    midnight = NOW - 9 * HOUR
    assert shown_of(30, key="bob") == [(midnight, 10, None, 5), (midnight + DAY, 8, None, 4)]
    assert shown_of(30, model="glm-4.5") == [(midnight, 10, 2, 5), (midnight + DAY, 8, 1, 4)]
    assert shown_of(30) == [(midnight, 20, 4, 10), (midnight + DAY, 16, 2, 8)]
    assert shown_of(2, key="carol") == shown_of(2, model="glm-9") == []
    clock.now += USAGE_HOURS * HOUR
    spend(board, "alice", "glm-4.6", 1)
    count(board)
    history.save()
    assert shown_of(2, key="alice") == [(midnight, 10, None, 5), (midnight + DAY, 8, None, 4)], (
        "hours are kept for 8 days"
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute("SELECT DISTINCT start FROM usage_hours").fetchall() == [(clock.now - MINUTE,)]


def test_the_hours_and_days_do_not_need_the_distributions_of_each_model(path: Path, clock: Clock) -> None:
    """There may be 100,000 of them, and the time to read them would be seconds."""
    board = MetricsBoard()
    history = opened(path, board, clock)
    count(board, model="glm-4.6")
    history.save()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE hours SET time_to_first_token = 'unread', inter_token = 'unread'")
    read = history.read()
    for name, start in (("hours", NOW), ("days", NOW - 9 * HOUR)):
        assert shown(history, name) == [(start, 1, 0)]
        columns = read[name]
        assert isinstance(columns, list)
        (column,) = columns
        (model,) = column["models"]
        assert model.pop("model") == "glm-4.6"
        assert model == {field: column[field] for field in model}
        assert {*column} - {*model} == {"start", "models", "time_to_first_token", "inter_token", "duration"}


def test_minutes_are_kept_for_a_day_and_hours_for_a_month(path: Path, clock: Clock) -> None:
    board = MetricsBoard()
    history = opened(path, board, clock)
    for later in (0, MINUTES_KEPT * MINUTE + MINUTE, HISTORY_DAYS * DAY):
        clock.now = NOW + later
        count(board)
        history.save()
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            kept = database.execute("SELECT step, COUNT(*) FROM steps GROUP BY step ORDER BY step").fetchall()
        assert kept == [(MINUTE, 1), (HOUR, 2 if later else 1)]


def test_requests_lost_with_a_worker_have_failed(path: Path, clock: Clock) -> None:
    board = MetricsBoard(2)
    history = opened(path, board, clock)
    board.slot(1).ints[Cell.STARTED] += 3
    history.save()
    board.reclaim(1)
    history.save()
    assert shown(history) == [(NOW, 3, 3)]


def test_what_is_old_goes(path: Path, clock: Clock) -> None:
    board = MetricsBoard()
    history = opened(path, board, clock)
    count(board)
    history.save()
    clock.now += HISTORY_HOURS * HOUR + 10
    count(board)
    history.save()
    assert sum(number for _, number, _ in shown(history)) == 1
    assert sum(number for _, number, _ in shown(history, "days")) == 2
    clock.now += HISTORY_DAYS * DAY - HISTORY_HOURS * HOUR
    count(board)
    history.save()
    assert sum(number for _, number, _ in shown(history, "days")) == 2
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute("SELECT min(start) FROM hours").fetchone() == (NOW + HISTORY_HOURS * HOUR,)


def test_a_gateway_without_requests_is_not_forgotten(path: Path, clock: Clock) -> None:
    idle, busy = MetricsBoard(), MetricsBoard()
    count(idle)
    histories = [opened(path, board, clock) for board in (idle, busy)]
    for _ in range(HISTORY_DAYS + 1):
        for history in histories:
            history.save()
        clock.now += DAY
        count(busy)
    count(idle)
    histories[0].save()
    assert shown(histories[0], "days")[-1][1] == 1


def test_a_disk_that_fails_is_logged_and_the_counts_are_saved_later(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    board = MetricsBoard()
    history = opened(path, board, clock)
    path.rename(path.with_name("away"))
    path.mkdir()
    count(board)
    for _ in range(2):
        history.save()
    assert history.check().status == "warn"
    assert [sample.value for sample in history.samples()] == [0.0]
    assert len(caplog.records) == 1
    path.rmdir()
    path.with_name("away").rename(path)
    history.save()
    assert history.check().status == "pass"
    assert shown(history) == [(NOW, 1, 0)]


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_file_that_was_deleted_is_begun_anew(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, asked_first: bool
) -> None:
    """With what has come since: what was in the old one is none of this hour's."""
    board = MetricsBoard()
    history = opened(path, board, clock)
    count(board, 5)
    history.save()
    path.unlink()
    clock.now += 2 * HOUR
    if asked_first:
        assert shown(history) == []
    count(board, 2, failed=1)
    history.save()
    assert shown(history) == [(NOW + 2 * HOUR, 2, 1)]
    count(board, 1)
    opened(path, MetricsBoard(), clock).save()
    history.save()
    assert shown(history) == [(NOW + 2 * HOUR, 3, 1)]
    assert history.check().status == "pass"
    assert [record.getMessage() for record in caplog.records] == [
        f"the history file was deleted; starting a new one: {path}"
    ]


def _save_when_told(history: History, told: multiprocessing.synchronize.Event) -> None:
    assert told.wait(WAIT_SECONDS)
    history.save()


def test_a_file_that_was_deleted_is_begun_anew_by_whichever_worker(path: Path, clock: Clock) -> None:
    """The counts that one worker has saved are not part of the hour in which another one finds the file deleted."""
    board = MetricsBoard()
    history = opened(path, board, clock)
    told = FORK.Event()
    another = FORK.Process(target=_save_when_told, args=(history, told))
    another.start()
    count(board, 5)
    history.save()
    path.unlink()
    told.set()
    another.join(WAIT_SECONDS)
    assert shown(history) == []
    count(board, 2)
    history.save()
    assert shown(history) == [(NOW, 2, 0)]


def test_a_file_of_something_else_is_left_alone(path: Path, clock: Clock) -> None:
    path.parent.mkdir()
    path.write_bytes(b"of somebody else" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        opened(path, MetricsBoard(), clock)
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(ValueError, match="format 7"):
        opened(path, MetricsBoard(), clock)


FORK = multiprocessing.get_context("fork")
WRITERS, SAVERS, DEATHS = 2, 2, 12


def _count_on(board: MetricsBoard, slot: int, stop: multiprocessing.synchronize.Event) -> None:
    # One cell: a worker that is killed between two is in the middle of its update.
    ints, _ = board.slot(slot).row(MODELS, ("glm-4.6", "zai"))
    while not stop.is_set():
        ints[ModelCell.REQUESTS] += 1


def _save_on(history: History, saved: multiprocessing.synchronize.Semaphore) -> None:
    while True:
        history.save()
        saved.release()


def test_nothing_is_lost_or_counted_twice_when_processes_die(path: Path, clock: Clock) -> None:
    """Workers count, others save as fast as they can and are killed at any moment."""
    board = MetricsBoard(WRITERS)
    history = opened(path, board, clock)
    stop, saved = FORK.Event(), FORK.Semaphore(0)
    writers = [FORK.Process(target=_count_on, args=(board, slot, stop)) for slot in range(WRITERS)]
    savers = [FORK.Process(target=_save_on, args=(history, saved)) for _ in range(SAVERS)]
    for process in writers + savers:
        process.start()
    try:
        for death in range(DEATHS):
            for _ in range(1 + secrets.randbelow(4)):
                assert saved.acquire(timeout=WAIT_SECONDS)
            victim = savers[death % SAVERS]
            os.kill(victim.pid or 0, signal.SIGKILL)
            victim.join()
            savers[death % SAVERS] = FORK.Process(target=_save_on, args=(history, saved))
            savers[death % SAVERS].start()
        stop.set()
    finally:
        for process in savers:
            process.kill()
        for process in writers + savers:
            process.join()
    history.save()
    counted = int(board.rows(MODELS)["glm-4.6", "zai"][ModelCell.REQUESTS])
    assert counted > 1000
    assert shown(history) == [(NOW, counted, 0)]


def test_without_a_file_there_is_none() -> None:
    with Stack() as stack:
        url = f"{stack.url}/dashboard/history"
        assert httpx.get(url).json() == {"kept": False, "hours": [], "days": []}
        assert httpx.get(f"{url}?from=0&to=10").json() == {"kept": False, "step": HOUR, "columns": []}
