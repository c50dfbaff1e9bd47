"""Listening sockets and one worker's server on them: start, drain, stop."""

import asyncio
import socket
from typing import Final

from ztoapi.errors import ApiError, Ending
from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol

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

    async def drain(self, seconds: float) -> None:
        """Stop listening, let requests in hand finish for ``seconds``, then end them with an error event."""
        self._stop_listening()
        for connection in list(self._context.connections):
            connection.drain()
        deadline = self._context.loop.time() + seconds
        while self._context.connections and self._context.loop.time() < deadline:
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        error = ApiError(
            "the gateway is shutting down",
            status=503,
            type="server_error",
            code="shutdown",
            retry_after=1.0,
            ending=Ending.SHUTDOWN,
        )
        for connection in list(self._context.connections):
            connection.stop(error)
        for connection in list(self._context.connections):
            connection.transport.close()
        # One turn of the loop lets closed transports flush what their sockets take.
        await asyncio.sleep(_DRAIN_POLL_SECONDS)

    def _stop_listening(self) -> None:
        self._context.draining = True
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Stop at once."""
        self._stop_listening()
        for connection in list(self._context.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._context.close()
