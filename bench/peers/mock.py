"""The upstream of the comparison, as cheap as possible so that it does not dominate the measurement.

``python -m bench.peers.mock PORT``. It reads a request by its Content-Length. The body selects the response:
``"stream":true`` 64 chunks, eight per write; the model ``paced`` 64 chunks, one write each, every 20 ms on an absolute
schedule, each containing the monotonic clock; the models ``open-100`` and ``open-1000`` the same every 100 or 1,000 ms,
without an end; anything else about 1 KB of JSON.
"""

import asyncio
import math
import re
import sys
import time
from typing import Final, cast

import uvloop

__all__ = ["CHUNKS", "GAP_SECONDS"]

CHUNKS: Final = 64
PER_WRITE: Final = 8
GAP_SECONDS: Final = 0.02
_OPEN: Final = re.compile(rb'"open-(\d+)"')
_EVENT: Final = (
    b'data: {"id":"20261123120000aabbccddeeff0011","object":"chat.completion.chunk","created":1767225600,'
    b'"model":"glm-4.6","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
)
_FINISH: Final = (
    b'data: {"id":"20261123120000aabbccddeeff0011","object":"chat.completion.chunk","created":1767225600,'
    b'"model":"glm-4.6","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ANSWER: Final = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"glm-4.6","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}'
) % (b"x" * 800)
_WHOLE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_ANSWER),
    _ANSWER,
)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


_LAST: Final = chunk(_FINISH) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_EVENTS: Final = [chunk(_EVENT % (b"token %02d " % number)) for number in range(CHUNKS)]
_WRITES: Final = [b"".join(_EVENTS[at : at + PER_WRITE]) for at in range(0, CHUNKS, PER_WRITE)]
_BURST: Final = [_HEAD + _WRITES[0], *_WRITES[1:-1], _WRITES[-1] + _LAST]


class Mock(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._needed = 0
        self._start = 0.0
        self._gap = GAP_SECONDS
        self._chunks: float = CHUNKS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if len(buffer) < self._needed:
            self._buffer = buffer
            return
        end = buffer.find(b"\r\n\r\n")
        head = buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        self._needed = end + 4 + length
        if end < 0 or len(buffer) < self._needed:
            self._buffer = buffer
            return
        tail = buffer[max(end + 4, self._needed - 200) : self._needed]
        body = buffer[end + 4 : end + 204] + tail
        self._buffer, self._needed = buffer[self._needed :], 0
        if b'"stream":true' not in body.replace(b" ", b""):
            self.transport.write(_WHOLE)
        elif (gap := _OPEN.search(body)) is not None or b'"paced"' in body:
            self.transport.write(_HEAD)
            self._gap, self._chunks = (GAP_SECONDS, CHUNKS) if gap is None else (int(gap[1]) / 1000, math.inf)
            self._start = self._loop.time()
            self._pace(0)
        else:
            self._burst(0)

    def _burst(self, number: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(_BURST[number])
        if number + 1 < len(_BURST):
            self._loop.call_soon(self._burst, number + 1)

    def _pace(self, number: int) -> None:
        if self.transport.is_closing():
            return
        if number == self._chunks:
            self.transport.write(_LAST)
            return
        self.transport.write(chunk(_EVENT % (b"t=%d;" % time.monotonic_ns())))
        self._loop.call_at(self._start + self._gap * (number + 1), self._pace, number + 1)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Mock(loop), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
