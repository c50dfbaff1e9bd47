"""Reloads, upgrades and changes of the number of workers, under load: no request is refused, reset or cut."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.program import run
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS

SHORT = {"model": "glm-4.6:tokens=1:ttft=10", "messages": [{"role": "user", "content": "x"}]}
LONG = {"model": "glm-4.6:itl=20:tokens=150", "messages": [{"role": "user", "content": "x"}], "stream": True}
REQUESTS = "ztoapi_http_requests_total"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


class Load:
    """Requests on kept and on new connections, and streams, until it ends. ``failures`` are the requests that were
    refused, reset or cut."""

    def __init__(self, url: str) -> None:
        self.sent = 0
        self.failures: list[str] = []
        self._url = f"{url}/v1/chat/completions"
        self._stop = False

    async def kept(self) -> None:
        async with httpx.AsyncClient() as client:
            while not self._stop:
                await self._request(client)

    async def new(self) -> None:
        while not self._stop:
            async with httpx.AsyncClient() as client:
                await self._request(client)

    async def _request(self, client: httpx.AsyncClient) -> None:
        self.sent += 1
        try:
            response = await client.post(self._url, json=SHORT)
        except httpx.TransportError as error:
            self.failures.append(repr(error))
            return
        if response.status_code != 200:
            self.failures.append(response.text)

    async def stream(self) -> None:
        self.sent += 1
        async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
            try:
                response = await client.post(self._url, json=LONG)
            except httpx.TransportError as error:
                self.failures.append(repr(error))
                return
        if not response.text.endswith("data: [DONE]\n\n"):
            self.failures.append(response.text[-200:])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in [self.kept] * 4 + [self.new] * 4 + [self.stream] * 20]
        yield
        self._stop = True
        await asyncio.gather(*tasks)


def command(name: str, process: GatewayProcess, state: Path, config: Path) -> "subprocess.CompletedProcess[str]":
    """Runs ``ztoapi reload`` or ``upgrade`` for ``process``."""
    return run(name, "--config", str(config), "--port", str(process.port), ZAI_TOKEN="t", XDG_STATE_HOME=str(state))


def counted(process: GatewayProcess) -> float:
    """Returns the number of chat requests on /metrics."""
    lines = httpx.get(f"{process.url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(REQUESTS) and "chat" in line)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ztoapi.toml"
    path.write_text("")
    return path


def has_workers(process: GatewayProcess, count: int) -> bool:
    return len(process.children()) == count


def start(simulator: Stack, config: Path, **environment: str) -> GatewayProcess:
    return gateway(simulator, "--config", str(config), XDG_STATE_HOME=str(config.parent), **environment)


def test_reloads_and_an_upgrade_under_load(simulator: Stack, config: Path) -> None:
    with start(simulator, config, WORKERS="2") as process:
        load = Load(process.url)
        before = set(process.children())
        started = httpx.get(f"{process.url}/dashboard/stats").json()["started"]

        def change(seconds: int) -> "subprocess.CompletedProcess[str]":
            config.write_text(f"[server]\nqueue_seconds = {seconds}\n")
            return command("reload", process, config.parent, config)

        async def use() -> None:
            async with load.running():
                for seconds in (1, 2):
                    done = await asyncio.to_thread(change, seconds)
                    assert (done.returncode, done.stderr) == (0, "")
                done = await asyncio.to_thread(command, "upgrade", process, config.parent, config)
                assert (done.returncode, done.stderr) == (0, "")

        asyncio.run(use())
        assert load.failures == []
        assert load.sent > 20
        process.wait_for(lambda: len(process.children()) == 2)
        assert before.isdisjoint(process.children())
        process.wait_for(lambda: counted(process) == load.sent)
        assert httpx.get(f"{process.url}/dashboard/stats").json()["started"] == started, "of the gateway"
        process.kill(signal.SIGTERM)
        assert process.wait() == 0


def test_upgrades_leave_no_descriptors_behind(simulator: Stack, config: Path) -> None:
    with start(simulator, config) as process:
        counts = []
        for _ in range(2):
            done = command("upgrade", process, config.parent, config)
            assert (done.returncode, done.stderr) == (0, "")
            process.wait_for(lambda: len(process.children()) == 1)
            (worker,) = process.children()
            counts.append([len(os.listdir(f"/proc/{pid}/fd")) for pid in (process.pid, worker)])
        assert counts[0] == counts[1]


def test_an_invalid_configuration_changes_nothing(simulator: Stack, config: Path) -> None:
    with start(simulator, config) as process:
        workers = process.children()
        config.write_text("[server]\nqueue_seconds = 'long'\nbacklog = 0\n")
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(invalid configuration; keeping the current keys and options)")
        assert "server.queue_seconds" in process.output
        assert "server.backlog" in process.output
        assert process.children() == workers
        done = command("reload", process, config.parent, config)
        assert done.returncode == 2
        assert "server.queue_seconds" in done.stderr


def test_a_configuration_without_changes_replaces_no_worker(simulator: Stack, config: Path) -> None:
    with start(simulator, config) as process:
        workers = process.children()
        done = command("reload", process, config.parent, config)
        assert (done.returncode, done.stdout) == (0, "the configuration has not changed\n")
        assert process.children() == workers


def test_a_command_without_a_running_gateway(config: Path, simulator: Stack) -> None:
    with start(simulator, config) as process:
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
        done = command("reload", process, config.parent, config)
    assert done.returncode == 1
    assert f"no gateway of this user runs on port {process.port}" in done.stderr
    assert "`ztoapi demo` writes no status file" in done.stderr


def test_more_and_fewer_workers(simulator: Stack, config: Path) -> None:
    with start(simulator, config) as process:
        config.write_text("[server]\nworkers = 2\n")
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(reload: all 2 workers have been replaced)")
        assert httpx.get(f"{process.url}/readyz").status_code == 200
        process.wait_for(lambda: len(process.children()) == 2)
        config.write_text("[server]\nworkers = 1\n")
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(reload: the worker has been replaced)")
        process.wait_for(lambda: len(process.children()) == 1)
        assert httpx.get(f"{process.url}/readyz").status_code == 200


def test_sigttin_and_sigttou(simulator: Stack, config: Path) -> None:
    with start(simulator, config) as process:
        load = Load(process.url)

        async def use() -> None:
            async with load.running():
                process.kill(signal.SIGTTIN)
                await asyncio.to_thread(process.wait_for_output, r"(SIGTTIN: 2 workers)")
                await asyncio.to_thread(process.wait_for, lambda: len(process.children()) == 2)
                process.kill(signal.SIGTTOU)
                await asyncio.to_thread(process.wait_for_output, r"(SIGTTOU: 1 workers)")
                process.kill(signal.SIGTTOU)
                await asyncio.to_thread(process.wait_for_output, r"(SIGTTOU: the last worker stays)")

        asyncio.run(use())
        assert [failure for failure in load.failures if "data: " in failure] == []
        process.wait_for(lambda: len(process.children()) == 1)
        for workers in range(2, 6):
            process.kill(signal.SIGTTIN)
            process.wait_for(partial(has_workers, process, workers))
        process.kill(signal.SIGTTIN)
        process.wait_for_output(r"(SIGTTIN: 5 workers are the most)")


def test_limits_outlive_a_reload(simulator: Stack, config: Path) -> None:
    limits = "[limits.global]\nrequests_per_minute = 2\nburst = 2\n"
    config.write_text(limits)
    with start(simulator, config) as process:
        url = f"{process.url}/v1/chat/completions"
        assert [httpx.post(url, json=SHORT).status_code for _ in range(3)] == [200, 200, 429]
        config.write_text(f"{limits}[server]\nqueue_seconds = 2\n")
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(reload: the worker has been replaced)")
        assert httpx.post(url, json=SHORT).status_code == 429
        assert command("upgrade", process, config.parent, config).returncode == 0
        assert httpx.post(url, json=SHORT).status_code == 429


def test_a_worker_is_replaced_at_its_age(simulator: Stack, config: Path) -> None:
    config.write_text("[server]\nworker_max_age_seconds = 0.1\n")
    with start(simulator, config) as process:
        first = process.children()
        process.wait_for_output(r"(has reached its age: replacing it)")
        process.wait_for(lambda: first[0] not in process.children())
        assert httpx.get(f"{process.url}/readyz").status_code == 200


def test_a_worker_is_replaced_at_its_memory_limit(simulator: Stack, config: Path) -> None:
    config.write_text("[server]\nworker_max_memory_bytes = 67108864\n")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n"
    with start(simulator, config) as process, contextlib.ExitStack() as uploads:
        first = process.children()
        for _ in range(6):
            upload = uploads.enter_context(socket.create_connection(("127.0.0.1", process.port)))
            # Not the whole body: the request stays, and so does its memory.
            upload.sendall(head + b" " * 9_000_000)
        process.wait_for_output(r"(bytes of memory \(limit: 67108864\): replacing it)")
        uploads.close()
        process.wait_for(lambda: first[0] not in process.children())
        assert httpx.get(f"{process.url}/readyz").status_code == 200


def test_an_announced_stop_is_seen_by_health_checks(simulator: Stack, config: Path) -> None:
    config.write_text("[server]\nshutdown_delay_seconds = 60\n")
    with start(simulator, config) as process:
        process.kill(signal.SIGTERM)
        process.wait_for(lambda: httpx.get(f"{process.url}/readyz").status_code == 503)
        assert httpx.post(f"{process.url}/v1/chat/completions", json=SHORT).status_code == 200
        process.kill(signal.SIGTERM)
        assert process.wait() == 0


def test_a_program_that_cannot_start_does_not_replace_the_running_one(
    simulator: Stack, config: Path, tmp_path: Path
) -> None:
    with start(simulator, config) as process:
        workers = process.children()
        config.write_text("[server]\nbacklog = 0\n")
        process.kill(signal.SIGUSR2)
        process.wait_for_output(r"(the new version cannot start, and this one continues)")
        assert "server.backlog" in process.output
        assert process.children() == workers
        status = json.loads((tmp_path / "ztoapi" / f"status-{process.port}.json").read_text())
        assert (status["ok"], status["pid"]) == (False, process.pid)
