"""Overload: the cap on requests in flight, the queue before it, its time limit and what leaves it in other ways."""

import json

import pytest

from tests.server.conftest import MakeWorker, Worker
from tests.support.clock import Connection
from ztoapi.errors import Ending
from ztoapi.middleware.admission import Admission
from ztoapi.middleware.memory import MemoryGuard

GET = b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n"
LONG_WAIT = 5.0


class Overloaded:
    """A worker that takes ``most`` requests in flight and lets ``queued`` wait."""

    def __init__(self, make: MakeWorker, most: int, queued: int) -> None:
        self.admission: Admission
        self.worker: Worker = make(admit=lambda exchange: self.admission.check(exchange))
        self.admission = Admission(
            self.worker.loop.as_loop(),
            max_in_flight=most,
            queued=queued,
            seconds=LONG_WAIT,
            is_urgent=lambda exchange: exchange.request.path == "/urgent",
        )

    def ask(self, data: bytes = GET) -> Connection:
        # In a turn of its own: a turn takes up few first requests.
        self.worker.loop.turn()
        connection = self.worker.connect()
        connection.send(data)
        return connection

    def answer(self, number: int = 0) -> None:
        self.worker.held.pop(number).respond(200, b"yes")

    @property
    def books(self) -> tuple[int, int]:
        return self.admission.in_flight, self.admission.waiting


@pytest.fixture
def busy(make_worker: MakeWorker) -> Overloaded:
    """One place, two may wait; the place is taken."""
    overloaded = Overloaded(make_worker, 1, 2)
    overloaded.ask()
    return overloaded


def status(connection: Connection) -> int:
    return int(connection.received.split(b" ", 2)[1]) if connection.received else 0


def test_a_request_at_a_full_queue_is_refused_at_once(busy: Overloaded) -> None:
    waiting = [busy.ask(), busy.ask()]
    refused = busy.ask()
    assert [status(one) for one in waiting] == [0, 0]
    assert status(refused) == 503
    head, _, body = refused.received.partition(b"\r\n\r\n")
    assert b"retry-after: 1\r\n" in head + b"\r\n"
    assert json.loads(body)["error"]["code"] == "overloaded"
    assert refused.is_open()
    assert busy.books == (1, 2)
    assert busy.admission.refused == 1
    assert busy.worker.recorder.recent[0].ending is Ending.REJECTED


def test_places_go_to_the_longest_waiting_requests(busy: Overloaded) -> None:
    first, second = busy.ask(), busy.ask()
    assert len(busy.worker.held) == 1
    busy.answer()
    assert busy.books == (1, 1)
    busy.answer()
    assert (status(first), status(second)) == (200, 0)
    busy.answer()
    assert status(second) == 200
    assert busy.books == (0, 0)


def test_a_request_that_waits_too_long_is_refused_and_the_others_wait(busy: Overloaded) -> None:
    first = busy.ask()
    busy.worker.loop.advance(LONG_WAIT / 2)
    second = busy.ask()
    busy.worker.loop.advance(LONG_WAIT / 2 - 0.01)
    assert status(first) == 0
    busy.worker.loop.advance(0.02)
    assert (status(first), status(second)) == (503, 0)
    busy.worker.loop.advance(LONG_WAIT / 2)
    assert status(second) == 503
    third = busy.ask()
    busy.worker.loop.advance(LONG_WAIT + 0.01)
    assert status(third) == 503
    assert busy.books == (1, 0)
    first.send(GET)
    busy.answer()
    assert len(busy.worker.held) == 1


def test_a_body_is_not_read_before_it_is_admitted(busy: Overloaded) -> None:
    head = b"POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\nexpect: 100-continue\r\n\r\n"
    connection = busy.ask(head)
    assert not connection.transport.is_reading()
    assert connection.received == b""
    busy.answer()
    assert connection.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(b"x" * 100000)
    assert len(busy.worker.held[0].request_body) == 100000


