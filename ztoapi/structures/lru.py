"""A map of byte strings with a maximum size in bytes, in which each entry has its own expiry.

The least recently used entries are dropped to make room. Expired entries are never returned; they are dropped when they
are looked up, or when they are next to make room. The overhead of an entry counts towards the size: otherwise many
small entries could take much more memory than the maximum.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

__all__ = ["ENTRY_BYTES", "Lru"]

ENTRY_BYTES: Final = 300
"""Memory of an entry on CPython 3.11 without the bytes of its value: 260 to 298, with a key of 32 bytes."""


class _LruEntry(NamedTuple):
    value: bytes
    expires: float


class Lru:
    """Holds at most ``max_bytes``; ``bytes`` is the current size. Times are seconds of any monotonic clock."""

    __slots__ = ("_entries", "_max_bytes", "bytes")

    def __init__(self, max_bytes: int) -> None:
        self._entries: OrderedDict[bytes, _LruEntry] = OrderedDict()
        self._max_bytes = max_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Lru {len(self._entries)} entries, {self.bytes} of {self._max_bytes} bytes>"

    def get(self, key: bytes, now: float) -> bytes | None:
        """Returns the value of ``key`` and marks it as recently used; None if it is missing or expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= now:
            self.delete(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: bytes, value: bytes, now: float, expires: float) -> None:
        """Stores ``value`` until ``expires``, replacing the value of ``key``. A value over the maximum is not
        stored."""
        self.delete(key)
        size = ENTRY_BYTES + len(value)
        if size > self._max_bytes or expires <= now:
            return
        entries = self._entries
        while entries:
            oldest = next(iter(entries))
            if self.bytes + size <= self._max_bytes and entries[oldest].expires > now:
                break
            self.delete(oldest)
        entries[key] = _LruEntry(value, expires)
        self.bytes += size

    def delete(self, key: bytes) -> bool:
        """Removes ``key``; returns whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= ENTRY_BYTES + len(entry.value)
        return entry is not None
