"""Responses that several workers and gateways share, in Redis or Valkey.

A request whose response is not in its worker's memory is looked up here once, for at most :data:`_READ_SECONDS`. After
the first failed call the store counts as unreachable: no request uses it, and responses are kept in memory only. One
task writes in the background, and probes an unreachable store twice a second.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from ztoapi.store.redis_health import FAILURES, RedisHealth
from ztoapi.telemetry.samples import Sample

__all__ = ["Found", "RedisStore"]

_READ_SECONDS: Final = 0.25
"""A response of 1 MB takes 10 ms at 1 Gbit/s, and a busy worker needs more to read it. A quarter of a second is hardly
noticeable before a completion."""
_BACKGROUND_SECONDS: Final = 1.0
"""Timeout of background work: writing, connecting, probing."""
_MAX_READS: Final = 64
"""Look-ups of a worker in flight, each on a connection. Further requests count as misses."""
_MAX_WRITES: Final = 64
"""Responses that wait to be written. Further ones are not written."""
_PREFIX: Final = b"ztoapi:answer:"


class Found(NamedTuple):
    """A response, and the rest of its lifetime."""

    response: bytes
    seconds: float


class RedisStore:
    """The store at ``url`` (``redis://``, ``rediss://`` or ``unix://``). ``ttl_seconds`` is the lifetime of responses.
    ``up`` is whether the store is reachable."""

    def __init__(self, url: str, ttl_seconds: float) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_BACKGROUND_SECONDS,
            socket_connect_timeout=_BACKGROUND_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._ttl_ms = max(int(ttl_seconds * 1000), 1)
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._work = asyncio.Event()
        self._reads = 0
        self._health = RedisHealth(
            self._redis,
            "cache",
            "caching responses in memory only",
            probe=self._probe,
            work=self._write_waiting,
            wake=self._wake,
        )

    @property
    def up(self) -> bool:
        return self._health.up

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_store_up", float(self.up), "cache")
        yield Sample("ztoapi_store_failures", self._health.failures, "cache")

    async def start(self) -> None:
        """Starts the task. An unreachable store is probed until it responds."""
        await self._health.start()

    async def close(self) -> None:
        await self._health.stop()
        await self._health.close()

    async def get(self, key: bytes) -> Found | None:
        """Returns the response under ``key``; None on a miss, and if the store is unreachable."""
        if not self.up or self._reads >= _MAX_READS:
            return None
        self._reads += 1
        try:
            async with asyncio.timeout(_READ_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                pipeline.get(_PREFIX + key)
                pipeline.pttl(_PREFIX + key)
                response, left_ms = await pipeline.execute()
        except FAILURES as error:
            self._health.failed(error)
            return None
        finally:
            self._reads -= 1
        return Found(response, left_ms / 1000.0) if response is not None and left_ms > 0 else None

    def put(self, key: bytes, response: bytes) -> None:
        """Writes ``response`` in the background, if the store is reachable and the queue is not full."""
        if self.up and len(self._waiting) < _MAX_WRITES:
            self._waiting.append((key, response))
            self._work.set()

    async def _write_waiting(self) -> None:
        await self._work.wait()
        self._work.clear()
        while self._waiting:
            await self._write(*self._waiting.popleft())

    def _wake(self) -> None:
        self._waiting.clear()
        self._work.set()

    async def _write(self, key: bytes, response: bytes) -> None:
        try:
            async with asyncio.timeout(_BACKGROUND_SECONDS):
                await self._redis.set(_PREFIX + key, response, px=self._ttl_ms)
        except ResponseError:
            # The store is reachable but refuses writes: out of memory, or a replica. Reads continue.
            self._health.failures += 1
        except FAILURES as error:
            self._health.failed(error)

    async def _probe(self) -> None:
        async with asyncio.timeout(_BACKGROUND_SECONDS):
            await self._redis.ping()
