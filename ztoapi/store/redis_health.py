"""Watches whether a Redis or Valkey server is reachable, for callers that can do without it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

__all__ = ["FAILURES", "RedisHealth"]

FAILURES: Final = (RedisError, OSError, TimeoutError)
"""The exceptions that a call raises if the server is unreachable or returns an error."""
_PROBE_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class RedisHealth:
    """Tracks whether the server behind ``redis`` is ``up``.

    The first failure that is reported to :meth:`failed` marks it as down. While it is down, ``probe`` runs twice a
    second; it raises one of :data:`FAILURES`, or marks the server as up. While the server is up, ``work`` runs
    repeatedly, in the same task. ``wake`` must make a waiting ``work`` return. The log messages contain ``purpose``,
    the use of the server, and ``fallback``, the behaviour without it.
    """

    def __init__(
        self,
        redis: Redis,
        purpose: str,
        fallback: str,
        *,
        probe: Callable[[], Awaitable[None]],
        work: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._redis = redis
        self._purpose = purpose
        self._fallback = fallback
        self._probe = probe
        self._work = work
        self._wake = wake
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.failures = 0
        self.up = False

    async def start(self) -> None:
        """Starts the task. If the server does not answer, it is marked as down and probed again."""
        # The first failure is then logged like any other.
        self.up = True
        await self._probe_once()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stops the task."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def close(self) -> None:
        """Closes all connections at once. Without this, redis-py would wait for a stalled server to close its side of a
        TLS connection, and fail."""
        pool = self._redis.connection_pool
        for connection in (*pool._available_connections, *pool._in_use_connections):
            # redis-py has no public access to the transport.
            if connection._writer is not None:
                connection._writer.transport.abort()
        await self._redis.aclose()

    def failed(self, error: Exception) -> None:
        """Records that a call has raised one of :data:`FAILURES`."""
        self.failures += 1
        if self.up:
            self.up = False
            self._wake()
            _log.warning(
                "Redis (%s) is unreachable (%s): %s", self._purpose, str(error) or type(error).__name__, self._fallback
            )

    async def _run(self) -> None:
        # A cancelled call may raise an error of its own and hide the cancellation.
        while not self._closing:
            if self.up:
                await self._work()
                continue
            await asyncio.sleep(_PROBE_SECONDS)
            if await self._probe_once():
                self.up = True
                _log.warning("Redis (%s) is reachable again", self._purpose)

    async def _probe_once(self) -> bool:
        try:
            await self._probe()
        except FAILURES as error:
            self.failed(error)
            return False
        return True
