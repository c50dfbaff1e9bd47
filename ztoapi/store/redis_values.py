"""Byte strings with a lifetime in Redis or Valkey, for callers that can do without them.

After the first failed call the store counts as unreachable, and no call is made until a probe succeeds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from ztoapi.store.redis_health import FAILURES, RedisHealth
from ztoapi.store.values import StoreUnreachable
from ztoapi.telemetry.samples import Sample

__all__ = ["FoundValue", "RedisValues"]

T = TypeVar("T")

_BACKGROUND_SECONDS: Final = 1.0
"""Timeout of writing, deleting, connecting and probing."""


class FoundValue(NamedTuple):
    """A value, and the rest of its lifetime."""

    value: bytes
    seconds: float


class RedisValues:
    """The store at ``url`` (``redis://``, ``rediss://`` or ``unix://``): values below ``prefix``, for ``ttl_seconds``.

    ``purpose`` is the label in metrics and log messages, which describe the behaviour without the store as
    ``fallback``. Reading takes at most ``read_seconds``. While the store is reachable, ``work`` runs repeatedly in the
    background, and ``wake`` must make it return. Implements :class:`ztoapi.store.values.Values`.
    """

    def __init__(
        self,
        url: str,
        prefix: bytes,
        ttl_seconds: float,
        *,
        purpose: str,
        fallback: str,
        read_seconds: float,
        work: Callable[[], Awaitable[None]] | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_BACKGROUND_SECONDS,
            socket_connect_timeout=_BACKGROUND_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._prefix = prefix
        self._ttl_ms = max(int(ttl_seconds * 1000), 1)
        self._purpose = purpose
        self._read_seconds = read_seconds
        self._down = asyncio.Event()
        self._health = RedisHealth(
            self._redis,
            purpose,
            fallback,
            probe=self._probe,
            work=work or self._wait_for_failure,
            wake=wake or self._down.set,
        )

    @property
    def up(self) -> bool:
        return self._health.up

    def samples(self) -> Iterator[Sample]:
        yield Sample("ztoapi_store_up", float(self.up), self._purpose)
        yield Sample("ztoapi_store_failures", self._health.failures, self._purpose)

    async def start(self) -> None:
        """Starts the task that probes an unreachable store."""
        await self._health.start()

    async def close(self) -> None:
        await self._health.stop()
        await self._health.close()

    async def get(self, key: bytes) -> bytes | None:
        entry = await self.find(key)
        return None if entry is None else entry.value

    async def find(self, key: bytes) -> FoundValue | None:
        """Returns the value of ``key`` with its lifetime. Raises StoreUnreachable."""

        async def read() -> tuple[bytes | None, int]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.get(self._prefix + key)
                pipeline.pttl(self._prefix + key)
                value, left_ms = await pipeline.execute()
                return value, left_ms

        value, left_ms = await self._call(read, self._read_seconds)
        return FoundValue(value, left_ms / 1000.0) if value is not None and left_ms > 0 else None

    async def put(self, key: bytes, value: bytes) -> bool:
        async def write() -> bool:
            try:
                await self._redis.set(self._prefix + key, value, px=self._ttl_ms)
            except ResponseError:
                # The store is reachable but refuses writes: out of memory, or a replica. Reads continue.
                self._health.failures += 1
                return False
            return True

        try:
            return await self._call(write, _BACKGROUND_SECONDS)
        except StoreUnreachable:
            return False

    async def delete(self, key: bytes) -> bool:
        async def delete() -> bool:
            return bool(await self._redis.delete(self._prefix + key))

        return await self._call(delete, _BACKGROUND_SECONDS)

    async def _call(self, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        if not self.up:
            raise StoreUnreachable
        try:
            async with asyncio.timeout(seconds):
                return await call()
        except FAILURES as error:
            self._health.failed(error)
            raise StoreUnreachable from error

    async def _probe(self) -> None:
        async with asyncio.timeout(_BACKGROUND_SECONDS):
            await self._redis.ping()

    async def _wait_for_failure(self) -> None:
        self._down.clear()
        await self._down.wait()
