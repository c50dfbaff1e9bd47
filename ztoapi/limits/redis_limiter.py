"""The limiter of many machines: common buckets in Redis or Valkey, used by leases.

Most requests are decided by what this worker holds (:mod:`ztoapi.limits.lease`), without waiting. One task asks for
more in the background, and settles what requests really used. A request that finds too little asks for itself, for all
its limits at once and with a timeout; one call at a time, for what the first brings may do for the rest.

Requests in flight and bandwidth are left to each machine's board: a stream lasts for minutes, so its slot cannot be
leased, and to keep it alive in the store would cost a call every few seconds for every stream.

The first failure of a call says that the store is away; what it was to settle is lost. From then on nobody waits for
it: the board decides by this machine's share, or nobody is let in, as configured. The task tries the store twice a
second, and an answer ends it.
"""

import asyncio
import contextlib
import logging
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ztoapi.limits.board import BoardGrant, BoardLimiter, tightest
from ztoapi.limits.fields import openai_fields
from ztoapi.limits.lease import Lease, Reply, check
from ztoapi.limits.model import Demand, Denial, Grant, InFlightLimit, OnStoreError, Quota, RateLimit, Scope, Unit
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["RedisGrant", "RedisLimiter", "Statistics"]

_TIMEOUT_SECONDS: Final = 0.05
"""A call takes 0.1 ms on a local network; a client notices 50."""
_PROBE_SECONDS: Final = 0.5
_ROUND_SECONDS: Final = 0.01
"""Between two rounds in the background, so that many requests settle in one call."""
_REMEMBERED: Final = 65536
"""Leases and demands that are remembered; all are forgotten when there are more, which wastes what they hold."""
_LEAST_TOKENS: Final = 1
"""A request without an estimate must find one token, or a debt would never be noticed."""
_AWAY_WAIT_NS: Final = SECOND_NS
"""What a client is told to wait when nobody may decide."""

_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debts, enough = {}, true
local function order(i) return unpack(ARGV, i * 6 - 5, i * 6) end
for i, key in ipairs(KEYS) do
  local unit, back, burst, need, ahead, owed = order(i)
  local kept = redis.call('HMGET', key, 'debt', 'at')
  local debt = tonumber(kept[1] or 0)
  -- A clock that was set back brings nothing, and is not waited for.
  debt = math.max(debt - math.max(now - tonumber(kept[2] or now), 0) * back, 0)
  debts[i] = math.max(debt + owed * unit, 0)
  if tonumber(need) > 0 and debts[i] + need * unit > burst * unit then enough = false end
end
local replies = {}
for i, key in ipairs(KEYS) do
  local unit, back, burst, need, ahead, owed = order(i)
  local debt, granted, wait = debts[i], 0, 0
  local room = math.max(math.floor((burst * unit - debt) / unit), 0)
  if enough then
    granted = math.min(need + ahead, math.max(room, need))
    debt = debt + granted * unit
  elseif debt + need * unit > burst * unit then
    wait = math.ceil((debt + (need - burst) * unit) / back)
  end
  if debt > 0 then
    redis.call('HSET', key, 'debt', string.format('%.0f', debt), 'at', string.format('%.0f', now))
    redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(debt / back / 1000) + 1000))
  else
    redis.call('DEL', key)
  end
  replies[i] = {granted, room - granted, wait}
