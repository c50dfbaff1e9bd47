"""Usage by day, key and model: saved once, with the day of the save; and the queries of /admin/usage."""

import datetime
from pathlib import Path

import httpx
import pytest

from tests.stack import Stack
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.history import History
from ztoapi.telemetry.layout import KEYS, MODELS, KeyCell, ModelCell
from ztoapi.telemetry.usage import USAGE_DAYS, UsageRow

MIDNIGHT = 1_795_392_000.0
DAY = 86400
FIRST, LAST = datetime.date(2020, 1, 1), datetime.date(2030, 1, 1)


class Clock:
    now = MIDNIGHT - 5

    def __call__(self) -> float:
        return self.now


def opened(path: Path, board: MetricsBoard, clock: Clock) -> History:
    history = History(path, board, clock)
    history.create()
    return history


def count(board: MetricsBoard, key: str, model: str = "glm-4.6", platform: str = "zai", slot: int = 0) -> None:
    board.slot(slot).row(MODELS, (model, platform))[0][ModelCell.REQUESTS] += 1
    row, _ = board.slot(slot).row(KEYS, (key, model, platform))
    for cell, amount in (
        (KeyCell.REQUESTS, 1),
        (KeyCell.INPUT, 10),
        (KeyCell.OUTPUT, 3),
        (KeyCell.COST, 1_500_000_000),
    ):
        row[cell] += amount


def shown(history: History) -> list[tuple[str, str | None, int, float]]:
    return [(row.day, row.key, row.requests, row.cost_usd) for row in history.read_usage(FIRST, LAST)]


def test_growth_is_added_once_to_the_day_of_the_save(tmp_path: Path) -> None:
    board, clock = MetricsBoard(2), Clock()
    history = opened(tmp_path / "h.db", board, clock)
    count(board, "alice")
    count(board, "alice", slot=1)
    count(board, "bob")
    count(board, "")
    history.save()
    history.save()
    before = [("2026-11-22", None, 1, 1.5), ("2026-11-22", "alice", 2, 3.0), ("2026-11-22", "bob", 1, 1.5)]
    assert shown(history) == before
    clock.now = MIDNIGHT + 15
    count(board, "alice")
    history.save()
    assert shown(history) == [*before, ("2026-11-23", "alice", 1, 1.5)]


def test_platforms_are_added_up_and_restarts_continue(tmp_path: Path) -> None:
    clock = Clock()
    for platform in ("zai", "openai", "zai"):
        board = MetricsBoard()
        history = opened(tmp_path / "h.db", board, clock)
        count(board, "alice", platform=platform)
        history.close()
    assert history.read_usage(FIRST, LAST) == [UsageRow("2026-11-22", "alice", "glm-4.6", 3, 0, 30, 0, 9, 4.5, 0)]


def test_another_process_continues_with_the_stored_totals(tmp_path: Path) -> None:
    board, clock = MetricsBoard(2), Clock()
    history = opened(tmp_path / "h.db", board, clock)
    other = History(tmp_path / "h.db", board, clock, history.gateway)
    for saving in (history, other, history, other):
        count(board, "alice")
        saving.save()
    assert shown(history) == [("2026-11-22", "alice", 4, 6.0)]


def test_usage_is_kept_longer_than_the_hours(tmp_path: Path) -> None:
    board, clock = MetricsBoard(), Clock()
    history = opened(tmp_path / "h.db", board, clock)
    count(board, "alice")
    history.save()
    for days, rows in ((USAGE_DAYS - 1, 2), (1, 2)):
        clock.now += days * DAY
        count(board, "alice")
        history.save()
        assert len(shown(history)) == rows


@pytest.fixture(scope="module")
def url() -> object:
    with Stack() as stack:
        yield f"{stack.url}/admin/usage"


@pytest.mark.parametrize(
    "query", ["from=yesterday", "to=2026-13-01", "from=2026-02-02&to=2026-02-01", "from=2020-01-01", "by=day,day",
              "by=week", "format=xml"],
)  # fmt: skip
def test_an_invalid_query(url: str, query: str) -> None:
    response = httpx.get(f"{url}?{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_value")


def test_without_a_history_there_is_no_usage(url: str) -> None:
    page = httpx.get(url).json()
    assert (page["kept"], page["usage"]) == (False, [])
    days = datetime.date.fromisoformat(page["to"]) - datetime.date.fromisoformat(page["from"])
    assert days == datetime.timedelta(days=29)


@pytest.mark.parametrize(("query", "accept"), [("?format=csv", "*/*"), ("", "text/csv")])
def test_csv_has_a_heading(url: str, query: str, accept: str) -> None:
    response = httpx.get(url + query, headers={"accept": accept})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.text.startswith("day,key,model,requests,denied,input_tokens,")


def test_it_is_for_operators() -> None:
    with Stack(ADMIN_KEY="admin", API_KEYS="one") as stack:
        for headers in ({}, {"authorization": "Bearer one"}):
            assert httpx.get(f"{stack.url}/admin/usage", headers=headers).status_code == 401
