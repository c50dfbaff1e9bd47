"""The whole gateway on in-memory transports that count: no socket, no second process, the same result in each run.

A ``Gateway`` takes a request on its client side; the caller supplies the upstream response. Writes and event-loop
callbacks are counted. All clocks are fixed except that of the limits, and ids start at 1.
"""

import asyncio
import itertools
from collections.abc import Callable
from contextvars import Context
from unittest.mock import patch

from ztoapi.app import Application, make_shared_limits
from ztoapi.config.model import (
    CacheConfig,
    Config,
    Credential,
    LimitsConfig,
    ModelRoute,
    Platform,
    Secret,
    ServerConfig,
)
from ztoapi.dialects.registry import DialectName
from ztoapi.server.context import ServerContext
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.telemetry.layout import TABLES, Cell
from ztoapi.upstream.client import NativeClient
from ztoapi.upstream.connection import UpstreamConnection
from ztoapi.upstream.pool import Origin

__all__ = [
    "CountingLoop",
    "CountingTransport",
    "Gateway",
    "api_request",
    "chunked",
    "openai_end",
    "request",
    "stream_head",
    "whole_response",
    "zai_end",
    "zai_event",
]

_ORIGIN = Origin(False, "127.0.0.1", 9100)
_PATHS = {"zai": "/api/paas/v4", "openai": "/v1"}
_UNIX_SECONDS = 1_795_435_200.0
"""The fixed time: the one in the Date field of ``stream_head``."""
_LOOP_SECONDS = 1000.0
_LIMITS_TICK_NS = 1_000_000
"""Step of the limits' clock at each reading; with a fixed clock every bucket would run empty."""


