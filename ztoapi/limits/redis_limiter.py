"""The limiter of many machines: common buckets in Redis or Valkey (:mod:`ztoapi.limits.redis_store`), used by leases.

Most requests are decided by what this worker holds (:mod:`ztoapi.limits.lease`), without waiting. One task asks for
more, and settles what requests really used. A request that finds too little has it ask for that request, for all its
limits at once. There is one call at a time, which goes for many requests; what it brings may do for others.

Requests in flight and bandwidth are left to each machine's board: a stream lasts for minutes, so its slot cannot be
leased, and to keep it alive in the store would cost a call every few seconds for every stream.

The first failure of a call says that the store is away; what it was to settle is lost. From then on nobody waits for
it: the board decides by this machine's share, or nobody is let in, as configured. The task tries the store twice a
second, and an answer ends it.
"""

import asyncio
import contextlib
from collections import deque
from typing import Final, NamedTuple

from ztoapi.limits.board import BoardGrant, BoardLimiter
from ztoapi.limits.fields import openai_fields
from ztoapi.limits.lease import Lease, Reply, check, most_at_once
from ztoapi.limits.model import Demand, Denial, Grant, InFlightLimit, OnStoreError, Quota, RateLimit, Scope, Unit
from ztoapi.limits.plan import tightest
from ztoapi.limits.redis_store import Order, Store
from ztoapi.store.watch import FAILURES, Watch
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["RedisGrant", "RedisLimiter", "Statistics"]

_TIMEOUT_SECONDS: Final = 0.05
"""A call takes 0.1 ms on a local network; a client notices 50."""
_CONNECT_SECONDS: Final = 1.0
"""To connect may take several ways to the store and back, with TLS above all. Nobody waits for it but the start."""
_ROUND_SECONDS: Final = 0.01
"""Between two rounds in the background, so that many requests settle in one call."""
_STALL_SECONDS: Final = 0.01
"""A timeout that is noticed so late was this process's own doing: it was busy, and the answer may be there unread."""
_MOST_AT_ONCE: Final = 64
"""Requests that one call asks for: with all their limits that takes about 10 ms, far from the timeout."""
_REMEMBERED: Final = 65536
"""Leases and demands that are remembered; all are forgotten when there are more, which wastes what they hold."""
_LEAST_TOKENS: Final = 1
"""A request without an estimate must find one token, or a debt would never be noticed."""
_AWAY_WAIT_NS: Final = SECOND_NS
"""What a client is told to wait when nobody may decide."""


class Statistics(NamedTuple):
    """``decided_here`` requests waited for nobody, ``asked`` did; ``failures`` of calls; whether the store is
    ``away``."""

    decided_here: int
    asked: int
    failures: int
    away: bool


class _Plan:
    """All that a demand is held to: in the store, and on this machine. ``most_tokens`` is the most that a request can
    take here while the store is away."""

    __slots__ = ("here", "leases", "most_tokens")

    def __init__(self, leases: list[Lease], here: Demand, most_tokens: int) -> None:
        self.leases = leases
        self.here = here
        self.most_tokens = most_tokens


class _Question:
    """A request that waits for the store."""

    __slots__ = ("answer", "demand", "tokens")

    def __init__(self, demand: Demand, tokens: int, answer: asyncio.Future[Grant | Denial]) -> None:
        self.demand, self.tokens, self.answer = demand, tokens, answer


