"""The interface of stores for byte strings, and the store in the memory of one process."""

from collections.abc import Callable, Iterator
from typing import Protocol

from ztoapi.structures.lru import Lru
from ztoapi.telemetry.samples import Sample

__all__ = ["MemoryValues", "StoreUnreachable", "Values"]


class StoreUnreachable(Exception):
    """A store cannot be reached, or does not respond in time."""


class Values(Protocol):
    """Byte strings under byte strings, each for a time."""

    @property
    def up(self) -> bool:
        """Whether the store is reachable."""

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, key: bytes) -> bytes | None:
        """Returns the value of ``key``; None if there is none, or no longer. Raises StoreUnreachable."""

    async def put(self, key: bytes, value: bytes) -> bool:
        """Stores ``value``. Returns whether it is stored; a failure is counted."""

    async def delete(self, key: bytes) -> bool:
        """Removes ``key``. Returns whether it was there. Raises StoreUnreachable."""


class MemoryValues:
    """Holds at most ``max_bytes``, each value for ``ttl_seconds``; the least recently used ones make room. ``clock``
    returns seconds of any monotonic clock."""

    def __init__(self, max_bytes: int, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._values = Lru(max_bytes)
        self._ttl = ttl_seconds
        self._clock = clock
        self._refused = 0
        self.up = True

    def samples(self) -> Iterator[Sample]:
        yield Sample("ztoapi_stored_responses", len(self._values))
        yield Sample("ztoapi_stored_response_bytes", self._values.bytes)
        yield Sample("ztoapi_store_failures", self._refused, "responses")

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def get(self, key: bytes) -> bytes | None:
        return self._values.get(key, self._clock())

    async def put(self, key: bytes, value: bytes) -> bool:
        now = self._clock()
        self._values.put(key, value, now, now + self._ttl)
        stored = self._values.get(key, now) is not None
        # A value over the maximum is not stored.
        self._refused += not stored
        return stored

    async def delete(self, key: bytes) -> bool:
        return self._values.get(key, self._clock()) is not None and self._values.delete(key)
