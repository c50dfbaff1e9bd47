"""The wire format: request and response heads, the chunk walk, the ring, whole events, framing."""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import chunked, request, stream_head, zai_event
from bench.micro.pieces import BURST, note
from ztoapi.wire.buffer import Ring, Rings
from ztoapi.wire.chunked import ChunkDecoder
from ztoapi.wire.client import ClientWire, ResponseHeads
from ztoapi.wire.framing import chunk, fixed_head
from ztoapi.wire.framing import stream_head as framed_stream_head
from ztoapi.wire.limits import Limits
from ztoapi.wire.request import parse_head
from ztoapi.wire.server import ServerWire
from ztoapi.wire.sse import EventBlocks

LIMITS = Limits()
REQUEST = request(stream=True)
HEAD = REQUEST.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
EVENT = zai_event(" word")
BATCH = 100
"""Calls per round of a function that takes less than a microsecond, so that the timer does not dominate."""


def test_head_scan_and_h11_parse(benchmark: BenchmarkFixture) -> None:
    note(benchmark, "heads", bytes=len(HEAD), heads=1)
    head = benchmark(parse_head, HEAD, LIMITS)
    assert head.path == "/v1/chat/completions"


def test_head_that_the_connection_has_sent_before(benchmark: BenchmarkFixture) -> None:
    wire = ServerWire(LIMITS)

    def receive() -> None:
        wire.receive_data(REQUEST)
        wire.next_head()
        wire.next_request()

    receive()
    note(benchmark, "heads", bytes=len(REQUEST), heads=1)
    benchmark(receive)


def test_response_head_that_is_known(benchmark: BenchmarkFixture) -> None:
    heads, data = ResponseHeads(), stream_head()

    def read() -> object:
        wire = ClientWire(heads)
        wire.start("POST")
        return wire.read_head(data)

    note(benchmark, "heads", bytes=len(data), heads=1)
    assert benchmark(read) is not None


@pytest.mark.parametrize("chunks", [1, BURST, 64])
def test_chunk_walk(benchmark: BenchmarkFixture, chunks: int) -> None:
    data = b"".join(chunked(EVENT) for _ in range(chunks))
    decoder = ChunkDecoder()
    note(benchmark, "chunk walk", bytes=len(data), chunks=chunks)
    assert benchmark(decoder.decode, data) == EVENT * chunks


def test_chunk_walk_cut_anywhere(benchmark: BenchmarkFixture) -> None:
    data = b"".join(chunked(EVENT) for _ in range(BURST))
    middle = len(data) // 2 + 7
    decoder = ChunkDecoder()

    def decode() -> bytes:
        return decoder.decode(data[:middle]) + decoder.decode(data[middle:])

    note(benchmark, "chunk walk", bytes=len(data), chunks=BURST)
    assert benchmark(decode) == EVENT * BURST


def test_ring_append_and_take(benchmark: BenchmarkFixture) -> None:
    ring = Ring()

    def pass_through() -> None:
        for _ in range(BATCH):
            ring.append(EVENT)
            ring.take(ring.tail)

    note(benchmark, "ring", bytes=len(EVENT) * BATCH, calls=BATCH)
    benchmark(pass_through)


def _feeder(pieces: list[bytes]) -> Callable[[], bytes]:
    blocks = EventBlocks(Rings(1 << 20))

    def feed() -> bytes:
        return b"".join([blocks.feed(piece) for piece in pieces])

    return feed


@pytest.mark.parametrize("events", [1, BURST])
def test_sse_split_of_whole_events(benchmark: BenchmarkFixture, events: int) -> None:
    block = EVENT * events
    note(benchmark, "SSE split", bytes=len(block), events=events)
    assert benchmark(_feeder([block])) == block


def test_sse_split_of_cut_events(benchmark: BenchmarkFixture) -> None:
    block = EVENT * BURST
    middle = len(block) // 2 + 7
    note(benchmark, "SSE split", bytes=len(block), events=BURST)
    assert benchmark(_feeder([block[:middle], block[middle:]])) == block


def test_chunk_framing(benchmark: BenchmarkFixture) -> None:
    def frame() -> None:
        for _ in range(BATCH):
            chunk(EVENT)

    note(benchmark, "framing", bytes=len(EVENT) * BATCH, chunks=BATCH)
    benchmark(frame)


def test_heads_of_responses(benchmark: BenchmarkFixture) -> None:
    date = b"Mon, 23 Nov 2026 12:00:00 GMT"

    def frame() -> None:
        fixed_head(200, b"application/json", 1000, date=date, request_id=b"id", headers=b"", close=False)
        framed_stream_head(b"text/event-stream", date=date, request_id=b"id", headers=b"", chunked=True, close=False)

    note(benchmark, "framing", heads=2)
    benchmark(frame)
