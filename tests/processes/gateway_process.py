"""``ztoapi serve`` as a process of its own."""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.processes.program import Program
from tests.stack import BASES, Stack
from tests.support.waiting import WAIT_SECONDS

__all__ = ["GatewayProcess", "gateway"]


class GatewayProcess:
    """``environment`` is its whole environment besides PATH; there is no access log unless a variable enables it.
    ``url`` is its address; ``open_files`` are its soft and hard limits on them."""

    open_files: tuple[int, int] | None = None

    def __init__(self, command: str = "serve", *arguments: str, **environment: str) -> None:
        self._reader, writer = os.pipe()
        self._process = self.start([command, *arguments], {"ZTOAPI_ACCESS_LOG": "off", **environment}, writer)
        os.close(writer)
        self.output = ""

    def start(
        self, arguments: list[str], environment: dict[str, str], output: int
    ) -> "Program | subprocess.Popen[bytes]":
        """Starts the process; ``output`` is its standard output and error."""
        return Program(*arguments, environment=environment, stdout=output, stderr=output, open_files=self.open_files)

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
        os.close(self._reader)

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
        ready, _, _ = select.select([self._reader], [], [], seconds)
        data = os.read(self._reader, 65536) if ready else b""
        self.output += data.decode()
        return data != b""

    def rest(self) -> str:
        """The output since the last call, once the process has ended."""
        with open(self._reader, "rb", closefd=False) as reader:
            return reader.read().decode()

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> list[int]:
        """Processes started by it that live."""
        if self._process.poll() is not None:
            return []
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def kill(self, number: signal.Signals, pid: int | None = None) -> None:
        with contextlib.suppress(ProcessLookupError):
            if pid in (None, self._process.pid):
                self._process.send_signal(number)
            else:
                os.kill(pid, number)

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
