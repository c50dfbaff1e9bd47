"""A resolver that a test controls, and its clock."""

import asyncio
import socket

from ztoapi.upstream.resolver import Address


def addresses(*found: tuple[str, int]) -> list[Address]:
    """Returns the result of getaddrinfo for TCP ``found``, of either family."""
    return [
        (socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", where) for where in found
    ]


class Names:
    """Each lookup returns ``found``, or raises ``fault``."""

    def __init__(self, *found: tuple[str, int]) -> None:
        self.found = addresses(*found)
        self.fault: Exception | None = None
        self.lookups = 0
        self.now = 0.0
        self.started = asyncio.Event()
        self._open = asyncio.Event()
        self.go_on()

    def clock(self) -> float:
        return self.now

    def hold(self) -> None:
        """Lets lookups wait until ``go_on``."""
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def look_up(self, host: str, port: int, /, *, type: int) -> list[Address]:
        self.lookups += 1
        self.started.set()
        await self._open.wait()
        if self.fault is not None:
            raise self.fault
        return self.found
