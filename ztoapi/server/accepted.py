"""A connection that was accepted without the event loop's own server."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

__all__ = ["connect_accepted"]

_log = logging.getLogger(__name__)


async def connect_accepted(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    tls: ssl.SSLContext | None,
    timeout_seconds: float,
) -> None:
    """Gives ``sock`` to a protocol that ``make`` returns. With ``tls`` a handshake comes first, which has
    ``timeout_seconds``; if it fails, the loop closes the connection."""
    try:
        await loop.connect_accepted_socket(
            make, sock, ssl=tls, ssl_handshake_timeout=None if tls is None else timeout_seconds
        )
    except OSError as error:
        _log.debug("a connection has failed: %s", error)
