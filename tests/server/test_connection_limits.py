"""Too many connections: idle ones give way, others are refused, and it is logged once in a while."""

import contextlib
import os

import pytest

from tests.server.conftest import MakeServing, MakeWorker, Worker
from tests.support.clock import Connection
from tests.support.serving import Client
from ztoapi.server.connection_limits import ConnectionLimits
from ztoapi.server.exchange import Exchange
from ztoapi.wire.limits import Limits

GET = b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n"


def status(connection: Connection) -> int:
    return int(connection.received.split(b" ", 2)[1]) if connection.received else 0


@pytest.fixture
def full(make_worker: MakeWorker) -> Worker:
    """A worker with room for three connections, each opened a second after the other, the first of them busy."""
    worker = make_worker(limits=Limits(max_connections=3))
    for request in (HELD, GET, GET):
        worker.connect().send(request)
        worker.loop.advance(1.0)
    return worker


def test_the_oldest_idle_connections_give_way_to_a_new_one(full: Worker, caplog: pytest.LogCaptureFixture) -> None:
    new = full.connect()
    new.send(GET)
    full.loop.advance(0.0)
    assert status(new) == 200
    assert len(full.context.connections) == 3
    assert full.context.connection_limits.evicted == 1
    assert full.context.connection_limits.refused == 0
    full.held[0].respond(200, b"")
    assert [record.getMessage() for record in caplog.records] == [
        "max_connections is reached: closing idle connections for new ones (3 connections of clients)"
    ]


def test_a_new_connection_is_refused_when_none_is_idle(
    make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make_worker(limits=Limits(max_connections=3))
    begun = [worker.connect() for _ in range(3)]
    for connection, data in zip(
        begun, (HELD, GET[:9], b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n"), strict=True
    ):
        connection.send(data)
    for _ in range(5):
        refused = worker.connect()
        assert status(refused) == 503
        assert b"retry-after: 1\r\n" in refused.received
        assert not refused.is_open()
    assert all(connection.is_open() for connection in begun)
    assert worker.context.connection_limits.refused == 5
    assert len(caplog.records) == 1
    worker.loop.advance(61.0)
    for connection in begun[1:]:
        assert not connection.is_open()
    worker.connect().send(GET)
    assert status(worker.connect()) == 0


def test_a_connection_that_was_just_made_is_not_the_first_to_go(make_worker: MakeWorker) -> None:
    worker = make_worker(limits=Limits(max_connections=20))
    kept = worker.connect()
    kept.send(GET)
    fresh = []
    for _ in range(19):
        fresh.append(worker.connect())
        worker.loop.advance(0.01)
    worker.connect()
    assert not kept.is_open()
    assert all(connection.is_open() for connection in fresh)
    worker.loop.advance(2.0)
    worker.connect()
    worker.connect()
    assert not fresh[0].is_open()


def test_connections_of_one_address_are_limited(make_worker: MakeWorker) -> None:
    worker = make_worker(limits=Limits(max_connections_per_address=2))
    first, second, refused = worker.connect(), worker.connect(), worker.connect()
    assert [status(connection) for connection in (first, second, refused)] == [0, 0, 429]
    for connection in (first, refused):
        connection.transport.abort()
    worker.loop.advance(0.0)
    again = worker.connect()
    again.send(GET)
    assert status(again) == 200
    assert status(worker.connect()) == 429


def test_every_address_counts_alone_and_an_ipv6_network_as_one() -> None:
    limits = ConnectionLimits(Limits(max_connections_per_address=1), (), lambda: 0.0)
    assert limits.admit("2001:db8::1", 5) is None
    assert limits.admit("2001:db8::2", 5) is not None
    assert limits.admit("2001:db8:0:1::1", 5) is None
    assert limits.admit(None, 5) is None
    assert limits.admit(None, 5) is None
    for address in ("2001:db8::1", "2001:db8::2", None):
        limits.leave(address)
    assert limits.admit("2001:db8::3", 5) is None


def test_idle_connections_give_way_when_descriptors_are_scarce(
    make_serving: MakeServing, caplog: pytest.LogCaptureFixture
) -> None:
    def dispatch(exchange: Exchange) -> None:
        exchange.respond(200, b"")

    serving = make_serving(dispatch)
    probe = os.dup(0)
    os.close(probe)
    context = serving.context
    # Each connection of the test takes two descriptors, one at either end.
    context.connection_limits = ConnectionLimits(
        context.limits, context.connections, serving.loop.time, descriptors=probe + 16 + 40
    )
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            client: Client = stack.enter_context(serving.client())
            client.get("/")
            assert client.answer().status == 200
        assert serving.run(lambda: len(context.connections)) <= 40
        assert context.connection_limits.evicted >= 100
    assert "RLIMIT_NOFILE" in caplog.text
    assert len(caplog.records) == 1


def test_without_idle_connections_a_scarce_descriptor_is_not_kept(make_serving: MakeServing) -> None:
    serving = make_serving()
    context = serving.context
    with serving.client() as busy:
        busy.get("/")
        exchange = serving.held()
        context.connection_limits = ConnectionLimits(
            context.limits, context.connections, serving.loop.time, descriptors=16
        )
        with serving.client() as refused:
            assert refused.answer().status == 503
            assert refused.rest() == b""
        serving.run(lambda: exchange.respond(200, b"yes"))
        assert busy.answer().body == b"yes"
