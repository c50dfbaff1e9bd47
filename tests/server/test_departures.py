"""Clients that leave, half-close, stall or read slowly, over real sockets."""

import threading
from collections.abc import Callable

import pytest

from tests.server.conftest import MakeServing
from tests.support.serving import Client, Serving, Source
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import ApiError, Ending
from ztoapi.server.exchange import Exchange
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.wire.limits import Limits

PATTERN = bytes(range(256)) * 64


def start_stream(serving: Serving, exchange: Exchange) -> None:
    def start() -> None:
        exchange.start_stream()
        exchange.stream.write(b"data: first\n\n")

    serving.run(start)


# -- gone for good ----------------------------------------------------------------------------------------------------

LEAVE: dict[str, Callable[[Client], None]] = {"close": Client.close, "reset": Client.reset}


@pytest.mark.parametrize("way", LEAVE)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_client_that_leaves_a_running_stream_is_noticed(serving: Serving, way: str, version: str) -> None:
    client = serving.client()
    client.get("/s", version=version)
    exchange = serving.held()
    gone = serving.gone(exchange)
    start_stream(serving, exchange)
    assert client.head()[0] == 200
    client.until(b"data: first\n\n")
    LEAVE[way](client)
    assert gone.wait(WAIT_SECONDS)
    record = serving.record()
    assert (record.status, record.ending, record.stream) == (200, Ending.CLIENT_DISCONNECT, True)
    assert exchange.finished


@pytest.mark.parametrize("way", LEAVE)
@pytest.mark.parametrize("prepared", [False, True], ids=["waiting", "head_not_sent"])
def test_a_client_that_leaves_before_anything_was_sent_is_noticed(serving: Serving, way: str, prepared: bool) -> None:
    client = serving.client()
    client.get("/w")
    exchange = serving.held()
    gone = serving.gone(exchange)
    if prepared:
        serving.run(exchange.start_stream)
    LEAVE[way](client)
    assert gone.wait(WAIT_SECONDS)
    record = serving.record()
    assert (record.status, record.ending) == (499, Ending.CLIENT_DISCONNECT)


def test_an_http10_client_that_resets_is_noticed(serving: Serving) -> None:
    client = serving.client()
    client.get("/w", version="1.0")
    gone = serving.gone(serving.held())
    client.reset()
    assert gone.wait(WAIT_SECONDS)


def test_a_client_that_leaves_after_a_half_close_is_noticed(serving: Serving) -> None:
    client = serving.client()
    client.get("/w")
    exchange = serving.held()
    gone = serving.gone(exchange)
    client.half_close()
    # The probe shows that the half-close has been seen.
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not gone.is_set()
    client.reset()
    assert gone.wait(WAIT_SECONDS)


