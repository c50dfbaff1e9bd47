"""The schedule of a stream, on a loop whose clock is set by hand; and its back-pressure, on real sockets."""

import asyncio
import heapq
import itertools
import json
import socket
from collections.abc import Callable
from typing import cast

from tests.simulator.asking import raw_request
from tests.stack import Stack
from ztoapi.server.downstream import Producer
from ztoapi.server.exchange import Exchange
from ztoapi.simulator.pacer import Pacer
from ztoapi.simulator.plain import Plain
from ztoapi.simulator.plan import ResponsePlan


class SetClock:
    """A loop that only knows what is due when; ``lag`` is how late it calls."""

    def __init__(self, lag: float = 0.0) -> None:
        self.now = 100.0
        self._lag = lag
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), callback))

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_at(self.now, callback)

    def run(self) -> None:
        while self._due:
            when, _, callback = heapq.heappop(self._due)
            self.now = max(self.now, when + self._lag)
            callback()


class Written:
    """Stands in for the exchange: notes what is written when. Paused after ``room`` writes."""

    def __init__(self, clock: SetClock, room: int = 1_000_000) -> None:
        self.loop = cast("asyncio.AbstractEventLoop", clock)
        self._clock = clock
        self._room = room
        self.finished = False
        self.producer: Producer | None = None
        self.writes: list[tuple[float, bytes]] = []

    @property
    def stream(self) -> "Written":
        return self

    @property
    def paused(self) -> bool:
        return len(self.writes) >= self._room

    def start_stream(self, *, content_type: bytes) -> None:
        assert content_type.startswith(b"text/event-stream")

    def write(self, payload: bytes) -> None:
        self.writes.append((round(self._clock.now - 100, 6), payload))

    def end(self, payload: bytes) -> None:
        self.write(payload)
        self.finished = True

    def make_room(self, room: int) -> None:
        self._room = room
        assert self.producer is not None
        self.producer.resume()


def paced(plan: ResponsePlan, count: int, *, lag: float = 0.0, room: int = 1_000_000) -> tuple[Written, SetClock]:
    clock = SetClock(lag)
    written = Written(clock, room)
    numbers = (b"%d," % number for number in range(count))
    Pacer(cast("Exchange", written), plan, Plain(), numbers, b"last").start()
    clock.run()
    return written, clock


def test_events_are_due_on_an_absolute_schedule() -> None:
    written, _ = paced(ResponsePlan(ttft=50, itl=20), 3)
    assert written.writes == [(0.05, b"0,"), (0.07, b"1,"), (0.09, b"2,"), (0.11, b"last")]


def test_a_loop_that_calls_late_does_not_make_the_schedule_drift() -> None:
    written, _ = paced(ResponsePlan(ttft=0, itl=10), 1000, lag=0.004)
    assert written.writes[-1] == (10.004, b"last")


def test_events_of_one_write_go_when_the_first_is_due() -> None:
    written, _ = paced(ResponsePlan(ttft=0, itl=10, epw=3), 5)
    assert written.writes == [(0.0, b"0,1,2,"), (0.03, b"3,4,"), (0.05, b"last")]


def test_what_came_due_while_the_client_was_full_goes_at_once() -> None:
    written, clock = paced(ResponsePlan(ttft=0, itl=10), 6, room=2)
    assert len(written.writes) == 2
    clock.now += 0.02
    late = round(clock.now - 100, 6)
    written.make_room(100)
    clock.run()
    assert [payload for _, payload in written.writes] == [b"0,", b"1,", b"2,", b"3,", b"4,", b"5,", b"last"]
    assert [when for when, _ in written.writes[2:]] == [late, late, late, 0.05, 0.06]


def test_a_burst_takes_no_time_and_stops_when_the_client_is_full() -> None:
    written, _ = paced(ResponsePlan(), 1000)
    assert len(written.writes) == 1001
    assert {when for when, _ in written.writes} == {0.0}
    held, _ = paced(ResponsePlan(), 1000, room=10)
    assert len(held.writes) == 10


def test_a_client_that_reads_nothing_holds_one_write_of_50_mb(stack: Stack) -> None:
    size, count = 5000, 10000
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", stack.simulator_port))
        client.sendall(
            raw_request("/v1/chat/completions", f"m:size={size}:tokens={count}").replace(b"1.1\r\n", b"1.0\r\n")
        )
        connections = stack.simulator.context.connections
        stack.wait_for(lambda: any(one.write_paused for one in connections))
        (held,) = [one.transport.get_write_buffer_size() for one in connections]
        assert held < 65536 + 2 * size
        data = b"".join(iter(lambda: client.recv(1 << 20), b""))
    events = [event for event in data.split(b"\n\n") if event.startswith(b'data: {"id"')]
    contents = [json.loads(event[6:])["choices"][0]["delta"].get("content", "") for event in events]
    assert sum(map(len, contents)) == size * count
