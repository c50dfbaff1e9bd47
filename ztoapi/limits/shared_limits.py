"""The limiter of one machine: all buckets in one block of memory that all workers share.

Each limit has a table of its own (:mod:`ztoapi.limits.table`), so a flood of addresses cannot evict the buckets of
keys. The row of a rate holds its TAT (:mod:`ztoapi.structures.bucket`). The row of an in-flight limit holds one count
per worker, written by that worker alone, so the counts of a dead worker can be cleared.

A decision takes from one bucket after the other under one lock, and undoes everything if one of them refuses. A worker
that is killed during a decision has charged some buckets for a request that died with it, and never too few.

A single worker uses the same code with memory of its own and without a lock.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final

import msgspec

from ztoapi.limits.buckets import Words
from ztoapi.limits.compiled import CompiledLimits, InFlightCounter, RateBucket
from ztoapi.limits.fields import go_duration
from ztoapi.limits.lock import ProcessLock
from ztoapi.limits.model import Descriptors, InFlightLimit, Limit, LimitStatus, RateLimit, Rejection, Scope, Unit
from ztoapi.limits.table import CHANGES, NO_KEY, RowTable
from ztoapi.structures.bucket import Rate
from ztoapi.telemetry.shared_memory import SharedMemory

__all__ = ["KeptLimits", "LimitsMemory", "LocalLimiter", "LocalReservation", "SharedLimits"]

_WORD_BYTES: Final = 8
_KEY_BYTES: Final = 32
_NEXT: Final = CHANGES + 1
"""Index of the word that holds the start of free memory."""
_DIRECTORY: Final = _NEXT + 1
_DIRECTORY_VALUES: Final = 3
_LATE_TABLES: Final = 10_000
"""Limits, with those that are added after start: of new or changed keys, and of a new configuration."""
_LATE_WORDS: Final = 2_000_000
_LATE_ROWS: Final = 150_000
"""Memory for these limits: words, and rows of counts with one word for each worker. It has room for every limit of
every scope, and for 10,000 limits of single keys. Unused pages cost nothing."""
_MAX_COMPILED: Final = 4096
"""Compiled descriptors that a worker caches, about 2 KiB each. A full cache is cleared."""


class LimitsMemory:
    """The buckets of all limits, which outlive a reload and an upgrade: shared by the ``slots`` slots of workers.

    ``words`` has room for ``size`` words. With a ``name`` it can be passed on to another program; ``kept`` is that of a
    previous one.
    """

    def __init__(self, slots: int, size: int, name: str | None = None, kept: "KeptLimits | None" = None) -> None:
        self.slots = slots
        self._size = size = kept.size if kept else size
        self._memory = SharedMemory(size * _WORD_BYTES, name, kept.memory if kept else None)
        self.words: Words = memoryview(self._memory.mapping).cast("q")
        self.lock = ProcessLock(kept.lock if kept else None)
        self.secret = kept.secret if kept else secrets.token_bytes(_KEY_BYTES)

    def pass_on(self) -> "KeptLimits":
        return KeptLimits(self.slots, self._size, self._memory.pass_on(), self.lock.pass_on(), self.secret)


class KeptLimits(msgspec.Struct, frozen=True):
    """What a program passes on to the next one. ``memory`` and ``lock`` are descriptors."""

    slots: int
    size: int
    memory: int
    lock: int
    secret: bytes


class SharedLimits:
    """Memory for the limits of ``scopes``. With several ``workers`` it must be created before the fork.

    With several ``machines`` each rate of requests and tokens is this machine's share of it. Bandwidth and requests in
    flight are limited by each machine for itself. With ``memory``, limits that are in it already continue: their
    tables are found by name and size. Raises ValueError if two limits have the same name, or if a scope has room for no
    subject, and MemoryError if ``memory`` has no room left.
    """

    def __init__(
        self,
        scopes: Sequence[Scope],
        workers: int = 1,
        machines: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
        memory: LimitsMemory | None = None,
    ) -> None:
        self.workers = workers
        self._machines = machines
        self.clock = clock
        if memory is None and workers > 1:
            memory = LimitsMemory(workers, self.words_of(scopes, workers))
        self.memory = memory
        self.lock: AbstractContextManager[None] = nullcontext() if memory is None else memory.lock
        self._secret = secrets.token_bytes(_KEY_BYTES) if memory is None else memory.secret
        empty = RowTable.size(_LATE_TABLES, _DIRECTORY_VALUES) + _DIRECTORY
        self.words: Words = [0] * empty if memory is None else memory.words
        self.tables: dict[str, RowTable] = {}
        # The start, the subjects and the values of each table, by the hash of its limit's name and size.
        self._directory = RowTable(self.words, _DIRECTORY, _LATE_TABLES, _DIRECTORY_VALUES)
        with self.lock:
            if not self.words[_NEXT]:
                self.words[_NEXT] = self._directory.end
            for scope in scopes:
                for limit in scope.limits:
                    self._open(limit, scope)

    @staticmethod
    def words_of(scopes: Sequence[Scope], workers: int) -> int:
        """Returns the words of memory for ``scopes``, and for limits that are added later."""
        return (
            sum(RowTable.size(scope.subjects, _values(limit, workers)) for scope in scopes for limit in scope.limits)
            + RowTable.size(_LATE_TABLES, _DIRECTORY_VALUES)
            + _DIRECTORY
            + _LATE_WORDS
            + _LATE_ROWS * workers
        )

    def add(self, scope: Scope) -> None:
        """Adds a scope after start, in a worker; for example that of a new key. Limits with the same name are the same
        limit, in all workers.

        Raises ValueError as the constructor does, and MemoryError if there is no room left.
        """
        with self.lock:
            for limit in scope.limits:
                if limit.name not in self.tables:
                    self._open(limit, scope)

    def _open(self, limit: Limit, scope: Scope) -> None:
        """Finds or allocates the table of ``limit``."""
        if scope.subjects < 1:
            raise ValueError(f"the scope {scope.name} has room for {scope.subjects} subjects; give it at least 1")
        if limit.name in self.tables:
            raise ValueError(f"two limits are called {limit.name}; give each a name of its own")
        words, values = self.words, _values(limit, self.workers)
        row = self._directory.find(self.key(f"{limit.name} {scope.subjects} {values}"), lambda _: False)
        if row == self._directory.shared:
            raise MemoryError(f"no room for further limits such as {limit.name}: restart the gateway")
        if words[row + 1] == 0:
            words[row + 1] = self._allocate(RowTable.size(scope.subjects, values))
            words[row + 2] = scope.subjects
            words[row + 3] = values if isinstance(limit, InFlightLimit) else 0
        self.tables[limit.name] = RowTable(words, words[row + 1], scope.subjects, values)

    def _allocate(self, size: int) -> int:
        start = self.words[_NEXT]
        if isinstance(self.words, list):
            self.words += [0] * size
        elif start + size > len(self.words):
            raise MemoryError("no room for further limits: restart the gateway")
        self.words[_NEXT] = start + size
        return start

    def rate(self, limit: RateLimit) -> Rate:
        """Returns this machine's share of ``limit``."""
        rate = limit.rate
        if self._machines == 1 or limit.unit is Unit.BANDWIDTH:
            return rate
        return Rate(rate.limit, rate.period_ns * self._machines, max(rate.burst // self._machines, 1))

    def key(self, name: str) -> int:
        """Returns the hash of a name. The hash is keyed with a random secret, so a client cannot choose a name that
        shares the row of another."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_WORD_BYTES, key=self._secret)
        return int.from_bytes(digest.digest(), "little", signed=True) or NO_KEY + 1

    def limiter(self, slot: int) -> "LocalLimiter":
        """Returns the limiter of worker ``slot``, counted from 0. An earlier worker must have been reclaimed."""
        return LocalLimiter(self, slot)

    def reclaim(self, slot: int) -> None:
        """Clears the in-flight counts of worker ``slot``, which must be dead; those of limits that only workers know
        included. No lock: nothing else writes these words, except that a row with a new key gets zeros too."""
        starts, subjects, values = (self._directory.column(value) for value in range(_DIRECTORY_VALUES))
        for at, start in enumerate(starts):
            if start and values[at]:
                RowTable(self.words, start, subjects[at], values[at]).clear(slot)


def _values(limit: Limit, workers: int) -> int:
    """Words of a row: a TAT, or the counts of all workers."""
    return workers if isinstance(limit, InFlightLimit) else 1


class LocalLimiter:
    """The limiter of one worker, without network; implements :class:`~ztoapi.limits.model.Limiter`."""

    def __init__(self, shared: SharedLimits, slot: int) -> None:
        self.shared = shared
        self.lock = shared.lock
        self.words = shared.words
        self.clock = shared.clock
        self._slot = slot
        self.is_alone = shared.workers == 1
        """Whether no other worker uses the memory, so that no lock is needed."""
        self._compiled: dict[Descriptors, CompiledLimits] = {}

    def add(self, scope: Scope) -> None:
        """See :meth:`SharedLimits.add`."""
        self.shared.add(scope)

    def burst(self, limit: RateLimit) -> int:
        """Returns the burst of this machine's share of ``limit``."""
        return self.shared.rate(limit).burst

    def reserve(self, descriptors: Descriptors, tokens: int = 0) -> "LocalReservation | Rejection":
        """Decides on one request with an estimate of ``tokens``. Never returns None."""
        return self._decide(self._compiled.get(descriptors) or self._compile(descriptors), tokens)

    def reserver(self, descriptors: Descriptors) -> "Callable[[int], LocalReservation | Rejection]":
        """Returns a function that does :meth:`reserve` for ``descriptors``, without a look-up."""
        return partial(self._decide, self._compiled.get(descriptors) or self._compile(descriptors))

    def _decide(self, compiled: CompiledLimits, tokens: int) -> "LocalReservation | Rejection":
        now = self.clock()
        if self.is_alone:
            tats = compiled.take(now, tokens)
            if tats is None:
                return compiled.reject(now, tokens)
        else:
            with self.lock:
                tats = compiled.take(now, tokens)
                if tats is None:
                    return compiled.reject(now, tokens)
        return LocalReservation(self, compiled, tokens, now, tats, compiled.places)

    async def wait_to_reserve(self, descriptors: Descriptors, tokens: int = 0) -> "LocalReservation | Rejection":
        """Same as :meth:`reserve`; this limiter never waits."""
        return self.reserve(descriptors, tokens)

    def _compile(self, descriptors: Descriptors) -> CompiledLimits:
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled.clear()
        shared = self.shared
        compiled = self._compiled[descriptors] = CompiledLimits(shared.words, shared.workers, self._slot)
        for scope, subject in descriptors:
            key = shared.key(subject)
            for limit in scope.limits:
                table = shared.tables[limit.name]
                if isinstance(limit, InFlightLimit):
                    compiled.add_counter(InFlightCounter(shared.words, table, limit, shared.workers, subject, key))
                else:
                    compiled.add_rate(RateBucket(shared.words, table, limit, shared.rate(limit), subject, key))
        return compiled


class LocalReservation(msgspec.Struct, gc=False, eq=False):
    """Implements :class:`~ztoapi.limits.model.Reservation`."""

    _limiter: LocalLimiter
    _compiled: CompiledLimits
    _tokens: int
    _now: int
    _tats: tuple[int, ...]
    """The TATs of the limits in the header lines, and perhaps more."""
    _places: list[int] | None
    """The indexes of the counts in flight; None once it is finished."""

    @property
    def piece(self) -> int:
        return self._compiled.piece

    def status(self, unit: Unit) -> LimitStatus | None:
        if unit is Unit.IN_FLIGHT:
            return min(self._compiled.in_flight(), key=lambda status: status.remaining, default=None)
        for bucket, tat in zip(self._compiled.header_buckets, self._tats):  # noqa: B905 - there may be more TATs
            if bucket.limit.unit is unit:
                return bucket.status(tat, self._now)
        return None

    def fields(self) -> bytes:
        compiled = self._compiled
        now = self._now
        pair = compiled.nanosecond_pair
        if pair is not None:
            # Limits on requests and on tokens, as most keys have them: 90 opcodes, 145 with the loop below.
            first_unit, first_burst, second_unit, second_burst = pair
            first, second, *_ = self._tats
            first -= now
            second -= now
            if first > 0 and second > 0:
                # Up to the burst, because the request has just been admitted.
                return compiled.template % (
                    (first_burst - first) // first_unit,
                    go_duration(first),
                    (second_burst - second) // second_unit,
                    go_duration(second),
                )
        values: list[int | bytes] = []
        for bucket, tat in zip(compiled.header_buckets, self._tats):  # noqa: B905 - there may be more TATs
            remaining, reset_ns = bucket.rate.state(tat, now)
            values += remaining, go_duration(reset_ns)
        return compiled.template % tuple(values)

    def charge(self, amount: int) -> int:
        limiter = self._limiter
        words = limiter.words
        now = limiter.clock()
        pause = 0
        with limiter.lock:
            for bucket in self._compiled.bandwidths:
                at = bucket.find(now)
                tat = words[at] = bucket.rate.charge(words[at], now, amount)
                pause = max(pause, bucket.rate.pause(tat, now))
        return pause

    def finish(self, tokens: int | None = None, *, sent: int = 0) -> None:
        places = self._places
        assert places is not None, "a reservation must be finished once"
        self._places = None
        estimate = self._tokens
        if tokens is None:
            tokens = max(estimate, sent)
        limiter = self._limiter
        compiled = self._compiled
        difference = tokens - estimate
        if difference and compiled.settles:
            # A refund does not depend on the time.
            now = limiter.clock() if difference > 0 else 0
            if limiter.is_alone:
                compiled.settle(now, difference)
            else:
                with limiter.lock:
                    compiled.settle(now, difference)
        words = limiter.words
        # No lock: only this worker writes these words. Others may read the previous count, which is higher.
        for at in places:
            words[at] -= 1
