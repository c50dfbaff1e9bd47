"""A network that has nothing but a loopback interface of its own, where the system allows to make one."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

__all__ = ["loopback_only"]

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def loopback_only() -> Iterator[bool]:
    """Within the block, sockets, threads and processes that this thread makes are in a network of their own.

    Yields False if the user may not make one; then the block has the network of the system.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            yield False
            return
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield True
        finally:
            assert libc.setns(before, CLONE_NEWNET) == 0
    finally:
        os.close(before)
