"""A real gateway and a real simulator as its upstream, on free ports, with one event loop in a thread."""

import asyncio
import concurrent.futures
import pathlib
import tempfile
import threading
from collections.abc import Callable, Coroutine
from typing import Self, TypeVar

import httpx
import uvloop

from tests.support.waiting import WAIT_SECONDS, until
from ztoapi.app import Application
from ztoapi.config.load import load
from ztoapi.config.model import Config
from ztoapi.server.listener import Server
from ztoapi.server.sockets import bind
from ztoapi.simulator.app import Options, Simulator
from ztoapi.telemetry.record import RequestRecord
from ztoapi.upstream.client import NativeClient
from ztoapi.upstream.pool import Pool

__all__ = ["BASES", "Stack", "config_for"]

T = TypeVar("T")
BASES = {"zai": "/api/paas/v4", "openai": "/v1", "zai_web": "", "zread": "/api/v1"}


def config_for(port: int, platform: str = "zai", *, toml: str = "", **variables: str) -> Config:
    """Returns a configuration whose default platform is the simulator on ``port``. ``variables`` are environment
    variables, in which ``:PORT/`` stands for that port; ``toml`` is the content of ``ztoapi.toml``."""
    environ = {
        "PLATFORM_ID": platform,
        "UPSTREAM_URL": f"http://127.0.0.1:{port}{BASES[platform]}",
        "UPSTREAM_TOKEN": "sim-token",
        "PORT": "0",
        **{name: value.replace(":PORT/", f":{port}/") for name, value in variables.items()},
    }
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory)
        (path / "ztoapi.toml").write_text(toml)
        return load({}, environ=environ, directory=path).config


class Stack:
    """The simulator and the gateway. ``url`` is the gateway's origin, ``base_url`` the base URL for SDKs."""

    def __init__(
        self, platform: str = "zai", *, options: Options | None = None, toml: str = "", **variables: str
    ) -> None:
        self._platform = platform
        self._toml = toml
        self._variables = variables
        self._options = options or Options()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_SECONDS)
        return self

    def __exit__(self, *exc: object) -> None:
        self.call(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_SECONDS)
        assert self.loop.is_closed()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        # As in a worker, the runner cancels the tasks that a closed gateway leaves: streams of dashboard events.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._start())
            self._ready.set()
            self.loop.run_forever()

    async def _start(self) -> None:
        self.simulator = Simulator(self._options, self.loop)
        self._simulator_server = Server(self.simulator.context, bind("127.0.0.1", 0, backlog=2048))
        await self._simulator_server.start()
        self.simulator_port = self._simulator_server.port
        config = config_for(self._simulator_server.port, self._platform, toml=self._toml, **self._variables)
        self.application = Application(config, self.loop)
        await self.application.start()
        self.server = Server(self.application.context, bind("127.0.0.1", 0, backlog=2048))
        await self.server.start()
        self.port = self.server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.base_url = f"{self.url}/v1"

    async def _close(self) -> None:
        await self.server.close()
        await self.application.close()
        await self._simulator_server.close()

    def call(self, work: Coroutine[object, object, T]) -> T:
        """Runs ``work`` on the stack's loop and returns its result."""
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(WAIT_SECONDS)

    @property
    def pool(self) -> Pool:
        """The upstream connections of the native client."""
        client = self.application.client
        assert isinstance(client, NativeClient)
        return client.pool

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until ``condition`` holds on the stack's loop."""
        self.call(until(condition))

    def record(self, number: int = 1) -> RequestRecord:
        """Returns the record of the request that ended as the ``number``-th; waits for it."""
        self.wait_for(lambda: self.application.recorder.total >= number)
        return self.records()[number - 1]

    def records(self) -> list[RequestRecord]:
        """Returns the records of the requests that have ended. A client may have its response before the turn of the
        loop that has sent it is over, and with it the request: this waits for the end of that turn."""

        async def read() -> list[RequestRecord]:
            return [*self.application.recorder.recent]

        return self.call(read())

    def stats(self) -> dict[str, object]:
        """Returns the statistics of the simulator."""
        shown: dict[str, object] = httpx.get(f"http://127.0.0.1:{self.simulator_port}/sim/stats").json()
        return shown
