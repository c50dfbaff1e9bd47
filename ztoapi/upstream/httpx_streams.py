"""Responses over ``--transport httpx`` are checked by the grammar of :mod:`ztoapi.wire.client`.

httpcore keeps a connection on which bytes follow a response, and accepts a response with two framings. Each of its
network streams is wrapped here: the gateway's own parser checks each read, and a connection with surplus bytes reports
that it cannot be used again. https://www.encode.io/httpcore/network-backends/
"""

import re
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from ztoapi.wire.client import ClientWire, ResponseHeads

__all__ = ["check_responses"]

_METHOD = re.compile(rb"([A-Z]+) ")


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
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
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

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(max_bytes, timeout)
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
        surplus = self._wire.complete and not self._wire.keep_alive
        return True if info == "is_readable" and surplus else self._inner.get_extra_info(info)
