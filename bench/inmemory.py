"""The whole gateway on transports that only count: no socket, no second process, nothing that differs between runs.

``Gateway`` takes a request on its client side and is fed an upstream's answer by hand; what it writes is counted.
"""

import asyncio
from collections.abc import Callable

from ztoapi.app import Application
from ztoapi.config.model import Config, DialectName, ModelRoute, Platform, Secret
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.upstream.connection import UpstreamConnection
from ztoapi.upstream.pool import Origin

__all__ = ["CountingTransport", "Gateway", "chunked", "request", "stream_head", "zai_event"]

_ORIGIN = Origin(False, "127.0.0.1", 9100)
_PATHS = {"zai": "/api/paas/v4", "openai": "/v1"}


class CountingTransport(asyncio.Transport):
    """Takes everything at once. ``writes`` and ``octets`` count; ``last`` is the last piece written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.octets = 0
        self.last: bytes = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        self.octets += len(data)
        self.last = bytes(data)

    def writelines(self, list_of_data: object) -> None:
        self.writes += 1

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Gateway:
    """One gateway with one client connection and one idle upstream connection."""

    def __init__(self, dialect: DialectName = "zai") -> None:
        self.loop = asyncio.new_event_loop()
        base = f"http://127.0.0.1:{_ORIGIN.port}{_PATHS[dialect]}"
        platform = Platform(
            id=dialect,
            dialect=dialect,
            base_url=base,
            chat_url=f"{base}/chat/completions",
            models_url=None,
            tokens=(Secret("token"),),
            default_model="glm-4.6",
        )
        self.application = Application(
            Config(
                api_keys=(Secret("key"),),
                platforms=(platform,),
                default_platform=dialect,
                routes=(ModelRoute(public="glm-4.6", platform=dialect, upstream="glm-4.6"),),
            ),
            self.loop,
        )
        self.application.context.date = b"Mon, 23 Nov 2026 12:00:00 GMT"
        self.client = CountingTransport()
        self.upstream = CountingTransport()
        self._protocol = HTTPProtocol(self.application.context)
        self._protocol.connection_made(self.client)
        pool = self.application.pool
        self._connection = UpstreamConnection(self.loop, pool, 16 * 1024 * 1024)
        self._connection.connection_made(self.upstream)
        pool.opened(_ORIGIN, self._connection)
        pool.connection_released(self._connection)

    def ask(self, octets: bytes) -> None:
        """The client sends ``octets``."""
        self._protocol.data_received(octets)

    def answer(self, octets: bytes) -> None:
        """The upstream sends ``octets``, as one read."""
        connection = self._connection
        size = len(octets)
        connection.get_buffer(size)[:size] = octets
        connection.buffer_updated(size)

    def feeder(self, octets: bytes) -> Callable[[], None]:
        """``answer(octets)`` with everything looked up beforehand."""
        connection, size = self._connection, len(octets)
        get_buffer, buffer_updated = connection.get_buffer, connection.buffer_updated

        def feed() -> None:
            get_buffer(size)[:size] = octets
            buffer_updated(size)

        return feed

    def close(self) -> None:
        self.loop.close()


def request(*, stream: bool, prompt: str = "hello") -> bytes:
    """A chat request as openai-python sends it."""
    body = b'{"messages":[{"role":"user","content":"%b"}],"model":"glm-4.6","stream":%b}' % (
        prompt.encode("ascii"),
        b"true" if stream else b"false",
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nAccept-Encoding: gzip, deflate\r\n"
        b"Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        b"User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
        b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        b"Authorization: Bearer key\r\nX-Stainless-Async: false\r\nContent-Length: %d\r\n\r\n%b"
    ) % (len(body), body)


def stream_head() -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nContent-Type: text/event-stream;charset=UTF-8\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nVary: Origin\r\n\r\n"
    )


def zai_event(text: str) -> bytes:
    """One delta as Z.ai sends it, about 190 octets with a word of text."""
    return (
        b'data: {"id":"20261123120000aabbccddeeff0011","created":1767225600,"model":"glm-4.6",'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"%b"}}]}\n\n'
    ) % text.encode("ascii")


def chunked(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)
