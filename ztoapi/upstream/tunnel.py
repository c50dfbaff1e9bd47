"""Tunnels through an HTTP proxy: the method CONNECT (RFC 9110 section 9.3.6)."""

import asyncio
import errno
import os
import re
import socket
from typing import Final

from ztoapi.config.proxies import Proxy, proxy_of
from ztoapi.upstream.failures import tunnel_refused
from ztoapi.upstream.pool import Origin
from ztoapi.wire.address import authority

__all__ = ["environment_proxy", "open_tunnel"]

_MAX_HEAD_BYTES: Final = 16384
"""Proxies describe a refusal in their head; no proxy needs more."""
_READ_BYTES: Final = 4096
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")


def environment_proxy(origin: Origin) -> Proxy | None:
    """Returns the proxy of the environment for ``origin``, if the native transport can use it."""
    proxy = proxy_of(f"{'https' if origin.tls else 'http'}://{origin.authority}", os.environ)
    return proxy if proxy is not None and proxy.tunnels else None


async def open_tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Makes ``sock``, which is connected to ``proxy``, a connection to ``origin``. Closes it in case of an exception:
    UpstreamError if the proxy refuses, OSError if the connection ends."""
    target = authority(origin.host, origin.port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        await loop.sock_sendall(sock, "\r\n".join((*lines, "", "")).encode("ascii"))
        head = b""
        # The upstream waits for the client, so no byte of it can follow the head.
        while not head.endswith(b"\r\n\r\n"):
            part = await loop.sock_recv(sock, _READ_BYTES)
            if not part:
                raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            head += part
            if len(head) > _MAX_HEAD_BYTES or b"\r\n\r\n" in head[:-4]:
                break
        status = _STATUS.match(head)
        if status is None or not status[1].startswith(b"2") or not head.endswith(b"\r\n\r\n"):
            raise tunnel_refused(origin.authority, proxy.variable, None if status is None else int(status[1]))
    except BaseException:
        sock.close()
        raise
