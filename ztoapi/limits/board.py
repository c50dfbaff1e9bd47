"""The limiter of one machine: all buckets in one piece of memory, which all workers share.

Each limit has a table of its own (:mod:`ztoapi.limits.table`), so a flood of addresses cannot touch the buckets of
keys. A rate's row holds a TAT; that of a limit on requests in flight a count for each worker, which that worker alone
writes, so that what a dead worker held can be told from the rest and taken back.

A decision reads all buckets, then writes all, under one lock. A worker killed between two writes has charged some
buckets for a request that died with it: never too little.

With one worker the same code serves, on memory of its own and without the lock between processes.
"""

import hashlib
import mmap
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from ztoapi.limits.fields import go_duration, openai_template
from ztoapi.limits.lock import ProcessLock
from ztoapi.limits.model import (
    IN_FLIGHT_WAIT_NS,
    Demand,
    Denial,
    InFlightLimit,
    Limit,
    Quota,
    RateLimit,
    Scope,
    Unit,
    unit_of,
)
from ztoapi.limits.table import NO_KEY, Table, Words
from ztoapi.structures.bucket import Rate

__all__ = ["Board", "BoardGrant", "BoardLimiter"]

_WORD_BYTES: Final = 8
_KEY_BYTES: Final = 32
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
        self.lock = ProcessLock() if workers > 1 else threading.Lock()
        self._secret = secrets.token_bytes(_KEY_BYTES)
        size = sum(Table.size(scope.subjects, self._values(limit)) for scope in scopes for limit in scope.limits)
        size += Table.size(_LATE_TABLES, 1) + 1
        self.words: Words = _shared(size + _LATE_WORDS) if workers > 1 else [0] * size
        self.tables: dict[str, Table] = {}
        self._gauges: list[Table] = []
        # The first word says where the next table may lie, the directory where each of those lies that came late.
        self._directory = Table(self.words, 1, _LATE_TABLES, 1)
        start = self._directory.end
        for scope in scopes:
            for limit in scope.limits:
                start = self._open(limit, scope, start).end
        self.words[0] = start

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
        start = self.words[0]
        if isinstance(self.words, list):
            self.words += [0] * size
        elif start + size > len(self.words):
            raise MemoryError("there is no more room for limits: restart the gateway")
        self.words[0] = start + size
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


class _Bucket:
    """A rate limit of one subject; ``at`` is where its TAT was last seen, right after the key."""

    __slots__ = ("_table", "_words", "at", "by_token", "fields", "key", "limit", "rate", "subject", "take")

    def __init__(self, board: Board, limit: RateLimit, subject: str, key: int) -> None:
        self._words = board.words
        self._table = board.tables[limit.name]
        self.limit, self.rate, self.by_token = limit, board.rate(limit), limit.unit is Unit.TOKENS
        self.subject, self.key, self.at = subject, key, self._table.shared + 1
        self.take = self.rate.take
        self.fields = openai_template(limit)

    def find(self, now: int) -> int:
        """Where the TAT is now; the lock is held. Loops that every request runs look at ``at`` first: 0.1 us."""
        if self._words[self.at - 1] != self.key:
            self.at = 1 + self._table.find(self.key, lambda row: self.rate.idle(self._words[row + 1], now))
        return self.at

    def quota(self, tat: int, now: int) -> Quota:
        return Quota(self.limit, self.rate.burst, *self.rate.state(tat, now))


class _Gauge:
    """A limit on one subject's requests in flight; ``at`` is where the workers' counts were last seen."""

    __slots__ = ("_table", "_words", "_workers", "at", "key", "limit", "most", "subject")

    def __init__(self, board: Board, limit: InFlightLimit, subject: str, key: int) -> None:
        self._words, self._workers = board.words, board.workers
        self._table = board.tables[limit.name]
        self.limit, self.most = limit, limit.most
        self.subject, self.key, self.at = subject, key, self._table.shared + 1

    def find(self) -> int:
        """Where the counts are now; the lock is held."""
        if self._words[self.at - 1] != self.key:
            self.at = 1 + self._table.find(self.key, lambda row: self.count(row + 1) == 0)
        return self.at

    def count(self, at: int) -> int:
        return self._words[at] if self._workers == 1 else sum(self._words[at : at + self._workers])

    def quota(self, count: int) -> Quota:
        return Quota(self.limit, self.most, max(self.most - count, 0), IN_FLIGHT_WAIT_NS if count else 0)


