"""One worker's server on its listening sockets: start, drain, stop."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import Final, NamedTuple

from ztoapi.errors import shutting_down
from ztoapi.server.accepted import connect_accepted
from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.server.proxy_listener import Peer, ProxyListener
from ztoapi.server.sockets import ListeningSocket

__all__ = ["Server", "clock_time"]

_DRAIN_POLL_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 1.0
"""Time in which a connection without a request may still send one: a client that has just connected, or that sends its
next request at this moment, must not find the connection closed. Several times the round trip around the world."""
_STARTS_PER_TURN: Final = 64
"""Connections that start in one turn of the event loop: so many TLS handshakes take a sixth of a second."""
_log = logging.getLogger(__name__)


class _Accepted(NamedTuple):
    """A connection that has not started yet."""

    listening: ListeningSocket
    sock: socket.socket
    peer: Peer


class Server:
    """The connections of one worker."""

    def __init__(self, context: ServerContext, *sockets: ListeningSocket) -> None:
        self._context = context
        self._sockets = sockets
        self._servers: dict[ListeningSocket, asyncio.Server | ProxyListener] = {}
        self._starting: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The bound port of the first socket, which must be a TCP socket."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._context.start()
        for sock in self._sockets:
            self._servers[sock] = await self._serve(sock)

    async def _serve(self, sock: ListeningSocket) -> asyncio.Server | ProxyListener:
        context, address = self._context, sock.address
        tls = context.tls if address.tls else None
        timeout_seconds = context.limits.head_timeout_seconds
        if not address.proxy:
            return await context.loop.create_server(
                lambda: HTTPProtocol(context, admin=address.admin),
                sock=sock,
                backlog=sock.backlog,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else timeout_seconds,
            )
        listener = ProxyListener(
            context.loop,
            sock,
            lambda client: HTTPProtocol(context, client, admin=address.admin),
            trusted=context.trusted_proxies,
            timeout_seconds=timeout_seconds,
            tls=tls,
        )
        listener.start()
        return listener

    async def announce_stop(self, seconds: float, at_once: asyncio.Event) -> None:
        """Lets ``/readyz`` report the shutdown, and goes on for ``seconds``, or until ``at_once`` is set: a load
        balancer has time to notice."""
        self._context.stopping = True
        if seconds:
            _log.info("process %d stops listening in %g s", os.getpid(), seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(at_once.wait(), seconds)

    async def drain(self, seconds: float, at_once: asyncio.Event) -> bool:
        """Stops listening. Lets requests of accepted connections finish for ``seconds``, or until ``at_once`` is set;
        then ends them with an error. Each connection is closed after the response in flight, or its next one.

        Returns True if all requests have finished by themselves.
        """
        context = self._context
        context.draining = True
        now = context.loop.time()
        deadline = now + seconds
        _log.info(
            "process %d shuts down: %s, which may finish until %s (%g s)",
            os.getpid(),
            _counted(sum(connection.busy for connection in context.connections)),
            clock_time(context.wall_clock() + seconds),
            seconds,
        )
        await self._stop_listening(deadline, at_once)
        quiet = min(context.loop.time() + _IDLE_SECONDS, deadline)
        # A connection in its TLS handshake or before its PROXY header is not in the list of connections yet.
        unseen = quiet if any(sock.address.tls or sock.address.proxy for sock in self._sockets) else now
        while not at_once.is_set() and context.loop.time() < deadline:
            if not context.connections and not self._starting and context.loop.time() >= unseen:
                break
            if context.loop.time() >= quiet:
                for connection in list(context.connections):
                    connection.close_idle()
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

    async def _stop_listening(self, deadline: float, at_once: asyncio.Event) -> None:
        """Closes the sockets, and serves the connections that the kernel has established until then: it would reset
        them.

        The event loop would accept one of them in a turn (libuv 1.45 and later), and clients that connect all the time
        would fill the queue again.
        """
        accepted: list[_Accepted] = []
        retry_until = min(self._context.loop.time() + _IDLE_SECONDS, deadline)
        while not all(_accept_established(sock, accepted) for sock in self._servers):
            # Without a free descriptor. A connection that ends leaves one.
            if at_once.is_set() or self._context.loop.time() >= retry_until:
                break
            await self._begin(accepted, deadline, at_once)
            accepted.clear()
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        for server in self._servers.values():
            server.close()
        await self._begin(accepted, deadline, at_once)
        self._servers.clear()

    async def _begin(self, accepted: list[_Accepted], deadline: float, at_once: asyncio.Event) -> None:
        """Starts connections. At the end of the drain, closes those that have not started."""
        for number, connection in enumerate(accepted, 1):
            if at_once.is_set() or self._context.loop.time() >= deadline:
                connection.sock.close()
                continue
            server = self._servers[connection.listening]
            if isinstance(server, ProxyListener):
                server.begin(connection.sock, connection.peer)
            else:
                task = self._context.loop.create_task(self._connect(connection))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)
            if number % _STARTS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _connect(self, connection: _Accepted) -> None:
        """Does what the event loop does for a connection that it has accepted."""
        context, address = self._context, connection.listening.address
        await connect_accepted(
            context.loop,
            lambda: HTTPProtocol(context, admin=address.admin),
            connection.sock,
            context.tls if address.tls else None,
            context.limits.head_timeout_seconds,
        )

    async def close(self) -> None:
        """Stops listening, and aborts every connection."""
        self._context.draining = True
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for task in self._starting:
            task.cancel()
        for connection in list(self._context.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._context.close()


def _accept_established(listening: ListeningSocket, accepted: list[_Accepted]) -> bool:
    """Appends the connections in the accept queue. Returns False if there may be others, but no descriptor for them."""
    for _ in range(listening.backlog + 1):
        try:
            sock, peer = listening.accept()
        except BlockingIOError:
            break
        except OSError:
            return False
        sock.setblocking(False)
        accepted.append(_Accepted(listening, sock, peer))
    return True


def clock_time(seconds: float) -> str:
    """Returns the local time of day of ``seconds`` since the Unix epoch, as the log's lines begin with it."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _counted(requests: int) -> str:
    return f"{requests} request{'' if requests == 1 else 's'} in flight"
