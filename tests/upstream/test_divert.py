"""Reads with their framing are offered only where a chunk begins, and only while an answer is under way."""

import asyncio
from unittest.mock import patch

from bench.inmemory import CountingTransport, chunked, stream_head
from ztoapi.errors import UpstreamError
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.connection import Timeouts, UpstreamConnection, make_read_buffer
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead, ResponseHeads


class Said(Sink):
    """A sink that keeps the payload."""

    def __init__(self) -> None:
        self.payload = b""
        self.ends = 0

    def on_head(self, head: ResponseHead) -> None:
        assert head.chunked

    def on_data(self, payload: bytes) -> None:
        self.payload += payload

    def on_end(self) -> None:
        self.ends += 1

    def on_error(self, error: UpstreamError) -> None:
        raise error

    def on_idle(self, seconds: float) -> None:
        raise AssertionError


def test_reads_are_offered_where_a_chunk_begins_until_the_answer_is_over() -> None:
    loop = asyncio.new_event_loop()
    pool = Pool(Deadlines(loop.call_soon), max_idle=1, max_idle_per_origin=1, idle_timeout=1.0)
    connection = UpstreamConnection(loop, pool, make_read_buffer(), ResponseHeads())
    connection.connection_made(CountingTransport())
    pool.opened(Origin(False, "127.0.0.1", 1), connection)

    def answer(*reads: bytes) -> None:
        for read in reads:
            connection.get_buffer(-1)[: len(read)] = read
            connection.buffer_updated(len(read))

    said = Said()
    connection.send("POST", b"", b"", said, Timeouts(1.0, 1.0, 1.0))
    answer(stream_head() + chunked(b"first"))
    offered: list[bytes] = []

    def take(read: bytes) -> bytes:
        offered.append(read)
        return read.removeprefix(chunked(b"taken"))

    connection.offer_raw_reads(take)
    cut = chunked(b"cut " + chunked(b"taken"))
    answer(chunked(b"taken"), chunked(b"left"), cut[:7], chunked(b"taken"), b"\r\n", chunked(b"taken"), b"0\r\n\r\n")
    assert said.payload == b"firstleftcut " + chunked(b"taken")
    assert offered == [chunked(b"taken"), chunked(b"left"), cut[:7], chunked(b"taken"), b"0\r\n\r\n"]
    assert said.ends == 1

    connection.send("POST", b"", b"", said, Timeouts(1.0, 1.0, 1.0))
    offered.clear()
    said.payload = b""
    with patch.object(said, "on_head", lambda _: take):
        answer(stream_head() + chunked(b"taken") + chunked(b"left"), chunked(b"taken") + b"0\r\n\r\n")
    assert offered == [chunked(b"taken") + chunked(b"left"), chunked(b"taken") + b"0\r\n\r\n"]
    assert said.payload == b"left"
    assert said.ends == 2
    offered.clear()

    connection.send("POST", b"", b"", said, Timeouts(1.0, 1.0, 1.0))
    answer(stream_head(), chunked(b"taken"))
    assert said.payload.endswith(b"taken") and not offered
    loop.close()