class RedisLimiter:
    """See :class:`~ztoapi.limits.model.Limiter`. ``url``, ``redis://``, ``rediss://`` or ``unix://``, is the store's.

    ``board`` is this worker's, with ``machines`` set to how many there are. Raises ValueError if the store cannot count
    a limit exactly.
    """

    def __init__(
        self,
        url: str,
        scopes: tuple[Scope, ...],
        board: BoardLimiter,
        *,
        on_store_error: OnStoreError = "local",
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._board, self._clock = board, board.clock
        self._on_store_error, self._timeout = on_store_error, timeout_seconds
        self._store = Store(url, board.clock)
        without = "this machine decides by its share" if on_store_error == "local" else "nobody is let in"
        self._watch = Watch(
            self._store.redis, "limits'", without, probe=self._probe, work=self._work_once, wake=self._wake
        )
        self._here: dict[Scope, Scope] = {}
        for scope in scopes:
            self._know(scope)
        self._plans: dict[Demand, _Plan] = {}
        self._leases: dict[str, Lease] = {}
        self._low: dict[str, Lease] = {}
        self._questions: deque[_Question] = deque()
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._decided_here = self._asked = 0

    def _know(self, scope: Scope) -> None:
        here = tuple(limit for limit in scope.limits if not _common(limit))
        self._here[scope] = Scope(scope.name, here, scope.subjects)
        for limit in scope.limits:
            if isinstance(limit, RateLimit):
                check(limit)

    def add(self, scope: Scope) -> None:
        self._board.add(scope)
        self._know(scope)

    def burst(self, limit: RateLimit) -> int:
        return most_at_once(limit) if _common(limit) else self._board.burst(limit)

    async def start(self) -> None:
        """Begin. A store that does not answer is away, and tried again."""
        await self._watch.start()

    async def close(self) -> None:
        """Settle what can be settled, and let go of the store."""
        await self._watch.stop()
        if self._watch.up:
            await self._round()
        await self._watch.close()

    def statistics(self) -> Statistics:
        return Statistics(self._decided_here, self._asked, self._watch.failures, not self._watch.up)

    def take(self, demand: Demand, tokens: int = 0) -> Grant | Denial | None:
        if not self._watch.up:
            return self._without(demand, tokens)
        tokens = max(tokens, _LEAST_TOKENS)
        plan = self._plan(demand)
        now, short = self._clock(), False
        for lease in plan.leases:
            cost = lease.cost(tokens)
            if lease.held(now) < cost:
                short = True
                if cost > lease.burst or lease.refused(cost, now):
                    return self._deny(plan, tokens, now)
        if short:
            return None
        here = self._board.take(plan.here)
        if isinstance(here, Denial):
            return here._replace(quotas=here.quotas + self._quotas(plan.leases, now))
        for lease in plan.leases:
            lease.use(lease.cost(tokens), now)
            if lease.low(now):
                self._ask_later(lease)
        self._decided_here += 1
        return RedisGrant(self, here, plan.leases, tokens, self._quotas(plan.leases, now))

    async def ask(self, demand: Demand, tokens: int = 0) -> Grant | Denial:
        if not self._watch.up:
            return self._without(demand, tokens)
        loop = asyncio.get_running_loop()
        question = _Question(demand, tokens, loop.create_future())
        # Behind many others it may be too late for this one, which is no fault of the store's.
        timer = loop.call_later(self._timeout, self._answer_without, question)
        self._questions.append(question)
        self._work.set()
        self._hurry.set()
        try:
            return await question.answer
        except asyncio.CancelledError:
            # The client has left. If the answer was there already, nobody else gives it back.
            if not question.answer.cancelled() and not isinstance(answer := question.answer.result(), Denial):
                answer.finish(0)
            raise
        finally:
            timer.cancel()

    def _answer_without(self, question: _Question) -> None:
        if not question.answer.done():
            question.answer.set_result(self._without(question.demand, question.tokens))

    def _answer(self, question: _Question, order: Order, replies: list[Reply]) -> None:
        """Say what the store has said."""
        refusals = [(reply.wait_ns, lease) for reply, lease in zip(replies, order.leases, strict=True) if reply.wait_ns]
        if refusals:
            if not question.answer.done():
                wait, lease = max(refusals, key=lambda refusal: refusal[0])
                quotas = self._quotas(order.leases, self._clock())
                question.answer.set_result(Denial(lease.limit, lease.subject, wait, quotas))
            return
        here = None if question.answer.done() else self._board.take(self._plan(question.demand).here)
        if here is None or isinstance(here, Denial):
            for lease, cost in zip(order.leases, order.costs, strict=True):
                lease.owed -= cost
                self._ask_later(lease)
        if here is not None:
            quotas = self._quotas(order.leases, self._clock())
            question.answer.set_result(
                here._replace(quotas=here.quotas + quotas)
                if isinstance(here, Denial)
                else RedisGrant(self, here, order.leases, max(question.tokens, _LEAST_TOKENS), quotas)
            )

    def _plan(self, demand: Demand) -> _Plan:
        known = self._plans.get(demand)
        if known is not None:
            return known
        if max(len(self._plans), len(self._leases)) >= _REMEMBERED:
            self._plans.clear()
            self._leases.clear()
        leases: list[Lease] = []
        for scope, subject in demand:
            for limit in scope.limits:
                if isinstance(limit, RateLimit) and _common(limit):
                    lease = Lease(limit, subject)
                    leases.append(self._leases.setdefault(lease.key, lease))
        here = tuple((self._here[scope], subject) for scope, subject in demand)
        most_tokens = min((self._board.burst(lease.limit) for lease in leases if lease.by_token), default=0)
        plan = self._plans[demand] = _Plan(leases, here, most_tokens)
        return plan

    def _deny(self, plan: _Plan, tokens: int, now: int) -> Denial:
        longest: tuple[float, Lease] | None = None
        for lease in plan.leases:
            cost = lease.cost(tokens)
            wait = float("inf") if cost > lease.burst else lease.refused(cost, now)
            if longest is None or wait > longest[0]:
                longest = wait, lease
        assert longest is not None, "somebody refused"
        wait, lease = longest
        quotas = self._quotas(plan.leases, now)
        return Denial(lease.limit, lease.subject, None if wait == float("inf") else int(wait), quotas)

    @staticmethod
    def _quotas(leases: list[Lease], now: int) -> tuple[Quota, ...]:
        return tightest([lease.quota(now) for lease in leases])

    def _without(self, demand: Demand, tokens: int) -> Grant | Denial:
        if self._on_store_error == "local":
            plan = self._plan(demand)
            return self._board.take(demand, min(tokens, plan.most_tokens))
        return Denial(None, "", _AWAY_WAIT_NS, ())

    def settle(self, leases: list[Lease], difference: int) -> None:
        """Tokens used beyond the estimate, or fewer: the store hears of it soon."""
        for lease in leases:
            if lease.by_token:
                lease.owed += difference
                self._ask_later(lease)

    def _ask_later(self, lease: Lease) -> None:
        self._low[lease.key] = lease
        self._work.set()

    async def _work_once(self) -> None:
        await self._work.wait()
        await self._round()
        # What is only to be settled can wait for more; who wants an answer cannot.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ROUND_SECONDS):
                await self._hurry.wait()

    def _wake(self) -> None:
        self._work.set()

    async def _round(self) -> None:
        """Ask for those who wait and for what is low, and settle what is owed."""
        self._work.clear()
        self._hurry.clear()
        asked = self._next_questions()
        low, self._low = list(self._low.values()), {}
        orders = [order for _, order in asked]
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
                self._watch.failed(error)
            for question in (*(question for question, _ in asked), *self._questions):
                self._answer_without(question)
            self._questions.clear()
            return
        for (question, order), found in zip(asked, replies, strict=False):
            self._answer(question, order, found)
        if self._questions:
            self._work.set()
            self._hurry.set()

    def _next_questions(self) -> list[tuple[_Question, Order]]:
        """Those that the next call is to ask. Of requests with the same demand one asks: what it brings, or the refusal
        that it meets with, may do for the others."""
        asked: list[tuple[_Question, Order]] = []
        plans: set[_Plan] = set()
        later: list[_Question] = []
        while self._questions and len(asked) + len(later) < _MOST_AT_ONCE:
            question = self._questions.popleft()
            if question.answer.done():
                continue
            answer = self.take(question.demand, question.tokens)
            plan = self._plan(question.demand)
            if answer is not None:
                question.answer.set_result(answer)
            elif plan in plans:
                later.append(question)
            else:
                plans.add(plan)
                # The whole cost, whatever is held: then all of it is granted at one moment, or nothing is.
                costs = [lease.cost(max(question.tokens, _LEAST_TOKENS)) for lease in plan.leases]
                asked.append((question, Order(plan.leases, costs)))
                self._asked += 1
        self._questions.extendleft(reversed(later))
        return asked

    async def _probe(self) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._store.probe()
        async with asyncio.timeout(self._timeout):
            await self._store.probe()


class RedisGrant:
    """See :class:`~ztoapi.limits.model.Grant`."""

    __slots__ = ("_here", "_leases", "_limiter", "_quotas", "_tokens")

    def __init__(
        self, limiter: RedisLimiter, here: BoardGrant, leases: list[Lease], tokens: int, quotas: tuple[Quota, ...]
    ) -> None:
        self._limiter, self._here, self._leases = limiter, here, leases
        self._tokens, self._quotas = tokens, quotas

    @property
    def piece(self) -> int:
        return self._here.piece

    def fields(self) -> bytes:
        return openai_fields(self._quotas)

    def quota(self, unit: Unit) -> Quota | None:
        for quota in self._quotas:
            if isinstance(quota.limit, RateLimit) and quota.limit.unit is unit:
                return quota
        return self._here.quota(unit)

    def charge(self, amount: int) -> int:
        return self._here.charge(amount)

    def finish(self, tokens: int | None = None) -> None:
        self._here.finish()
        if tokens is not None and tokens != self._tokens:
            self._limiter.settle(self._leases, tokens - self._tokens)


def _common(limit: RateLimit | InFlightLimit) -> bool:
    return isinstance(limit, RateLimit) and limit.unit is not Unit.BANDWIDTH
