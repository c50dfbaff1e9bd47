"""Budgets of several gateways: the counters of all of them in Redis or Valkey, changed by one atomic script.

Each request of a key with a budget makes one call before it is admitted. A counter that falls rarely below its limit
again cannot be leased: a lease would refuse the last part of a budget, or admit more than it. Settlements are sent in
the background, together.

This gateway also counts its own usage (:mod:`ztoapi.limits.budgets`). While the store is unreachable it admits its
share of each budget by that count, or refuses; what it has charged meanwhile is sent when the store is back. The
settlements of a failed call are lost.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ztoapi.limits.budgets import Account, Budget, BudgetLedger, Charge, Exhausted, month_of, periods
from ztoapi.limits.model import OnStoreError
from ztoapi.store.redis_health import FAILURES, RedisHealth

__all__ = ["RedisBudgets"]

_TIMEOUT_SECONDS: Final = 0.05
"""As for rate limits: a call takes 0.1 ms on a local network, and 50 ms are noticeable to a client."""
_CONNECT_SECONDS: Final = 1.0
_STALL_SECONDS: Final = 0.01
"""A timeout that fires later than this was caused by this process, which was busy."""
_ROUND_SECONDS: Final = 0.01
"""Time between two calls in the background, so that one call settles many requests."""
_KEPT_SECONDS: Final = 40 * 86400
"""Longer than a month: a counter is deleted when nothing has changed it for this time."""
_PROBE_KEY: Final = "ztoapi:{budgets}:probe"
_FIELDS: Final = ("tokens", "money", "reserved_tokens", "reserved_money")

_CHARGE: Final = """
local tokens, nanos, kept = ARGV[1], ARGV[2], ARGV[3]
for i = 4, #ARGV, 3 do
  local key, field, limit = KEYS[tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 2])
  local used = tonumber(redis.call('HGET', key, field) or 0)
  if used >= limit then
    local reserved = tonumber(redis.call('HGET', key, 'reserved_' .. field) or 0)
    return {(i - 1) / 3, used - reserved < limit and 1 or 0}
  end
end
for _, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, 'tokens', tokens)
  redis.call('HINCRBY', key, 'reserved_tokens', tokens)
  redis.call('HINCRBY', key, 'money', nanos)
  redis.call('HINCRBY', key, 'reserved_money', nanos)
  redis.call('EXPIRE', key, kept)
