"""Whether a Redis or Valkey is there, for those who can do without it; and how it is let go of."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

__all__ = ["FAILURES", "Watch"]

FAILURES: Final = (RedisError, OSError, TimeoutError)
"""What a call of a store that is away, or refuses, ends in."""
_PROBE_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class Watch:
    """Says whether the store behind ``redis`` is ``up``; the first failure of a call that somebody tells it of ends
    that, and a ``probe`` begins it, which is made twice a second while the store is away and raises :data:`FAILURES`.

    One task does so, and runs ``work`` again and again while the store is up. ``wake`` is to have a ``work`` that waits
    for something to do return. ``whose`` store it is, and what is done ``without`` it, is for the log.
    """

    def __init__(
        self,
        redis: Redis,
        whose: str,
        without: str,
        *,
        probe: Callable[[], Awaitable[None]],
        work: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._redis, self._whose, self._without = redis, whose, without
        self._probe, self._work, self._wake = probe, work, wake
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.failures = 0
        self.up = False

    async def start(self) -> None:
        """Begin. A store that does not answer is away, and tried again."""
        # If it is not, the first failure is told of as any other.
        self.up = True
        await self._try()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the task."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def close(self) -> None:
        """Let go of the store, whatever it does: for a stalled one's part in the end of a TLS connection redis-py would
        wait, and fail, and the event loop after it."""
        pool = self._redis.connection_pool
        for connection in (*pool._available_connections, *pool._in_use_connections):
            # There is no public way to the transport.
            if connection._writer is not None:
                connection._writer.transport.abort()
        await self._redis.aclose()

    def failed(self, error: Exception) -> None:
        """A call has ended in one of :data:`FAILURES`."""
        self.failures += 1
        if self.up:
            self.up = False
            self._wake()
            _log.warning(
                "the %s store is away (%s); %s", self._whose, str(error) or type(error).__name__, self._without
            )

    async def _run(self) -> None:
        # A call that is cancelled may answer with an error of its own, so that nothing of the cancelling is left.
        while not self._closing:
            if self.up:
                await self._work()
                continue
            await asyncio.sleep(_PROBE_SECONDS)
            if await self._try():
                self.up = True
                _log.warning("the %s store is back", self._whose)

    async def _try(self) -> bool:
        try:
            await self._probe()
        except FAILURES as error:
            self.failed(error)
            return False
        return True
