"""The limiter of several machines: common buckets in Redis or Valkey (:mod:`ztoapi.limits.redis_buckets`), used through
leases.

Most requests are decided from the units that this worker holds (:mod:`ztoapi.limits.quota_lease`), without waiting. One
task requests more units and settles actual usage. A request that finds too few units waits for this task, which
requests units for all limits of the request at once. One call is in flight at a time and serves many requests; the
units it brings may be enough for others.

Requests in flight and bandwidth are limited by each machine for itself. A stream lasts for minutes, so its slot cannot
be leased, and to keep it alive in the store would cost a call every few seconds for every stream.

After the first failed call the store counts as unreachable, and what the call was to settle is lost. From then on no
request waits for the store: depending on the configuration this machine decides by its share, or refuses. The task
probes the store twice a second and resumes after a successful probe.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from ztoapi.limits.compiled import tightest
from ztoapi.limits.fields import openai_fields
from ztoapi.limits.model import (
    Descriptors,
    InFlightLimit,
    LimitStatus,
    OnStoreError,
    RateLimit,
    Rejection,
    Reservation,
    Scope,
    Unit,
)
from ztoapi.limits.quota_lease import QuotaLease, Reply, check, max_at_once
from ztoapi.limits.redis_buckets import Order, RedisBuckets
from ztoapi.limits.shared_limits import LocalLimiter, LocalReservation
from ztoapi.store.redis_health import FAILURES, RedisHealth
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["RedisLimiter", "RedisReservation", "Statistics"]

_TIMEOUT_SECONDS: Final = 0.05
"""A call takes 0.1 ms on a local network; 50 ms are noticeable to a client."""
_CONNECT_SECONDS: Final = 1.0
"""A connection may need several round trips, with TLS above all. Only the start waits for it."""
_ROUND_SECONDS: Final = 0.01
"""Time between two rounds in the background, so that one call settles many requests."""
_STALL_SECONDS: Final = 0.01
"""A timeout that fires later than this was caused by this process: it was busy, and the reply may be unread."""
_MAX_PER_CALL: Final = 64
"""Requests in one call: with all their limits it takes about 10 ms, well below the timeout."""
_MAX_REMEMBERED: Final = 65536
"""Cached leases and descriptors. A full cache is cleared, and the units that the leases hold are lost."""
_MIN_TOKENS: Final = 1
"""A request without an estimate has to find one token; otherwise it would ignore a debt."""
_UNREACHABLE_WAIT_NS: Final = SECOND_NS
"""Retry-After while the store is unreachable and the policy is "deny"."""


class Statistics(NamedTuple):
    """Requests ``decided_here`` without a call and requests ``sent_to_store``; ``failures`` of calls; whether the
    store is unreachable (``away``)."""

    decided_here: int
    sent_to_store: int
    failures: int
    away: bool


class _Compiled:
    """The limits of one request: leases in the store, and descriptors for this machine. ``max_tokens`` is the largest
    number of tokens that a request can take here while the store is unreachable."""

    __slots__ = ("leases", "local", "max_tokens")

    def __init__(self, leases: list[QuotaLease], local: Descriptors, max_tokens: int) -> None:
        self.leases = leases
        self.local = local
        self.max_tokens = max_tokens


class _Waiter:
    """A request that waits for the store."""

    __slots__ = ("decision", "descriptors", "tokens")

    def __init__(
        self, descriptors: Descriptors, tokens: int, decision: asyncio.Future[Reservation | Rejection]
    ) -> None:
        self.descriptors = descriptors
        self.tokens = tokens
        self.decision = decision


class RedisLimiter:
    """Implements :class:`~ztoapi.limits.model.Limiter` with the store at ``url`` (``redis://``, ``rediss://`` or
    ``unix://``).

    ``local`` is the limiter of this worker, whose ``machines`` is the number of gateways. Raises ValueError if the
    store cannot count a limit exactly.
    """

    def __init__(
        self,
        url: str,
        scopes: tuple[Scope, ...],
        local: LocalLimiter,
        *,
        on_store_error: OnStoreError = "local",
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._local = local
        self._clock = local.clock
        self._on_store_error = on_store_error
        self._timeout = timeout_seconds
        self._store = RedisBuckets(url, local.clock)
        fallback = "using this gateway's local share" if on_store_error == "local" else "refusing all requests"
        self._health = RedisHealth(
            self._store.redis, "limits", fallback, probe=self._probe, work=self._work_once, wake=self._wake
        )
        self._local_scopes: dict[Scope, Scope] = {}
        for scope in scopes:
            self._register(scope)
        self._compiled: dict[Descriptors, _Compiled] = {}
        self._leases: dict[str, QuotaLease] = {}
        self._low: dict[str, QuotaLease] = {}
        self._waiters: deque[_Waiter] = deque()
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._decided_here = 0
        self._sent_to_store = 0

    def _register(self, scope: Scope) -> None:
        """Prepares a scope: which of its limits this machine decides, and whether the store can count the others."""
        local = tuple(limit for limit in scope.limits if not _is_common(limit))
        self._local_scopes[scope] = Scope(scope.name, local, scope.subjects)
        for limit in scope.limits:
            if isinstance(limit, RateLimit):
                check(limit)

    def add(self, scope: Scope) -> None:
        self._local.add(scope)
        self._register(scope)

    def burst(self, limit: RateLimit) -> int:
        return max_at_once(limit) if _is_common(limit) else self._local.burst(limit)

    async def start(self) -> None:
        """Starts the task. An unreachable store is probed until it answers."""
        await self._health.start()

    async def close(self) -> None:
        """Settles actual usage if the store is reachable, and closes the connection."""
        await self._health.stop()
        if self._health.up:
            await self._round()
        await self._health.close()

    def statistics(self) -> Statistics:
        return Statistics(self._decided_here, self._sent_to_store, self._health.failures, not self._health.up)

    def reserve(self, descriptors: Descriptors, tokens: int = 0) -> Reservation | Rejection | None:
        if not self._health.up:
            return self._decide_locally(descriptors, tokens)
        tokens = max(tokens, _MIN_TOKENS)
        compiled = self._compile(descriptors)
        now = self._clock()
        short = False
        for lease in compiled.leases:
            cost = lease.cost(tokens)
            if lease.held(now) < cost:
                short = True
                if cost > lease.burst or lease.refused(cost, now):
                    return self._reject(compiled, tokens, now)
        if short:
            return None
        local = self._local.reserve(compiled.local)
        if isinstance(local, Rejection):
            return local._replace(statuses=local.statuses + self._statuses(compiled.leases, now))
        for lease in compiled.leases:
            lease.use(lease.cost(tokens), now)
            if lease.low(now):
                self._schedule(lease)
        self._decided_here += 1
        return RedisReservation(self, local, compiled.leases, tokens, self._statuses(compiled.leases, now))

    def reserver(self, descriptors: Descriptors) -> Callable[[int], Reservation | Rejection | None]:
        return partial(self.reserve, descriptors)

    async def wait_to_reserve(self, descriptors: Descriptors, tokens: int = 0) -> Reservation | Rejection:
        if not self._health.up:
            return self._decide_locally(descriptors, tokens)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(descriptors, tokens, loop.create_future())
        # A long queue may use up the timeout of this request; that is not a failure of the store.
        timer = loop.call_later(self._timeout, self._decide_without_store, waiter)
        self._waiters.append(waiter)
        self._work.set()
        self._hurry.set()
        try:
            return await waiter.decision
        except asyncio.CancelledError:
            # The client has left. A reservation that was already made has no other owner.
            if not waiter.decision.cancelled() and not isinstance(decision := waiter.decision.result(), Rejection):
                decision.finish(0)
            raise
        finally:
            timer.cancel()

    def _decide_without_store(self, waiter: _Waiter) -> None:
        if not waiter.decision.done():
            waiter.decision.set_result(self._decide_locally(waiter.descriptors, waiter.tokens))

    def _apply(self, waiter: _Waiter, order: Order, replies: list[Reply]) -> None:
        """Decides on a waiting request from the store's replies."""
        refusals = [(reply.wait_ns, lease) for reply, lease in zip(replies, order.leases, strict=True) if reply.wait_ns]
        if refusals:
            if not waiter.decision.done():
                wait, lease = max(refusals, key=lambda refusal: refusal[0])
                statuses = self._statuses(order.leases, self._clock())
                waiter.decision.set_result(Rejection(lease.limit, lease.subject, wait, statuses))
            return
        local = None if waiter.decision.done() else self._local.reserve(self._compile(waiter.descriptors).local)
        if local is None or isinstance(local, Rejection):
            for lease, cost in zip(order.leases, order.costs, strict=True):
                lease.owed -= cost
                self._schedule(lease)
        if local is not None:
            statuses = self._statuses(order.leases, self._clock())
            waiter.decision.set_result(
                local._replace(statuses=local.statuses + statuses)
                if isinstance(local, Rejection)
                else RedisReservation(self, local, order.leases, max(waiter.tokens, _MIN_TOKENS), statuses)
            )

    def _compile(self, descriptors: Descriptors) -> _Compiled:
        cached = self._compiled.get(descriptors)
        if cached is not None:
            return cached
        if max(len(self._compiled), len(self._leases)) >= _MAX_REMEMBERED:
            self._compiled.clear()
            self._leases.clear()
        leases: list[QuotaLease] = []
        for scope, subject in descriptors:
            for limit in scope.limits:
                if isinstance(limit, RateLimit) and _is_common(limit):
                    lease = QuotaLease(limit, subject)
                    leases.append(self._leases.setdefault(lease.key, lease))
        local = tuple((self._local_scopes[scope], subject) for scope, subject in descriptors)
        max_tokens = min((self._local.burst(lease.limit) for lease in leases if lease.by_token), default=0)
        compiled = self._compiled[descriptors] = _Compiled(leases, local, max_tokens)
        return compiled

    def _reject(self, compiled: _Compiled, tokens: int, now: int) -> Rejection:
        longest: tuple[float, QuotaLease] | None = None
        for lease in compiled.leases:
            cost = lease.cost(tokens)
            wait = float("inf") if cost > lease.burst else lease.refused(cost, now)
            if longest is None or wait > longest[0]:
                longest = wait, lease
        assert longest is not None, "a lease refused"
        wait, lease = longest
        statuses = self._statuses(compiled.leases, now)
        return Rejection(lease.limit, lease.subject, None if wait == float("inf") else int(wait), statuses)

    @staticmethod
    def _statuses(leases: list[QuotaLease], now: int) -> tuple[LimitStatus, ...]:
        return tightest([lease.status(now) for lease in leases])

    def _decide_locally(self, descriptors: Descriptors, tokens: int) -> Reservation | Rejection:
        if self._on_store_error == "local":
            compiled = self._compile(descriptors)
            return self._local.reserve(descriptors, min(tokens, compiled.max_tokens))
        return Rejection(None, "", _UNREACHABLE_WAIT_NS, ())

    def settle(self, leases: list[QuotaLease], difference: int) -> None:
        """Schedules the settlement of ``difference`` tokens beyond the estimate, or fewer (negative)."""
        for lease in leases:
            if lease.by_token:
                lease.owed += difference
                self._schedule(lease)

    def _schedule(self, lease: QuotaLease) -> None:
        self._low[lease.key] = lease
        self._work.set()

    async def _work_once(self) -> None:
        await self._work.wait()
        await self._round()
        # Settlements wait and are sent together; a waiting request ends the pause.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ROUND_SECONDS):
                await self._hurry.wait()

    def _wake(self) -> None:
        self._work.set()

    async def _round(self) -> None:
        """Calls the store once: for the waiting requests, for low leases, and to settle usage."""
        self._work.clear()
        self._hurry.clear()
        waiting = self._next_waiters()
        low, self._low = list(self._low.values()), {}
        orders = [order for _, order in waiting]
        if low:
            orders.append(Order(low, [0] * len(low)))
        if not orders:
            return
        loop = asyncio.get_running_loop()
        late = loop.time() + self._timeout + _STALL_SECONDS
        try:
            async with asyncio.timeout(self._timeout):
                replies = await self._store.call(orders)
        except FAILURES as error:
            if loop.time() < late:
                self._health.failed(error)
            for waiter in (*(pending for pending, _ in waiting), *self._waiters):
                self._decide_without_store(waiter)
            self._waiters.clear()
            return
        for (waiter, order), order_replies in zip(waiting, replies, strict=False):
            self._apply(waiter, order, order_replies)
        if self._waiters:
            self._work.set()
            self._hurry.set()

    def _next_waiters(self) -> list[tuple[_Waiter, Order]]:
        """Returns the waiting requests for the next call, each with its order.

        Of several requests with the same descriptors one is included: the units that it brings, or its refusal, may
        decide on the others too.
        """
        selected: list[tuple[_Waiter, Order]] = []
        in_call: set[_Compiled] = set()
        later: list[_Waiter] = []
        while self._waiters and len(selected) + len(later) < _MAX_PER_CALL:
            waiter = self._waiters.popleft()
            if waiter.decision.done():
                continue
            decision = self.reserve(waiter.descriptors, waiter.tokens)
            compiled = self._compile(waiter.descriptors)
            if decision is not None:
                waiter.decision.set_result(decision)
            elif compiled in in_call:
                later.append(waiter)
            else:
                in_call.add(compiled)
                # The whole cost, even if some units are held: all of it is granted at one moment, or nothing is.
                costs = [lease.cost(max(waiter.tokens, _MIN_TOKENS)) for lease in compiled.leases]
                selected.append((waiter, Order(compiled.leases, costs)))
                self._sent_to_store += 1
        self._waiters.extendleft(reversed(later))
        return selected

    async def _probe(self) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._store.probe()
        async with asyncio.timeout(self._timeout):
            await self._store.probe()


class RedisReservation:
    """Implements :class:`~ztoapi.limits.model.Reservation`."""

    __slots__ = ("_leases", "_limiter", "_local", "_statuses", "_tokens")

    def __init__(
        self,
        limiter: RedisLimiter,
        local: LocalReservation,
        leases: list[QuotaLease],
        tokens: int,
        statuses: tuple[LimitStatus, ...],
    ) -> None:
        self._limiter = limiter
        self._local = local
        self._leases = leases
        self._tokens = tokens
        self._statuses = statuses

    @property
    def piece(self) -> int:
        return self._local.piece

    def fields(self) -> bytes:
        return openai_fields(self._statuses)

    def status(self, unit: Unit) -> LimitStatus | None:
        for status in self._statuses:
            if isinstance(status.limit, RateLimit) and status.limit.unit is unit:
                return status
        return self._local.status(unit)

    def charge(self, amount: int) -> int:
        return self._local.charge(amount)

    def finish(self, tokens: int | None = None, *, sent: int = 0) -> None:
        self._local.finish()
        if tokens is None:
            tokens = max(self._tokens, sent)
        if tokens != self._tokens:
            self._limiter.settle(self._leases, tokens - self._tokens)


def _is_common(limit: RateLimit | InFlightLimit) -> bool:
    return isinstance(limit, RateLimit) and limit.unit is not Unit.BANDWIDTH
