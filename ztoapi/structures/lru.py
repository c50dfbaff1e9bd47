"""A map of octet strings that holds at most so many bytes, each entry until a time of its own.

When room is needed the entry goes that nobody has asked for the longest. What has expired is never given out; it is
dropped when it is asked for, or when it is the next to go. What an entry takes beside its value is counted too: many
small ones could not be held otherwise to a bound that means memory.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

__all__ = ["ENTRY_BYTES", "Lru"]

ENTRY_BYTES: Final = 300
"""What CPython 3.11 takes for an entry beside the octets of its value: 260 to 298, with a key of 32 octets."""


class _Entry(NamedTuple):
    value: bytes
    expires: float


class Lru:
    """At most ``most_bytes``; ``bytes`` says how many there are. Times are seconds of any clock that does not go
    back."""

    __slots__ = ("_entries", "_most", "bytes")

    def __init__(self, most_bytes: int) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._most = most_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Lru {len(self._entries)} entries, {self.bytes} of {self._most} bytes>"

    def get(self, key: bytes, now: float) -> bytes | None:
        """The value of ``key``, which is now the last to go; None if there is none, or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: bytes, value: bytes, now: float, expires: float) -> None:
        """Keep ``value`` until ``expires``, in place of what ``key`` had. One that alone is too large is not kept."""
        self._drop(key)
        size = ENTRY_BYTES + len(value)
        if size > self._most or expires <= now:
            return
        entries = self._entries
        while entries:
            oldest = next(iter(entries))
            if self.bytes + size <= self._most and entries[oldest].expires > now:
                break
            self._drop(oldest)
        entries[key] = _Entry(value, expires)
        self.bytes += size

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= ENTRY_BYTES + len(entry.value)