def test_the_body_of_a_refused_request_is_dropped(busy: Overloaded) -> None:
    connection = busy.ask(b"POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nabc")
    busy.worker.loop.advance(LONG_WAIT + 0.01)
    assert status(connection) == 503
    assert connection.transport.is_reading() and connection.transport.write_closed


def test_a_client_that_leaves_frees_its_place(busy: Overloaded) -> None:
    first, second = busy.ask(), busy.ask()
    first.transport.abort()
    busy.worker.loop.advance(0.0)
    assert busy.books == (1, 1)
    assert busy.worker.recorder.recent[0].ending is Ending.CLIENT_DISCONNECT
    busy.answer()
    busy.answer()
    assert status(second) == 200


def test_a_client_that_leaves_in_flight_frees_the_place(busy: Overloaded) -> None:
    waiting = busy.ask()
    busy.worker.held.pop()
    for connection in list(busy.worker.context.connections):
        if connection is not waiting.protocol:
            connection.transport.abort()
    busy.worker.loop.advance(0.0)
    assert busy.books == (1, 0)
    busy.answer()
    assert status(waiting) == 200


def test_a_client_that_is_done_with_sending_keeps_its_place(busy: Overloaded) -> None:
    connection = busy.ask()
    connection.half_close()
    assert connection.is_open()
    busy.answer()
    busy.answer()
    assert b" 200 OK" in connection.received


def test_a_long_queue_of_quick_answers_is_no_deep_recursion(make_worker: MakeWorker) -> None:
    overloaded = Overloaded(make_worker, 1, 2000)
    overloaded.ask()
    quick = [overloaded.ask(b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n") for _ in range(2000)]
    overloaded.answer()
    assert all(status(one) == 200 for one in quick)
    assert overloaded.books == (0, 0)


def test_without_a_queue_no_request_waits(make_worker: MakeWorker) -> None:
    overloaded = Overloaded(make_worker, 1, 0)
    overloaded.ask()
    assert status(overloaded.ask()) == 503


URGENT = GET.replace(b"/held", b"/urgent")


def test_urgent_requests_leave_the_queue_first(busy: Overloaded) -> None:
    normal = busy.ask()
    urgent = busy.ask(URGENT)
    busy.answer()
    assert busy.books == (1, 1)
    busy.answer()
    assert [status(one) for one in (normal, urgent)] == [0, 200]
    busy.answer()
    assert status(normal) == 200


def test_an_urgent_request_takes_the_last_place_of_a_full_queue(busy: Overloaded) -> None:
    first = busy.ask()
    last = busy.ask()
    urgent = busy.ask(URGENT)
    assert [status(one) for one in (first, last, urgent)] == [0, 503, 0]
    assert busy.books == (1, 2)
    another = busy.ask(URGENT)
    late = busy.ask(URGENT)
    assert [status(one) for one in (first, another, late)] == [503, 0, 503]
    assert busy.admission.refused == 3


def test_both_queues_expire(busy: Overloaded) -> None:
    waiting = [busy.ask(), busy.ask(URGENT)]
    busy.worker.loop.advance(LONG_WAIT)
    assert [status(one) for one in waiting] == [503, 503]
    assert busy.books == (1, 0)


def test_the_oldest_requests_are_those_in_flight_and_then_those_that_wait(make_worker: MakeWorker) -> None:
    overloaded = Overloaded(make_worker, 2, 2)
    for name in (b"held", b"second", b"third", b"urgent"):
        overloaded.ask(GET.replace(b"held", name))

    def oldest(count: int) -> list[str]:
        return [exchange.request.path for exchange in overloaded.admission.oldest(count)]

    assert oldest(9) == ["/held", "/second", "/urgent", "/third"]
    overloaded.answer()
    assert oldest(9) == ["/second", "/urgent", "/third"]
    assert oldest(1) == ["/second"]


def test_everything_is_refused_while_memory_is_short(busy: Overloaded) -> None:
    sizes = iter((119, 121, 100))
    guard = MemoryGuard(100, lambda: next(sizes), busy.admission.shed)
    for expected in (0, 503, 0):
        guard.on_deadline(0.0)
        assert status(busy.ask()) == expected
    assert guard.deadline == 1.0
