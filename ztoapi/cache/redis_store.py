"""Answers that many workers and gateways share, in Redis or Valkey.

A request that finds nothing in its worker's memory asks here once, for at most as long as :data:`_READ_SECONDS`. The
first failure of a call says that the store is away: then nobody asks, and what is to be kept is kept in memory alone.
One task writes, behind the requests' back, and looks twice a second whether a store that is away has come back.
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
"""An answer of 1 MB takes 10 ms at 1 Gbit/s, and a worker that has much to do some more to take it up. Who asks for a
completion hardly notices a quarter of a second."""
_BEHIND_SECONDS: Final = 1.0
"""For what nobody waits for: to write, to connect, to see whether it is back."""
_MOST_ASKING: Final = 64
"""Requests of a worker that ask at a time, each on a connection; others go on as if nothing had been found."""
_MOST_WAITING: Final = 64
"""Answers that wait to be written; more are not written."""
_PREFIX: Final = b"ztoapi:answer:"


class Found(NamedTuple):
    """An answer, and for how many seconds it may be given."""

    answer: bytes
    seconds: float


class RedisStore:
    """The store at ``url`` (``redis://``, ``rediss://`` or ``unix://``); ``ttl_seconds`` is how long answers are kept.
    ``up`` says whether it is there."""

    def __init__(self, url: str, ttl_seconds: float) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=_BEHIND_SECONDS, socket_connect_timeout=_BEHIND_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        self._ttl_ms = max(int(ttl_seconds * 1000), 1)
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._work = asyncio.Event()
        self._asking = 0
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
        """What telemetry shows of it."""
        yield Sample("ztoapi_store_up", float(self.up), "cache")
        yield Sample("ztoapi_store_failures", self._health.failures, "cache")

    async def start(self) -> None:
        """Begin. A store that does not answer is away, and tried again."""
        await self._health.start()

    async def close(self) -> None:
        await self._health.stop()
        await self._health.close()

    async def get(self, key: bytes) -> Found | None:
        """The answer under ``key``. None also where that cannot be told."""
        if not self.up or self._asking >= _MOST_ASKING:
            return None
        self._asking += 1
        try:
            async with asyncio.timeout(_READ_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                pipeline.get(_PREFIX + key)
                pipeline.pttl(_PREFIX + key)
                answer, left_ms = await pipeline.execute()
        except FAILURES as error:
            self._health.failed(error)
            return None
        finally:
            self._asking -= 1
        return Found(answer, left_ms / 1000.0) if answer is not None and left_ms > 0 else None

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep ``answer``, soon, if the store is there and not behind."""
        if self.up and len(self._waiting) < _MOST_WAITING:
            self._waiting.append((key, answer))
            self._work.set()

    async def _write_waiting(self) -> None:
        await self._work.wait()
        self._work.clear()
        while self._waiting:
            await self._write(*self._waiting.popleft())

    def _wake(self) -> None:
        self._waiting.clear()
        self._work.set()

    async def _write(self, key: bytes, answer: bytes) -> None:
        try:
            async with asyncio.timeout(_BEHIND_SECONDS):
                await self._redis.set(_PREFIX + key, answer, px=self._ttl_ms)
        except ResponseError:
            # It is there, but takes nothing now: out of memory, or a replica. Reading goes on.
            self._health.failures += 1
        except FAILURES as error:
            self._health.failed(error)

    async def _probe(self) -> None:
        async with asyncio.timeout(_BEHIND_SECONDS):
            await self._redis.ping()
