"""Commands of ``ztoapi`` as processes, forked from one that has imported the gateway."""

import array
import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.waiting import WAIT_SECONDS

__all__ = ["PYTHON_PATH", "Program", "run"]

PYTHON_PATH = f"{Path(__file__).parent / 'start'}:{Path(__file__).parents[2]}"
_NUMBER_BYTES = array.array("i").itemsize


@functools.cache
def _fork_server(network: str) -> socket.socket:
    """Returns the socket for the requests to the fork server of this process (``start/fork_server.py``) in the current
    network, which is ``network``."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", "fork_server", str(its.fileno())],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH},
            cwd="/",
            pass_fds=[its.fileno()],
        )
    atexit.register(process.wait, WAIT_SECONDS)
    atexit.register(ours.close)
    return ours


def _network() -> str:
    """Returns the network of the sockets and processes that this thread makes: tests of clients have their own."""
    return os.readlink("/proc/thread-self/ns/net") if sys.platform == "linux" else ""


class Program:
    """A process of ``ztoapi`` with ``arguments``. ``environment`` is its whole environment; ``stdin``, ``stdout`` and
    ``stderr`` are descriptors; ``open_files`` are its soft and hard limits on them; with ``session`` it leads one."""

    def __init__(
        self,
        *arguments: str,
        environment: dict[str, str],
        stdout: int,
        stderr: int,
        stdin: int | None = None,
        directory: str = "/",
        open_files: tuple[int, int] | None = None,
        session: bool = False,
    ) -> None:
        request = {
            "arguments": arguments,
            "environment": {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH, **environment},
            "directory": directory,
            "open_files": open_files,
            "session": session,
        }
        self.returncode: int | None = None
        self._status, its = socket.socketpair()
        with its, open(os.devnull, "rb") as null:
            descriptors = [null.fileno() if stdin is None else stdin, stdout, stderr, its.fileno()]
            socket.send_fds(_fork_server(_network()), [json.dumps(request).encode()], descriptors)
        self.pid = self._number()

    def _number(self) -> int:
        data = self._status.recv(_NUMBER_BYTES)
        assert len(data) == _NUMBER_BYTES, "the fork server has ended"
        return array.array("i", data)[0]

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Returns the exit code once the process has ended; minus the number of the signal that has ended it."""
        if self.returncode is None:
            if not select.select([self._status], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("ztoapi", seconds)
            self.returncode = self._number()
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """Returns the exit code if the process has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: signal.Signals) -> None:
        """Sends ``number`` unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs ``ztoapi`` with ``arguments`` to its end; ``environment`` is all that it has besides PATH."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        program = Program(*arguments, environment=environment, stdout=out.fileno(), stderr=error.fileno())
        try:
            code = program.wait()
        finally:
            program.kill()
        out.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), error.read().decode())
