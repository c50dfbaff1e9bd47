"""Measured processes: their CPU time and memory, including their children."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.peers.targets import Start

__all__ = ["Process", "free_port", "tree"]

_START_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """Returns ``pid`` and all its descendants."""
    pids = [pid]
    for parent in pids:
        # A process may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pids += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return pids


class Process:
    """A started program that listens on ``port``."""

    def __init__(self, start: Start, port: int, directory: tempfile.TemporaryDirectory[str] | None = None) -> None:
        self._directory = directory
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            start.command, env={**os.environ, **start.environment}, stdout=self._log, stderr=subprocess.STDOUT
        )
        self.port = port

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                output = self._log.read()[-2000:].decode("utf-8", "replace")
                self.__exit__(None, None, None)
                raise RuntimeError(f"{self._process.args!r} did not start: {output}")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in tree(self._process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._log.close()
        if self._directory is not None:
            self._directory.cleanup()

    def cpu_seconds(self) -> float:
        """User and system time of the tree so far."""
        ticks = 0
        for pid in tree(self._process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def memory_bytes(self) -> int:
        """Resident memory of the tree, in which a page of several processes counts once (PSS)."""
        kibibytes = 0
        for pid in tree(self._process.pid):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kibibytes += int(rollup.partition("\nPss:")[2].split(maxsplit=1)[0])
        return kibibytes * 1024