class _Plan:
    """All that a demand is held to."""

    __slots__ = ("bandwidths", "buckets", "gauges", "shown")

    def __init__(self, board: Board, demand: Demand) -> None:
        self.buckets: list[_Bucket] = []
        self.bandwidths: list[_Bucket] = []
        self.gauges: list[_Gauge] = []
        for scope, subject in demand:
            key = board.key(subject)
            for limit in scope.limits:
                if isinstance(limit, InFlightLimit):
                    self.gauges.append(_Gauge(board, limit, subject, key))
                else:
                    buckets = self.bandwidths if limit.unit is Unit.BANDWIDTH else self.buckets
                    buckets.append(_Bucket(board, limit, subject, key))
        self.shown: dict[Unit, int] = {}
        """Of each unit the place among the buckets of the limit that holds the least: what a client is told of. To look
        for the one with the least remaining would cost more than the decision."""
        for place, bucket in enumerate(self.buckets):
            unit = bucket.limit.unit
            if unit not in self.shown or bucket.limit.rate.burst < self.buckets[self.shown[unit]].limit.rate.burst:
                self.shown[unit] = place

    def quotas(self, tats: list[int], counts: list[int], now: int) -> tuple[Quota, ...]:
        quotas = [bucket.quota(tat, now) for bucket, tat in zip(self.buckets, tats, strict=True)]
        return tightest(quotas + [gauge.quota(count) for gauge, count in zip(self.gauges, counts, strict=True)])


class BoardLimiter:
    """One worker's way to the board; see :class:`~ztoapi.limits.model.Limiter`."""

    def __init__(self, board: Board, slot: int) -> None:
        self.board = board
        self.lock, self.words, self.clock = board.lock, board.words, board.clock
        self._slot = slot
        self._alone = board.workers == 1
        self._plans: dict[Demand, _Plan] = {}

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
        tats: list[int] = []
        counts: list[int] = []
        places: list[int] = []
        with self.lock:
            granted = self._pass(plan, tokens, now, tats, counts, places)
            if not granted:
                tats = [self.words[bucket.find(now)] for bucket in plan.buckets]
                counts = [gauge.count(gauge.find()) for gauge in plan.gauges]
        if granted:
            return BoardGrant(self, plan, tokens, now, tats, counts, places)
        return _deny(plan, tokens, now, tats, counts)

    def _pass(self, plan: _Plan, tokens: int, now: int, tats: list[int], counts: list[int], places: list[int]) -> bool:
        """Take everywhere or nowhere, and note what then stands where; the lock is held."""
        words, alone = self.words, self._alone
        for bucket in plan.buckets:
            at = bucket.at
            if words[at - 1] != bucket.key:
                at = bucket.find(now)
            tat = bucket.take(words[at], now, tokens if bucket.by_token else 1)
            if tat is None:
                return False
            tats.append(tat)
        for gauge in plan.gauges:
            at = gauge.at
            if words[at - 1] != gauge.key:
                at = gauge.find()
            count = words[at] if alone else gauge.count(at)
            if count >= gauge.most:
                return False
            counts.append(count + 1)
            places.append(at + self._slot)
        for bucket, tat in zip(plan.buckets, tats):  # noqa: B905 - they are as long as each other; 0.2 us
            words[bucket.at] = tat
        for at in places:
            words[at] += 1
        return True

    async def ask(self, demand: Demand, tokens: int = 0) -> "BoardGrant | Denial":
        """The same."""
        return self.take(demand, tokens)

    def _plan(self, demand: Demand) -> _Plan:
        if len(self._plans) >= _REMEMBERED_DEMANDS:
            self._plans.clear()
        plan = self._plans[demand] = _Plan(self.board, demand)
        return plan


