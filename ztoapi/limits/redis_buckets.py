"""The common buckets of several machines in Redis or Valkey, changed by one atomic script with the store's clock."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from ztoapi.limits.quota_lease import QuotaLease, Reply

__all__ = ["Order", "RedisBuckets"]

_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debts, enough = {}, true
local function order(i) return unpack(ARGV, i * 6 - 5, i * 6) end
for i, key in ipairs(KEYS) do
  local unit, back, burst, need, ahead, owed = order(i)
  local kept = redis.call('HMGET', key, 'debt', 'at')
  local debt = tonumber(kept[1] or 0)
  -- A clock that was set back refills nothing, and the next call starts from it.
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
"""Takes six numbers for each key (:meth:`QuotaLease.order`). Grants all that is needed or nothing, then as much of the
units requested in advance as there is. Returns units granted, units left, and the wait in microseconds."""
_PROBE_KEY: Final = "ztoapi:{limits}:probe"
_PROBE_ORDER: Final = [1, 1, 1, 0, 1, 0]
"""One unit of a bucket that is full again after a microsecond; the store has to write it."""


class Order(NamedTuple):
    """One request to the store: a cost for each lease, all or nothing."""

    leases: list[QuotaLease]
    costs: list[int]


class RedisBuckets:
    """The store at ``url`` (``redis://``, ``rediss://`` or ``unix://``). ``clock`` is this machine's, in nanoseconds.

    Failures raise RedisError or OSError. There are no retries and no timeouts: the caller sets them.
    """

    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.redis: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._script = self.redis.register_script(_SCRIPT)

    async def probe(self) -> None:
        """Checks that the store is reachable and accepts writes, and loads the script. A store without memory, or a
        replica, accepts reads only."""
        await self._script(keys=[_PROBE_KEY], args=_PROBE_ORDER)

    async def call(self, orders: Sequence[Order]) -> list[list[Reply]]:
        """Sends all orders in one round trip and updates their leases with the replies."""
        sent = self._clock()
        ahead: set[str] = set()
        calls: list[tuple[list[str], list[int]]] = []
        for order in orders:
            numbers: list[int] = []
            for lease, cost in zip(order.leases, order.costs, strict=True):
                # Units in advance once per call: a lease never holds more than the reserved part.
                numbers += lease.order(cost, sent, ahead=lease.key not in ahead)
                ahead.add(lease.key)
            calls.append(([lease.key for lease in order.leases], numbers))
        try:
            results = await self._evaluate(calls)
        except NoScriptError:
            await self.probe()
            results = await self._evaluate(calls)
        now = self._clock()
        replies: list[list[Reply]] = []
        for order, result in zip(orders, results, strict=True):
            order_replies = [Reply(granted, left, wait * 1000) for granted, left, wait in result]
            refused = any(reply.wait_ns for reply in order_replies)
            for lease, cost, reply in zip(order.leases, order.costs, order_replies, strict=True):
                lease.receive(reply, 0 if refused and not reply.wait_ns else cost, sent, now)
            replies.append(order_replies)
        return replies

    async def _evaluate(self, calls: list[tuple[list[str], list[int]]]) -> list[list[tuple[int, int, int]]]:
        async with self.redis.pipeline(transaction=False) as pipeline:
            for keys, numbers in calls:
                pipeline.evalsha(self._script.sha, len(keys), *keys, *numbers)
            results: list[list[tuple[int, int, int]]] = await pipeline.execute()
        return results
