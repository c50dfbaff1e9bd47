"""TCP connections to a host with several addresses: Happy Eyeballs (RFC 8305).

The attempts start one after another, a short time apart, and run side by side. The first that succeeds is used and the
others are closed, so that an address that drops packets costs a fraction of a second.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from ztoapi.upstream.resolver import Address

__all__ = ["ATTEMPT_DELAY_SECONDS", "connect"]

ATTEMPT_DELAY_SECONDS: Final = 0.25
"""Between the starts of two attempts, unless one fails before. RFC 8305 section 5 recommends it."""
_SHARE: Final = 0.5
"""The part of the timeout that an address with others after it may take."""


async def connect(
    loop: asyncio.AbstractEventLoop, addresses: Sequence[Address], seconds: float
) -> tuple[socket.socket, Address]:
    """Returns a connected socket and its address. An attempt for each of ``addresses`` starts within half of
    ``seconds``, the caller's timeout. The last one may take all of it, and the others half. Raises the OSError of the
    last attempt that failed."""
    waiting = deque(addresses)
    if len(waiting) == 1:
        return await _attempt(loop, waiting[0], seconds)
    delay = min(ATTEMPT_DELAY_SECONDS, seconds * (1 - _SHARE) / len(waiting))
    running: set[asyncio.Task[tuple[socket.socket, Address]]] = set()
    failure: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(
                    loop.create_task(_attempt(loop, waiting.popleft(), seconds * _SHARE if waiting else seconds))
                )
            done, _ = await asyncio.wait(
                running, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                running.discard(attempt)
                failure = attempt.exception()
                if failure is None:
                    return attempt.result()
    finally:
        for attempt in running:
            if not attempt.cancel() and attempt.exception() is None:
                attempt.result()[0].close()
    assert failure is not None
    raise failure


async def _attempt(loop: asyncio.AbstractEventLoop, address: Address, seconds: float) -> tuple[socket.socket, Address]:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, where)
    except TimeoutError:
        sock.close()
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    except BaseException:
        sock.close()
        raise
    return sock, address