end
return {0, 0}
"""
"""Takes the tokens, the money, and for each budget the number of its key, its field and its limit. Returns the number
of the budget that refuses, or 0, and whether requests in flight hold its rest."""


class RedisBudgets:
    """The counters at ``url`` (``redis://``, ``rediss://`` or ``unix://``). ``clock`` returns Unix seconds."""

    def __init__(
        self,
        url: str,
        ledger: BudgetLedger,
        clock: Callable[[], float],
        gateways: int,
        on_store_error: OnStoreError = "local",
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._timeout = timeout_seconds
        self._ledger = ledger
        self._clock = clock
        self._gateways = gateways
        self._on_store_error = on_store_error
        self._redis: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._script = self._redis.register_script(_CHARGE)
        fallback = "using this gateway's share" if on_store_error == "local" else "refusing requests of keys with one"
        self._health = RedisHealth(
            self._redis, "budgets", fallback, probe=self._probe, work=self._work_once, wake=self._wake
        )
        self._work = asyncio.Event()
        self._owed: dict[str, list[int]] = {}
        """Changes of the counters that the store does not have yet, by key."""

    @property
    def up(self) -> bool:
        return self._health.up

    async def start(self) -> None:
        """Starts the task. An unreachable store is probed until it answers."""
        await self._health.start()

    async def close(self) -> None:
        """Sends the last settlements if the store is reachable, and closes the connection."""
        await self._health.stop()
        if self._health.up:
            await self.flush()
        await self._health.close()

    def shares(self, budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        """Returns the budgets that this gateway enforces alone."""
        return tuple(budget._replace(limit=max(budget.limit // self._gateways, 1)) for budget in budgets)

    async def charge(
        self, account: Account, budgets: tuple[Budget, ...], tokens: int, nanos: int
    ) -> Charge | Exhausted | None:
        """Admits a request with these estimates, or refuses it; None if the store is unreachable and the policy is
        "deny". ``budgets`` are the common ones, ``account`` has this gateway's shares."""
        decision = asyncio.ensure_future(self._decide(account, budgets, tokens, nanos))
        try:
            return await asyncio.shield(decision)
        except asyncio.CancelledError:
            # The client has left. The store may have charged the request, and the charge has no other owner.
            decision.add_done_callback(self._give_back)
            raise

    def _give_back(self, decision: "asyncio.Future[Charge | Exhausted | None]") -> None:
        if not decision.cancelled() and isinstance(charge := decision.result(), Charge):
            self.settle(charge, 0, 0)

    async def _decide(
        self, account: Account, budgets: tuple[Budget, ...], tokens: int, nanos: int
    ) -> Charge | Exhausted | None:
        if self._health.up:
            loop = asyncio.get_running_loop()
            late = loop.time() + self._timeout + _STALL_SECONDS
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._charge(account, budgets, tokens, nanos)
            except FAILURES as error:
                if loop.time() < late:
                    self._health.failed(error)
        if self._on_store_error == "deny":
            return None
        decision = self._ledger.charge(account, tokens, nanos)
        if isinstance(decision, Charge):
            self._owe(decision, tokens, nanos, tokens, nanos)
        return decision

    async def _charge(
        self, account: Account, budgets: tuple[Budget, ...], tokens: int, nanos: int
    ) -> Charge | Exhausted:
        day, month = periods(self._clock())
        arguments: list[int | str] = [tokens, nanos, _KEPT_SECONDS]
        for budget in budgets:
            arguments += (2 if budget.monthly else 1, "money" if budget.by_money else "tokens", budget.limit)
        refused, in_flight = await self._script(keys=_keys(account, day, month), args=arguments)
        if refused:
            return Exhausted(budgets[refused - 1], in_flight=bool(in_flight))
        return self._ledger.add(account, tokens, nanos)

    def settle(self, charge: Charge, tokens: int, nanos: int) -> None:
        """Replaces the estimates of a request by what it has used."""
        self._ledger.settle(charge, tokens, nanos)
        self._owe(charge, tokens - charge.tokens, nanos - charge.nanos, -charge.tokens, -charge.nanos)

    def _owe(self, charge: Charge, *changes: int) -> None:
        for key in _keys(charge.account, charge.day, month_of(charge.day)):
            owed = self._owed.setdefault(key, [0] * len(_FIELDS))
            for place, change in enumerate(changes):
                owed[place] += change
        self._work.set()

    async def _work_once(self) -> None:
        await self._work.wait()
        await self.flush()
        await asyncio.sleep(_ROUND_SECONDS)

    def _wake(self) -> None:
        self._work.set()

    async def flush(self) -> None:
        """Sends the changes that the store does not have yet. The task calls it."""
        self._work.clear()
        if not self._health.up:
            return
        owed, self._owed = self._owed, {}
        try:
            async with asyncio.timeout(self._timeout), self._redis.pipeline(transaction=False) as pipeline:
                for key, changes in owed.items():
                    for field, change in zip(_FIELDS, changes, strict=True):
                        if change:
                            pipeline.hincrby(key, field, change)
                    pipeline.expire(key, _KEPT_SECONDS)
                await pipeline.execute()
        except FAILURES as error:
            self._health.failed(error)

    async def _probe(self) -> None:
        """Checks that the store accepts writes: one without memory, or a replica, accepts reads only."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._redis.set(_PROBE_KEY, 1, ex=1)
        async with asyncio.timeout(self._timeout):
            await self._redis.set(_PROBE_KEY, 1, ex=1)
        if self._owed:
            self._work.set()


def _keys(account: Account, day: int, month: int) -> tuple[str, str]:
    """Returns the keys of the day and of the month. One hash tag puts all keys on one node of a cluster."""
    return f"ztoapi:{{budgets}}:day:{day}:{account.hash:x}", f"ztoapi:{{budgets}}:month:{month}:{account.hash:x}"
