"""One worker's server on its listening sockets: start, drain, stop."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import Final

from ztoapi.errors import shutting_down
from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol

__all__ = ["Server", "clock_time"]

_DRAIN_POLL_SECONDS: Final = 0.02
_log = logging.getLogger(__name__)


class Server:
    """The connections of one worker. ``port`` is the bound TCP port."""

    def __init__(self, context: ServerContext, *sockets: socket.socket) -> None:
        self._context = context
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self.port: int = sockets[0].getsockname()[1]

    async def start(self) -> None:
        context = self._context
        context.start()
        for sock in self._sockets:
            self._servers.append(await context.loop.create_server(lambda: HTTPProtocol(context), sock=sock))

    async def drain(self, seconds: float, at_once: asyncio.Event) -> bool:
        """Lets requests in flight finish for ``seconds``, or until ``at_once`` is set; then ends them with an error.

        Returns True if all of them have finished by themselves. The listener stays open meanwhile: new requests get 503
        with Retry-After, and ``/readyz`` reports the shutdown.
        """
        context = self._context
        context.draining = True
        _log.info(
            "process %d shuts down: %s, which may finish until %s (%g s)",
            os.getpid(),
            _counted(sum(connection.busy for connection in context.connections)),
            clock_time(context.wall_clock() + seconds),
            seconds,
        )
        for connection in list(context.connections):
            connection.drain()
        deadline = context.loop.time() + seconds
        while any(connection.busy for connection in context.connections):
            if at_once.is_set() or context.loop.time() >= deadline:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(at_once.wait(), _DRAIN_POLL_SECONDS)
        error = shutting_down()
        cut_off = [connection for connection in context.connections if connection.busy]
        for connection in cut_off:
            connection.stop(error)
        # The sockets send as much as they can take at once.
        await asyncio.sleep(_DRAIN_POLL_SECONDS)
        if cut_off:
            reason = "a second signal" if at_once.is_set() else "the end of the drain time"
            _log.warning("process %d: %s cut off %s", os.getpid(), reason, _counted(len(cut_off)))
        else:
            _log.info("process %d: all requests have finished", os.getpid())
        return not cut_off

    async def close(self) -> None:
        """Stops listening, and aborts every connection."""
        self._context.draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._context.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._context.close()


def clock_time(seconds: float) -> str:
    """Returns the local time of day of ``seconds`` since the Unix epoch, as the log's lines begin with it."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _counted(requests: int) -> str:
    return f"{requests} request{'' if requests == 1 else 's'} in flight"