class BoardGrant:
    """See :class:`~ztoapi.limits.model.Grant`."""

    __slots__ = ("_counts", "_finished", "_limiter", "_now", "_places", "_plan", "_tats", "_tokens")

    def __init__(
        self,
        limiter: BoardLimiter,
        plan: _Plan,
        tokens: int,
        now: int,
        tats: list[int],
        counts: list[int],
        places: list[int],
    ) -> None:
        self._limiter, self._plan, self._tokens, self._now = limiter, plan, tokens, now
        self._tats, self._counts, self._places = tats, counts, places
        self._finished = False

    @property
    def paced(self) -> bool:
        return bool(self._plan.bandwidths)

    def quota(self, unit: Unit) -> Quota | None:
        if unit is Unit.IN_FLIGHT:
            gauges = [gauge.quota(count) for gauge, count in zip(self._plan.gauges, self._counts, strict=True)]
            return min(gauges, key=lambda quota: quota.remaining, default=None)
        place = self._plan.shown.get(unit)
        return None if place is None else self._plan.buckets[place].quota(self._tats[place], self._now)

    def fields(self) -> bytes:
        plan, tats, now = self._plan, self._tats, self._now
        lines = b""
        for place in plan.shown.values():
            bucket = plan.buckets[place]
            remaining, reset_ns = bucket.rate.state(tats[place], now)
            lines += bucket.fields % (remaining, go_duration(reset_ns))
        return lines

    def charge(self, amount: int) -> int:
        limiter, pause = self._limiter, 0
        now = limiter.clock()
        with limiter.lock:
            for bucket in self._plan.bandwidths:
                at = bucket.find(now)
                tat = limiter.words[at] = bucket.rate.charge(limiter.words[at], now, amount)
                pause = max(pause, bucket.rate.pause(tat, now))
        return pause

    def finish(self, tokens: int | None = None) -> None:
        assert not self._finished, "a grant is finished once"
        self._finished = True
        limiter, words = self._limiter, self._limiter.words
        if tokens is not None and tokens != self._tokens:
            now, difference = limiter.clock(), tokens - self._tokens
            with limiter.lock:
                for bucket in self._plan.buckets:
                    if bucket.by_token:
                        at = bucket.at
                        if words[at - 1] != bucket.key:
                            at = bucket.find(now)
                        words[at] = bucket.rate.charge(words[at], now, difference)
        # Without the lock: this worker alone writes the word, and what others read is at worst the count before.
        for at in self._places:
            words[at] -= 1


def _deny(plan: _Plan, tokens: int, now: int, tats: list[int], counts: list[int]) -> Denial:
    """Why, as things stood."""
    refusals: list[tuple[Limit, str, int | None]] = []
    for bucket, tat in zip(plan.buckets, tats, strict=True):
        wait = bucket.rate.wait(tat, now, tokens if bucket.by_token else 1)
        if wait != 0:
            refusals.append((bucket.limit, bucket.subject, wait))
    for gauge, count in zip(plan.gauges, counts, strict=True):
        if count >= gauge.most:
            refusals.append((gauge.limit, gauge.subject, IN_FLIGHT_WAIT_NS))
    limit, subject, longest = max(refusals, key=lambda refusal: float("inf") if refusal[2] is None else refusal[2])
    return Denial(limit, subject, longest, plan.quotas(tats, counts, now))


def tightest(quotas: list[Quota]) -> tuple[Quota, ...]:
    """Of each unit the one with the least remaining."""
    found: dict[Unit, Quota] = {}
    for quota in quotas:
        unit = unit_of(quota.limit)
        if unit not in found or quota.remaining < found[unit].remaining:
            found[unit] = quota
    return tuple(found.values())
