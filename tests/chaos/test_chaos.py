"""A gateway whose workers, Redis, upstream and configuration fail or change all the time, under load.

``CHAOS_SECONDS`` is the duration, two minutes by default: ``CHAOS_SECONDS=3600 tox -e chaos``. At the end each stream
has been whole or visibly broken, the counters are those of the clients, no gauge has kept a request, and processes,
descriptors and memory are those of the beginning.
"""

import asyncio
import itertools
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.limits.redis_server import RedisServer
from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS

SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "120"))
CLIENTS: Final = 20
WORKERS: Final = 2
PAUSE_SECONDS: Final = 1.0
"""Between two disturbances."""
SUPERVISOR_DESCRIPTORS: Final = 4
"""Growth that is no leak: files that are open for a moment. Workers have an upstream connection for each client,
too."""
MEMORY_SLACK_BYTES: Final = 48 << 20
MODELS: Final = [
    "glm-4.6:tokens=20:itl=10",
    "glm-4.6:tokens=5",
    "glm-4.6:tokens=20:itl=10",
    "glm-4.6:tokens=20:fault=reset_mid",
    "glm-4.6:tokens=100:itl=5",
    "glm-4.6:fault=1302",
    "glm-4.6:tokens=20:fault=truncate",
]
ABORT_EVERY: Final = 5
"""One client in five leaves after three lines."""


class Clients:
    """Streams until ``stop``. ``outcomes`` counts their ends; ``silent`` are those that ended as if they were whole."""

    def __init__(self, url: str) -> None:
        self.sent = 0
        self.outcomes: Counter[str] = Counter()
        self.silent: list[str] = []
        self.stop = asyncio.Event()
        self._url = f"{url}/v1/chat/completions"
        self._models = itertools.cycle(MODELS)

    async def run(self) -> None:
        while not self.stop.is_set():
            async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
                self.sent += 1
                try:
                    self.outcomes[await self._stream(client, aborts=self.sent % ABORT_EVERY == 0)] += 1
                except httpx.ConnectError:
                    # The request has not been sent.
                    self.sent -= 1
                    self.outcomes["refused"] += 1
                except httpx.TransportError:
                    self.outcomes["cut"] += 1

    async def _stream(self, client: httpx.AsyncClient, *, aborts: bool) -> str:
        body = {"model": next(self._models), "messages": [{"role": "user", "content": "x"}], "stream": True}
        async with client.stream("POST", self._url, json=body) as response:
            if response.status_code != 200:
                await response.aread()
                return f"status {response.status_code}"
            lines: list[str] = []
            async for line in response.aiter_lines():
                lines += [line] if line else []
                if aborts and len(lines) == 3:
                    return "aborted"
        if lines[-1:] == ["data: [DONE]"]:
            return "whole"
        if lines and '"error"' in lines[-1]:
            return "error event"
        self.silent.append("\n".join(lines[-2:]))
        return "silent"


