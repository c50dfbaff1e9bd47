"""The destination of a log: standard output, standard error, or a file that can be reopened after rotation.

It is opened before the workers are forked, so that a file that is not writable is reported at startup; each worker
writes on its own. Files are only appended to, with one write per batch of lines, which the kernel does not mix with
other writes. For a pipe this holds up to PIPE_BUF bytes.
"""

import logging
import os
import select
import stat
import weakref
from collections.abc import Iterator
from typing import Final

from ztoapi.telemetry.descriptors import write_some

__all__ = ["LogFile"]

_MODE: Final = 0o640
"""The log contains client addresses, so it is not readable by all users."""
_PIPE_BYTES: Final = select.PIPE_BUF

_log = logging.getLogger(__name__)


class LogFile:
    """``where`` is ``stdout``, ``stderr`` or the path of a file, which is open as long as the object exists. Raises
    OSError if the file cannot be opened."""

    def __init__(self, where: str) -> None:
        self.path = None if where in ("stdout", "stderr") else where
        self._fd = {"stdout": 1, "stderr": 2}[where] if self.path is None else _open(where)
        if self.path is not None:
            weakref.finalize(self, os.close, self._fd).atexit = False
        self._failing = False
        self._torn = False
        """Whether the last byte written is not the end of a line."""

    def __repr__(self) -> str:
        return f"<LogFile {self.path or self._fd}>"

    @property
    def descriptor(self) -> int:
        return self._fd

    @property
    def terminal(self) -> bool:
        return os.isatty(self._fd)

    @property
    def null(self) -> bool:
        """Whether all output is discarded: the destination is /dev/null."""
        status = os.fstat(self._fd)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev

    def reopen(self) -> bool:
        """Reopens the file, which may have been moved. Returns False and logs a message if this fails; the old file
        stays in use."""
        if self.path is None:
            return False
        try:
            new = _open(self.path)
        except OSError as error:
            _log.error("cannot reopen %s (%s); still writing to the old file", self.path, error.strerror)
            return False
        # Replaces the descriptor atomically, also for a thread that is writing.
        os.dup2(new, self._fd, inheritable=False)
        os.close(new)
        return True

    def write(self, lines: bytes) -> int:
        """Writes whole lines, and blocks until this is done. Returns the number of bytes written. A failure is logged,
        once until a write succeeds."""
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

    def _write_whole(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[write_some(self._fd, rest) :]
            except OSError as error:
                raise _Interrupted(error.strerror or str(error), len(data) - len(rest)) from error
        return len(data)


class _Interrupted(Exception):
    def __init__(self, reason: str, written: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.written = written


def _open(path: str) -> int:
    # A named pipe without a reader fails at once instead of blocking.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _MODE)
    os.set_blocking(fd, True)
    return fd


def _pieces(lines: bytes, fd: int) -> Iterator[bytes]:
    """Yields the writes for ``lines``: all at once, or for a pipe as many whole lines as it accepts atomically."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        yield lines
        return
    start = 0
    while len(lines) - start > _PIPE_BYTES:
        end = lines.rfind(b"\n", start, start + _PIPE_BYTES) + 1 or lines.index(b"\n", start) + 1
        yield lines[start:end]
        start = end
    yield lines[start:]
