"""Connections that begin with a PROXY protocol header (:mod:`ztoapi.wire.proxy_header`).

The header comes before TLS, so it is read from the socket before the event loop's transport gets the connection. It is
accepted from trusted proxies only: others could choose their address.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from ztoapi.server.accepted import connect_accepted
from ztoapi.server.sockets import ListeningSocket
from ztoapi.wire.address import Network, is_in, peer_address
from ztoapi.wire.proxy_header import MAX_HEADER_BYTES, ProxyHeader, read_proxy_header

__all__ = ["Peer", "ProxyListener"]

_ACCEPTS_PER_TURN: Final = 64
"""Connections that are accepted in one turn of the event loop."""
_RETRY_SECONDS: Final = 1.0
"""Pause after a failed accept, as in asyncio."""
_LOG_SECONDS: Final = 60.0
"""Interval of log lines about refused connections."""

_log = logging.getLogger(__name__)

Peer: TypeAlias = tuple[str, *tuple[int, ...]] | str | bytes
"""The address of an accepted connection; no tuple for a Unix socket."""
_Client: TypeAlias = tuple[str, int]
MakeProtocol = Callable[[_Client | None], asyncio.BaseProtocol]
"""Makes the protocol of a connection; the argument is the address of the client, None for that of the peer."""


class ProxyListener:
    """Accepts connections of ``sock`` and gives them to protocols that ``make`` returns.

    ``trusted`` are the proxies; peers of a Unix socket are trusted. The header has ``timeout_seconds`` to arrive. With
    ``tls`` a handshake follows it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: ListeningSocket,
        make: MakeProtocol,
        *,
        trusted: Sequence[Network],
        timeout_seconds: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._make = make
        self._trusted = trusted
        self._timeout_seconds = timeout_seconds
        self._tls = tls
        self._quiet_until = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._sock.listen(self._sock.backlog)
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Stops listening. Connections whose header has not arrived continue."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, peer = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Without a free descriptor the socket would stay readable, and the loop would never rest.
                _log.warning("cannot accept a connection: %s", error.strerror)
                self._loop.remove_reader(self._sock)
                self._retry = self._loop.call_later(_RETRY_SECONDS, self.start)
                return
            connection.setblocking(False)
            self.begin(connection, peer)

    def begin(self, connection: socket.socket, peer: Peer) -> None:
        """Starts a connection that has been accepted from ``peer``, or refuses it if that is no trusted proxy."""
        if isinstance(peer, tuple) and not is_in(peer_address(peer[0]), self._trusted):
            self._refuse(connection, f"{peer[0]} is not in server.trusted_proxies")
            return
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                header = await self._read_header(connection)
        except TimeoutError:
            self._refuse(connection, "the PROXY protocol header has not arrived in time")
            return
        except (OSError, ValueError) as error:
            self._refuse(connection, str(error))
            return
        await connect_accepted(
            self._loop, lambda: self._make(header.client), connection, self._tls, self._timeout_seconds
        )

    async def _read_header(self, connection: socket.socket) -> ProxyHeader:
        """Reads the header, and leaves the bytes behind it in the socket."""
        size = 0
        while True:
            await self._readable(connection, size)
            data = connection.recv(MAX_HEADER_BYTES, socket.MSG_PEEK)
            if len(data) == size:
                raise ConnectionError("the connection ended before the PROXY protocol header")
            size = len(data)
            header = read_proxy_header(data)
            if header is not None:
                connection.recv(header.size)
                return header

    async def _readable(self, connection: socket.socket, size: int) -> None:
        """Waits until more than ``size`` bytes can be read, or the end of the connection."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size + 1)
        ready = self._loop.create_future()
        self._loop.add_reader(connection, _resolve, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _refuse(self, connection: socket.socket, reason: str) -> None:
        connection.close()
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_SECONDS
            _log.warning("a connection to a PROXY protocol listener was closed: %s", reason)


def _resolve(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
