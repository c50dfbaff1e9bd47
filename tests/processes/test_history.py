"""``ztoapi serve`` keeps its history: over restarts, and when workers or the whole gateway are killed."""

import contextlib
import select
import signal
import sqlite3
from pathlib import Path

import httpx

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack
from tests.support.serving import Client
from ztoapi.server.sockets import bind

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}


def ask(process: GatewayProcess, times: int) -> None:
    # Each by a connection of its own, so that all workers have some.
    for _ in range(times):
        assert httpx.post(f"{process.url}/v1/chat/completions", json=BODY).status_code == 200


def requests_of(process: GatewayProcess) -> int:
    history = httpx.get(f"{process.url}/dashboard/history").json()
    assert history["kept"]
    assert sum(one["requests"] for one in history["hours"]) == sum(one["requests"] for one in history["days"])
    return sum(one["requests"] for one in history["hours"])


def test_history_survives_restarts_and_dead_workers(simulator: Stack, tmp_path: Path) -> None:
    environment = {"ZTOAPI_HISTORY_FILE": str(tmp_path / "history.db"), "WORKERS": "2"}
    with gateway(simulator, **environment) as process:
        ask(process, 9)
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    with gateway(simulator, **environment) as process:
        ask(process, 6)
        process.wait_for(lambda: requests_of(process) == 15)
        for pid in process.children()[:1]:
            process.kill(signal.SIGKILL, pid)
            process.wait_for_output(r"(restarting it)")
        ask(process, 5)
        process.wait_for(lambda: requests_of(process) == 20)
    with gateway(simulator, **environment) as process:
        assert requests_of(process) == 20


def test_a_named_file_that_is_of_no_use_is_an_error(simulator: Stack) -> None:
    process = gateway(simulator, ZTOAPI_HISTORY_FILE="/proc/nowhere/history.db")
    assert process.wait() == 2
    process.wait_for_output(r"(ZTOAPI_HISTORY_FILE \(environment\): /proc/nowhere/history\.db cannot be used)")
    process.__exit__(None, None, None)


def test_the_usual_place(simulator: Stack, tmp_path: Path) -> None:
    with bind("127.0.0.1", 0, backlog=1) as reserved:
        port = str(reserved.getsockname()[1])
    directory = tmp_path / ".local" / "state" / "ztoapi"
    directory.mkdir(parents=True)
    (directory / "history-1.db").touch()
    for new in (True, False):
        with gateway(simulator, PORT=port, HOME=str(tmp_path)) as process:
            ask(process, 1)
            assert requests_of(process) == 2 - new
            assert (
                f"set history_file to continue those of another port: {directory}/history-1.db" in process.output
            ) is new
            process.kill(signal.SIGTERM)
            assert process.wait() == 0
    assert (directory / f"history-{port}.db").is_file()
    with gateway(simulator, PORT=port, HOME=str(tmp_path), STATE_DIRECTORY="/proc/nowhere") as process:
        assert "continuing without a history" in process.output
        assert httpx.get(f"{process.url}/dashboard/history").json()["kept"] is False


def test_a_locked_file_holds_up_nothing_but_the_history(simulator: Stack, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with gateway(simulator, ZTOAPI_HISTORY_FILE=str(path)) as process, contextlib.ExitStack() as clients:
        ask(process, 1)
        lock = clients.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
        lock.execute("BEGIN EXCLUSIVE")
        waiting = [clients.enter_context(Client(process.port)) for _ in range(24)]
        for client in waiting:
            client.send(b"GET /dashboard/history HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        for route in ("/metrics", "/dashboard/stats", "/dashboard/requests", "/health"):
            assert httpx.get(process.url + route).status_code == 200
        assert select.select([client.sock for client in waiting], [], [], 0)[0] == []
        lock.execute("ROLLBACK")
        assert all(client.until(b"\r\n").startswith(b"HTTP/1.1 200") for client in waiting)
