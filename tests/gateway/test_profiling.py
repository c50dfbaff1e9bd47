"""/debug/pprof/: the parts that work without a main thread, and access."""

import tracemalloc

import httpx
import pytest

from tests.stack import Stack

PATHS = ("", "/", "/profile", "/heap", "/tasks", "/cmdline")
KEY = {"authorization": "Bearer admin"}


@pytest.mark.parametrize("path", PATHS)
def test_it_is_for_operators(path: str) -> None:
    with Stack(ADMIN_KEY="admin", DEFAULT_KEY="client") as stack:
        url = f"{stack.url}/debug/pprof{path}"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer client"}).status_code == 401
    with Stack(DEFAULT_KEY="client") as stack:
        answer = httpx.get(f"{stack.url}/debug/pprof{path}", headers={"x-forwarded-for": "10.0.0.1"})
        assert answer.status_code == 403
        assert httpx.post(f"{stack.url}/debug/pprof/heap/start", headers={"origin": "http://a.test"}).status_code == 403


def test_the_index_names_what_there_is(shared: Stack) -> None:
    index = httpx.get(f"{shared.url}/debug/pprof/").text
    paths = {route.template for route in shared.application.context.routes}
    assert {path for path in paths if path.startswith("/debug/pprof/") and path not in index} == set()
    assert "/debug/pprof/heap" in paths


def test_it_is_none_of_the_requests_that_are_counted(stack: Stack) -> None:
    httpx.get(f"{stack.url}/debug/pprof/tasks")
    assert httpx.get(f"{stack.url}/dashboard/stats").json()["requests"]["total"] == 0


def test_the_heap_from_start_to_stop(stack: Stack) -> None:
    pprof = f"{stack.url}/debug/pprof"
    refused = httpx.get(f"{pprof}/heap")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "heap_not_traced")
    assert "heap/start" in refused.json()["error"]["message"]
    assert httpx.get(f"{pprof}/heap/start").status_code == 405
    assert httpx.post(f"{pprof}/heap/start?seconds=0").json()["error"]["param"] == "seconds"
    assert httpx.post(f"{pprof}/heap/start").json() == {"tracing": True, "seconds": 600}
    try:
        first = httpx.get(f"{pprof}/heap?top=1000").json()
        kept: list[bytearray] = []

        async def keep() -> None:
            kept.extend(bytearray(1000) for _ in range(500))

        stack.call(keep())
        second = httpx.get(f"{pprof}/heap?top=5").json()
    finally:
        assert httpx.post(f"{pprof}/heap/stop").json() == {"tracing": False}
    assert (first["since_last_seconds"], second["since_last_seconds"] is None) == (None, False)
    assert len(second["top"]) <= 5
    for lines in (second["top"], second["grown"]):
        (line,) = [line for line in lines if line["file"] == __file__]
        assert line["line"] == keep.__code__.co_firstlineno + 1
        assert line["bytes"] == line["bytes_more"] > 500_000
        assert line["blocks"] >= 500
    assert second["bytes"] > first["bytes"]
    assert httpx.get(f"{pprof}/heap").status_code == 409
    assert len(kept) == 500


def test_tracing_ends_by_itself(stack: Stack) -> None:
    httpx.post(f"{stack.url}/debug/pprof/heap/start?seconds=1")
    stack.wait_for(lambda: not tracemalloc.is_tracing())
    assert httpx.get(f"{stack.url}/debug/pprof/heap").status_code == 409


def test_tasks_with_what_they_await(stack: Stack) -> None:
    with httpx.stream("GET", f"{stack.url}/dashboard/events") as events:
        lines = events.iter_lines()
        next(lines)
        tasks = httpx.get(f"{stack.url}/debug/pprof/tasks").json()["tasks"]
    (task,) = [task for task in tasks if task["calls"][0]["function"] == "DashboardHandler._stream"]
    assert task["calls"][0]["file"].endswith("handlers/dashboard.py")
    assert task["calls"][0]["line"] > 0
    assert len(task["calls"]) >= 2
    assert task["awaits"] is not None
