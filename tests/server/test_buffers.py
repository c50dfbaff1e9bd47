"""The memory for the requests of all connections: counted as it is used, bounded, given back."""

import json

import pytest

from tests.server.conftest import MakeWorker, Worker
from tests.support.clock import Connection
from ztoapi.errors import ApiError
from ztoapi.server.context import Verdict
from ztoapi.server.exchange import Exchange
from ztoapi.wire.limits import PIPELINE_BYTES, TURN_BULK_BYTES, UNCOUNTED_BYTES, UNUSED_BODY_BYTES, Limits

POST = b"POST /%b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"%b /held HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n"
BUDGET = 1_048_576
PART = 100_000


def status(connection: Connection) -> int:
    return int(connection.received.split(b" ", 2)[1]) if connection.received else 0


@pytest.fixture
def tight(make_worker: MakeWorker) -> Worker:
    return make_worker(limits=Limits(max_buffered_bytes=BUDGET))


def test_a_body_counts_from_its_first_read_to_its_response(tight: Worker) -> None:
    connection, used = tight.connect(), tight.context.buffers
    connection.send(POST % (b"held", 3 * PART))
    for part in range(1, 4):
        connection.send(b"x" * PART)
        assert used.used == part * PART
    tight.held.pop().respond(200, b"")
    assert used.used == 0
    connection.send(POST % (b"held", PART) + b"x" * PART)
    assert used.used == PART
    connection.transport.abort()
    tight.loop.advance(0.0)
    assert used.used == 0


def test_bodies_beyond_the_budget_are_refused_and_small_requests_are_served(tight: Worker) -> None:
    connections = [tight.connect() for _ in range(12)]
    for connection in connections:
        connection.send(POST % (b"held", 2 * PART) + b"x" * PART)
    refused = [connection for connection in connections if status(connection)]
    assert [status(connection) for connection in refused] == [503] * len(refused)
    assert len(connections) - len(refused) == BUDGET // PART
    assert tight.context.buffers.used <= BUDGET
    assert tight.context.buffers.refused == len(refused)
    head, _, body = refused[0].received.partition(b"\r\n\r\n")
    assert b"retry-after: 1\r\n" in head
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "overloaded"
    # Also when the whole body comes in one read, which keeps the connection, and in chunks.
    whole = tight.connect()
    whole.send(POST % (b"held", PART) + b"x" * PART)
    assert status(whole) == 503
    assert whole.is_open()
    chunked = tight.connect()
    chunked.send(CHUNKED % b"POST" + b"%x\r\n" % PART + b"x" * PART)
    assert status(chunked) == 503
    small = tight.connect()
    small.send(POST % (b"now", UNCOUNTED_BYTES) + b"x" * UNCOUNTED_BYTES)
    assert status(small) == 200
    for connection in connections:
        connection.transport.abort()
    tight.loop.advance(0.0)
    assert tight.context.buffers.used == 0
    whole.send(POST % (b"now", PART) + b"x" * PART)
    assert whole.received.count(b"HTTP/1.1 200 ") == 1


def test_pipelined_requests_count_while_they_wait(tight: Worker) -> None:
    connections = [tight.connect() for _ in range(20)]
    for connection in connections:
        connection.send(GET.replace(b"/now", b"/held") + GET * 9000, piece=20_000)
        assert not connection.transport.is_reading()
    assert tight.context.buffers.used <= BUDGET + 20 * 20_000
    assert tight.context.buffers.used >= 10 * PIPELINE_BYTES
    for exchange in list(tight.held):
        exchange.respond(200, b"")
    tight.loop.advance(0.0)
    assert tight.context.buffers.used == 0
    assert all(connection.transport.is_reading() for connection in connections)


def test_responses_that_no_client_takes_hold_no_uncounted_requests(tight: Worker) -> None:
    connection = tight.connect()
    connection.transport.blocked = True
    connection.send(GET.replace(b"/now", b"/large") * 6000)
    tight.loop.advance(0.0)
    assert connection.protocol.write_paused
    assert tight.context.buffers.used > PART
    assert not connection.transport.is_reading()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
def test_a_method_without_body_has_none_read(worker: Worker, method: bytes) -> None:
    for framing in (b"content-length: 9900000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n970fe0\r\n"):
        connection = worker.connect()
        connection.send(b"%b /held HTTP/1.1\r\nhost: a\r\n%b" % (method, framing))
        connection.send(b"x" * 500_000, piece=10_000)
        worker.loop.advance(0.0)
        assert status(connection) == 413
        assert not connection.is_open()
        assert worker.context.buffers.used == 0
    assert not worker.held


def test_a_small_body_that_comes_late_is_dropped_and_the_connection_kept(worker: Worker) -> None:
    connection = worker.connect()
    for framing, body in (
        (b"content-length: %d" % UNUSED_BODY_BYTES, b"x" * UNUSED_BODY_BYTES),
        (b"transfer-encoding: chunked", b"1\r\nx\r\n0\r\n\r\n"),
    ):
        connection.send(b"GET /now HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n" % framing)
        connection.send(body)
    assert connection.received.count(b"HTTP/1.1 200 ") == 2
    assert connection.is_open()
    connection.send(POST % (b"held", 50_000))
    connection.send(b"x" * 50_000)
    assert len(worker.held[0].request_body) == 50_000


def test_the_limit_holds_for_requests_that_wait_to_be_admitted(make_worker: MakeWorker) -> None:
    verdicts: list[ApiError | Verdict | None] = [Verdict.WAIT]
    worker = make_worker(admit=lambda _: verdicts[0], limits=Limits(max_buffered_bytes=BUDGET))
    connections = [worker.connect() for _ in range(12)]
    for connection in connections:
        connection.send(CHUNKED % b"POST" + b"f4240\r\n" + b"x" * PART)
    assert worker.context.buffers.used <= BUDGET
    for connection in connections:
        connection.transport.abort()


def test_a_refused_body_is_let_go_at_once(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(CHUNKED % b"POST" + b"1\r\nx\r\n" * 30_000)
    worker.loop.advance(0.0)
    assert worker.context.buffers.used > UNCOUNTED_BYTES
    connection.send(b"nonsense\r\n")
    assert status(connection) == 400
    assert worker.context.buffers.used == 0
    assert connection.is_open() is False


@pytest.mark.parametrize("is_admitted", [True, False])
def test_reading_continues_after_a_large_request_that_waits_to_be_admitted(
    make_worker: MakeWorker, is_admitted: bool
) -> None:
    waiting: list[Exchange] = []

    def admit(exchange: Exchange) -> Verdict | None:
        if exchange.request.path == "/now":
            return None
        waiting.append(exchange)
        return Verdict.WAIT

    worker = make_worker(admit=admit)
    connection = worker.connect()
    size = TURN_BULK_BYTES + 1
    connection.send(POST % (b"held", size) + b"x" * size)
    worker.loop.advance(0.0)
    if is_admitted:
        waiting.pop().proceed()
        # A client that leaves is noticed only while the connection reads.
        assert connection.transport.is_reading()
        worker.held.pop().respond(200, b"")
    else:
        waiting.pop().reject(ApiError("later", code="c", status=503))
    connection.send(GET)
    assert connection.received.endswith(b"\r\n\r\nnow")
