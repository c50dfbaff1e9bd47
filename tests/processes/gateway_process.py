"""``ztoapi serve`` as a process of its own, as users run it."""

import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.stack import BASES, Stack
from tests.support.waiting import WAIT_SECONDS

__all__ = ["PYTHON_PATH", "GatewayProcess", "gateway"]

PYTHON_PATH = f"{Path(__file__).parent / 'start'}:{Path(__file__).parents[2]}"


class GatewayProcess:
    """``environment`` is its whole environment besides PATH; there is no access log unless a variable enables it.
    ``url`` is its address; ``open_files`` are its soft and hard limits on them."""

    open_files: tuple[int, int] | None = None

    def __init__(self, command: str = "serve", *arguments: str, **environment: str) -> None:
        files = self.open_files
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ztoapi", command, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": PYTHON_PATH,
                "ZTOAPI_ACCESS_LOG": "off",
                **environment,
            },
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=None if files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files),
        )
        self.output = ""

    def __enter__(self) -> Self:
        try:
            self.port = int(self.wait_for_output(r"http://127\.0\.0\.1:(\d+)"))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in [self._process.pid, *self.children()]:
            self.kill(signal.SIGKILL, pid)
        self._process.wait(WAIT_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait_for_output(self, pattern: str) -> str:
        """Read on until ``pattern`` matches what was printed; returns its first group."""
        while True:
            match = re.search(pattern, self.output)
            if match is not None:
                return match[1]
            assert self._reads(WAIT_SECONDS), f"never printed {pattern}: {self.output}"

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Reads until ``condition`` holds. It is checked a hundred times a second; more often would take a core
        from the process that is waited for."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            if condition():
                return
            self._reads(0.01)
        raise AssertionError(f"it never came true: {self.output}")

    def _reads(self, seconds: float) -> bool:
        """Whether something was printed in that time."""
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        ready, _, _ = select.select([stream], [], [], seconds)
        data = os.read(stream, 65536) if ready else b""
        self.output += data.decode()
        return data != b""

    def rest(self) -> str:
        """The output since the last call, once the process has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.read().decode()

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> list[int]:
        """Processes started by it that live."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def kill(self, number: signal.Signals, pid: int | None = None) -> None:
        try:
            os.kill(pid or self._process.pid, number)
        except ProcessLookupError:
            pass

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(WAIT_SECONDS)

    def resident_bytes(self) -> int:
        """Resident memory of the only worker."""
        (worker,) = self.children()
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def gateway(simulator: Stack, *arguments: str, **environment: str) -> GatewayProcess:
    """``ztoapi serve`` on a free port, in front of the simulator of ``simulator``."""
    upstream = f"http://127.0.0.1:{simulator.simulator_port}{BASES['zai']}"
    return GatewayProcess(
        "serve",
        *arguments,
        **{"PLATFORM_ID": "zai", "UPSTREAM_URL": upstream, "ZAI_TOKEN": "t", "PORT": "0", **environment},
    )
