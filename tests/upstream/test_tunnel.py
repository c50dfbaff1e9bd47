"""Requests through a tunnel of an HTTP proxy: plain and TLS upstreams, refusals, and where the credentials go."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from tests.upstream.scripted import OK, Heard, Upstream, listening, no_task_is_left, settle
from ztoapi.config.model import UpstreamConfig
from ztoapi.config.proxies import Proxy, proxy_of
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.client import NativeClient

pytestmark = pytest.mark.anyio

CONNECTED = b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n"


class ProxyServer:
    """A proxy that sends ``response`` to each CONNECT, in pieces, and connects after a 200."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.heads: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        for byte in self.response:
            writer.write(bytes((byte,)))
            await writer.drain()
        if self.response.startswith(b"HTTP/1.1 200"):
            host, _, port = self.heads[-1].split()[1].rpartition(":")
            there, back = await asyncio.open_connection(host, int(port))
            with contextlib.suppress(ConnectionError):
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def proxying(response: bytes = CONNECTED) -> AsyncIterator[ProxyServer]:
    proxy = ProxyServer(response)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def client_through(proxy: ProxyServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[NativeClient]:
    url = f"http://user:pass%20word@127.0.0.1:{proxy.port}"
    client = NativeClient(
        asyncio.get_running_loop(),
        UpstreamConfig(),
        Deadlines(asyncio.get_running_loop().call_soon),
        tls=lambda: tls or ssl.create_default_context(),
        proxy_of=lambda _: Proxy("HTTPS_PROXY", url),
    )
    yield client
    await client.close()
    await settle(no_task_is_left)


async def exchange(client: NativeClient, upstream: Upstream) -> str:
    """Sends two requests over one connection; returns the head of the first."""
    head = ""
    for number in range(2):
        heard = Heard()
        client.send(upstream.request(), heard)
        if not upstream.peers:
            await upstream.accept()
        request = await upstream.peers[0].request()
        head = head or str(request)
        upstream.peers[0].send(OK)
        assert (await heard.ended()).calls == ["head", "data", "end"], number
    return head


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_request_goes_through_the_tunnel(anyio_backend: object, encrypted: bool) -> None:
    ca = trustme.CA()
    server, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(trusting)
    async with (
        listening(tls=server if encrypted else None) as upstream,
        proxying() as proxy,
        client_through(proxy, trusting) as client,
    ):
        head = await exchange(client, upstream)
        (connect,) = proxy.heads
        credentials = base64.b64encode(b"user:pass word").decode()
        port = upstream.request().origin.port
        assert connect == (
            f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Proxy-Authorization: Basic {credentials}\r\n\r\n"
        )
        assert credentials not in head
        await client.close()


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "refuses the tunnel: status 407"),
        (b"HTTP/1.0 403 Forbidden\r\n\r\n", "refuses the tunnel: status 403"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its response is not HTTP"),
        (b"HTTP/1.1 204 x\r\n\r\nmore", "refuses the tunnel: status 204"),
        (b"HTTP/1.1 502 " + b"x" * 20000, "refuses the tunnel: status 502"),
        (b"HTTP/1.1 2", "Connection reset by peer"),
        (b"", "Connection reset by peer"),
    ],
)
async def test_a_refusal_is_a_failure_to_connect(anyio_backend: object, response: bytes, words: str) -> None:
    async with listening() as upstream, proxying(response) as proxy, client_through(proxy) as client:
        heard = Heard()
        client.send(upstream.request(), heard)
        error = (await heard.ended()).error
        assert heard.calls == ["error"]
        assert (error.status, error.code) == (502, "upstream_unreachable")
        assert words in error.message and "pass" not in error.message
        assert upstream.requests == 0


async def test_a_proxy_that_is_silent_times_out(anyio_backend: object) -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = UpstreamConfig(connect_timeout_seconds=0.1)
    client = NativeClient(
        asyncio.get_running_loop(),
        config,
        Deadlines(asyncio.get_running_loop().call_soon),
        tls=ssl.create_default_context,
        proxy_of=lambda _: Proxy("ALL_PROXY", f"http://127.0.0.1:{port}"),
    )
    async with listening() as upstream:
        heard = Heard()
        client.send(upstream.request(), heard)
        assert "no connection within 0.1 s" in (await heard.ended()).error.message
    await client.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("https://api.z.ai", {"HTTPS_PROXY": "http://a:1"}, ("HTTPS_PROXY", ("a", 1), None)),
        ("https://api.z.ai", {"https_proxy": "a:1", "HTTPS_PROXY": "http://b:2"}, ("https_proxy", ("a", 1), None)),
        ("http://api.z.ai", {"HTTPS_PROXY": "http://a:1"}, None),
        ("http://api.z.ai", {"ALL_PROXY": "http://a"}, ("ALL_PROXY", ("a", 80), None)),
        ("https://api.z.ai", {"https_proxy": "http://u@a:1"}, ("https_proxy", ("a", 1), "Basic dTo=")),
        ("https://api.z.ai", {"https_proxy": "http://a:1", "NO_PROXY": "z.ai"}, None),
        ("https://api.z.ai", {"https_proxy": "http://a:1", "no_proxy": "x, *.z.ai"}, None),
        ("https://api.z.ai", {"https_proxy": "http://a:1", "NO_PROXY": "api.z.ai:443"}, None),
        (
            "https://api.z.ai",
            {"https_proxy": "http://a:1", "NO_PROXY": "i.z.ai,ai:8"},
            ("https_proxy", ("a", 1), None),
        ),
        ("https://10.1.2.3", {"https_proxy": "http://a:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://10.1.2.3", {"https_proxy": "http://a:1", "NO_PROXY": "*"}, None),
        ("http://127.0.0.1:8000/v1", {"http_proxy": "http://a:1"}, None),
        ("http://localhost:8000/v1", {"http_proxy": "http://a:1"}, None),
        ("https://api.z.ai", {"https_proxy": ""}, None),
    ],
)
async def test_the_proxy_of_the_environment(
    anyio_backend: object, url: str, environ: dict[str, str], expected: tuple[str, tuple[str, int], str | None] | None
) -> None:
    proxy = proxy_of(url, environ)
    found = None if proxy is None else (proxy.variable, proxy.address, proxy.authorization)
    assert found == expected


@pytest.mark.parametrize("url", ["https://a:1", "socks5://a:1", "http://", "http://a:99999999"])
async def test_a_proxy_that_the_native_transport_does_not_support(anyio_backend: object, url: str) -> None:
    assert not Proxy("ALL_PROXY", url).tunnels
