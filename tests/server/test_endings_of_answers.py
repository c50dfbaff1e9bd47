"""How an answer may end other than well, and how a worker stops."""

import asyncio
import contextlib
import errno
import json
import socket
import threading
from typing import Any

import pytest

from tests.server.conftest import MakeServing
from tests.support.serving import Client, Serving
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import ApiError, Ending, Failure, UpstreamError
from ztoapi.server.exchange import Exchange
from ztoapi.server.sockets import ListeningSocket


def stream_some(serving: Serving, exchange: Exchange) -> None:
    def start() -> None:
        exchange.start_stream()
        exchange.stream.write(b"data: 1\n\n")

    serving.run(start)


# -- in the middle of a stream ----------------------------------------------------------------------------------------


def test_an_error_in_a_stream_is_its_last_event_and_no_end_follows(serving: Serving, client: Client) -> None:
    client.get("/s")
    exchange = serving.held()
    stream_some(serving, exchange)
    serving.run(lambda: exchange.fail(UpstreamError("upstream broke", Failure.MALFORMED)))
    answer = client.answer()
    assert not answer.complete
    first, last = answer.body.split(b"\n\n", 1)
    assert first == b"data: 1"
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_malformed"
    assert last.endswith(b"\n\n")
    record = serving.record()
    assert (record.status, record.error_code, record.ending) == (200, "upstream_malformed", Ending.UPSTREAM_ERROR)


def test_an_error_before_the_first_byte_of_a_stream_is_an_answer_of_its_own(serving: Serving, client: Client) -> None:
    client.get("/s")
    exchange = serving.held()

    def fail() -> None:
        exchange.start_stream()
        exchange.fail(UpstreamError("upstream broke"))

    serving.run(fail)
    answer = client.answer()
    assert answer.status == 502
    assert answer.headers["content-type"] == "application/json"
    assert serving.record().status == 502


def test_an_aborted_stream_has_no_end(serving: Serving, client: Client) -> None:
    client.get("/s")
    exchange = serving.held()
    stream_some(serving, exchange)
    serving.run(exchange.abort)
    answer = client.answer()
    assert not answer.complete
    assert answer.body == b"data: 1\n\n"
    assert serving.record().ending is Ending.TRUNCATED


def test_a_crash_in_a_stream_is_its_last_event(serving: Serving, client: Client) -> None:
    client.get("/s")
    exchange = serving.held()
    stream_some(serving, exchange)
    serving.run(lambda: exchange.crash(ValueError("a secret")))
    answer = client.answer()
    assert not answer.complete
    assert b'"internal error"' in answer.body
    assert b"secret" not in answer.body
    assert serving.record().ending is Ending.INTERNAL_ERROR


def test_nothing_follows_a_finished_answer(serving: Serving, client: Client) -> None:
    client.get("/s")
    exchange = serving.held()
    stream_some(serving, exchange)

    def end_twice() -> None:
        exchange.stream.end(b"data: [DONE]\n\n")
        exchange.stream.write(b"data: stray\n\n")
        exchange.stream.end(b"data: stray\n\n")
        exchange.respond(500, b"stray")
        exchange.fail(ApiError("stray", code="c"))
        exchange.abort()

    serving.run(end_twice)
    assert client.answer().body == b"data: 1\n\ndata: [DONE]\n\n"
    client.get("/next")
    following = serving.held()
    serving.run(lambda: following.respond(200, b"next"))
    assert client.answer().body == b"next"
    assert [serving.record().ending for _ in range(2)] == [Ending.DONE, Ending.DONE]
    assert serving.recorder.total == 2


