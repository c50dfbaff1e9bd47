"""A real redis-server of a test's own, on a socket in a directory: it can be killed, stopped and started again."""

import asyncio
import contextlib
import queue
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import trustme

__all__ = ["RedisServer"]


class RedisServer:
    """Listens at ``url`` while the context lasts, and with ``tls`` at ``tls_url`` too. Skips the test where there is no
    redis-server."""

    def __init__(self, directory: Path, *, tls: bool = False) -> None:
        self._directory = directory
        self.url = f"unix://{directory}/redis.sock"
        self._tls_options: list[str] = []
        if tls:
            authority, identity, key = directory / "ca.pem", directory / "server.pem", directory / "key.pem"
            ca = trustme.CA()
            ca.cert_pem.write_to_path(str(authority))
            certificate = ca.issue_cert("127.0.0.1")
            certificate.cert_chain_pems[0].write_to_path(str(identity))
            certificate.private_key_pem.write_to_path(str(key))
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            self.tls_url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority}"
            self._tls_options = [
                "--tls-port",
                str(port),
                "--tls-auth-clients",
                "no",
                "--tls-ca-cert-file",
                str(authority),
            ]
            self._tls_options += ["--tls-cert-file", str(identity), "--tls-key-file", str(key)]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, empty, and wait until it listens."""
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        options = ["--port", "0", "--unixsocket", f"{self._directory}/redis.sock", "--dir", str(self._directory)]
        self._process = subprocess.Popen(
            [
                program,
                *options,
                *self._tls_options,
                "--save",
                "",
                "--appendonly",
                "no",
                "--enable-debug-command",
                "yes",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "ready to accept connections" in line.lower():
                return
        raise AssertionError("redis-server ended at once")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> None:
        """As if the machine had stalled: connections stay, nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def far_away(self, seconds: float) -> Iterator[None]:
        """While it lasts ``url`` leads to the server by a way on which each answer takes so long."""
        near = self.url
        self.url = f"{near}.far"
        started: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(ConnectionResetError):
                while data := await reader.read(65536):
                    loop.call_later(delay, writer.write, data)
            writer.close()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                from_server, to_server = await asyncio.open_unix_connection(near.removeprefix("unix://"))
                try:
                    await asyncio.gather(pump(reader, to_server, 0), pump(from_server, writer, seconds))
                finally:
                    to_server.transport.abort()
            finally:
                # A closed transport would wait for its last bytes, and the loop may end before.
                writer.transport.abort()

        async def listen() -> None:
            end = asyncio.Event()
            async with await asyncio.start_unix_server(relay, self.url.removeprefix("unix://")):
                started.put(partial(asyncio.get_running_loop().call_soon_threadsafe, end.set))
                await end.wait()

        thread = threading.Thread(target=lambda: asyncio.run(listen()))
        thread.start()
        finish = started.get()
        try:
            yield
        finally:
            finish()
            thread.join()
            self.url = near

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)
