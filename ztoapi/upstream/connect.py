"""TCP connections to a host with several addresses: Happy Eyeballs (RFC 8305).

The attempts start one after another, a short time apart, and run side by side. The first that succeeds is used and the
others are closed, so that an address that drops packets costs a fraction of a second.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

__all__ = ["ATTEMPT_DELAY_SECONDS", "connect"]

ATTEMPT_DELAY_SECONDS: Final = 0.25
"""Between the starts of two attempts, unless one fails before. RFC 8305 section 5 recommends it."""
MAX_ADDRESSES: Final = 16
"""Addresses of one name that are tried: a bound on the sockets of one request."""

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


async def connect(loop: asyncio.AbstractEventLoop, host: str, port: int, seconds: float) -> socket.socket:
    """Returns a socket that is connected to ``host``. An attempt for each address starts within ``seconds``, the
    caller's timeout. Raises the OSError of the last attempt that failed."""
    waiting = deque(_interleaved(await _resolve(loop, host, port))[:MAX_ADDRESSES])
    if len(waiting) == 1:
        return await _attempt(loop, waiting[0])
    delay = min(ATTEMPT_DELAY_SECONDS, seconds / (len(waiting) + 1))
    running: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_attempt(loop, waiting.popleft())))
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
                attempt.result().close()
    assert failure is not None
    raise failure


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[_Address]:
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _interleaved(addresses: Sequence[_Address]) -> list[_Address]:
    """Returns the addresses with the families alternating, that of the first address first (RFC 8305 section 4)."""
    families: dict[int, list[_Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


async def _attempt(loop: asyncio.AbstractEventLoop, address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
