"""What an upstream sends densely is handled in several turns of the event loop over ``--transport httpx`` too."""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.upstream.scripted import EVENTS_HEAD, LAST_CHUNK, LONG, Heard, Peer, Upstream, chunk, turn
from ztoapi.upstream.client import Client
from ztoapi.wire.limits import SOCKET_BUFFER_BYTES

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("client", ["httpx"], indirect=True)]

MOST_LINE_ENDS = 512
MOST_CHUNKS = 171


class Turns(Heard):
    """A sink that notes the bytes of each turn of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: Counter[int] = Counter()
        self.line_ends: Counter[int] = Counter()
        self._turn = 0
        self._count()

    def _count(self) -> None:
        self._turn += 1
        if not self.over:
            asyncio.get_running_loop().call_soon(self._count)

    def on_data(self, payload: bytes) -> None:
        self.chunks[self._turn] += 1
        self.line_ends[self._turn] += payload.count(b"\n") + payload.count(b"\r")
        super().on_data(payload)


FLOODS = {
    "chunks of one byte": (b"x" * 4000, 1),
    "chunks of a line feed": (b"\n" * 4000, 1),
    "comments": (b":\n\n" * 10_000, 30_000),
    "empty events with CR": (b"data:\r\r" * 5_000, 30_000),
    "empty events in chunks": (b"data: {}\n\n" * 2_000, 10),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_dense_response_is_handled_in_several_turns(client: Client, upstream: Upstream, flood: str) -> None:
    payload, size = FLOODS[flood]
    heard = Turns()
    client.send(upstream.request(), heard, LONG)
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + b"".join(chunk(payload[at : at + size]) for at in range(0, len(payload), size)))
    peer.send(LAST_CHUNK)
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]
    assert heard.body == payload
    assert max(heard.chunks.values()) <= MOST_CHUNKS
    assert max(heard.line_ends.values()) <= 2 * MOST_LINE_ENDS


async def test_bytes_after_a_dense_response_are_no_response_to_another_request(
    client: Client, upstream: Upstream
) -> None:
    dense = EVENTS_HEAD + chunk(b"\n") * 2000 + LAST_CHUNK
    heard = Heard()
    client.send(upstream.request(), heard, LONG)
    peer = await upstream.accept_request()
    # So dense that the surplus is in a later part than the end of the response.
    peer.send(dense + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong" + b"\r\n" * 1000)
    await heard.ended()
    second = Heard()
    client.send(upstream.request(), second, LONG)
    other = await upstream.accept_request()
    other.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright")
    await second.ended()
    assert heard.body == b"\n" * 2000
    assert second.body == b"right"
    await peer.closed_by_gateway()


def receive_buffers(port: int) -> set[int]:
    """Returns the sizes of the kernel's receive buffers of this process's connections to ``port``."""
    sizes: set[int] = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, IndexError):
            copy = os.dup(int(name))
            try:
                sock = socket.socket(fileno=copy)
            except OSError:
                os.close(copy)
                continue
            with sock:
                if sock.getpeername()[1] == port:
                    sizes.add(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    return sizes


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_the_kernel_buffers_no_more_than_for_the_native_transport(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = client.send(upstream.request(), heard, LONG)
    peer: Peer = await upstream.accept_request()
    assert receive_buffers(upstream.port) == {2 * SOCKET_BUFFER_BYTES}
    call.cancel()
    await peer.closed_by_gateway()
    await turn()
