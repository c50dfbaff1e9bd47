"""The preallocated byte ring that upstream reads land in.

One ``bytearray`` of fixed size serves a connection for its whole life. Four cursors walk over it::

    0 ...... start ===== end ..... raw ----- tail ...... len(buf)
             unread payload        undecoded  free, the next read lands here

Reads land at ``tail``. The body decoder turns ``[raw, tail)`` into payload at ``[.., end)``, in place: framing only
ever shrinks. Readers take from ``start``. When everything has been taken, all cursors go back to 0, which is the
usual case after each read; when the free space runs short, the unread remainder (a partial event) is copied to the
front. So unread payload is always contiguous, which is what ``find`` needs.

What is taken leaves the ring as its own ``bytes``: a transport never holds a reference into the ring, so nothing
that is still queued toward a slow client can be overwritten.

An event larger than the ring makes it grow, by doubling, up to ``limit``; once that event has been taken the ring
goes back to its own size.
"""

from typing import Final

from ztoapi.wire.limits import RING_BYTES

__all__ = ["Ring", "RingOverflow"]

MIN_READ_BYTES: Final = 4096
"""Least space offered to a read: a smaller one would split what the kernel has ready into needless system calls."""


class RingOverflow(Exception):
    """What cannot be taken yet has outgrown the limit."""


class Ring:
    """See the module docstring. ``capacity`` and ``limit`` (octets of unread payload) are in octets."""

    __slots__ = ("_empty_view", "buf", "capacity", "end", "limit", "raw", "searched", "start", "tail", "view")

    def __init__(self, capacity: int = RING_BYTES, limit: int = 16 * 1024 * 1024) -> None:
        self.capacity = capacity
        self.limit = limit
        self._allocate(capacity)
        self.start = self.end = self.raw = self.tail = 0
        self.searched = 0
        """Octets from ``start`` that have been searched for the end of an event without finding one."""

    def __repr__(self) -> str:
        return f"<Ring {self.start}:{self.end}:{self.raw}:{self.tail}/{len(self.buf)}>"

    def __len__(self) -> int:
        """Octets of payload that can be taken."""
        return self.end - self.start

    def _allocate(self, size: int) -> None:
        self.buf = bytearray(size)
        self.view = memoryview(self.buf)

    def writable(self) -> memoryview:
        """Where the next read may land; never empty."""
        tail = self.tail
        if not tail:
            return self.view
        if len(self.buf) - tail < MIN_READ_BYTES:
            self._make_room()
            tail = self.tail
        return self.view[tail:]

    def wrote(self, count: int) -> None:
        """``count`` octets have landed in what :meth:`writable` returned."""
        self.tail += count

    def decoded_all(self) -> None:
        """The undecoded octets are payload as they stand (a body without transfer coding)."""
        self.end = self.raw = self.tail

    def take(self, stop: int) -> bytes:
        """Take the payload from ``start`` to the offset ``stop``, as octets of its own."""
        block = bytes(self.view[self.start : stop])
        self.start = stop
        self.searched = 0
        if stop == self.tail:
            self.clear()
        return block

    def take_all(self) -> bytes:
        return self.take(self.end)

    def clear(self) -> None:
        """Forget everything; a ring that has grown goes back to its own size."""
        self.start = self.end = self.raw = self.tail = self.searched = 0
        if len(self.buf) != self.capacity:
            self._allocate(self.capacity)

    def check_limit(self) -> None:
        """Raise :class:`RingOverflow` when the unread payload is more than ``limit``."""
        if self.end - self.start > self.limit:
            raise RingOverflow

    def _make_room(self) -> None:
        old, start = self.view, self.start
        used = self.tail - start
        size = len(self.buf)
        while size - used < MIN_READ_BYTES:
            size *= 2
        if size != len(self.buf):
            self._allocate(size)
        self.view[:used] = old[start : self.tail]
        self.start = 0
        self.end -= start
        self.raw -= start
        self.tail = used
