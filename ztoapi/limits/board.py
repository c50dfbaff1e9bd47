"""The limiter of one machine: all buckets in one piece of memory, which all workers share.

Each limit has a table of its own (:mod:`ztoapi.limits.table`), so a flood of addresses cannot touch the buckets of
keys. A rate's row holds a TAT; that of a limit on requests in flight a count for each worker, which that worker alone
writes, so that what a dead worker held can be told from the rest and taken back.

A decision takes from one bucket after the other and gives everything back where one refuses, under one lock. A worker
killed meanwhile has charged some buckets for a request that died with it: never too little.

With one worker the same code serves, on memory of its own and without a lock.
"""

import hashlib
import mmap
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from ztoapi.limits.fields import go_duration
from ztoapi.limits.lock import ProcessLock
from ztoapi.limits.model import Demand, Denial, InFlightLimit, Limit, Quota, RateLimit, Scope, Unit
from ztoapi.limits.plan import Bucket, Gauge, Plan
from ztoapi.limits.table import CHANGES, NO_KEY, Table
from ztoapi.structures.bucket import Rate
from ztoapi.structures.buckets import Words

__all__ = ["Board", "BoardGrant", "BoardLimiter"]

_WORD_BYTES: Final = 8
_KEY_BYTES: Final = 32
_NEXT: Final = CHANGES + 1
"""The word that says where the next table may lie; behind it the first one does."""
_DIRECTORY: Final = _NEXT + 1
_LATE_TABLES: Final = 10_000
"""Limits that may come after the start: those of new or changed keys."""
_LATE_WORDS: Final = 1_000_000
"""Room for them, which costs nothing before it is used: what 20,000 limits of single keys take with 16 workers."""
_REMEMBERED_DEMANDS: Final = 4096
"""Demands of which a worker remembers where their rows are, about 2 KiB each; it forgets all when there are more."""


