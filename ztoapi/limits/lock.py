"""A lock between processes which the kernel takes back from one that dies.

A record lock on a file that has no name any more (POSIX fcntl). To lock and unlock took, in one measurement on a shared
machine, 1.9 us; a semaphore 0.1 us, and a robust mutex through ctypes 0.4 us. A semaphore stays locked when its holder
is killed, and a mutex laid out by hand is at home on one C library only.

Threads of one process do not lock each other out: only the thread of the event loop may use it. Who holds it does
nothing but arithmetic. A holder that is stopped (SIGSTOP, a debugger) stops the others until it goes on.
"""

import fcntl
import tempfile
from types import TracebackType

__all__ = ["ProcessLock"]


class ProcessLock:
    """Made before the fork, used after it. Not reentrant."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()
        self._number = self._file.fileno()

    def __enter__(self) -> None:
        fcntl.lockf(self._number, fcntl.LOCK_EX, 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._number, fcntl.LOCK_UN, 1)
