"""Back-pressure and large bodies: memory stays bounded, and every byte arrives, in order and once."""

import asyncio
import functools

import pytest

from tests.upstream.scripted import EVENTS_HEAD, LAST_CHUNK, OK, Heard, Native, Peer, Upstream, chunk, listening
from ztoapi.upstream.client import Client

pytestmark = pytest.mark.anyio

PIECE = 16384
LARGEST_READ_BYTES = 65536
"""The size of a read of httpx; the native client reads half of that."""


@functools.cache
def pattern(size: int) -> bytes:
    """Bytes that do not repeat at any power of two."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def framed(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    chunks = [chunk(body[at : at + PIECE]) for at in range(0, len(body), PIECE)]
    return EVENTS_HEAD + b"".join(chunks) + LAST_CHUNK


class Slow(Heard):
    """Pauses after each ``portion`` of bytes, and goes on in the next turn of the loop once it ``may_go_on``."""

    def __init__(self, client: Client, upstream: Upstream, portion: int) -> None:
        super().__init__(data=self.hold)
        self.portion = portion
        self.may_go_on = False
        self.paused_at = 0
        self.call = client.send(upstream.request(), self)

    def hold(self) -> None:
        if len(self.body) - self.paused_at >= self.portion:
            self.paused_at = len(self.body)
            self.call.pause()
            if self.may_go_on:
                self.resume_soon()

    def resume_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.call.resume)


async def talk_elsewhere(client: Client, other: Upstream) -> None:
    """Several round trips: plenty of loop turns in which bytes that are not held back would arrive."""
    for _ in range(10):
        heard = Heard()
        client.send(other.request(), heard)
        if not other.connections:
            await other.accept()
        await other.peers[0].request()
        other.peers[0].send(OK)
        await heard.ended()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_fast_upstream_waits_for_a_slow_client(client: Client, upstream: Upstream, framing: str) -> None:
    body = pattern(20_000_000)
    heard = Slow(client, upstream, 1)
    peer = await upstream.accept_request()
    peer.send(framed(body, framing))
    await heard.data(1)
    held = len(heard.body)
    assert held <= LARGEST_READ_BYTES
    async with listening() as other:
        await talk_elsewhere(client, other)
    assert len(heard.body) == held
    assert peer.transport.get_write_buffer_size() > 1_000_000
    heard.portion = 1_000_000
    heard.may_go_on = True
    heard.resume_soon()
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]
    assert heard.body == body


async def test_pausing_before_there_is_a_connection(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = client.send(upstream.request(), heard)
    call.pause()
    peer = await upstream.accept_request()
    peer.send(framed(pattern(1_000_000), "chunked"))
    async with listening() as other:
        await talk_elsewhere(client, other)
    assert not heard.body
    call.resume()
    assert (await heard.ended()).body == pattern(1_000_000)


async def test_pausing_while_a_dead_connection_is_replaced(native: Native, upstream: Upstream) -> None:
    async with listening() as other:
        await talk_elsewhere(native.client, upstream)
        old = upstream.peers[0]
        heard = Heard()
        old.close_unseen()
        call = native.client.send(upstream.request(), heard)
        call.pause()
        # While paused, the end of the old connection is not read: that waits, too.
        await talk_elsewhere(native.client, other)
        assert upstream.connections == 1
        call.resume()
        peer = await upstream.accept()
        call.pause()
        await peer.request()
        peer.send(OK)
        await talk_elsewhere(native.client, other)
        assert heard.calls == []
        call.resume()
        assert (await heard.ended()).calls == ["head", "data", "end"]


async def test_an_answer_that_ends_while_paused_leaves_a_connection_that_reads(
    native: Native, upstream: Upstream
) -> None:
    heard = Heard()
    heard.at["data"] = heard.pause
    heard.call = native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]
    await talk_elsewhere(native.client, upstream)
    assert upstream.connections == 1


# -- large requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [16_384, 16_385, 4_000_000])
async def test_a_large_request_arrives_whole(
    client: Client, upstream: Upstream, size: int, kind: type[bytes] | type[bytearray]
) -> None:
    heard = Heard()
    client.send(upstream.request(kind(pattern(size))), heard)
    peer = await upstream.accept()
    assert (await peer.request()).body == pattern(size)
    peer.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]


async def test_a_large_request_is_sent_again_whole(native: Native, upstream: Upstream) -> None:
    await talk_elsewhere(native.client, upstream)
    old = upstream.peers[0]
    old.appetite = 100_000
    heard = Heard()
    native.client.send(upstream.request(pattern(4_000_000)), heard)
    await old.until(lambda: old.unread >= 100_000)
    old.close()
    peer = await upstream.accept()
    assert (await peer.request()).body == pattern(4_000_000)
    peer.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]


def little_appetite(peer: Peer) -> None:
    peer.appetite = 100_000


@pytest.mark.parametrize("fields", [b"", b"connection: close\r\n"], ids=["keep-alive", "close"])
async def test_a_refusal_before_the_request_was_read_arrives_and_ends_the_connection(
    native: Native, upstream: Upstream, fields: bytes
) -> None:
    upstream.at_accept = little_appetite
    heard = Heard()
    native.client.send(upstream.request(pattern(8_000_000)), heard)
    peer = await upstream.accept()
    await peer.until(lambda: peer.unread >= 100_000)
    peer.send(b"HTTP/1.1 413 Too Large\r\n%bcontent-length: 3\r\n\r\nbig" % fields)
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]
    assert heard.head.status == 413
    # The next request must not wait behind what the upstream does not want to read.
    again = Heard()
    native.client.send(upstream.request(), again)
    fresh = await upstream.accept()
    await fresh.request()
    fresh.send(OK)
    assert (await again.ended()).calls == ["head", "data", "end"]
    peer.appetite = None
    peer.transport.resume_reading()
    await peer.closed_by_gateway()
    assert peer.unread < 8_000_000


async def test_a_refusal_with_the_whole_request_read_keeps_the_connection(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(pattern(4_000_000)), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
    await heard.ended()
    assert native.client.pool.statistics().idle == 1
