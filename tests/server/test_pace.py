"""A stream that must not be faster than its pace: how it rests, and that a full socket and its rest do not mix up."""

import pytest

from tests.server.conftest import Worker
from tests.support.clock import Connection
from tests.support.serving import Source
from ztoapi.server.exchange import Exchange

GET = b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n"
SECOND_NS = 1_000_000_000


class Stream:
    """One stream; ``rest`` is the seconds that each piece costs, ``calls`` the calls to pause and resume its source."""

    def __init__(self, worker: Worker) -> None:
        self.connection: Connection = worker.connect()
        self.connection.send(GET)
        self.exchange: Exchange = worker.held.pop()
        self.rest = 0.0
        self.sizes: list[int] = []
        self.calls: list[str] = []
        self.exchange.pace = self.charge
        self.exchange.producer = Source(
            pause=lambda: self.calls.append("pause"), resume=lambda: self.calls.append("resume")
        )
        self.exchange.start_stream()

    def charge(self, size: int) -> int:
        self.sizes.append(size)
        return int(self.rest * SECOND_NS)


@pytest.fixture
def stream(worker: Worker) -> Stream:
    return Stream(worker)


def test_a_stream_within_its_pace_is_left_alone(stream: Stream) -> None:
    stream.exchange.stream.write(b"data: 1\n\n")
    stream.exchange.stream.end()
    assert stream.calls == []
    assert b"data: 1\n\n" in stream.connection.received


def test_it_rests_for_the_returned_time(stream: Stream, worker: Worker) -> None:
    stream.rest = 2.0
    stream.exchange.stream.write(b"data: 1\n\n")
    assert b"data: 1\n\n" in stream.connection.received
    worker.loop.advance(1.9)
    assert stream.calls == ["pause"]
    worker.loop.advance(0.2)
    assert stream.calls == ["pause", "resume"]


def test_what_its_source_still_gives_is_sent_and_charged(stream: Stream, worker: Worker) -> None:
    stream.rest = 2.0
    stream.exchange.stream.write(b"data: 1\n\n")
    stream.exchange.stream.write(b"data: 2\n\n")
    assert b"data: 2\n\n" in stream.connection.received
    assert len(stream.sizes) == 2
    worker.loop.advance(2.1)
    assert stream.calls == ["pause", "resume"]


def test_room_in_the_socket_does_not_end_a_rest(stream: Stream, worker: Worker) -> None:
    stream.rest = 2.0
    stream.connection.transport.blocked = True
    stream.exchange.stream.write(b"x" * 100_000)
    stream.connection.transport.take(100_000)
    worker.loop.advance(1.0)
    assert "resume" not in stream.calls
    worker.loop.advance(1.1)
    assert stream.calls[-1] == "resume"


def test_the_end_of_a_rest_does_not_fill_a_full_socket(stream: Stream, worker: Worker) -> None:
    stream.rest = 2.0
    stream.connection.transport.blocked = True
    stream.exchange.stream.write(b"x" * 100_000)
    worker.loop.advance(2.1)
    assert "resume" not in stream.calls
    stream.connection.transport.take(200_000)
    worker.loop.advance(0.0)
    assert stream.calls[-1] == "resume"


def test_a_stream_that_ends_while_it_rests_leaves_nothing_behind(stream: Stream, worker: Worker) -> None:
    stream.rest = 2.0
    stream.exchange.stream.write(b"data: 1\n\n")
    stream.exchange.stream.end()
    worker.loop.advance(3.0)
    assert stream.calls == ["pause"]
