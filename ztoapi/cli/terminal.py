"""A terminal that is taken over for a while and given back as it was: ANSI sequences that every terminal of today knows
(ECMA-48, and xterm's alternate screen), so no curses and no terminfo."""

import os
import sys
import termios
import tty
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from ztoapi.cli.top_frame import Line

__all__ = ["Terminal", "keys_of"]

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The alternate screen, no cursor, no wrapping of lines."""
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_SCREEN: Final = "\x1b[J"
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
}
_READ_BYTES: Final = 1024


class Terminal:
    """Standard input and output, which must be a terminal. ``with`` takes it over; however the block ends, it is given
    back. Colours are left out where NO_COLOR says so (https://no-color.org)."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._styles = _STYLES | ({"bad": "\x1b[1m"} if os.environ.get("NO_COLOR") else {})

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._input)
        try:
            tty.setcbreak(self._input)
            # A stopped program would leave the shell without a cursor.
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
        """What is to be watched for keys."""
        return self._input

    def size(self) -> tuple[int, int]:
        """Columns and lines; some terminals say 0."""
        columns, lines = os.get_terminal_size(self._output)
        return columns or 80, lines or 24

    def draw(self, lines: Iterable[Line]) -> None:
        """Show the frame in place of the one before."""
        shown = (f"{self._styles[style]}{text}{_PLAIN}{_REST_OF_LINE}" for text, style in lines)
        self._write(_HOME + "\r\n".join(shown) + _REST_OF_SCREEN)

    def read_keys(self) -> list[str]:
        """The keys that were pressed; "quit" when nobody can press any."""
        octets = os.read(self._input, _READ_BYTES)
        return keys_of(octets.decode("utf-8", "replace")) if octets else ["quit"]

    def _write(self, text: str) -> None:
        octets = memoryview(text.encode(self._encoding, "replace"))
        while octets:
            octets = octets[os.write(self._output, octets) :]


def keys_of(text: str) -> list[str]:
    """The names of the keys that a terminal sends as ``text``; what is no key of ours is left out."""
    found: list[str] = []
    while text:
        sequence = next((one for one in _KEYS if text.startswith(one)), text[0])
        if sequence in _KEYS:
            found.append(_KEYS[sequence])
        text = text[len(sequence) :]
    return found
