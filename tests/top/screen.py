"""``ztoapi top`` at a terminal: a real pseudo-terminal, read by an emulator."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte

from tests.processes.program import Program
from tests.support.waiting import WAIT_SECONDS

__all__ = ["Screen"]


class Screen:
    """The program at a terminal of ``columns`` and ``lines``. ``received`` is all that it has sent."""

    def __init__(self, *arguments: str, columns: int = 160, lines: int = 40, **environment: str) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.received = b""
        self._master, slave = pty.openpty()
        self.slave = slave
        self.resize(columns, lines)
        self.before = termios.tcgetattr(slave)
        # It leads the session of the terminal, so that Ctrl-C reaches it.
        self._process = Program(
            "top", *arguments, environment={"TERM": "xterm", **environment},
            stdin=slave, stdout=slave, stderr=slave, session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self.slave)

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def wait_for(self, condition: Callable[[str], object]) -> None:
        """Read on until ``condition`` holds for the screen's text."""
        while not condition(self.text):
            ready, _, _ = select.select([self._master], [], [], WAIT_SECONDS)
            assert ready, f"nothing more came, and this stands there:\n{self.text}"
            self._read()

    def _read(self) -> None:
        received = os.read(self._master, 65536)
        self.received += received
        self._stream.feed(received)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    def kill(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Its exit code; all that it has sent is read."""
        while (code := self._process.poll()) is None:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if ready:
                self._read()
        while select.select([self._master], [], [], 0)[0]:
            self._read()
        return code

    def given_back(self) -> bool:
        """Whether the terminal is as it was: its mode, the main screen, the cursor."""
        last = {
            what: self.received.rfind(what) for what in (b"\x1b[?1049l", b"\x1b[?1049h", b"\x1b[?25h", b"\x1b[?25l")
        }
        shown = last[b"\x1b[?1049l"] > last[b"\x1b[?1049h"] and last[b"\x1b[?25h"] > last[b"\x1b[?25l"]
        return shown and termios.tcgetattr(self.slave) == self.before
