"""Where lines of a log go: standard output, standard error, or a file that is opened anew when it has been rotated.

Made before the workers are forked, so that a file that cannot be written is found out at the start; each worker writes
to it by itself. A file is only ever appended to, by one write for a batch of lines, which the kernel does not mix with
others; a pipe takes PIPE_BUF octets so.
"""

import logging
import os
import select
import stat
from collections.abc import Iterator
from typing import Final

__all__ = ["LogFile"]

_MODE: Final = 0o640
"""Addresses of clients are not for everybody."""
_PIPE_BYTES: Final = select.PIPE_BUF

_log = logging.getLogger(__name__)


class LogFile:
    """``where`` is ``stdout``, ``stderr`` or the path of a file. Raises OSError if that cannot be opened."""

    def __init__(self, where: str) -> None:
        self.path = None if where in ("stdout", "stderr") else where
        self._fd = {"stdout": 1, "stderr": 2}[where] if self.path is None else _open(where)
        self._failing = False
        self._torn = False
        """Whether the last octet that went out is not the end of a line."""

    def __repr__(self) -> str:
        return f"<LogFile {self.path or self._fd}>"

    @property
    def terminal(self) -> bool:
        return os.isatty(self._fd)

    @property
    def null(self) -> bool:
        """Whether everything that is written is thrown away."""
        found = os.fstat(self._fd)
        return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev

    def reopen(self) -> bool:
        """Go on in a new file if this one has been moved away. False, and a message, if that cannot be: it goes on in
        the old one."""
        if self.path is None:
            return False
        try:
            new = _open(self.path)
        except OSError as error:
            _log.error("%s cannot be opened again (%s): the old file is written on", self.path, error.strerror)
            return False
        # In one step, also for a thread that writes just now.
        os.dup2(new, self._fd, inheritable=False)
        os.close(new)
        return True

    def write(self, lines: bytes) -> int:
        """Write whole lines, and wait for as long as that takes. Returns how many octets went out; if they are not all,
        the reason is told, once until it works again."""
        written = 0
        try:
            if self._torn:
                self._write_whole(b"\n")
                self._torn = False
            for piece in _pieces(lines, self._fd):
                written += self._write_whole(piece)
        except _Interrupted as failure:
            written += failure.written
            if written:
                self._torn = lines[written - 1 : written] != b"\n"
            if not self._failing:
                _log.error("the access log cannot be written: %s", failure.reason)
            self._failing = True
        else:
            self._failing = False
        return written

    def _write_whole(self, octets: bytes) -> int:
        rest = memoryview(octets)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Whoever has the same pipe or terminal has made it so.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError as error:
                raise _Interrupted(error.strerror or str(error), len(octets) - len(rest)) from error
        return len(octets)


class _Interrupted(Exception):
    def __init__(self, reason: str, written: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.written = written


def _open(path: str) -> int:
    # Without a reader a named pipe is an error at once, not something to wait for.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _MODE)
    os.set_blocking(fd, True)
    return fd


def _pieces(lines: bytes, fd: int) -> Iterator[bytes]:
    """``lines`` as they are to be written: at once, but to a pipe as many whole lines as it takes at once."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        yield lines
        return
    start = 0
    while len(lines) - start > _PIPE_BYTES:
        end = lines.rfind(b"\n", start, start + _PIPE_BYTES) + 1 or lines.index(b"\n", start) + 1
        yield lines[start:end]
        start = end
    yield lines[start:]
