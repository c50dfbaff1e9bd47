"""A command on a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from types import TracebackType
from typing import Final, Self

from tests.processes.program import Program
from tests.support.waiting import WAIT_SECONDS

__all__ = ["TerminalProcess"]

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


class TerminalProcess:
    """``ztoapi`` with ``arguments`` on a terminal of ``columns``. ``environment`` is all that it has besides PATH."""

    def __init__(self, columns: int, *arguments: str, **environment: str) -> None:
        self._terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._process = Program(
            *arguments, environment=environment, stdin=inner, stdout=inner, stderr=inner, session=True
        )
        os.close(inner)
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait()
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        finally:
            os.close(self._terminal)

    @property
    def lines(self) -> list[str]:
        """The lines of the output without colours."""
        return [_COLOURS.sub("", line) for line in self.output.split("\r\n")]

    def wait_for(self, pattern: str) -> str:
        """Reads on until ``pattern`` matches; returns its first group."""
        while (match := re.search(pattern, self.output)) is None:
            ready, _, _ = select.select([self._terminal], [], [], WAIT_SECONDS)
            assert ready, f"never printed {pattern}: {self.output}"
            self.output += os.read(self._terminal, 65536).decode()
        return match[1]