class Board:
    """Memory for the limits of ``scopes``. Made before the fork if there are several ``workers``.

    With several ``machines`` it holds each rate of requests and tokens to this machine's share of it. Bandwidth and
    requests in flight are each machine's own. Raises ValueError if two limits have the same name, or one has room for
    nobody.
    """

    def __init__(
        self,
        scopes: Sequence[Scope],
        workers: int = 1,
        machines: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.workers = workers
        self._machines = machines
        self.clock = clock
        self.lock: AbstractContextManager[None] = ProcessLock() if workers > 1 else nullcontext()
        self._secret = secrets.token_bytes(_KEY_BYTES)
        size = sum(Table.size(scope.subjects, self._values(limit)) for scope in scopes for limit in scope.limits)
        size += Table.size(_LATE_TABLES, 1) + _DIRECTORY
        self.words: Words = _shared(size + _LATE_WORDS) if workers > 1 else [0] * size
        self.tables: dict[str, Table] = {}
        self._gauges: list[Table] = []
        # It says where each table lies that came late.
        self._directory = Table(self.words, _DIRECTORY, _LATE_TABLES, 1)
        start = self._directory.end
        for scope in scopes:
            for limit in scope.limits:
                start = self._open(limit, scope, start).end
        self.words[_NEXT] = start

    def add(self, scope: Scope, slot: int) -> None:
        """Take up a scope in worker ``slot`` that was not known when the board was made, such as that of a new key.
        A limit of the same name, here or in another worker, is the same limit.

        Raises ValueError as the constructor, MemoryError if there have been too many.
        """
        with self.lock:
            for limit in scope.limits:
                if limit.name in self.tables:
                    continue
                row = self._directory.find(self.key(limit.name), lambda _: False)
                if row == self._directory.shared:
                    raise MemoryError(f"there is no more room for limits such as {limit.name}: restart the gateway")
                if self.words[row + 1] == 0:
                    self.words[row + 1] = self._allocate(Table.size(scope.subjects, self._values(limit)))
                table = self._open(limit, scope, self.words[row + 1])
                if isinstance(limit, InFlightLimit):
                    # What is there is of whoever had the number before.
                    table.clear(slot)

    def _allocate(self, size: int) -> int:
        start = self.words[_NEXT]
        if isinstance(self.words, list):
            self.words += [0] * size
        elif start + size > len(self.words):
            raise MemoryError("there is no more room for limits: restart the gateway")
        self.words[_NEXT] = start + size
        return start

    def _open(self, limit: Limit, scope: Scope, start: int) -> Table:
        if scope.subjects < 1:
            raise ValueError(f"the scope {scope.name} has room for {scope.subjects} subjects; give it at least 1")
        if limit.name in self.tables:
            raise ValueError(f"two limits are called {limit.name}; give each a name of its own")
        table = self.tables[limit.name] = Table(self.words, start, scope.subjects, self._values(limit))
        if isinstance(limit, InFlightLimit):
            self._gauges.append(table)
        return table

    def rate(self, limit: RateLimit) -> Rate:
        """What this machine holds ``limit`` to."""
        rate = limit.rate
        if self._machines == 1 or limit.unit is Unit.BANDWIDTH:
            return rate
        return Rate(rate.limit, rate.period_ns * self._machines, max(rate.burst // self._machines, 1))

    def _values(self, limit: Limit) -> int:
        return self.workers if isinstance(limit, InFlightLimit) else 1

    def key(self, name: str) -> int:
        """The hash of a name. Its secret lives as long as the board, so nobody can aim at another's row."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_WORD_BYTES, key=self._secret)
        return int.from_bytes(digest.digest(), "little", signed=True) or NO_KEY + 1

    def limiter(self, slot: int) -> "BoardLimiter":
        """For the worker of this number, counted from 0; whoever had the number before it is dead."""
        self.reclaim(slot)
        return BoardLimiter(self, slot)

    def reclaim(self, slot: int) -> None:
        """Take back what worker ``slot`` had in flight. It must be dead."""
        with self.lock:
            for table in self._gauges:
                table.clear(slot)


def _shared(size: int) -> "memoryview[int]":
    return memoryview(mmap.mmap(-1, max(size, 1) * _WORD_BYTES)).cast("q")


class BoardLimiter:
    """One worker's way to the board; see :class:`~ztoapi.limits.model.Limiter`."""

    def __init__(self, board: Board, slot: int) -> None:
        self.board = board
        self.lock, self.words, self.clock = board.lock, board.words, board.clock
        self._slot = slot
        self._alone = board.workers == 1
        self._plans: dict[Demand, Plan] = {}

    def add(self, scope: Scope) -> None:
        """See :meth:`Board.add`."""
        self.board.add(scope, self._slot)

    def burst(self, limit: RateLimit) -> int:
        """That of this machine's share."""
        return self.board.rate(limit).burst

    def take(self, demand: Demand, tokens: int = 0) -> "BoardGrant | Denial":
        """Decides at once."""
        plan = self._plans.get(demand) or self._plan(demand)
        now = self.clock()
        if self._alone:
            tats = plan.take(now, tokens)
            return plan.deny(now, tokens) if tats is None else BoardGrant(self, plan, tokens, now, tats)
        with self.lock:
            tats = plan.take(now, tokens)
            if tats is None:
                return plan.deny(now, tokens)
        return BoardGrant(self, plan, tokens, now, tats)

    async def ask(self, demand: Demand, tokens: int = 0) -> "BoardGrant | Denial":
        """The same."""
        return self.take(demand, tokens)

    def _plan(self, demand: Demand) -> Plan:
        if len(self._plans) >= _REMEMBERED_DEMANDS:
            self._plans.clear()
        board = self.board
        plan = self._plans[demand] = Plan(board.words, board.workers, self._slot)
        for scope, subject in demand:
            key = board.key(subject)
            for limit in scope.limits:
                table = board.tables[limit.name]
                if isinstance(limit, InFlightLimit):
                    plan.add_gauge(Gauge(board.words, table, limit, board.workers, subject, key))
                else:
                    plan.add_rate(Bucket(board.words, table, limit, board.rate(limit), subject, key))
        return plan

    def settle(self, plan: Plan, difference: int) -> None:
        """So many more tokens than taken were used."""
        # To give back takes no time.
        now = self.clock() if difference > 0 else 0
        if self._alone:
            plan.settle(now, difference)
            return
        with self.lock:
            plan.settle(now, difference)


class BoardGrant:
    """See :class:`~ztoapi.limits.model.Grant`."""

    __slots__ = ("_limiter", "_now", "_places", "_plan", "_tats", "_tokens")

    def __init__(self, limiter: BoardLimiter, plan: Plan, tokens: int, now: int, tats: tuple[int, ...]) -> None:
        self._limiter, self._plan, self._tokens, self._now, self._tats = limiter, plan, tokens, now, tats
        self._places: list[int] | None = plan.places

    @property
    def piece(self) -> int:
        return self._plan.piece

    def quota(self, unit: Unit) -> Quota | None:
        if unit is Unit.IN_FLIGHT:
            return min(self._plan.in_flight(), key=lambda quota: quota.remaining, default=None)
        for bucket, tat in zip(self._plan.shown, self._tats):  # noqa: B905 - there may be more
            if bucket.limit.unit is unit:
                return bucket.quota(tat, self._now)
        return None

    def fields(self) -> bytes:
        plan, now = self._plan, self._now
        one, other = plan.rates
        if one is None:
            return b""
        remaining, reset_ns = one.state(self._tats[0], now)
        if other is None:
            return plan.template % (remaining, go_duration(reset_ns))
        # Written out, for a loop over the two takes half as long again.
        left, full_ns = other.state(self._tats[1], now)
        return plan.template % (remaining, go_duration(reset_ns), left, go_duration(full_ns))

    def charge(self, amount: int) -> int:
        limiter, pause = self._limiter, 0
        words, now = limiter.words, limiter.clock()
        with limiter.lock:
            for bucket in self._plan.bandwidths:
                at = bucket.find(now)
                tat = words[at] = bucket.rate.charge(words[at], now, amount)
                pause = max(pause, bucket.rate.pause(tat, now))
        return pause

    def finish(self, tokens: int | None = None) -> None:
        places, self._places = self._places, None
        assert places is not None, "a grant is finished once"
        if tokens is not None and tokens != self._tokens and self._plan.settles:
            self._limiter.settle(self._plan, tokens - self._tokens)
        words = self._limiter.words
        # Without the lock: this worker alone writes the word, and what others read is at worst the count before.
        for at in places:
            words[at] -= 1