def test_every_ending_files_one_record_and_runs_the_finisher_once(make_serving: MakeServing) -> None:
    serving = make_serving()
    finished: list[str] = []
    endings = {
        "/done": lambda exchange: exchange.respond(200, b"x"),
        "/fail": lambda exchange: exchange.fail(ApiError("x", code="c")),
        "/stream": lambda exchange: exchange.start_stream().end(b"x"),
        "/empty": lambda exchange: exchange.start_stream().end(),
        "/broken": lambda exchange: (exchange.start_stream().write(b"x"), exchange.fail(ApiError("x", code="c"))),
        "/abort": lambda exchange: exchange.abort(),
        "/crash": lambda exchange: exchange.crash(ValueError("x")),
        "/cancel": lambda exchange: exchange.cancel(ApiError("x", code="c", ending=Ending.SHUTDOWN)),
        "/gone": lambda exchange: exchange.client_gone(),
    }
    for path, end in endings.items():
        with serving.client() as client:
            client.get(path)
            exchange = serving.held()

            def run(end=end, exchange=exchange) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
                exchange.on_finish(lambda ended: finished.append(ended.request.path))
                end(exchange)
                end(exchange)

            serving.run(run)
            assert serving.record().path == path
    assert finished == list(endings)
    assert serving.recorder.total == len(endings)


def test_callbacks_run_in_reverse_order_and_a_failing_one_stops_no_other(
    make_serving: MakeServing, caplog: pytest.LogCaptureFixture
) -> None:
    serving = make_serving()
    called: list[int] = []

    def fail(_: Exchange) -> None:
        called.append(2)
        raise ValueError("x")

    with serving.client() as client:
        client.get("/")
        exchange = serving.held()

        def run() -> None:
            exchange.on_finish(lambda _: called.append(1))
            exchange.on_finish(fail)
            exchange.on_finish(lambda _: called.append(3))
            exchange.respond(200, b"x")
            exchange.abort()

        serving.run(run)
        assert client.answer("GET").body == b"x"
    assert called == [3, 2, 1]
    assert serving.record().status == 200
    assert "a resource could not be released" in caplog.text


# -- shutdown ---------------------------------------------------------------------------------------------------------


class Drain:
    """A drain that runs while the test goes on."""

    def __init__(self, serving: Serving, seconds: float) -> None:
        self.at_once = serving.run(asyncio.Event)
        self.clean: bool | None = None
        self._serving = serving
        self._thread = threading.Thread(target=self._run, args=(seconds,), daemon=True)
        self._thread.start()
        serving.wait_for(lambda: serving.context.draining)

    def _run(self, seconds: float) -> None:
        self.clean = self._serving.await_(self._serving.server.drain(seconds, self.at_once))

    def result(self) -> bool:
        self._thread.join()
        assert self.clean is not None
        return self.clean


def test_a_drain_closes_the_idle_and_lets_requests_in_hand_finish(serving: Serving) -> None:
    with serving.client() as idle, serving.client() as waiting, serving.client() as streaming:
        idle.get("/idle")
        first = serving.held()
        serving.run(lambda: first.respond(200, b"ok"))
        assert idle.answer().body == b"ok"
        waiting.get("/waiting")
        held = serving.held()
        streaming.get("/streaming")
        stream = serving.held()
        stream_some(serving, stream)
        drain = Drain(serving, 60.0)
        assert idle.rest() == b""
        serving.run(lambda: held.respond(200, b"whole"))
        answer = waiting.answer()
        assert (answer.body, answer.headers["connection"]) == (b"whole", "close")
        assert waiting.rest() == b""
        serving.run(lambda: stream.stream.end(b"data: [DONE]\n\n"))
        assert streaming.answer().complete
        assert streaming.rest() == b""
        assert drain.result()
    assert {serving.record().ending for _ in range(3)} == {Ending.DONE}


def test_a_connection_without_a_request_is_served_while_draining_and_closed(serving: Serving) -> None:
    with serving.client() as old, serving.client() as new:
        old.get("/old")
        held = serving.held()
        serving.wait_for(lambda: len(serving.context.connections) == 2)
        drain = Drain(serving, 60.0)
        new.get("/new")
        late = serving.held()
        serving.run(lambda: late.respond(503, b"later"))
        answer = new.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert new.rest() == b""
        serving.run(lambda: held.respond(200, b"ok"))
        assert old.answer().complete
        assert drain.result()


