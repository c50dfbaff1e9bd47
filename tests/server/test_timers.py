"""Every deadline of a connection, on a clock that the tests move."""

import pytest

from tests.server.conftest import MakeWorker, Worker
from tests.support.clock import Connection
from ztoapi.errors import Ending
from ztoapi.server.context import TICK_SECONDS
from ztoapi.wire.limits import HIGH_WATER_BYTES, Limits

LIMITS = Limits()
GET = b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST /held HTTP/1.1\r\nhost: a\r\n%b\r\n"


def status(connection: Connection) -> int:
    head, _, _ = connection.received.partition(b"\r\n")
    return int(head.split(b" ")[1])


def just_before(seconds: float) -> float:
    return seconds - 0.01


AFTER = TICK_SECONDS + 0.02
"""From just before a deadline to when the scan has seen it."""


def test_a_silent_connection_is_closed_without_an_answer(worker: Worker) -> None:
    connection = worker.connect()
    worker.loop.advance(just_before(LIMITS.head_timeout_seconds))
    assert connection.is_open()
    worker.loop.advance(AFTER)
    assert not connection.is_open()
    assert connection.received == b""
    assert worker.recorder.total == 0


@pytest.mark.parametrize("lead", [b"", b"\r\n"])
def test_a_head_that_dribbles_is_refused_with_408_however_much_comes(worker: Worker, lead: bytes) -> None:
    connection = worker.connect()
    worker.loop.advance(just_before(LIMITS.head_timeout_seconds))
    connection.send(lead)
    for byte in b"GET / HTTP":
        connection.send(bytes([byte]))
        worker.loop.advance(LIMITS.head_timeout_seconds / 10.01)
        assert connection.is_open()
    connection.send(b"/")
    worker.loop.advance(AFTER)
    assert status(connection) == 408
    assert b"\r\ndate: " in connection.received
    assert not connection.is_open()
    assert worker.recorder.recent[0].status == 408


