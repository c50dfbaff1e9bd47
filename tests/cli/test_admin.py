"""Requests of commands to a running gateway."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from ztoapi.cli.admin import GatewayError, ask


def test_a_certificate_that_is_not_trusted_has_its_remedy(
    server_tls: ssl.SSLContext, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        writer.close()

    async def run() -> bytes:
        server = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        url, tls = f"https://127.0.0.1:{port}", httpx.create_ssl_context()
        async with server, httpx.AsyncClient(base_url=url, verify=tls) as client:
            return await ask(client, "/")

    with pytest.raises(GatewayError, match=r"CERTIFICATE_VERIFY_FAILED.*; set SSL_CERT_FILE to a file"):
        asyncio.run(run())
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert asyncio.run(run()) == b"{}"