class Chaos:
    """The disturbances, one after the other."""

    def __init__(self, process: GatewayProcess, redis: RedisServer, config: Path) -> None:
        self._process = process
        self._redis = redis
        self._config = config
        self._seconds = itertools.count(1)
        self._stopped = 0
        self.done: Counter[str] = Counter()

    def steps(self) -> Iterator[Callable[[], None]]:
        return itertools.cycle(
            [
                self.kill_worker,
                self.reload,
                self.kill_redis,
                self.start_redis,
                self.stop_worker,
                self.continue_worker,
                self.upgrade,
                self.stop_redis,
                self.continue_redis,
            ]
        )

    def kill_worker(self) -> None:
        self._process.kill(signal.SIGKILL, self._process.children()[-1])

    def stop_worker(self) -> None:
        self._stopped = self._process.children()[0]
        self._process.kill(signal.SIGSTOP, self._stopped)

    def continue_worker(self) -> None:
        self._process.kill(signal.SIGCONT, self._stopped)

    def reload(self) -> None:
        self._config.write_text(f"[server]\nqueue_seconds = {next(self._seconds)}\n")
        self._process.kill(signal.SIGHUP)

    def upgrade(self) -> None:
        self._process.kill(signal.SIGUSR2)

    def kill_redis(self) -> None:
        self._redis.kill()

    def start_redis(self) -> None:
        self._redis.start()

    def stop_redis(self) -> None:
        self._redis.stop()

    def continue_redis(self) -> None:
        self._redis.go_on()

    async def run(self, seconds: float) -> None:
        """Runs whole rounds of steps for at least ``seconds``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        pause = asyncio.Event()
        for step in self.steps():
            if step == self.kill_worker and loop.time() >= end:
                return
            # A gateway that is replacing its program has no workers for a moment.
            if self._process.children():
                step()
                self.done[step.__name__] += 1
            try:
                await asyncio.wait_for(pause.wait(), PAUSE_SECONDS)
            except TimeoutError:
                continue


def metrics(process: GatewayProcess) -> dict[str, float]:
    """Returns the sums of the samples of /metrics by name."""
    found: dict[str, float] = defaultdict(float)
    for line in httpx.get(f"{process.url}/metrics").text.splitlines():
        if not line.startswith("#"):
            labels, _, value = line.rpartition(" ")
            found[labels.partition("{")[0]] += float(value)
    return found


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def usage(process: GatewayProcess) -> list[tuple[int, int]]:
    """Returns descriptors and memory of the supervisor and the workers."""
    return [(descriptors(pid), memory(pid)) for pid in (process.pid, *process.children())]


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 300)
def test_streams_are_whole_or_visibly_broken(tmp_path: Path) -> None:
    config = tmp_path / "ztoapi.toml"
    config.write_text("")
    with Stack() as simulator, RedisServer(tmp_path) as redis:
        environment = {
            "WORKERS": str(WORKERS),
            "DRAIN_SECONDS": "5",
            "REDIS_URL": redis.url,
            "XDG_STATE_HOME": str(tmp_path),
            "ZTOAPI_GLOBAL_REQUESTS_PER_SECOND": "100000",
        }
        with gateway(simulator, "--config", str(config), **environment) as process:
            process.wait_for(lambda: len(process.children()) == WORKERS)

            async def use(clients: Clients, chaos: Chaos, seconds: float) -> None:
                tasks = [asyncio.create_task(clients.run()) for _ in range(CLIENTS)]
                await chaos.run(seconds)
                clients.stop.set()
                await asyncio.gather(*tasks)

            chaos = Chaos(process, redis, config)
            clients = Clients(process.url)
            # The first round is the warm-up: modules that are imported late, pools, caches.
            asyncio.run(use(clients, chaos, 0))
            process.wait_for(lambda: len(process.children()) == WORKERS)
            before = usage(process)
            clients.stop = asyncio.Event()
            asyncio.run(use(clients, chaos, SECONDS))
            process.wait_for(lambda: len(process.children()) == WORKERS)
            after = usage(process)
            found = metrics(process)
            print(f"\n{clients.sent} requests: {dict(clients.outcomes)}; {dict(chaos.done)}\n{before}\n{after}")
            counted, lost = found["ztoapi_http_requests_total"], found["ztoapi_requests_lost_total"]
            print(f"counted {counted}, lost {lost}")
            assert clients.silent == []
            assert clients.outcomes["whole"] > 0
            # A request that a killed worker has not read is cut off without being counted.
            assert clients.sent - clients.outcomes["cut"] <= counted + lost <= clients.sent
            assert found["ztoapi_streams_in_flight"] == found["ztoapi_requests_in_flight"] == 0
            slack = (SUPERVISOR_DESCRIPTORS, *[SUPERVISOR_DESCRIPTORS + CLIENTS] * WORKERS)
            for (few, small), (many, large), growth in zip(before, after, slack, strict=True):
                assert many <= few + growth
                assert large <= small + MEMORY_SLACK_BYTES
            process.kill(signal.SIGTERM)
            assert process.wait() == 0