def test_the_head_timer_of_a_next_request_starts_at_its_first_byte(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(GET % b"now")
    worker.loop.advance(LIMITS.head_timeout_seconds * 3)
    connection.send(b"G")
    worker.loop.advance(just_before(LIMITS.head_timeout_seconds))
    assert connection.is_open()
    worker.loop.advance(AFTER)
    assert connection.received.count(b"HTTP/1.1 408 ") == 1


def test_the_head_timer_of_a_pipelined_request_starts_when_its_turn_comes(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(GET % b"held" + b"GET /unfinished")
    worker.loop.advance(LIMITS.head_timeout_seconds * 5)
    assert connection.is_open()
    worker.held[0].respond(200, b"")
    worker.loop.advance(just_before(LIMITS.head_timeout_seconds))
    assert connection.is_open()
    worker.loop.advance(AFTER)
    assert not connection.is_open()
    assert b" 408 " in connection.received


@pytest.mark.parametrize("framing", [b"content-length: 100\r\n", b"transfer-encoding: chunked\r\n"])
def test_a_body_that_pauses_is_refused_with_408(worker: Worker, framing: bytes) -> None:
    connection = worker.connect()
    connection.send(POST % framing)
    worker.loop.advance(just_before(LIMITS.body_idle_timeout_seconds))
    connection.send(b"5\r\n")
    worker.loop.advance(just_before(LIMITS.body_idle_timeout_seconds))
    assert connection.is_open()
    worker.loop.advance(AFTER)
    assert status(connection) == 408
    assert b"body" in connection.received
    assert worker.held == []
    assert [record.status for record in worker.recorder.recent] == [408]


def test_a_body_that_dribbles_is_refused_at_the_total_time(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(POST % b"content-length: 100\r\n")
    for _ in range(30):
        connection.send(b"x")
        worker.loop.advance(LIMITS.body_timeout_seconds / 30.01)
        assert connection.is_open()
    connection.send(b"x")
    worker.loop.advance(AFTER)
    assert status(connection) == 408


def test_a_request_in_hand_has_no_deadline_here(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(POST % b"content-length: 1\r\n" + b"x")
    worker.loop.advance(10_000.0)
    assert connection.is_open()
    worker.held[0].respond(200, b"late")
    assert connection.received.endswith(b"late")


def test_an_idle_connection_is_closed_without_an_answer(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(GET % b"now")
    answer = connection.received
    worker.loop.advance(just_before(LIMITS.keepalive_timeout_seconds))
    assert connection.is_open()
    worker.loop.advance(AFTER)
    assert not connection.is_open()
    assert connection.received == answer


def test_a_refused_client_has_a_while_to_read_and_is_then_cut_off(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(b"nonsense\r\n\r\n")
    assert connection.transport.write_closed
    worker.loop.advance(just_before(LIMITS.linger_seconds))
    assert connection.send(b"more") == 4
    assert not connection.aborted()
    worker.loop.advance(AFTER)
    assert connection.aborted()


def test_a_refused_client_may_send_so_much_and_no_more(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(b"nonsense\r\n\r\n")
    assert connection.send(b"x" * 1_048_576) == 1_048_576
    assert not connection.aborted()
    connection.send(b"x")
    assert connection.aborted()


# -- clients that do not take what they are sent ----------------------------------------------------------------------


def stalled_stream(worker: Worker) -> Connection:
    connection = worker.connect()
    connection.transport.blocked = True
    connection.send(GET % b"held")
    exchange = worker.held.pop()
    exchange.start_stream()
    exchange.stream.write(b"x" * (HIGH_WATER_BYTES + 1))
    assert exchange.paused
    return connection


def test_a_client_that_takes_nothing_is_cut_off(worker: Worker) -> None:
    connection = stalled_stream(worker)
    worker.loop.advance(just_before(LIMITS.write_stall_timeout_seconds))
    assert not connection.aborted()
    worker.loop.advance(AFTER)
    assert connection.aborted()
    assert [record.ending for record in worker.recorder.recent] == [Ending.SLOW_CLIENT]


def test_a_client_that_takes_a_little_is_not_cut_off(worker: Worker) -> None:
    connection = stalled_stream(worker)
    for _ in range(20):
        worker.loop.advance(just_before(LIMITS.write_stall_timeout_seconds))
        connection.transport.take(1)
    assert not connection.aborted()
    worker.loop.advance(2 * LIMITS.write_stall_timeout_seconds + AFTER)
    assert connection.aborted()


def test_a_client_that_takes_everything_again_has_no_stall_deadline_left(worker: Worker) -> None:
    connection = stalled_stream(worker)
    connection.transport.take(len(connection.transport.queued))
    worker.loop.advance(LIMITS.write_stall_timeout_seconds * 10)
    assert not connection.aborted()


def test_the_last_answer_on_its_way_out_is_cut_off_when_it_stalls(worker: Worker) -> None:
    connection = worker.connect()
    connection.transport.blocked = True
    connection.send(b"GET /now HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert connection.transport.closed
    worker.loop.advance(just_before(LIMITS.write_stall_timeout_seconds))
    assert not connection.aborted()
    worker.loop.advance(AFTER)
    assert connection.aborted()
    assert [record.ending for record in worker.recorder.recent] == [Ending.DONE]


def test_a_whole_answer_that_is_not_taken_is_cut_off(worker: Worker) -> None:
    connection = worker.connect()
    connection.transport.blocked = True
    connection.send(GET % b"large")
    worker.loop.advance(LIMITS.write_stall_timeout_seconds + AFTER)
    assert connection.aborted()


@pytest.mark.parametrize("path", [b"held", b"now", b"large"])
def test_requests_sent_behind_an_answer_that_is_not_taken_do_not_lift_its_deadline(worker: Worker, path: bytes) -> None:
    connection = worker.connect()
    connection.transport.blocked = True
    connection.send(GET % b"large" + GET % path)
    worker.loop.advance(1.0)
    connection.send(GET % path)
    worker.loop.advance(LIMITS.write_stall_timeout_seconds + AFTER)
    assert connection.aborted()


def test_answers_do_not_pile_up_for_a_client_that_takes_none(worker: Worker) -> None:
    connection = worker.connect()
    connection.transport.blocked = True
    requests = GET % b"large" * 1000
    connection.send(requests)
    connection.send(requests)
    assert connection.transport.get_write_buffer_size() < 2 * (100_000 + HIGH_WATER_BYTES)


def test_what_waited_behind_a_full_socket_is_answered_once_there_is_room(worker: Worker) -> None:
    connection = worker.connect()
    connection.transport.blocked = True
    connection.send(GET % b"large" + GET % b"now" * 3)
    connection.transport.blocked = False
    connection.transport.take(len(connection.transport.queued))
    worker.loop.advance(0.0)
    assert connection.received.count(b"HTTP/1.1 200 OK") == 4
    worker.loop.advance(just_before(LIMITS.keepalive_timeout_seconds))
    assert connection.is_open()
    worker.loop.advance(AFTER)
    assert not connection.is_open()


def test_room_in_the_socket_does_not_lift_the_deadline_of_a_body(make_worker: MakeWorker) -> None:
    worker = make_worker(limits=Limits(body_timeout_seconds=20.0, body_idle_timeout_seconds=5.0))
    connection = worker.connect()
    transport = connection.transport
    transport.blocked = True
    # Just below the mark, so that the interim answer goes over it while the body is still to come.
    connection.send(GET % b"held")
    worker.held[0].respond(200, b"x" * (HIGH_WATER_BYTES - 160))
    while transport.get_write_buffer_size() < HIGH_WATER_BYTES:
        transport.queued += b"x"
    connection.send(POST % b"expect: 100-continue\r\ncontent-length: 9\r\n")
    assert connection.protocol.write_paused
    transport.blocked = False
    transport.take(len(transport.queued))
    worker.loop.advance(5.0 + AFTER)
    assert b"HTTP/1.1 408 " in connection.received


def test_a_half_closed_client_behind_a_full_socket_gets_all_its_answers(worker: Worker) -> None:
    connection = worker.connect()
    connection.transport.blocked = True
    connection.send(GET % b"large" + GET % b"now" * 2)
    connection.half_close()
    connection.transport.blocked = False
    connection.transport.take(len(connection.transport.queued))
    worker.loop.advance(AFTER)
    assert connection.received.count(b"HTTP/1.1 200 OK") == 3
    assert connection.transport.closed


# -- pipelining -------------------------------------------------------------------------------------------------------


def test_bytes_that_wait_behind_a_request_in_hand_are_bounded(worker: Worker) -> None:
    connection = worker.connect()
    requests = GET % b"held" * 50_000
    taken = connection.send(requests, piece=16_384)
    assert taken < 65536 + 2 * 16_384
    for _ in range(200):
        worker.held.pop().respond(200, b"")
        taken += connection.send(requests, piece=16_384)
    assert len(connection.protocol._wire.held) < 65536 + 2 * 16_384
    assert taken < 200 * len(GET % b"held") + 65536 + 3 * 16_384


def test_reading_goes_on_once_what_waits_has_shrunk(worker: Worker) -> None:
    connection = worker.connect()
    requests = GET % b"now" * 8_000
    connection.send(GET % b"held" + requests)
    assert not connection.transport.is_reading()
    worker.held[0].respond(200, b"")
    worker.loop.advance(0.0)
    assert connection.transport.is_reading()
    assert connection.received.count(b"HTTP/1.1 200 OK") == 8_001


def test_a_refusal_behind_much_that_waits_is_lingered_over(worker: Worker) -> None:
    connection = worker.connect()
    connection.send(GET % b"held" + b"nonsense\r\n\r\n" + b"x" * 200_000)
    worker.held[0].respond(200, b"")
    worker.loop.advance(0.0)
    assert b"HTTP/1.1 400 " in connection.received
    assert connection.transport.is_reading()