def queue_and_drain(
    serving: Serving, stack: contextlib.ExitStack, *, hurried: bool = False
) -> "tuple[list[Client], asyncio.Task[bool]]":
    """Starts a drain while requests of 100 connections wait in the accept queue. Runs in the event loop."""
    clients = [stack.enter_context(serving.client()) for _ in range(100)]
    for client in clients:
        client.get("/")
    at_once = asyncio.Event()
    drain = serving.loop.create_task(serving.server.drain(60.0, at_once))
    if hurried:
        serving.loop.call_soon(at_once.set)
    return clients, drain


@pytest.mark.parametrize("descriptors", ["enough", "few"])
def test_connections_in_the_accept_queue_are_served_while_draining(
    make_serving: MakeServing, monkeypatch: pytest.MonkeyPatch, descriptors: str
) -> None:
    """Many may wait there for a busy worker. The event loop accepts one in a turn."""
    serving = make_serving(lambda exchange: exchange.respond(200, b"ok"))
    if descriptors == "few":
        accept, failures = ListeningSocket.accept, [OSError(errno.EMFILE, "too many open files")]

        def accept_some(self: ListeningSocket) -> tuple[socket.socket, Any]:
            if failures:
                raise failures.pop()
            return accept(self)

        monkeypatch.setattr(ListeningSocket, "accept", accept_some)
    with contextlib.ExitStack() as stack:
        clients, drain = serving.run(lambda: queue_and_drain(serving, stack))
        assert [client.answer().body for client in clients] == [b"ok"] * 100
        serving.wait_for(drain.done)
        assert drain.result()


def test_a_second_signal_closes_connections_of_the_accept_queue_that_have_not_started(
    make_serving: MakeServing,
) -> None:
    serving = make_serving(lambda exchange: exchange.respond(200, b"ok"))
    with contextlib.ExitStack() as stack:
        clients, drain = serving.run(lambda: queue_and_drain(serving, stack, hurried=True))
        serving.wait_for(drain.done)
        serving.await_(serving.server.close())
        assert sum(client.at_end() for client in clients) > 30


@pytest.mark.parametrize("hurried", [False, True])
def test_the_end_of_a_drain_cuts_off_with_an_error(serving: Serving, hurried: bool) -> None:
    with serving.client() as waiting, serving.client() as streaming, serving.client() as sending:
        waiting.get("/waiting")
        held = serving.held()
        gone = serving.gone(held)
        streaming.get("/streaming")
        stream = serving.held()
        stream_some(serving, stream)
        sending.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nbod")
        serving.wait_for(lambda: sum(connection.busy for connection in serving.context.connections) == 3)
        drain = Drain(serving, 60.0 if hurried else 0.01)
        if hurried:
            serving.run(drain.at_once.set)
        answer = waiting.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert answer.headers["retry-after"] == "1"
        assert gone.is_set()
        cut = streaming.answer()
        assert not cut.complete
        assert b'"code":"shutdown"' in cut.body
        assert sending.answer().status == 503
        assert not drain.result()
    assert {serving.record().ending for _ in range(3)} == {Ending.SHUTDOWN}
    assert serving.recorder.total == 3


def test_closing_a_server_drops_every_connection(make_serving: MakeServing) -> None:
    serving = make_serving()
    with serving.client() as idle, serving.client() as busy:
        idle.send(b"GET / HT")
        busy.get("/busy")
        serving.held()
        serving.await_(serving.server.close())
        assert idle.at_end()
        assert busy.at_end()
    assert serving.record().ending is Ending.CLIENT_DISCONNECT
    assert not serving.context.connections


def test_a_watcher_that_fails_does_not_stop_the_clock(make_serving: MakeServing) -> None:
    serving = make_serving()
    ticked = threading.Event()

    class Failing:
        deadline = 0.0

        def on_deadline(self, now: float) -> None:
            serving.context.deadlines.discard(self)
            raise ZeroDivisionError

    class Ticking:
        deadline = 0.0

        def on_deadline(self, now: float) -> None:
            if not any(isinstance(problem["exception"], ZeroDivisionError) for problem in serving.problems):
                return
            serving.context.deadlines.discard(self)
            ticked.set()

    def watch() -> None:
        serving.context.deadlines.add(Failing())
        serving.context.deadlines.add(Ticking())

    serving.run(watch)
    assert ticked.wait(WAIT_SECONDS)
    serving.problems.clear()
