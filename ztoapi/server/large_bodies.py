"""Runs the work on large request bodies in a thread, so that other connections have their turns meanwhile.

There is one thread, which does one piece of work at a time, in the order of arrival. More threads would share the same
interpreter lock. If a client leaves, its work is dropped, or completed if it has begun: nothing can interrupt it. The
next work begins after that, so one request at most is kept without a client.

CPython switches between threads every 5 ms, but not within a call of a decoder; ``BODY_VALUES`` bounds these calls
(decision 36).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ztoapi.server.exchange import Exchange
from ztoapi.wire.limits import LARGE_BODY_BYTES

__all__ = ["LargeBodies"]

T = TypeVar("T")


class LargeBodies:
    """The thread of one worker; it starts with the first large body."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "large-bodies")
        self._busy = asyncio.Lock()

    async def close(self) -> None:
        """Ends the thread after the work in progress."""
        await asyncio.to_thread(self._thread.shutdown)

    async def run(self, work: Callable[[], T]) -> T:
        """Returns the result of ``work``, which runs in the thread."""
        await self._busy.acquire()
        done = self._loop.run_in_executor(self._thread, work)
        done.add_done_callback(self._end)
        # A request that is cancelled here leaves its work and the lock alone. Since Python 3.14, asyncio.shield would
        # log an error of the work then.
        await asyncio.wait((done,))
        return done.result()

    def _end(self, done: asyncio.Future[T]) -> None:
        self._busy.release()
        # Marks the exception as handled: the request may have been cancelled.
        done.exception()

    def decode(
        self,
        exchange: Exchange,
        decode: Callable[[bytes | bytearray], T],
        then: Callable[[Exchange, T], None],
        above: int = LARGE_BODY_BYTES,
    ) -> None:
        """Calls ``then`` with the decoded body: at once, or after the thread's work for a body of more than ``above``
        bytes. ``decode`` and ``then`` may raise ApiError."""
        body = exchange.request_body
        if len(body) <= above:
            then(exchange, decode(body))
        else:
            exchange.spawn(self._run_and_go_on(partial(decode, body), partial(then, exchange)))

    def translate(self, exchange: Exchange, size: int, translate: Callable[[], T], then: Callable[[T], None]) -> None:
        """Same as :meth:`decode`, for other work on ``size`` bytes."""
        if size <= LARGE_BODY_BYTES:
            then(translate())
        else:
            exchange.spawn(self._run_and_go_on(translate, then))

    async def _run_and_go_on(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        then(await self.run(work))
