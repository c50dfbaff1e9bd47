"""The work of one connection in one turn of the event loop is bounded, whatever its client sends."""

import contextlib
from collections import Counter

import pytest

from tests.server.conftest import MakeServing, MakeWorker, Worker
from tests.support.clock import Connection
from tests.support.serving import Client
from ztoapi.errors import ApiError, Ending
from ztoapi.server.exchange import Exchange
from ztoapi.wire.limits import TURN_BULK_BYTES, TURN_FIRST_REQUESTS, TURN_FRAMING_BYTES, TURN_REQUESTS

GET = b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n"
CHUNKED = b"POST /%b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def responses(connection: Connection) -> int:
    return connection.received.count(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET,
        GET.replace(b"GET", b"HEAD"),
        b"\r\n" + GET,
        b"\r\n\r\n" + GET,
        GET.replace(b"/now", b"/refused"),
        b"POST /now HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n{}",
        CHUNKED % b"now" + b"1\r\nx\r\n0\r\n\r\n",
        CHUNKED % b"now" + b'1;a="b"\r\nx\r\n0\r\nx: y\r\n\r\n',
        b"GET /now HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        b"GET /now HTTP/1.1\r\nhost: a\r\n" + b"a:\r\n" * 90 + b"\r\n",
    ],
)
def test_pipelined_requests_are_answered_in_small_groups(make_worker: MakeWorker, request_bytes: bytes) -> None:
    refusal = ApiError("no", status=401, code="c", ending=Ending.REJECTED)
    worker = make_worker(admit=lambda exchange: refusal if exchange.request.path == "/refused" else None)
    flooding, other = worker.connect(), worker.connect()
    count = 10 * TURN_REQUESTS
    flooding.send(request_bytes * count)
    for turn in range(1, 10):
        assert responses(flooding) == turn * TURN_REQUESTS
        assert not flooding.transport.is_reading()
        other.send(GET)
        assert responses(other) == turn
        worker.loop.turn()
    worker.loop.advance(0.0)
    assert responses(flooding) == count
    assert flooding.transport.is_reading()


def test_few_pipelined_requests_take_one_turn(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(GET * TURN_REQUESTS)
    assert responses(connection) == TURN_REQUESTS
    assert connection.transport.is_reading()


@pytest.mark.parametrize(
    "chunk", [b"1\r\nx\r\n", b"1;a=b;c\r\nx\r\n", b'2;a="\\""\r\nxy\r\n', b"f\r\n%b\r\n" % (b"x" * 15)]
)
@pytest.mark.parametrize("with_head", [True, False])
def test_small_chunks_are_decoded_in_small_parts(worker: Worker, chunk: bytes, with_head: bool) -> None:
    flooding, other = worker.connect(), worker.connect()
    size = int(chunk[:1], 16)
    count = 20 * TURN_FRAMING_BYTES // (len(chunk) - size)
    body = chunk * count + b"0\r\n\r\n"
    if with_head:
        flooding.send(CHUNKED % b"held" + body + GET)
    else:
        flooding.send(CHUNKED % b"held")
        flooding.send(body + GET)
    turns = 0
    while not worker.held:
        assert not flooding.transport.is_reading()
        other.send(GET)
        worker.loop.turn()
        turns += 1
        assert responses(other) == turns
    # Bodies are decoded in parts of 4096 bytes, the last of which may exceed the share of a turn.
    assert turns >= 20 // 3
    assert len(worker.held[0].request_body) == count * size
    worker.held[0].respond(200, b"")
    assert responses(flooding) == 2


def test_large_chunks_are_decoded_as_they_arrive(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(CHUNKED % b"held" + b"4000\r\n%b\r\n" % (b"x" * 16384) * 7 + b"0\r\n\r\n")
    assert len(worker.held[0].request_body) == 7 * 16384


def test_a_chunked_body_that_breaks_in_a_later_turn_is_refused(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(CHUNKED % b"held" + b"1\r\nx\r\n" * 8000 + b"nonsense\r\n")
    assert responses(connection) == 0
    worker.loop.advance(0.0)
    assert connection.received.startswith(b"HTTP/1.1 400 ")
    assert not worker.held


def test_a_client_that_leaves_between_two_turns_leaves_nothing_behind(worker: Worker) -> None:
    pipelining, sending = worker.connect(), worker.connect()
    pipelining.send(GET * 100)
    sending.send(CHUNKED % b"held" + b"1\r\nx\r\n" * 8000)
    for connection in (pipelining, sending):
        connection.transport.abort()
    worker.loop.advance(0.0)
    assert responses(pipelining) == TURN_REQUESTS
    assert not worker.held


def test_a_large_read_is_the_last_of_its_connection_in_a_turn(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(b"POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
    sent = 0
    while sent < 1_000_000:
        part = min(TURN_BULK_BYTES + 1, 1_000_000 - sent)
        assert connection.send(b"x" * part) == part
        sent += part
        assert connection.transport.is_reading() is (part <= TURN_BULK_BYTES)
        worker.loop.turn()
        assert connection.transport.is_reading()
    assert len(worker.held[0].request_body) == 1_000_000


def test_another_connection_has_its_turn_in_the_midst_of_a_flood(make_serving: MakeServing) -> None:
    order: list[str] = []
    with contextlib.ExitStack() as stack:

        def dispatch(exchange: Exchange) -> None:
            order.append(exchange.request.path)
            if len(order) == 1:
                other.get("/other")
            exchange.respond(200, b"")

        serving = make_serving(dispatch)
        other = stack.enter_context(serving.client())
        flooding = stack.enter_context(serving.client())
        flooding.send(GET * 2000)
        assert other.answer().status == 200
        for _ in range(2000):
            assert flooding.answer().status == 200
    assert order.index("/other") <= 4 * TURN_REQUESTS


@pytest.mark.parametrize("connections", [TURN_FIRST_REQUESTS, 100])
def test_the_first_requests_of_connections_are_spread_over_turns(make_serving: MakeServing, connections: int) -> None:
    """Otherwise the streams of others would stand still for as long as all of them take."""
    turn = 0
    served: list[int] = []

    def respond(exchange: Exchange) -> None:
        served.append(turn)
        exchange.respond(200, exchange.request.path.encode())

    serving = make_serving(respond)

    def count() -> None:
        nonlocal turn
        turn += 1
        if len(served) < 2 * connections:
            serving.loop.call_soon(count)

    clients: list[Client] = []

    def connect() -> None:
        # In a callback, so that the loop finds all of them at its next poll.
        for number in range(connections):
            clients.append(serving.client())
            clients[-1].get(f"/{number}")
        count()

    serving.run(connect)
    for number, client in enumerate(clients):
        assert client.answer().body == f"/{number}".encode()
    turns = Counter(served).values()
    assert max(turns) <= TURN_FIRST_REQUESTS
    assert len(turns) >= connections / TURN_FIRST_REQUESTS
    for client in clients:
        client.get("/next")
        assert client.answer().body == b"/next"
        client.close()


def test_a_client_that_leaves_before_its_first_request_is_taken_up(make_serving: MakeServing) -> None:
    serving = make_serving(lambda exchange: exchange.respond(200, b"x"))
    clients: list[Client] = []

    def connect() -> None:
        for _ in range(3 * TURN_FIRST_REQUESTS):
            clients.append(serving.client())
            clients[-1].get("/")
        for client in clients[::2]:
            client.reset()

    serving.run(connect)
    for client in clients[1::2]:
        assert client.answer().body == b"x"
        client.close()
    serving.wait_for(lambda: not serving.context.connections)