end
return replies
"""
"""For each key six numbers (:meth:`Lease.order`): all that is needed is granted or nothing, and what is asked for ahead
as far as it goes. Answers with units granted, units left, and the microseconds to wait."""

_log = logging.getLogger(__name__)


class Statistics(NamedTuple):
    """``decided_here`` requests waited for nobody, ``asked`` did; ``failures`` of calls; whether the store is
    ``away``."""

    decided_here: int
    asked: int
    failures: int
    away: bool


class _Plan:
    """All that a demand is held to: in the store, and on this machine."""

    __slots__ = ("here", "leases")

    def __init__(self, leases: list[Lease], here: Demand) -> None:
        self.leases = leases
        self.here = here


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
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(_SCRIPT)
        self._here: dict[Scope, Scope] = {}
        for scope in scopes:
            self._know(scope)
        self._plans: dict[Demand, _Plan] = {}
        self._leases: dict[str, Lease] = {}
        self._low: dict[str, Lease] = {}
        self._work = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._away = True
        self._closing = False
        self._decided_here = self._asked = self._failures = 0

    def _know(self, scope: Scope) -> None:
        here = tuple(limit for limit in scope.limits if not _common(limit))
        self._here[scope] = Scope(scope.name, here, scope.subjects)
        for limit in scope.limits:
            if isinstance(limit, RateLimit):
                check(limit)

    def add(self, scope: Scope) -> None:
        self._board.add(scope)
        self._know(scope)

    async def start(self) -> None:
        """Begin. A store that does not answer is away, and tried again."""
        self._away = not await self._probe()
        if self._away:
            _log.warning("the limits' store does not answer; %s", self._consequence())
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Settle what can be settled, and let go of the store."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if not self._away:
            await self._round()
        await self._redis.aclose()

    def statistics(self) -> Statistics:
        return Statistics(self._decided_here, self._asked, self._failures, self._away)

    def take(self, demand: Demand, tokens: int = 0) -> Grant | Denial | None:
        if self._away:
            return self._without(demand, tokens)
        tokens = max(tokens, _LEAST_TOKENS)
        plan = self._plans.get(demand) or self._plan(demand)
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
            return here._replace(quotas=here.quotas + self._quotas(plan, now))
        for lease in plan.leases:
            lease.use(lease.cost(tokens), now)
            if lease.low(now):
                self._ask_later(lease)
        self._decided_here += 1
        return RedisGrant(self, here, plan.leases, tokens, self._quotas(plan, now))

    async def ask(self, demand: Demand, tokens: int = 0) -> Grant | Denial:
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                plan = self._plans.get(demand) or self._plan(demand)
                return self.take(demand, tokens) or await self._ask(plan, max(tokens, _LEAST_TOKENS))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
        return self._without(demand, tokens)

    async def _ask(self, plan: _Plan, tokens: int) -> Grant | Denial:
        """Ask for the whole cost, whatever is held: then all of it is granted at one moment, or nothing is."""
        self._asked += 1
        costs = [lease.cost(tokens) for lease in plan.leases]
        sent = self._clock()
        replies = await self._call(plan.leases, costs)
        now = self._clock()
        refusals = [(reply.wait_ns, lease) for reply, lease in zip(replies, plan.leases, strict=True) if reply.wait_ns]
        if refusals:
            wait, lease = max(refusals, key=lambda refusal: refusal[0])
            return Denial(lease.limit, lease.subject, wait, self._quotas(plan, now))
        here = self._board.take(plan.here)
        if isinstance(here, Denial):
            for lease, cost in zip(plan.leases, costs, strict=True):
                lease.give_back(cost, sent)
            return here._replace(quotas=here.quotas + self._quotas(plan, now))
        return RedisGrant(self, here, plan.leases, tokens, self._quotas(plan, now))

    def _plan(self, demand: Demand) -> _Plan:
        if max(len(self._plans), len(self._leases)) >= _REMEMBERED:
            self._plans.clear()
            self._leases.clear()
        leases: list[Lease] = []
        for scope, subject in demand:
            for limit in scope.limits:
                if isinstance(limit, RateLimit) and _common(limit):
                    lease = Lease(limit, subject)
                    leases.append(self._leases.setdefault(lease.key, lease))
        plan = self._plans[demand] = _Plan(leases, tuple((self._here[scope], subject) for scope, subject in demand))
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
        return Denial(lease.limit, lease.subject, None if wait == float("inf") else int(wait), self._quotas(plan, now))

    def _quotas(self, plan: _Plan, now: int) -> tuple[Quota, ...]:
        return tightest([lease.quota(now) for lease in plan.leases])

    def _without(self, demand: Demand, tokens: int) -> Grant | Denial:
        if self._on_store_error == "local":
            return self._board.take(demand, tokens)
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

    async def _call(self, leases: list[Lease], costs: list[int]) -> list[Reply]:
        sent = self._clock()
        orders = [lease.order(cost, sent) for lease, cost in zip(leases, costs, strict=True)]
        answer = await self._script(
            keys=[lease.key for lease in leases], args=[number for order in orders for number in order]
        )
        now = self._clock()
        replies = [Reply(granted, left, wait * 1000) for granted, left, wait in answer]
        refused = any(reply.wait_ns for reply in replies)
        for lease, cost, reply in zip(leases, costs, replies, strict=True):
            lease.answered(reply, 0 if refused and not reply.wait_ns else cost, sent, now)
        return replies

    async def _run(self) -> None:
        # A call that is cancelled may answer with an error of its own, so that nothing of the cancelling is left.
        while not self._closing:
            if not self._away:
                await self._work.wait()
                await self._round()
                await asyncio.sleep(_ROUND_SECONDS)
                continue
            await asyncio.sleep(_PROBE_SECONDS)
            if await self._probe():
                self._away = False
                _log.warning("the limits' store is back")

    async def _round(self) -> None:
        """Ask for what is low, and settle what is owed."""
        self._work.clear()
        low, self._low = list(self._low.values()), {}
        if not low or self._away:
            return
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                await self._call(low, [0] * len(low))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)

    async def _probe(self) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._script(keys=[], args=[])
        except (RedisError, OSError, TimeoutError):
            self._failures += 1
            return False
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if not self._away:
            self._away = True
            _log.warning("the limits' store is away (%s); %s", str(error) or type(error).__name__, self._consequence())
        self._work.set()

    def _consequence(self) -> str:
        return "this machine decides by its share" if self._on_store_error == "local" else "nobody is let in"


class RedisGrant:
    """See :class:`~ztoapi.limits.model.Grant`."""

    __slots__ = ("_here", "_leases", "_limiter", "_quotas", "_tokens")

    def __init__(
        self, limiter: RedisLimiter, here: BoardGrant, leases: list[Lease], tokens: int, quotas: tuple[Quota, ...]
    ) -> None:
        self._limiter, self._here, self._leases = limiter, here, leases
        self._tokens, self._quotas = tokens, quotas

    @property
    def paced(self) -> bool:
        return self._here.paced

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
