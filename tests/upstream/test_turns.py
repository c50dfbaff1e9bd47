"""The work for one upstream connection in one turn of the event loop is bounded, whatever the upstream sends."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.upstream.scripted import Silent, read
from ztoapi.errors import UpstreamError
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.connection import Timeouts, UpstreamConnection, make_read_buffer
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.upstream.sink import Sink, Take
from ztoapi.wire.chunked import ChunkDecoder
from ztoapi.wire.client import ResponseHead, ResponseHeads
from ztoapi.wire.limits import READ_BUFFER_BYTES, SPARSE_READ_BYTES, TURN_LINE_ENDS

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Switched(Silent):
    """A transport that shows whether it reads, and whose reading is switched only when it changes."""

    reading = True

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Counting(Sink):
    """A sink that keeps what it gets, and pauses the connection while ``slow``."""

    def __init__(self) -> None:
        self.connection: UpstreamConnection | None = None
        self.payload = b""
        self.slow = False
        self.take: Take | None = None
        self.ended = 0
        self.errors: list[UpstreamError] = []

    @property
    def received(self) -> int:
        return len(self.payload)

    def on_head(self, head: ResponseHead) -> Take | None:
        assert head.chunked
        return self.take

    def on_data(self, payload: bytes) -> None:
        self.payload += payload
        if self.slow and self.connection is not None:
            self.connection.pause()

    def on_end(self) -> None:
        self.ended += 1

    def on_error(self, error: UpstreamError) -> None:
        self.errors.append(error)

    def on_idle(self, seconds: float) -> None: ...


class Busy:
    """A connection whose response has begun, with its transport, sink and loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pool = Pool(Deadlines(self.loop.call_soon), max_idle=1, max_idle_per_origin=1, idle_timeout=1.0)
        self.connection = UpstreamConnection(self.loop, self.pool, make_read_buffer(), ResponseHeads())
        self.transport = Switched(self.connection)
        self.pool.opened(Origin(False, "127.0.0.1", 1), self.connection)
        self.sink = Counting()
        self.sink.connection = self.connection
        self.connection.send("POST", b"", b"", self.sink, Timeouts(1.0, 1.0, 1.0))
        read(self.connection, HEAD)

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def read(self, data: bytes) -> None:
        read(self.connection, data)


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.connection.cancel()
    busy.loop.close()