@pytest.mark.parametrize("data", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nbody"])
@pytest.mark.parametrize("way", LEAVE)
def test_a_client_that_leaves_in_the_middle_of_a_request_leaves_nothing_behind(
    serving: Serving, data: bytes, way: str
) -> None:
    client = serving.client()
    client.send(data)
    with serving.client() as other:
        # Its request comes after the other's bytes, so those have been seen.
        other.get("/other")
        exchange = serving.held()
        LEAVE[way](client)
        if b"\r\n\r\n" in data:
            record = serving.record()
            assert (record.status, record.ending) == (499, Ending.CLIENT_DISCONNECT)
        serving.wait_for(lambda: len(serving.context.connections) == 1)
        serving.run(lambda: exchange.respond(200, b"ok"))
        assert other.answer().body == b"ok"
    assert serving.record().path == "/other"


@pytest.mark.parametrize("way", LEAVE)
def test_a_task_is_cancelled_when_its_client_leaves(make_serving: MakeServing, way: str) -> None:
    running, cancelled = threading.Event(), threading.Event()

    async def work(exchange: Exchange) -> None:
        running.set()
        try:
            await exchange.loop.create_future()
        finally:
            cancelled.set()

    serving = make_serving(lambda exchange: exchange.spawn(work(exchange)))
    client = serving.client()
    client.get("/w")
    assert running.wait(WAIT_SECONDS)
    LEAVE[way](client)
    assert cancelled.wait(WAIT_SECONDS)
    assert serving.record().ending is Ending.CLIENT_DISCONNECT


def test_a_task_that_something_else_cancels_is_answered(make_serving: MakeServing) -> None:
    async def work(exchange: Exchange) -> None:
        future = exchange.loop.create_future()
        future.cancel()
        await future

    serving = make_serving(lambda exchange: exchange.spawn(work(exchange)))
    with serving.client() as client:
        client.get("/w")
        assert client.answer().status == 500
    assert serving.record().ending is Ending.INTERNAL_ERROR


def test_what_is_answered_after_the_client_has_left_goes_nowhere(serving: Serving) -> None:
    client = serving.client()
    client.get("/w")
    exchange = serving.held()
    gone = serving.gone(exchange)
    client.reset()
    assert gone.wait(WAIT_SECONDS)

    def answer() -> None:
        exchange.respond(200, b"late")
        exchange.start_stream()
        exchange.stream.write(b"late")
        exchange.stream.end()
        exchange.fail(ApiError("late", code="c"))
        exchange.abort()

    serving.run(answer)
    record = serving.record()
    assert (record.status, record.ending, record.stream) == (499, Ending.CLIENT_DISCONNECT, False)
    assert serving.recorder.total == 1


# -- half-closed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_half_closed_client_gets_its_answer(serving: Serving, client: Client, version: str) -> None:
    client.get("/h", version=version)
    exchange = serving.held()
    gone = serving.gone(exchange)
    client.half_close()
    if version == "1.1":
        assert client.head()[0] == 100
    serving.wait_for(lambda: connection_of(serving)._half_closed)
    serving.run(lambda: exchange.respond(200, b"answer"))
    assert client.answer().body == b"answer"
    assert client.rest() == b""
    assert not gone.is_set()
    assert serving.record().ending is Ending.DONE


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_half_closed_client_gets_its_stream(serving: Serving, client: Client, version: str) -> None:
    client.get("/h", version=version)
    exchange = serving.held()
    start_stream(serving, exchange)
    client.half_close()
    serving.wait_for(lambda: connection_of(serving)._half_closed)
    serving.run(lambda: exchange.stream.write(b"data: second\n\n"))
    serving.run(lambda: exchange.stream.end(b"data: [DONE]\n\n"))
    answer = client.answer()
    assert answer.complete
    assert answer.body == b"data: first\n\n: half-closed\n\ndata: second\n\ndata: [DONE]\n\n"
    assert client.rest() == b""
    assert serving.record().ending is Ending.DONE


@pytest.mark.parametrize("framed", [True, False])
def test_a_half_closed_client_gets_a_relayed_body_as_it_is(serving: Serving, client: Client, framed: bool) -> None:
    fields = b"content-type: image/png\r\n" + (b"content-length: 10\r\n" if framed else b"")

    def start(exchange: Exchange) -> None:
        exchange.start_relayed(200, fields, framed=framed).write(b"01234")

    client.get("/h")
    exchange = serving.held()
    serving.run(lambda: start(exchange))
    client.half_close()
    serving.wait_for(lambda: connection_of(serving)._half_closed)
    serving.run(lambda: exchange.stream.write(b"56789"))
    serving.run(lambda: exchange.stream.end())
    answer = client.answer()
    assert (answer.body, answer.complete, client.rest()) == (b"0123456789", True, b"")


def test_a_half_closed_client_gets_all_its_pipelined_answers(serving: Serving, client: Client) -> None:
    for path in ("/1", "/2", "/3"):
        client.get(path)
    client.half_close()
    for _ in range(3):
        exchange = serving.held()
        serving.wait_for(lambda: connection_of(serving)._half_closed)
        serving.run(lambda exchange=exchange: exchange.respond(200, exchange.request.path.encode()))  # type: ignore[misc]
    assert [client.answer().body for _ in range(3)] == [b"/1", b"/2", b"/3"]
    assert client.rest() == b""


def test_a_half_closed_client_without_a_request_is_closed(serving: Serving, client: Client) -> None:
    client.half_close()
    assert client.rest() == b""


def connection_of(serving: Serving) -> HTTPProtocol:
    (connection,) = serving.context.connections
    assert isinstance(connection, HTTPProtocol)
    return connection


# -- slow -------------------------------------------------------------------------------------------------------------


def test_a_client_that_never_reads_is_cut_off(make_serving: MakeServing) -> None:
    serving = make_serving(limits=Limits(write_stall_timeout_seconds=0.1))
    with serving.client(receive_buffer=4096) as client:
        client.get("/s")
        exchange = serving.held()
        gone, paused = threading.Event(), threading.Event()

        def flood() -> None:
            exchange.producer = Source(cancel=gone.set, pause=paused.set)
            exchange.start_stream()
            while not exchange.paused:
                exchange.stream.write(PATTERN)

        serving.run(flood)
        assert paused.is_set()
        assert gone.wait(WAIT_SECONDS)
        assert serving.record().ending is Ending.SLOW_CLIENT
        serving.wait_for(lambda: not serving.context.connections)


def test_a_slow_reader_gets_every_byte_and_the_writer_waits_for_it(serving: Serving) -> None:
    total = 400
    with serving.client(receive_buffer=4096) as client:
        client.get("/s")
        exchange = serving.held()
        written, pauses, resumes = [0], [0], [0]

        def write_on() -> None:
            while not exchange.paused and written[0] < total:
                written[0] += 1
                exchange.stream.write(PATTERN)
            if written[0] == total and not exchange.paused:
                exchange.stream.end()

        def on_pause() -> None:
            pauses[0] += 1

        def on_resume() -> None:
            resumes[0] += 1
            write_on()

        def start() -> None:
            exchange.producer = Source(pause=on_pause, resume=on_resume)
            exchange.start_stream()
            write_on()

        serving.run(start)
        assert pauses == [1]
        assert written[0] < total
        answer = client.answer()
        assert answer.complete
        assert answer.body == PATTERN * total
        assert pauses == resumes
        assert pauses[0] > 1
    assert serving.record().ending is Ending.DONE


@pytest.mark.parametrize("half_closed", [False, True])
def test_pipelined_answers_wait_for_a_slow_reader_and_all_arrive(make_serving: MakeServing, half_closed: bool) -> None:
    serving = make_serving(lambda exchange: exchange.respond(200, exchange.request.path.encode() + PATTERN * 20))
    with serving.client(receive_buffer=4096) as client:
        for number in range(40):
            client.get(f"/{number}")
        if half_closed:
            client.half_close()
        serving.wait_for(lambda: bool(serving.context.connections) and connection_of(serving).write_paused)
        assert serving.run(lambda: connection_of(serving).transport.get_write_buffer_size()) < 2 * 65536 + 20 * 16384
        assert serving.recorder.total < 40
        for number in range(40):
            assert client.answer().body == b"/%d" % number + PATTERN * 20
        if half_closed:
            assert client.rest() == b""
    assert [serving.record().path for _ in range(40)] == [f"/{number}" for number in range(40)]


def test_the_last_answer_may_go_out_and_close_as_soon_as_a_slow_reader_makes_room(make_serving: MakeServing) -> None:
    sizes = {"/large": 1 << 20, "/small": 1}
    serving = make_serving(lambda exchange: exchange.respond(200, bytes(sizes[exchange.request.path])))
    with serving.client(receive_buffer=4096) as client:
        client.get("/large")
        client.get("/small")
        client.half_close()
        serving.wait_for(lambda: bool(serving.context.connections) and connection_of(serving).write_paused)
        # There is room again only when all has been sent: the close finds nothing more to wait for.
        serving.run(lambda: connection_of(serving).transport.set_write_buffer_limits(high=65536, low=0))
        assert len(client.answer().body) == sizes["/large"]
        assert client.answer().body == b"\0"
        assert client.rest() == b""


# -- timers, as a client sees them ------------------------------------------------------------------------------------


def test_a_silent_client_is_closed_without_a_word(make_serving: MakeServing) -> None:
    serving = make_serving(limits=Limits(head_timeout_seconds=0.05))
    with serving.client() as client:
        assert client.rest() == b""
    assert serving.recorder.total == 0


def test_an_idle_client_is_closed_without_a_word(make_serving: MakeServing) -> None:
    serving = make_serving(lambda exchange: exchange.respond(200, b"ok"), limits=Limits(keepalive_timeout_seconds=0.05))
    with serving.client() as client:
        client.get("/1")
        assert client.answer().body == b"ok"
        assert client.rest() == b""


def the_deadline(connection: HTTPProtocol) -> None:
    connection.on_deadline(connection.deadline)


def the_drain(connection: HTTPProtocol) -> None:
    connection.close_idle()


@pytest.mark.parametrize("close", [the_deadline, the_drain])
@pytest.mark.parametrize("used", [True, False], ids=["used", "new"])
def test_a_request_that_the_loop_has_not_read_yet_is_served(
    make_serving: MakeServing, close: Callable[[HTTPProtocol], None], used: bool
) -> None:
    serving = make_serving(lambda exchange: exchange.respond(200, b"ok"))
    with serving.client() as client:
        if used:
            client.get("/1")
            assert client.answer().body == b"ok"
        serving.wait_for(lambda: len(serving.context.connections) == 1)

        def send_and_close() -> None:
            client.get("/2")
            close(connection_of(serving))

        serving.run(send_and_close)
        assert client.answer().body == b"ok"
        serving.run(lambda: close(connection_of(serving)))
        assert client.rest() == b""


LENGTH = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nx"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nx"


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        # The time includes that until the first byte, before which a client is closed without a response.
        (b"GET / HTTP/1.1\r\nhost: ", Limits(head_timeout_seconds=1.0)),
        *((data, Limits(body_timeout_seconds=0.05)) for data in (LENGTH, CHUNKED)),
        *((data, Limits(body_idle_timeout_seconds=0.05)) for data in (LENGTH, CHUNKED)),
    ],
)
def test_an_unfinished_request_is_answered_with_408(make_serving: MakeServing, data: bytes, limits: Limits) -> None:
    serving = make_serving(limits=limits)
    with serving.client() as client:
        client.send(data)
        answer = client.answer()
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert "date" in answer.headers
        assert client.rest() == b""
    assert serving.record().status == 408


def test_a_refused_client_that_does_not_leave_is_cut_off(make_serving: MakeServing) -> None:
    serving = make_serving(limits=Limits(linger_seconds=0.05))
    with serving.client() as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.answer().status == 400
        serving.wait_for(lambda: not serving.context.connections)
