"""The work on large bodies runs beside the event loop: one piece at a time, and for clients that are still there."""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.serving import Serving
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import ApiError, Ending
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies
from ztoapi.wire.limits import LARGE_BODY_BYTES

LARGE = b"x" * (LARGE_BODY_BYTES + 1)
SMALL = b"x" * LARGE_BODY_BYTES


class Service:
    """A server whose decoder waits for the test. ``decoded`` are the threads that have decoded, ``served`` the bodies
    that have been answered."""

    def __init__(self) -> None:
        self.decoded: list[str] = []
        self.served: list[int] = []
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.serving = Serving(self._dispatch)
        self.bodies = LargeBodies(self.serving.loop)

    def _dispatch(self, exchange: Exchange) -> None:
        if exchange.request.path == "/other":
            exchange.respond(200, b"other")
        else:
            self.bodies.decode(exchange, self._decode, self._respond)

    def _decode(self, body: bytes | bytearray) -> int:
        self.decoded.append(threading.current_thread().name)
        if len(body) > LARGE_BODY_BYTES:
            self.begun.release()
            assert self.may_end.acquire(timeout=WAIT_SECONDS)
        if body.startswith(b"y"):
            raise ApiError("no", status=400, code="no")
        return len(body)

    def _respond(self, exchange: Exchange, size: int) -> None:
        self.served.append(size)
        exchange.respond(200, b"%d" % size)

    def buffers(self, used: int) -> bool:
        return self.serving.context.buffers.used == used

    def wait_for_work(self) -> None:
        assert self.begun.acquire(timeout=WAIT_SECONDS)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with service.serving:
        yield service
        service.may_end.release(100)
        service.serving.await_(service.bodies.close())


def test_other_connections_are_served_during_the_work(service: Service) -> None:
    with service.serving.client() as large, service.serving.client() as other:
        large.post("/", LARGE)
        service.wait_for_work()
        for _ in range(3):
            other.get("/other")
            assert other.answer().body == b"other"
            other.post("/", SMALL)
            assert other.answer().body == b"%d" % len(SMALL)
        assert service.served == [len(SMALL)] * 3
        service.may_end.release()
        assert large.answer().body == b"%d" % len(LARGE)
    assert service.decoded[0].startswith("large-bodies")
    assert not any(name.startswith("large-bodies") for name in service.decoded[1:])


def test_pieces_of_work_are_done_one_at_a_time_in_their_order(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(service.serving.client()) for _ in range(4)]
        used = 0
        for number, client in enumerate(clients):
            client.post("/", LARGE + b"x" * number)
            used += len(LARGE) + number
            service.serving.wait_for(partial(service.buffers, used))
            if not number:
                service.wait_for_work()
        assert len(service.decoded) == 1
        service.may_end.release(4)
        assert [int(client.answer().body) for client in clients] == [len(LARGE) + number for number in range(4)]
    assert service.served == [len(LARGE) + number for number in range(4)]


def test_errors_of_the_work_are_responses(service: Service) -> None:
    service.may_end.release()
    with service.serving.client() as client:
        client.post("/", b"y" * len(LARGE))
        assert client.answer().status == 400
        client.get("/other")
        assert client.answer().status == 200


def test_a_client_that_leaves_frees_its_body_and_the_next_is_served(service: Service) -> None:
    buffers = service.serving.context.buffers
    with service.serving.client() as other:
        with service.serving.client() as leaving, service.serving.client() as waiting:
            leaving.post("/", LARGE)
            service.wait_for_work()
            waiting.post("/", LARGE)
            service.serving.wait_for(lambda: buffers.used == 2 * len(LARGE))
        endings = {service.serving.record().ending for _ in range(2)}
        assert endings == {Ending.CLIENT_DISCONNECT}
        assert service.serving.run(lambda: buffers.used) == 0
        other.post("/", LARGE + b"z")
        service.serving.wait_for(lambda: buffers.used == len(LARGE) + 1)
        # The work of the first has begun and cannot be interrupted; that of the second never begins.
        assert len(service.decoded) == 1
        service.may_end.release(2)
        assert other.answer().body == b"%d" % (len(LARGE) + 1)
    assert service.served == [len(LARGE) + 1]
    assert len(service.decoded) == 2


def test_work_that_fails_for_nobody_is_forgotten(service: Service) -> None:
    with service.serving.client() as leaving:
        leaving.post("/", b"y" * len(LARGE))
        service.wait_for_work()
    assert service.serving.record().ending is Ending.CLIENT_DISCONNECT
    service.may_end.release(2)
    with service.serving.client() as other:
        other.post("/", LARGE)
        assert other.answer().status == 200
    # ``Serving`` finds what the loop complains of.
    assert service.serving.problems == []


async def _end(bodies: LargeBodies) -> threading.Thread:
    thread = await bodies.run(threading.current_thread)
    assert thread.is_alive()
    await bodies.close()
    return thread


def test_the_end_waits_for_the_work(service: Service) -> None:
    thread = service.serving.await_(_end(LargeBodies(service.serving.loop)))
    assert not thread.is_alive()
