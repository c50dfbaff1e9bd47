"""A busy connection is checked when something may be due. A check at every scan would have the same results."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.inmemory import CountingTransport, chunked, stream_head
from tests.upstream.scripted import read
from tests.upstream.test_pool import ClockLoop
from ztoapi.errors import UpstreamError
from ztoapi.server.stream import STALL_SECONDS
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream import pool
from ztoapi.upstream.connection import Timeouts, UpstreamConnection, make_read_buffer
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead, ResponseHeads

SCAN_SECONDS = 0.25
MANY = 1000
KEEPALIVE_SECONDS = 6.0


class Client(Sink):
    """Counts stalls and keepalives as a stream and a relay do."""

    def __init__(self) -> None:
        self.stalls = self.keepalives = 0
        self.errors: list[str] = []
        self._stalled = False
        self._kept_alive = 0.0

    def on_head(self, head: ResponseHead) -> None:
        pass

    def on_data(self, payload: bytes) -> None:
        pass

    def on_end(self) -> None:
        raise AssertionError

    def on_error(self, error: UpstreamError) -> None:
        self.errors.append(error.message)

    def on_idle(self, seconds: float) -> None:
        if seconds < STALL_SECONDS:
            self._stalled = False
        elif not self._stalled:
            self._stalled = True
            self.stalls += 1
        if seconds < self._kept_alive:
            self._kept_alive = 0.0
        if seconds - self._kept_alive >= KEEPALIVE_SECONDS:
            self._kept_alive = seconds
            self.keepalives += 1

    @property
    def seen(self) -> tuple[int, int, list[str]]:
        return self.stalls, self.keepalives, self.errors


class Upstream(NamedTuple):
    loop: ClockLoop
    deadlines: Deadlines
    pool: Pool

    def open(self, client: Client, timeouts: Timeouts) -> UpstreamConnection:
        connection = UpstreamConnection(self.loop, self.pool, make_read_buffer(), ResponseHeads())
        connection.connection_made(CountingTransport())
        self.pool.opened(Origin(False, "127.0.0.1", 1), connection)
        connection.send("POST", b"", b"", client, timeouts)
        return connection

    def scan(self) -> None:
        self.loop.now += SCAN_SECONDS
        self.deadlines.expire(self.loop.now)


def make() -> Upstream:
    loop = ClockLoop()
    deadlines = Deadlines(loop.call_soon)
    return Upstream(loop, deadlines, Pool(deadlines, max_idle=1, max_idle_per_origin=1, idle_timeout=1000.0))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = make()
    yield made
    made.loop.close()


STEPS = st.lists(
    st.sampled_from(["read", "pause", "resume", "scan", "scan", "quiet", "silence"]), min_size=1, max_size=40
)


@given(STEPS, st.sampled_from([(3.0, 4.0, 20.0), (60.0, 9.0, 40.0), (7.0, 90.0, 30.0)]))
def test_the_results_are_those_of_a_check_at_every_scan(steps: list[str], limits: tuple[float, float, float]) -> None:
    one, other = make(), make()
    rare, frequent = Client(), Client()
    pairs = [
        (one, one.open(rare, Timeouts(*limits, STALL_SECONDS))),
        (other, other.open(frequent, Timeouts(*limits, 0.0))),
    ]
    try:
        begun = False
        for step in steps:
            scans = {"scan": 1, "quiet": 7, "silence": 30}.get(step, 0)
            for _ in range(scans or 1):
                for upstream, connection in pairs:
                    if scans:
                        upstream.scan()
                    elif step == "pause":
                        connection.pause()
                    elif step == "resume":
                        connection.resume()
                    elif connection.sink is not None and not connection._paused:
                        read(connection, chunked(b"x") if begun else stream_head())
                assert rare.seen == frequent.seen
            begun = begun or step == "read"
    finally:
        for upstream, _ in pairs:
            upstream.loop.close()


@pytest.mark.parametrize("idle", [0.0, STALL_SECONDS], ids=["every scan", "when due"])
def test_short_pauses_of_the_client_hardly_extend_the_total_time(upstream: Upstream, idle: float) -> None:
    client = Client()
    connection = upstream.open(client, Timeouts(60.0, 60.0, 30.0, idle))
    read(connection, stream_head())
    begin = upstream.loop.now
    pauses = 0
    while not client.errors:
        for scan in range(16):
            if connection.sink is not None:
                read(connection, chunked(b"x"))
                if scan == 15:
                    pauses += 1
                    connection.pause()
            upstream.scan()
        connection.resume()
    assert client.errors == ["the upstream's response took longer than 30 s"]
    assert upstream.loop.now - begin <= 30.0 + (pauses + 16) * SCAN_SECONDS


@pytest.mark.parametrize("before", [0, 5, 30], ids=["at once", "after a check", "after a stall"])
@pytest.mark.parametrize("idle", [0.0, STALL_SECONDS], ids=["every scan", "when due"])
def test_a_time_between_bytes_below_that_of_a_stall_is_kept(upstream: Upstream, idle: float, before: int) -> None:
    client = Client()
    connection = upstream.open(client, Timeouts(60.0, 1.0, 600.0, idle))
    for _ in range(before):
        upstream.scan()
    read(connection, stream_head())
    for _ in range(6):
        upstream.scan()
    assert client.errors == ["the upstream sent nothing for 1 s"]


def test_a_steady_stream_is_rarely_checked(upstream: Upstream) -> None:
    connections = [upstream.open(Client(), Timeouts(60.0, 60.0, 600.0, STALL_SECONDS)) for _ in range(MANY)]
    for connection in connections:
        read(connection, stream_head())
    with patch.object(
        UpstreamConnection, "on_deadline", autospec=True, side_effect=UpstreamConnection.on_deadline
    ) as check:
        for _ in range(40):
            for connection in connections:
                read(connection, chunked(b"x"))
            upstream.scan()
    assert check.call_count <= 3 * MANY


def test_a_read_between_two_turns_of_a_scan_ends_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHECKS_PER_TURN", 1)
    turns: list[partial[object]] = []
    loop = ClockLoop()
    deadlines = Deadlines(lambda callback, *arguments: turns.append(partial(callback, *arguments)))
    upstream = Upstream(loop, deadlines, Pool(deadlines, max_idle=1, max_idle_per_origin=1, idle_timeout=1000.0))
    clients = [Client() for _ in range(40)]
    connections = [upstream.open(client, Timeouts(60.0, 60.0, 600.0, STALL_SECONDS)) for client in clients]
    for connection in connections:
        read(connection, stream_head())
    divided = 0
    for _ in range(60):
        upstream.scan()
        divided += len(turns)
        for connection in connections:
            read(connection, chunked(b"x"))
        while turns:
            turns.pop()()
    loop.close()
    assert divided > 0
    assert all(client.seen == (0, 0, []) for client in clients)


def test_the_silence_of_one_request_is_none_of_the_next(upstream: Upstream) -> None:
    first, second = Client(), Client()
    connection = upstream.open(first, Timeouts(60.0, 60.0, 600.0, STALL_SECONDS))
    for _ in range(24):
        upstream.scan()
    assert first.stalls == 1
    with patch.object(Client, "on_end"):
        read(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    connection.send("POST", b"", b"", second, Timeouts(60.0, 60.0, 600.0, STALL_SECONDS))
    with patch.object(Client, "on_idle", side_effect=AssertionError):
        for _ in range(12):
            upstream.scan()
    assert second.seen == (0, 0, [])


def test_an_idle_connection_is_not_watched(upstream: Upstream) -> None:
    connection = upstream.open(Client(), Timeouts(60.0, 60.0, 600.0, STALL_SECONDS))
    with patch.object(Client, "on_end"):
        read(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    for _ in range(80):
        upstream.scan()
    assert not upstream.pool._watched
