"""Blocking writes to descriptors that another process may have made non-blocking."""

import os
import select

__all__ = ["write_some"]


def write_some(descriptor: int, data: memoryview) -> int:
    """Writes a part of ``data``, and returns the number of bytes written. Waits while there is no room for any. Raises
    OSError if the descriptor cannot be written."""
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            # Another process with the same pipe or terminal has made it non-blocking.
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
