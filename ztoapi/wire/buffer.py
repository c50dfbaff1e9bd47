"""The preallocated byte rings in which cut events wait for their rest.

An upstream read usually ends where an event ends, and is passed on as it came. What is left of an event that a read
has cut in two goes into a ring: one ``bytearray`` with two cursors::

    0 ...... start ===== tail ...... len(buf)
             unread       free, the next octets land here

When everything has been taken, both go back to 0; when the free space runs short, what is unread is copied to the
front. So unread octets are always contiguous, which is what ``find`` needs, and an event of n octets that comes in
small pieces is copied a fixed number of times, not n times. What is taken leaves the ring as its own ``bytes``: a
transport never holds a reference into the ring.

A worker has a few rings, made before they are needed (:class:`Rings`). A stream borrows one while an event of its own
is incomplete, so that thousands of streams hold no buffers while they wait.

An event larger than the ring makes it grow, by doubling, up to ``limit``; once it has been taken the ring goes back
to its own size.
"""

from ztoapi.wire.limits import RING_BYTES, SPARE_RINGS

__all__ = ["Ring", "RingOverflow", "Rings"]


class RingOverflow(Exception):
    """What cannot be taken yet has outgrown the limit."""


class Ring:
    """See the module docstring. ``capacity`` and ``limit`` (octets that wait) are in octets."""

    __slots__ = ("_view", "buf", "capacity", "limit", "searched", "start", "tail")

    def __init__(self, capacity: int = RING_BYTES, limit: int = 16 * 1024 * 1024) -> None:
        self.capacity = capacity
        self.limit = limit
        self._allocate(capacity)
        self.start = self.tail = 0
        self.searched = 0
        """Octets from ``start`` that have been searched for the end of an event without finding one."""

    def __repr__(self) -> str:
        return f"<Ring {self.start}:{self.tail}/{len(self.buf)}>"

    def __len__(self) -> int:
        """Octets that can be taken."""
        return self.tail - self.start

    def _allocate(self, size: int) -> None:
        self.buf = bytearray(size)
        self._view = memoryview(self.buf)

    def append(self, octets: bytes) -> None:
        """Copy ``octets`` in, behind what is unread."""
        tail = self.tail
        if len(self.buf) - tail < len(octets):
            self._make_room(len(octets))
            tail = self.tail
        self.tail = tail + len(octets)
        self._view[tail : self.tail] = octets

    def take(self, stop: int) -> bytes:
        """Take what lies between ``start`` and the offset ``stop``, as octets of its own."""
        block = bytes(self._view[self.start : stop])
        self.start = stop
        self.searched = 0
        if stop == self.tail:
            self.clear()
        return block

    def clear(self) -> None:
        """Forget everything; a ring that has grown goes back to its own size."""
        self.start = self.tail = self.searched = 0
        if len(self.buf) != self.capacity:
            self._allocate(self.capacity)

    def check_limit(self) -> None:
        """Raise :class:`RingOverflow` when more than ``limit`` octets are unread."""
        if self.tail - self.start > self.limit:
            raise RingOverflow

    def _make_room(self, count: int) -> None:
        old, start = self._view, self.start
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
    """The rings of one worker: ``count`` of them are made at once and kept; more are made when more are borrowed."""

    __slots__ = ("_count", "_limit", "_spare")

    def __init__(self, limit: int, count: int = SPARE_RINGS) -> None:
        self._limit = limit
        self._count = count
        self._spare = [Ring(limit=limit) for _ in range(count)]

    def borrow(self) -> Ring:
        """An empty ring."""
        return self._spare.pop() if self._spare else Ring(limit=self._limit)

    def give_back(self, ring: Ring) -> None:
        """``ring`` is not needed any more, whatever it holds."""
        if len(self._spare) < self._count:
            ring.clear()
            self._spare.append(ring)