class CountingTransport(asyncio.Transport):
    """Accepts every write at once. Counts ``writes`` and the bytes ``written``; ``last`` is the last piece written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = 0
        self.last: bytes = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        self.written += len(data)
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


class CountingLoop(asyncio.SelectorEventLoop):
    """``wake_ups`` counts the scheduled callbacks: each costs a turn of the loop."""

    def __init__(self) -> None:
        self.wake_ups = 0
        super().__init__()

    def time(self) -> float:
        return _LOOP_SECONDS

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        self.wake_ups += 1
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.wake_ups += 1
        return super().call_at(when, callback, *args, context=context)


class Gateway:
    """One gateway with one client connection and one idle upstream connection."""

    def __init__(
        self, dialect: DialectName = "zai", limits: LimitsConfig | None = None, cache: CacheConfig | None = None
    ) -> None:
        self.loop = CountingLoop()
        base = f"http://127.0.0.1:{_ORIGIN.port}{_PATHS[dialect]}"
        platform = Platform(
            id=dialect,
            dialect=dialect,
            base_url=base,
            chat_url=f"{base}/chat/completions",
            models_url=None,
            credentials=(Credential(name=f"{dialect}-1", token=Secret("token")),),
            default_model="glm-4.6",
        )
        config = Config(
            # So many that no refusal of the scenarios becomes another one.
            server=ServerConfig(max_wrong_keys_per_minute=1_000_000),
            api_keys=(Secret("key"),),
            limits=limits or LimitsConfig(),
            cache=cache or CacheConfig(),
            platforms=(platform,),
            default_platform=dialect,
            routes=(ModelRoute(public="glm-4.6", platform=dialect, upstream="glm-4.6"),),
        )
        with (
            patch("secrets.token_hex", return_value="0123456789abcdef"),
            patch.object(ServerContext, "wall_clock", staticmethod(lambda: _UNIX_SECONDS)),
        ):
            limiter = make_shared_limits(config).limiter(0)
            limiter.clock = itertools.count(0, _LIMITS_TICK_NS).__next__
            self.application = Application(config, self.loop, limiter=limiter)
        self.application.context.date = b"Mon, 23 Nov 2026 12:00:00 GMT"
        self.client = CountingTransport()
        self.upstream = CountingTransport()
        self.connect()
        client = self.application.client
        assert isinstance(client, NativeClient)
        pool = client.pool
        # The base may not have it.
        cork = (client.cork,) if hasattr(client, "cork") else ()
        self._connection = UpstreamConnection(self.loop, pool, client.read_buffer, client.heads, *cork)
        self._connection.connection_made(self.upstream)
        pool.opened(_ORIGIN, self._connection)
        pool.connection_released(self._connection)

    def receive_request(self, data: bytes) -> None:
        """Feeds ``data`` from the client."""
        self._protocol.data_received(data)

    def connect(self) -> None:
        """Opens another connection of a client."""
        self._protocol = HTTPProtocol(self.application.context)
        self._protocol.connection_made(self.client)

    def disconnect(self) -> None:
        """Ends it."""
        self._protocol.connection_lost(None)

    def end_turn(self) -> None:
        """Runs the callbacks that wait for the end of the turn of the event loop."""
        self.loop.stop()
        self.loop.run_forever()

    def receive_response(self, data: bytes) -> None:
        """Feeds ``data`` from the upstream, as one read."""
        self.feeder(data)()

    def feeder(self, data: bytes) -> Callable[[], None]:
        """Returns a function that does ``receive_response(data)`` without lookups."""
        connection, size = self._connection, len(data)
        get_buffer, buffer_updated = connection.get_buffer, connection.buffer_updated

        def feed() -> None:
            get_buffer(size)[:size] = data
            buffer_updated(size)

        return feed

    def publish(self) -> None:
        """Counts the requests that have ended, as at a tick."""
        if hasattr(self.application.recorder, "publish"):
            # The base may not have it.
            self.application.recorder.publish()

    def count_high(self) -> None:
        """Starts the counts of telemetry at a thousand, because Python preallocates only small integers."""
        self.publish()
        slot = self.application.telemetry.slot(0)
        for table in TABLES:
            for labels, _ in slot.rows(table):
                cells, _ = slot.row(table, labels)
                for place in range(table.cells):
                    if place not in table.doubles:
                        cells[place] += 1000
        for cell in (Cell.STARTED, Cell.STREAMS, Cell.BYTES_IN, Cell.BYTES_OUT, *range(Cell.OVERHEAD + 1, Cell.LAG)):
            slot.ints[cell] += 1000

    def close(self) -> None:
        self.loop.close()


def request(*, stream: bool, prompt: str = "hello", more: bytes = b"") -> bytes:
    """Returns a chat request as sent by openai-python; ``more`` are fields of its body, each after a comma."""
    body = b'{"messages":[{"role":"user","content":"%b"}],"model":"glm-4.6","stream":%b%b}' % (
        prompt.encode("ascii"),
        b"true" if stream else b"false",
        more,
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nAccept-Encoding: gzip, deflate\r\n"
        b"Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        b"User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
        b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        b"Authorization: Bearer key\r\nX-Stainless-Async: false\r\nContent-Length: %d\r\n\r\n%b"
    ) % (len(body), body)


def api_request(path: str, body: bytes) -> bytes:
    """Returns a request of another client API."""
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nContent-Type: application/json\r\nAuthorization: Bearer key\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    ) % (path.encode("ascii"), len(body), body)


def stream_head() -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nContent-Type: text/event-stream;charset=UTF-8\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nVary: Origin\r\n\r\n"
    )


def zai_event(text: str) -> bytes:
    """Returns one delta as sent by Z.ai, about 190 bytes with one word of text."""
    return (
        b'data: {"id":"20261123120000aabbccddeeff0011","created":1767225600,"model":"glm-4.6",'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"%b"}}]}\n\n'
    ) % text.encode("ascii")


def zai_end() -> bytes:
    """Returns the last delta, with the usage, and the end mark."""
    return (
        b'data: {"id":"20261123120000aabbccddeeff0011","created":1767225600,"model":"glm-4.6",'
        b'"choices":[{"index":0,"finish_reason":"stop","delta":{"role":"assistant","content":""}}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}\n\ndata: [DONE]\n\n'
    )


def openai_end() -> tuple[bytes, bytes]:
    """Returns the finish and the usage of a stream, as servers with OpenAI's format send them."""
    start = b'data: {"id":"20261123120000aabbccddeeff0011","created":1767225600,"model":"glm-4.6",'
    return (
        start + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        start + b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}\n\n',
    )


def whole_response(text: str) -> bytes:
    """Returns a whole upstream response, head and body: about 230 bytes and ``text``."""
    body = (
        b'{"id":"1","created":1767225600,"model":"glm-4.6","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"%b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,'
        b'"total_tokens":21}}' % text.encode("ascii")
    )
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)
