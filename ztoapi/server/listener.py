"""One worker's server on its listening sockets: start, drain, stop."""

import asyncio
import contextlib
import logging
import os
import select
import time
from typing import Final

from ztoapi.errors import shutting_down
from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.server.proxy_listener import ProxyListener
from ztoapi.server.sockets import ListeningSocket

__all__ = ["Server", "clock_time"]

_DRAIN_POLL_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 1.0
"""Time in which a connection without a request may still send one: a client that has just connected, or that sends its
next request at this moment, must not find the connection closed. Several times the round trip around the world."""
_QUIET_TURNS: Final = 3
"""Turns of the event loop in which an accepted connection gets its protocol."""
_log = logging.getLogger(__name__)


class Server:
    """The connections of one worker."""

    def __init__(self, context: ServerContext, *sockets: ListeningSocket) -> None:
        self._context = context
        self._sockets = sockets
        self._servers: list[asyncio.Server | ProxyListener] = []

    @property
    def port(self) -> int:
        """The bound port of the first socket, which must be a TCP socket."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._context.start()
        for sock in self._sockets:
            self._servers.append(await self._serve(sock))

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
        _log.info(
            "process %d shuts down: %s, which may finish until %s (%g s)",
            os.getpid(),
            _counted(sum(connection.busy for connection in context.connections)),
            clock_time(context.wall_clock() + seconds),
            seconds,
        )
        await self._accept_established()
        self._stop_listening()
        now = context.loop.time()
        deadline = now + seconds
        quiet = now + min(_IDLE_SECONDS, seconds)
        # A connection in its TLS handshake or before its PROXY header is not in the list of connections yet.
        unseen = quiet if any(sock.address.tls or sock.address.proxy for sock in self._sockets) else now
        while not at_once.is_set() and context.loop.time() < deadline:
            if not context.connections and context.loop.time() >= unseen:
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

    async def _accept_established(self) -> None:
        """Waits until the accept queues are empty: the kernel resets the connections in them when a socket closes.
        libuv accepts one connection in a turn of the loop (since its version 1.45)."""
        established = select.poll()
        for sock in self._sockets:
            established.register(sock, select.POLLIN)
        quiet = 0
        # Clients that connect all the time must not delay the end of listening for ever.
        for _ in range(max(sock.backlog for sock in self._sockets) + _QUIET_TURNS):
            quiet = 0 if established.poll(0) else quiet + 1
            if quiet == _QUIET_TURNS:
                break
            await asyncio.sleep(0)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def close(self) -> None:
        """Stops listening, and aborts every connection."""
        self._context.draining = True
        self._stop_listening()
        for connection in list(self._context.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._context.close()


def clock_time(seconds: float) -> str:
    """Returns the local time of day of ``seconds`` since the Unix epoch, as the log's lines begin with it."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _counted(requests: int) -> str:
    return f"{requests} request{'' if requests == 1 else 's'} in flight"
