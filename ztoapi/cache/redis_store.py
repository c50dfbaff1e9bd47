"""Responses that several workers and gateways share, in Redis or Valkey.

A request whose response is not in its worker's memory is looked up here once, for at most :data:`_READ_SECONDS`. While
the store is unreachable no request uses it, and responses are kept in memory only. They are written in the background.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

from ztoapi.store.redis_values import FoundValue, RedisValues
from ztoapi.store.values import StoreUnreachable
from ztoapi.telemetry.samples import Sample

__all__ = ["RedisStore"]

_READ_SECONDS: Final = 0.25
"""A response of 1 MB takes 10 ms at 1 Gbit/s, and a busy worker needs more to read it. A quarter of a second is hardly
noticeable before a completion."""
_MAX_READS: Final = 64
"""Look-ups of a worker in flight, each on a connection. Further requests count as misses."""
_MAX_WRITES: Final = 64
"""Responses that wait to be written. Further ones are not written."""
_PREFIX: Final = b"ztoapi:answer:"


class RedisStore:
    """The store at ``url`` (``redis://``, ``rediss://`` or ``unix://``). ``ttl_seconds`` is the lifetime of responses.
    ``up`` is whether the store is reachable."""

    def __init__(self, url: str, ttl_seconds: float) -> None:
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._work = asyncio.Event()
        self._reads = 0
        self._values = RedisValues(
            url,
            _PREFIX,
            ttl_seconds,
            purpose="cache",
            fallback="caching responses in memory only",
            read_seconds=_READ_SECONDS,
            work=self._write_waiting,
            wake=self._wake,
        )

    @property
    def up(self) -> bool:
        return self._values.up

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        return self._values.samples()

    async def start(self) -> None:
        """Starts the task. An unreachable store is probed until it responds."""
        await self._values.start()

    async def close(self) -> None:
        await self._values.close()

    async def get(self, key: bytes) -> FoundValue | None:
        """Returns the response under ``key``; None on a miss, and if the store is unreachable."""
        if self._reads >= _MAX_READS:
            return None
        self._reads += 1
        try:
            return await self._values.find(key)
        except StoreUnreachable:
            return None
        finally:
            self._reads -= 1

    def put(self, key: bytes, response: bytes) -> None:
        """Writes ``response`` in the background, if the store is reachable and the queue is not full."""
        if self.up and len(self._waiting) < _MAX_WRITES:
            self._waiting.append((key, response))
            self._work.set()

    async def _write_waiting(self) -> None:
        await self._work.wait()
        self._work.clear()
        while self._waiting:
            await self._values.put(*self._waiting.popleft())

    def _wake(self) -> None:
        self._waiting.clear()
        self._work.set()
