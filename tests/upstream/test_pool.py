"""The pool's decisions against a plain model: any order of requests, answers, closes and scans."""

import asyncio
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.upstream.scripted import OK, Heard, Silent, read
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.connection import CHECKS_PER_SECOND, Timeouts, UpstreamConnection, make_read_buffer
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.wire.client import ResponseHeads

MAX_IDLE = 5
MAX_IDLE_PER_ORIGIN = 3
IDLE_TIMEOUT = 90.0
NO_LIMITS = Timeouts(1e9, 1e9, 1e9)
ORIGINS = [Origin(False, "a.test", 80), Origin(True, "a.test", 443), Origin(False, "b.test", 80)]


class ClockLoop(asyncio.SelectorEventLoop):
    """A loop that never runs; its clock is moved by hand."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Idle(NamedTuple):
    """The model's idea of an idle connection."""

    since: float
    origin: Origin
    connection: UpstreamConnection


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockLoop()
        self.deadlines = Deadlines(self.loop.call_soon)
        self.pool = Pool(
            self.deadlines, max_idle=MAX_IDLE, max_idle_per_origin=MAX_IDLE_PER_ORIGIN, idle_timeout=IDLE_TIMEOUT
        )
        self.busy: list[tuple[Origin, UpstreamConnection]] = []
        self.idle: list[Idle] = []  # in the order of their release
        self.closing: list[UpstreamConnection] = []
        self.opened = 0

    def teardown(self) -> None:
        self.pool.close()
        assert all(connection.transport.is_closing() for _, connection in self.busy)
        assert all(idle.connection.transport.is_closing() for idle in self.idle)
        assert all(isinstance(one.transport, Silent) and one.transport.aborted for one in self.closing)
        for connection in [*(item for _, item in self.busy), *(item.connection for item in self.idle), *self.closing]:
            connection.connection_lost(None)
        assert self.pool.statistics()[:2] == (0, 0)
        assert not self.pool._closing
        assert not len(self.deadlines)
        self.loop.close()

    def send(self, origin: Origin, connection: UpstreamConnection) -> None:
        connection.send("POST", b"", b"", Heard(), NO_LIMITS)
        self.busy.append((origin, connection))

    @rule(origin=st.sampled_from(ORIGINS))
    def request(self, origin: Origin) -> None:
        usable = [item for item in self.idle if item.origin == origin and not item.connection.transport.is_closing()]
        connection = self.pool.acquire(origin)
        if usable:
            newest = usable[-1]
            assert connection is newest.connection
            # Dead ones that lay above it have been dropped on the way.
            at = self.idle.index(newest)
            dropped = [item for item in self.idle[at + 1 :] if item.origin == origin]
            self.closing += [item.connection for item in dropped]
            self.idle = [item for item in self.idle if item is not newest and item not in dropped]
        else:
            assert connection is None
            self.closing += [item.connection for item in self.idle if item.origin == origin]
            self.idle = [item for item in self.idle if item.origin != origin]
            connection = UpstreamConnection(self.loop, self.pool, make_read_buffer(), ResponseHeads())
            Silent(connection)
            self.pool.opened(origin, connection)
            self.opened += 1
        self.send(origin, connection)

    @precondition(lambda self: self.busy)
    @rule(number=st.integers(0, 99), surplus=st.booleans())
    def answer(self, number: int, surplus: bool) -> None:
        origin, connection = self.busy.pop(number % len(self.busy))
        read(connection, OK + b"H" * surplus)
        if surplus:
            self.closing.append(connection)
        else:
            self.idle.append(Idle(self.loop.now, origin, connection))
        assert connection.transport.is_closing() == surplus

    @precondition(lambda self: self.busy)
    @rule(number=st.integers(0, 99))
    def cancel(self, number: int) -> None:
        _, connection = self.busy.pop(number % len(self.busy))
        connection.cancel()
        self.closing.append(connection)

    @precondition(lambda self: self.busy)
    @rule(number=st.integers(0, 99))
    def die_busy(self, number: int) -> None:
        _, connection = self.busy.pop(number % len(self.busy))
        connection.connection_lost(None)

    @precondition(lambda self: self.idle)
    @rule(number=st.integers(0, 99))
    def speak_while_idle(self, number: int) -> None:
        """The connection is closed, but the loop has not notified the pool."""
        read(self.idle[number % len(self.idle)].connection, b"H")

    @precondition(lambda self: self.idle)
    @rule(number=st.integers(0, 99))
    def die_idle(self, number: int) -> None:
        item = self.idle.pop(number % len(self.idle))
        item.connection.transport.close()
        item.connection.connection_lost(None)

    @precondition(lambda self: self.closing)
    @rule()
    def lose(self) -> None:
        for connection in self.closing:
            connection.connection_lost(None)
        self.closing.clear()

    @rule(seconds=st.sampled_from([0.0, 0.25, 30.0, 90.0]))
    def scan(self, seconds: float) -> None:
        self.loop.now += seconds
        self.deadlines.expire(self.loop.now)
        kept: list[Idle] = []
        for origin in ORIGINS:
            mine = [item for item in self.idle if item.origin == origin][-MAX_IDLE_PER_ORIGIN:]
            kept += [item for item in mine if item.since > self.loop.now - IDLE_TIMEOUT]
        kept.sort(key=self.idle.index)
        ages = [item.since for item in kept]
        surplus = max(len(kept) - MAX_IDLE, 0)
        closed = [item for item in self.idle if item not in kept]
        assert all(item.connection.transport.is_closing() for item in closed)
        # Of two that were released at the same time either may go: follow the pool in that.
        really_kept = [item for item in kept if item.connection in self.pool_idle()]
        assert len(really_kept) == len(kept) - surplus
        assert sorted(item.since for item in really_kept) == ages[surplus:]
        for item in kept:
            if item not in really_kept:
                assert item.connection.transport.is_closing()
        self.closing += [item.connection for item in self.idle if item not in really_kept]
        self.idle = really_kept

    def pool_idle(self) -> set[UpstreamConnection]:
        return {connection for deque in self.pool._idle.values() for connection in deque}

    @invariant()
    def statistics_agree(self) -> None:
        busy, idle, opened = self.pool.statistics()
        assert (idle, opened) == (len(self.idle), self.opened)
        # An aborted connection counts until the loop reports its end, in the next turn.
        aborted = {one for one in self.closing if one not in self.pool._closing}
        assert busy == len(self.busy) + len(aborted)

    @invariant()
    def every_busy_connection_is_watched(self) -> None:
        for _, connection in self.busy:
            assert connection in self.pool._watched[connection.watched_for]
            assert connection.watched_for <= connection.deadline * CHECKS_PER_SECOND


PoolMachine.TestCase.settings = settings(stateful_step_count=40)
TestPool = PoolMachine.TestCase
