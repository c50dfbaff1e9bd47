"""GET /dashboard/stats, /dashboard/requests and /dashboard/events."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.handlers.dashboard import DashboardHandler
from ztoapi.simulator.app import Options
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.layout import SecondCell

MESSAGES = [{"role": "user", "content": "hello"}]
OF_TIMES = {"average", "maximum", "p50", "p95", "p99"}


def ask(stack: Stack, *, stream: bool = False, model: str = "glm-4.6") -> None:
    body = {"model": model, "stream": stream, "messages": MESSAGES}
    headers = {"user-agent": "tester/1", "authorization": "Bearer sk-test"}
    httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers)


def test_stats() -> None:
    with Stack() as stack:
        for stream in (False, True, True):
            ask(stack, stream=stream)
        httpx.get(f"{stack.url}/nothing")
        httpx.get(f"{stack.url}/health")
        stack.record(5)
        stats = httpx.get(f"{stack.url}/dashboard/stats").json()
    requests = stats["requests"]
    assert (requests["total"], requests["succeeded"], requests["failed"], requests["in_flight"]) == (4, 3, 0, 0)
    assert (requests["refused"], requests["error_rate"]) == (1, 0.0)
    assert stats["status"] == {"200": 3, "404": 1}
    assert stats["stream_ends"] == {"done": 3}
    assert stats["models"][0]["model"] == "glm-4.6"
    assert stats["models"][0]["requests"] == 3
    assert stats["tokens"]["output"] > 0
    assert stats["credentials"][0]["state"] == "ok"
    assert stats["workers"][0]["alive"] is True
    assert stats["cache"] is None
    for name in ("duration", "time_to_first_token", "inter_token", "overhead"):
        assert set(stats[name]) == OF_TIMES
    assert all(len(values) == len(stats["series"]["seconds"]) for values in stats["series"].values())


def test_live_records_have_the_result_of_the_cache() -> None:
    with Stack(ZTOAPI_CACHE_ENABLED="1") as stack:
        body = {"model": "glm-4.6", "temperature": 0, "messages": MESSAGES}
        for more in ({}, {}, {"temperature": 1}):
            httpx.post(f"{stack.base_url}/chat/completions", json={**body, **more})
        slot = stack.application.telemetry.slot(0)
        stack.wait_for(lambda: len(slot.newest_finished()) == 3)
        found = httpx.get(f"{stack.url}/dashboard/requests").json()["requests"]
    assert [one["cache"] for one in found] == ["bypass", "hit", "miss"]


def wait_for_a_second(stack: Stack) -> None:
    """Waits until a second with a request is written."""
    slot = stack.application.telemetry.slot(0)

    def written() -> bool:
        now = int(stack.application.context.wall_clock())
        return any(row[SecondCell.REQUESTS - 1] for _, row, _, _ in slot.seconds(now, 60))

    stack.wait_for(written)


def test_seconds_show_in_the_series_and_the_quantiles() -> None:
    with Stack() as stack:
        ask(stack, stream=True)
        wait_for_a_second(stack)
        stats = httpx.get(f"{stack.url}/dashboard/stats").json()
    assert sum(stats["series"]["requests"]) == 1
    assert sum(stats["series"]["output_tokens"]) == stats["tokens"]["output"]
    assert 0 < stats["time_to_first_token"]["p50"] <= stats["time_to_first_token"]["maximum"]
    assert 0 < stats["duration"]["average"] < 10
    assert stats["overhead"]["p50"] > 0


def test_the_last_minutes_have_columns_without_a_history() -> None:
    with Stack() as stack:
        ask(stack, stream=True)
        now = int(stack.application.context.wall_clock())
        wait_for_a_second(stack)
        page = httpx.get(f"{stack.url}/dashboard/history?from={now - 240}&to={now + 60}").json()
    assert (page["kept"], page["step"]) == (False, 10)
    found = [column for column in page["columns"] if column["requests"]]
    assert [(one["requests"], sum(one["time_to_first_token"]["bands"].values())) for one in found] == [(1, 1)]


def test_a_page_of_requests() -> None:
    with Stack(API_KEYS="sk-test") as stack:
        for number in range(5):
            ask(stack, stream=number % 2 == 0)
        httpx.get(f"{stack.base_url}/models")
        stack.record(6)
        url = f"{stack.url}/dashboard/requests"
        first = httpx.get(url, params={"page_size": 4}).json()
        second = httpx.get(url, params={"page_size": 4, "page": 2}).json()
        refused = httpx.get(url, params={"status": "4xx"}).json()
        of_model = httpx.get(url, params={"model": "glm-4.6", "q": "TESTER", "key": "api-key-1"}).json()
    assert (first["total"], first["page"], first["page_size"]) == (6, 1, 4)
    assert (len(first["requests"]), len(second["requests"])) == (4, 2)
    started = [one["started"] for one in first["requests"] + second["requests"]]
    assert started == sorted(started, reverse=True)
    assert [one["path"] for one in refused["requests"]] == ["/v1/models"]
    assert of_model["total"] == 5
    one = of_model["requests"][0]
    assert (one["ending"], one["phase"], one["user_agent"], one["key"]) == ("done", "done", "tester/1", "api-key-1")
    assert one["client"] == "127.0.0.1"
    assert one["peer"].startswith("127.0.0.1:")
    assert one["duration"] >= one["time_to_first_token"] > 0
    assert one["output_tokens"] > 0


def test_requests_are_sorted_and_selected_by_time_and_attempts() -> None:
    with Stack(UPSTREAM_MAX_TRIES="2") as stack:
        for model in ("glm-4.6:tokens=3", "glm-4.6:tokens=9", "glm-4.6:tokens=6", "glm-4.6:fault=500"):
            ask(stack, stream=True, model=model)
        stack.record(4)

        def found(**query: str | int) -> list[str]:
            page = httpx.get(f"{stack.url}/dashboard/requests", params=query).json()
            return [one["model"].partition(":")[2] for one in page["requests"]]

        newest = httpx.get(f"{stack.url}/dashboard/requests").json()["requests"][0]
        assert found(sort="-output_tokens") == ["tokens=9", "tokens=6", "tokens=3", "fault=500"]
        assert found(sort="output_tokens") == ["tokens=3", "tokens=6", "tokens=9", "fault=500"], "unknown ones are last"
        assert found(sort="started")[0] == "tokens=3"
        assert found(attempts=2) == ["fault=500"]
        assert found(outcome="in_flight") == []
        start = int(newest["started"])
        assert len(found(**{"from": start - 60, "to": start + 60})) == 4
        assert found(**{"from": start + 60}) == found(to=start - 60) == []
        assert httpx.get(f"{stack.url}/dashboard/requests?sort=size").json()["error"]["param"] == "sort"


@pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=-1", "page=%D9%A3"])
def test_a_question_that_makes_no_sense(query: str) -> None:
    with Stack() as stack:
        answer = httpx.get(f"{stack.url}/dashboard/requests?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("page", "page_size")


def test_requests_in_flight_are_shown() -> None:
    with Stack(options=Options(ttft_ms=60_000.0)) as stack, httpx.Client() as client:
        asking = threading.Thread(target=lambda: _ask_in_vain(client, stack), daemon=True)
        asking.start()
        stack.wait_for(lambda: any(record.sent for record in stack.application._oldest_records(9)))
        page = httpx.get(f"{stack.url}/dashboard/requests").json()
        again = httpx.get(f"{stack.url}/dashboard/requests").json()
        stats = httpx.get(f"{stack.url}/dashboard/stats").json()
    (one,) = page["requests"]
    assert again["requests"][0]["started"] == one["started"], "the page knows a request by its id and start"
    assert (one["phase"], one["ending"], one["model"], one["attempts"]) == ("waiting", None, "glm-4.6", 1)
    assert stats["requests"]["in_flight"] == 1


def _ask_in_vain(client: httpx.Client, stack: Stack) -> None:
    with contextlib.suppress(httpx.HTTPError):
        client.post(f"{stack.base_url}/chat/completions", json={"model": "glm-4.6", "messages": MESSAGES}, timeout=60)


def test_events_have_the_stats_and_the_changed_requests() -> None:
    with Stack() as stack, httpx.stream("GET", f"{stack.url}/dashboard/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        seen: list[tuple[str, dict[str, dict[str, int]]]] = []
        asked = False
        name = ""
        for line in events.iter_lines():
            kind, _, rest = line.partition(": ")
            if kind == "event":
                name = rest
            elif kind == "data":
                seen.append((name, json.loads(rest)))
                if not asked:
                    ask(stack)
                    asked = True
                if seen[-1][0] == "stats" and seen[-1][1]["requests"]["total"] == 1:
                    break
    assert [name for name, _ in seen][:2] == ["stats", "requests"]
    assert seen[0][1]["requests"]["in_flight"] == 0, "the page itself is none of the requests"
    assert seen[-1][1]["requests"]["streams"] == 0


def test_a_head_request_for_events_is_answered_without_any() -> None:
    with Stack() as stack, httpx.Client(base_url=stack.url) as client:
        head = client.head("/dashboard/events")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
        assert client.get("/livez").json() == {"status": "ok"}, "the connection is in step"
        assert stack.record(1).bytes_out == 0


def test_no_dashboard_where_it_is_turned_off() -> None:
    with Stack(DASHBOARD_ENABLED="false") as stack:
        assert httpx.get(f"{stack.url}/dashboard/stats").status_code == 404
        assert httpx.get(f"{stack.url}/metrics").status_code == 200


def test_watchers_at_the_same_time_get_the_same_figures() -> None:
    """The figures are made once a second, however many watch; each comes at another time, and one leaves."""
    with Stack() as stack, contextlib.ExitStack() as all_streams:

        def watch() -> Iterator[float]:
            answer = all_streams.enter_context(httpx.stream("GET", f"{stack.url}/dashboard/events"))
            lines = (line for line in answer.iter_lines() if line.startswith('data: {"version"'))
            return (json.loads(line.removeprefix("data: "))["now"] for line in lines)

        with httpx.stream("GET", f"{stack.url}/dashboard/events"):
            watchers = [watch() for _ in range(4)]
        seen = [{next(events) for _ in range(3)} for events in watchers]
    for one in seen[1:]:
        assert one & seen[0]


def test_a_watcher_that_leaves_does_not_affect_the_others() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def clock() -> float:
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        return 1_795_435_200.0

    async def watch() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        handler = DashboardHandler(MetricsBoard(), lambda: None, clock, lambda: False, None, loop)
        leaves, stays = loop.create_task(handler._newest()), loop.create_task(handler._newest())
        await asyncio.to_thread(begun.wait, 20.0)
        leaves.cancel()
        await asyncio.wait([leaves])
        go_on.set()
        return await stays

    stats, requests = asyncio.run(watch())
    assert stats.startswith(b"event: stats\ndata: {") and requests.startswith(b"event: requests\ndata: {")
