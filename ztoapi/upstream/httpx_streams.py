"""Responses over ``--transport httpx`` are checked by the grammar of :mod:`ztoapi.wire.client`.

httpcore keeps a connection on which bytes follow a response, and accepts a response with two framings. Each of its
network streams is wrapped here: the gateway's own parser checks each read, and a connection with surplus bytes reports
that it cannot be used again. httpcore also handles a whole read in one turn of the event loop, and leaves the kernel's
buffers as they are: a dense read is divided here, and the buffers have the size of the native transport's.
https://www.encode.io/httpcore/network-backends/
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

from ztoapi.upstream.connection import share_bytes
from ztoapi.wire.client import ClientWire, ResponseHeads
from ztoapi.wire.limits import SOCKET_BUFFER_BYTES

__all__ = ["check_responses"]

_METHOD = re.compile(rb"([A-Z]+) ")
_TURN_LINE_ENDS: Final = 512
_SPARSE_READ_BYTES: Final = 1024
"""As ``TURN_LINE_ENDS`` and ``SPARSE_READ_BYTES``, for h11: 170 chunks of one byte, which take 7 ms."""
_OPTIONS: Final = ((socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES),)


def check_responses(client: httpx.AsyncClient) -> None:
    """Wraps the network streams of ``client``, including those through proxies."""
    heads = ResponseHeads()
    # httpx has no argument for the network backend of httpcore.
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend, heads)


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, inner: httpcore.AsyncNetworkBackend, heads: ResponseHeads) -> None:
        self._inner = inner
        self._heads = heads

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, (*(socket_options or ()), *_OPTIONS))
        return _Stream(stream, self._heads)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, heads: ResponseHeads) -> None:
        self._inner = inner
        self._heads = heads
        self._wire = ClientWire(heads)
        self._requested = False
        """Whether a request has been sent. Bytes before it may belong to a SOCKS proxy."""
        self._held = b""
        """The part of a dense read that is for later turns of the loop."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            data = self._held
            await asyncio.sleep(0)
        else:
            data = await self._inner.read(max_bytes, timeout)
        if self._requested:
            end = share_bytes(data, _TURN_LINE_ENDS, _SPARSE_READ_BYTES)
            self._held = data[end:]
            data = data[:end]
        wire = self._wire
        if self._requested and data:
            rest = data
            if wire.head is None:
                if wire.read_head(data) is None:
                    return data
                rest = wire.rest
            if not wire.complete:
                wire.read_body(rest)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not self._requested or self._wire.complete:
            request = _METHOD.match(buffer)
            if request is not None:
                self._requested = True
                self._wire.start(request[1].decode("ascii"))
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._heads)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as the base class has it
        # httpcore treats a readable idle connection as closed by its peer.
        surplus = self._wire.complete and (self._held or not self._wire.keep_alive)
        return True if info == "is_readable" and surplus else self._inner.get_extra_info(info)
