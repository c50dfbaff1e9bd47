"""Full-screen output on a terminal, which is restored afterwards. Uses ANSI sequences that all current terminals
support (ECMA-48, and xterm's alternate screen), so it needs neither curses nor terminfo."""

import os
import sys
import termios
import tty
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from ztoapi.cli.top_frame import Line

__all__ = ["Terminal", "next_key"]

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Switches to the alternate screen; hides the cursor; turns line wrapping off."""
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"
_PLAIN: Final = "\x1b[0m"
_STYLES: Final = {"": "", "bold": "\x1b[1m", "dim": "\x1b[2m", "bad": "\x1b[31m", "heading": "\x1b[7m"}
_KEYS: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1bOH": "home",
    "k": "up",
    "j": "down",
    " ": "page down",
    "b": "page up",
    "g": "home",
    "q": "quit",
    "p": "pause",
    "m": "tables",
    "s": "sort",
    "/": "filter",
    "\r": "details",
    "\n": "details",
}
_READ_BYTES: Final = 1024


class Terminal:
    """A context manager for standard input and output, which must be a terminal. Leaving the block restores it in every
    case. With NO_COLOR set there are no colours (https://no-color.org)."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._styles = _STYLES | ({"bad": "\x1b[1m"} if os.environ.get("NO_COLOR") else {})

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._input)
        try:
            tty.setcbreak(self._input)
            # Ctrl-Z would return to the shell without a cursor.
            now = termios.tcgetattr(self._input)
            now[6][termios.VSUSP] = b"\0"
            termios.tcsetattr(self._input, termios.TCSANOW, now)
            self._write(_ENTER)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write(_LEAVE)
        finally:
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def fileno(self) -> int:
        """Returns the file descriptor that becomes readable when a key is pressed."""
        return self._input

    def size(self) -> tuple[int, int]:
        """Returns columns and lines; 80 and 24 for terminals that report 0."""
        columns, lines = os.get_terminal_size(self._output)
        return columns or 80, lines or 24

    def draw(self, lines: Iterable[Line]) -> None:
        """Replaces the frame on the screen."""
        styled = (f"{self._styles[style]}{text}{_PLAIN}{_CLEAR_LINE}" for text, style in lines)
        self._write(_HOME + "\r\n".join(styled) + _CLEAR_BELOW)

    def read(self) -> str:
        """Returns the input as the terminal has sent it; empty at its end."""
        return os.read(self._input, _READ_BYTES).decode("utf-8", "replace")

    def _write(self, text: str) -> None:
        data = memoryview(text.encode(self._encoding, "replace"))
        while data:
            data = data[os.write(self._output, data) :]


def next_key(text: str) -> tuple[str, str]:
    """Returns the name of the first key in ``text``, which is not empty, and the rest; "" for an unknown key."""
    sequence = next((prefix for prefix in _KEYS if text.startswith(prefix)), text[0])
    return _KEYS.get(sequence, ""), text[len(sequence) :]
