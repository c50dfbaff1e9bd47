"""A Prometheus of its own, with the configuration and rules of ``deploy/``, that scrapes a gateway every second."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.deploy.tools import DEPLOY, where
from tests.support.waiting import WAIT_SECONDS

__all__ = ["PrometheusProcess", "sockets_of", "tcp_sockets"]

_LOOK_AGAIN_SECONDS = 0.1
_LISTEN = "0A"
"""The state in /proc/net/tcp."""


def tcp_sockets() -> dict[str, tuple[int, int, str]]:
    """IPv4 sockets of this machine by their inode: local port, remote port, state."""
    found: dict[str, tuple[int, int, str]] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, _, _, _, _, _, inode, *_ = line.split()
        found[inode] = int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16), state
    return found


def sockets_of(pid: int) -> set[str]:
    """Inodes of the sockets that the process has open."""
    found: set[str] = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(file).removeprefix("socket:[").removesuffix("]"))
    return found


class PrometheusProcess:
    """``folder`` is where it keeps what it needs; ``port`` is the gateway's, ``key`` its admin key."""

    def __init__(self, folder: Path, port: int, key: str) -> None:
        program = where("prometheus", "Debian package prometheus")
        shutil.copytree(DEPLOY / "prometheus", folder, dirs_exist_ok=True)
        (folder / "key").write_text(key)
        file = folder / "prometheus.yml"
        config = yaml.safe_load(file.read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (job,) = config["scrape_configs"]
        job["authorization"]["credentials_file"] = str(folder / "key")
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
        file.write_text(yaml.safe_dump(config), "utf-8")
        self._client = httpx.Client(timeout=WAIT_SECONDS)
        self._output = (folder / "output").open("w+b")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        try:
            self.wait_for(lambda: bool(self._listening()))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._url = f"http://127.0.0.1:{self._listening()[0]}/api/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        self._output.close()

    def _listening(self) -> list[int]:
        own, known = sockets_of(self._process.pid), tcp_sockets()
        return [known[inode][0] for inode in own & known.keys() if known[inode][2] == _LISTEN]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, as long as Prometheus lives; the test's time limit bounds it."""
        while not condition():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_AGAIN_SECONDS)
            assert self._process.poll() is None, Path(self._output.name).read_text()

    def stop(self) -> None:
        """It does nothing until :meth:`go_on`."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """The response of its HTTP API."""
        response = self._client.get(self._url + path, params=parameters)
        if response.status_code == 503:
            # It listens before it is ready.
            return {"result": []}
        answer = response.json()
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data

    def ask(self, query: str) -> dict[str, float]:
        """The values of ``query`` now, by the values of their labels with a blank between."""
        return {
            " ".join(value for name, value in sorted(one["metric"].items()) if name != "__name__"): float(
                one["value"][1]
            )
            for one in self.get("/query", query=query)["result"]
        }

    def total(self, query: str) -> float:
        return sum(self.ask(query).values())
