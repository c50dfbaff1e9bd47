"""Preallocated byte rings, which hold the beginning of an event until its rest arrives.

Most upstream reads end at the end of an event, and are forwarded unchanged. Otherwise the beginning of the last event
is copied to a ring: one ``bytearray`` with two cursors::

    0 ...... start ===== tail ...... len(buf)
             unread       free, for the next bytes

When everything has been taken, both return to 0; when the free space runs short, the unread bytes are copied to the
front. So unread bytes are always contiguous, as ``find`` requires, and an event of n bytes that arrives in small pieces
is copied a fixed number of times, not n times. Taken bytes are a ``bytes`` object of their own: a transport never holds
a reference into the ring.

A worker preallocates a few rings (:class:`Rings`). A stream borrows one while an event is incomplete, so that thousands
of waiting streams hold no buffers.

An event larger than the ring makes it grow, by doubling, up to ``limit``; afterwards the ring returns to its own size.
"""

from ztoapi.wire.limits import RING_BYTES, SPARE_RINGS

__all__ = ["Ring", "RingOverflow", "Rings"]


class RingOverflow(Exception):
    """The unread bytes exceed the limit."""


class Ring:
    """See the module docstring. ``capacity`` and ``limit`` (of unread bytes) are in bytes."""

    __slots__ = ("_view", "buf", "capacity", "limit", "searched", "start", "tail")

    def __init__(self, capacity: int = RING_BYTES, limit: int = 16 * 1024 * 1024) -> None:
        self.capacity = capacity
        self.limit = limit
        self._allocate(capacity)
        self.start = self.tail = 0
        self.searched = 0
        """Bytes from ``start`` that contain no end of an event."""

    def __repr__(self) -> str:
        return f"<Ring {self.start}:{self.tail}/{len(self.buf)}>"

    def __len__(self) -> int:
        """Returns the number of unread bytes."""
        return self.tail - self.start

    def _allocate(self, size: int) -> None:
        self.buf = bytearray(size)
        self._view = memoryview(self.buf)

    def append(self, data: bytes) -> None:
        """Copies ``data`` to the end of the unread bytes."""
        tail = self.tail
        if len(self.buf) - tail < len(data):
            self._make_room(len(data))
            tail = self.tail
        self.tail = tail + len(data)
        self._view[tail : self.tail] = data

    def take(self, stop: int) -> bytes:
        """Takes the bytes from ``start`` to the offset ``stop``."""
        block = bytes(self._view[self.start : stop])
        self.start = stop
        self.searched = 0
        if stop == self.tail:
            self.clear()
        return block

    def clear(self) -> None:
        """Drops all bytes; a ring that has grown returns to its own size."""
        self.start = self.tail = self.searched = 0
        if len(self.buf) != self.capacity:
            self._allocate(self.capacity)

    def check_limit(self) -> None:
        """Raises :class:`RingOverflow` if more than ``limit`` bytes are unread."""
        if self.tail - self.start > self.limit:
            raise RingOverflow

    def _make_room(self, count: int) -> None:
        old = self._view
        start = self.start
        used = self.tail - start
        size = len(self.buf)
        while size - used < count:
            size *= 2
        if size != len(self.buf):
            self._allocate(size)
        self._view[:used] = old[start : self.tail]
        self.start = 0
        self.tail = used


class Rings:
    """The rings of one worker: ``count`` are preallocated and kept; more are created while more are borrowed."""

    __slots__ = ("_count", "_limit", "_spare")

    def __init__(self, limit: int, count: int = SPARE_RINGS) -> None:
        self._limit = limit
        self._count = count
        self._spare = [Ring(limit=limit) for _ in range(count)]

    def borrow(self) -> Ring:
        """Returns an empty ring."""
        return self._spare.pop() if self._spare else Ring(limit=self._limit)

    def give_back(self, ring: Ring) -> None:
        """Takes back a borrowed ring and drops its bytes."""
        if len(self._spare) < self._count:
            ring.clear()
            self._spare.append(ring)
