"""Listening sockets and one worker's server on them: start, drain, stop."""

import asyncio
import contextlib
import socket
from typing import Final

from ztoapi.errors import ApiError, Ending
from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.wire.limits import SOCKET_BUFFER_BYTES

__all__ = ["Server", "bind"]

_DRAIN_POLL_SECONDS: Final = 0.02


def bind(host: str, port: int, *, backlog: int, reuse_port: bool = False) -> socket.socket:
    """A listening TCP socket. With ``reuse_port`` several may share the port (one for each worker).

    Raises OSError with the address in its message.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = infos[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted connections inherit it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


class Server:
    """The connections of one worker. ``port`` is the bound TCP port."""

    def __init__(self, context: ServerContext, sock: socket.socket) -> None:
        self._context = context
        self._sock = sock
        self._server: asyncio.Server | None = None
        self.port: int = sock.getsockname()[1]

    async def start(self) -> None:
        context = self._context
        context.start()
        self._server = await context.loop.create_server(lambda: HTTPProtocol(context), sock=self._sock)

    async def drain(self, seconds: float, at_once: asyncio.Event) -> bool:
        """Let requests in hand finish for ``seconds`` (or until ``at_once`` is set), then end them with an error.

        True if all of them finished by themselves.

        The listener stays open meanwhile: who comes is told 503 and when to come again, and readiness can be seen.
        """
        context = self._context
        context.draining = True
        for connection in list(context.connections):
            connection.drain()
        deadline = context.loop.time() + seconds
        while any(connection.busy for connection in context.connections):
            if at_once.is_set() or context.loop.time() >= deadline:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(at_once.wait(), _DRAIN_POLL_SECONDS)
        error = ApiError(
            "the gateway is shutting down",
            status=503,
            type="server_error",
            code="shutdown",
            retry_after=1.0,
            ending=Ending.SHUTDOWN,
        )
        cut_off = [connection for connection in context.connections if connection.busy]
        for connection in cut_off:
            connection.stop(error)
        # What the sockets take at once goes out; the rest is cut off.
        await asyncio.sleep(_DRAIN_POLL_SECONDS)
        return not cut_off

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._context.draining = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._context.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._context.close()