def chunks(piece: bytes) -> bytes:
    """As many chunks of ``piece`` as a read holds."""
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    return chunk * (READ_BUFFER_BYTES // len(chunk))


def in_one_chunk(piece: bytes) -> bytes:
    payload = piece * ((READ_BUFFER_BYTES - 10) // len(piece))
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def decoded(data: bytes) -> bytes:
    return ChunkDecoder().decode(data)


FLOODS = {
    "chunks of one byte": chunks(b"x"),
    "chunks of a line feed": chunks(b"\n"),
    "empty events": in_one_chunk(b"data: {}\n\n"),
    "empty events with CR": in_one_chunk(b"data:\r\r"),
    "empty events with CRLF": in_one_chunk(b"data:\r\n\r\n"),
    "empty events in chunks": chunks(b"data: {}\n\n"),
    "comments": in_one_chunk(b":\n\n"),
    "blank lines": in_one_chunk(b"\n"),
    "dense at the end": in_one_chunk(b"x" * 16_000 + b"\n" * 16_000),
    "dense at the beginning": in_one_chunk(b":\n" * 8_000 + b"x" * 16_000),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_dense_read_is_handled_in_several_turns(busy: Busy, flood: str) -> None:
    data = FLOODS[flood]
    payload = decoded(data)
    before = turns = 0
    busy.read(data)
    while True:
        part = busy.sink.payload[before:]
        assert len(part) <= SPARSE_READ_BYTES or part.count(b"\n") + part.count(b"\r") <= TURN_LINE_ENDS
        before = busy.sink.received
        if before == len(payload):
            break
        assert not busy.transport.reading
        busy.turn()
        turns += 1
        assert busy.sink.received > before
    assert busy.sink.payload == payload
    assert turns >= 2
    busy.turn()
    assert busy.transport.reading


@pytest.mark.parametrize("with_head", [True, False])
def test_what_a_sink_leaves_of_a_read_is_handled_in_several_turns(busy: Busy, with_head: bool) -> None:
    plain = b"5\r\nplain\r\n"
    flood = b"1\r\n\n\r\n" * 4000
    taken: list[bytes] = []

    def take(read: bytes) -> bytes:
        rest = read.removeprefix(plain)
        taken.append(read.removesuffix(rest))
        return rest

    busy.sink.take = take
    busy.connection.offer_raw_reads(take)
    if with_head:
        busy.read(b"0\r\n\r\n")
        busy.connection.send("POST", b"", b"", busy.sink, Timeouts(1.0, 1.0, 1.0))
    busy.read((HEAD if with_head else b"") + plain + flood)
    assert taken[-1] == plain
    turns = 0
    while busy.sink.received < 4000:
        assert not busy.transport.reading
        assert busy.sink.received <= (turns + 1) * SPARSE_READ_BYTES
        busy.turn()
        turns += 1
    assert turns >= 2
    assert busy.sink.payload == b"\n" * 4000 and b"".join(taken) == plain


def test_ordinary_events_are_handled_in_one_turn(busy: Busy) -> None:
    event = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"word" * 30)
    data = chunks(event)[: -READ_BUFFER_BYTES // 3]
    busy.read(data)
    assert busy.sink.received > len(data) * 0.9
    assert busy.transport.reading


def ending(surplus: bytes = b"") -> bytes:
    """A dense read with the end of a response, and ``surplus`` after it."""
    return b"1\r\n\n\r\n" * 4000 + b"0\r\n\r\n" + surplus


def test_a_response_that_ends_in_a_later_turn_keeps_its_connection(busy: Busy) -> None:
    busy.read(ending())
    while not busy.sink.ended:
        assert busy.sink.received < 4000
        busy.turn()
    busy.turn()
    assert busy.sink.received == 4000
    assert busy.pool.statistics().idle == 1
    assert busy.transport.reading


@pytest.mark.parametrize("surplus", [b"x", b"1\r\nx\r\n" * 1000])
def test_bytes_after_the_end_close_the_connection(busy: Busy, surplus: bytes) -> None:
    busy.read(ending(surplus))
    for _ in range(20):
        busy.turn()
    assert busy.sink.ended == 1
    assert busy.sink.received == 4000
    assert busy.pool.statistics().idle == 0


def test_a_slow_client_is_waited_for_between_the_parts(busy: Busy) -> None:
    busy.read(FLOODS["comments"])
    busy.sink.slow = True
    busy.turn()
    busy.sink.slow = False
    received = busy.sink.received
    for _ in range(3):
        busy.turn()
    assert busy.sink.received == received
    busy.connection.resume()
    while busy.sink.received < len(decoded(FLOODS["comments"])):
        assert not busy.transport.reading
        busy.turn()
    busy.turn()
    assert busy.transport.reading


def test_what_was_read_before_the_connection_is_lost_counts(busy: Busy) -> None:
    busy.read(ending())
    busy.connection.connection_lost(None)
    busy.turn()
    assert (busy.sink.ended, busy.sink.received, busy.sink.errors) == (1, 4000, [])


def test_a_cancelled_request_gets_nothing_more(busy: Busy) -> None:
    busy.read(FLOODS["comments"])
    received = busy.sink.received
    busy.connection.cancel()
    for _ in range(3):
        busy.turn()
    assert busy.sink.received == received


def test_a_full_read_is_the_last_in_its_turn_of_the_loop() -> None:
    loop = asyncio.new_event_loop()

    def turn() -> None:
        loop.call_soon(loop.stop)
        loop.run_forever()

    pool = Pool(Deadlines(loop.call_soon), max_idle=1, max_idle_per_origin=1, idle_timeout=1.0)
    connection = UpstreamConnection(loop, pool, make_read_buffer(), ResponseHeads())
    transport = Switched(connection)
    pool.opened(Origin(False, "127.0.0.1", 1), connection)
    sink = Counting()
    sink.connection = connection
    connection.send("POST", b"", b"", sink, Timeouts(1.0, 1.0, 1.0))
    read(connection, HEAD)
    full = b"%x\r\n%b\r\n" % (READ_BUFFER_BYTES - 8, b"x" * (READ_BUFFER_BYTES - 8))
    assert len(full) == READ_BUFFER_BYTES
    read(connection, b"1\r\nx\r\n" * 1000)
    assert transport.is_reading()
    read(connection, full)
    assert not transport.is_reading()
    turn()
    assert transport.is_reading()
    # A client that is slow meanwhile is waited for as ever.
    sink.slow = True
    read(connection, full)
    turn()
    assert not transport.is_reading()
    connection.resume()
    assert transport.is_reading()
    read(connection, full)
    connection.resume()
    assert not transport.is_reading()
    turn()
    assert transport.is_reading()
    assert sink.received == 1000 + 3 * (READ_BUFFER_BYTES - 8)
    connection.cancel()
    loop.close()
