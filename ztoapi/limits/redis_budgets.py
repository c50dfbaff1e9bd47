"""Budgets of several gateways: the counters of all of them in Redis or Valkey, changed by atomic scripts.

Each request of a key with a budget makes one call before it is admitted. A counter that falls rarely below its limit
again cannot be leased: a lease would refuse the last part of a budget, or admit more than it. Settlements are sent in
the background, together.

This gateway also counts its own usage (:mod:`ztoapi.limits.budgets`). While the store is unreachable it admits its
share of each budget by that count, or refuses; what it has charged meanwhile is sent when the store is back.

A call that fails may have been executed, or may still be. Charges and batches of settlements therefore have numbers,
and the store keeps a journal for each worker: the last batch, and the charges that are not settled. A script does
nothing if the journal contains its number, so that a failed call is repeated without counting twice. A charge that the
journal has lost, because the store was restarted without its data, is repeated when it is settled: the settlement would
take away what the counters do not contain.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from ztoapi.limits.budgets import Account, Budget, BudgetLedger, Charge, Exhausted, periods
from ztoapi.limits.model import OnStoreError
from ztoapi.store.redis_health import FAILURES, RedisHealth

__all__ = ["RedisBudgets"]

_TIMEOUT_SECONDS: Final = 0.05
"""As for rate limits: a call takes 0.1 ms on a local network, and 50 ms are noticeable to a client."""
_CONNECT_SECONDS: Final = 1.0
_READ_SECONDS: Final = 1.0
"""For the counters of all keys, which an operator requests."""
_STALL_SECONDS: Final = 0.01
"""A timeout that fires later than this was caused by this process, which was busy."""
_ROUND_SECONDS: Final = 0.01
"""Time between two calls in the background, so that one call settles many requests."""
_KEPT_SECONDS: Final = 40 * 86400
"""Longer than a month: a counter is deleted when nothing has changed it for this time."""
_JOURNAL_ID_BYTES: Final = 8
_PROBE_KEY: Final = "ztoapi:{budgets}:probe"

_ADD: Final = """
local function add(key, tokens, money, reserved_tokens, reserved_money, kept)
  redis.call('HINCRBY', key, 'tokens', tokens)
  redis.call('HINCRBY', key, 'money', money)
  redis.call('HINCRBY', key, 'reserved_tokens', reserved_tokens)
  redis.call('HINCRBY', key, 'reserved_money', reserved_money)
  redis.call('EXPIRE', key, kept)
end
"""
_CHARGE: Final = (
    _ADD
    + """
local day, month, journal = unpack(KEYS)
local kept, number, tokens, money = unpack(ARGV, 1, 4)
if redis.call('HEXISTS', journal, number) == 1 then return {0, 0} end
for i = 5, #ARGV, 3 do
  local key, field, limit = KEYS[tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 2])
  local used = tonumber(redis.call('HGET', key, field) or 0)
  if used >= limit then
    local reserved = tonumber(redis.call('HGET', key, 'reserved_' .. field) or 0)
    return {(i - 2) / 3, used - reserved < limit and 1 or 0}
  end
end
redis.call('HSET', journal, number, 1)
redis.call('EXPIRE', journal, kept)
add(day, tokens, money, tokens, money, kept)
add(month, tokens, money, tokens, money, kept)
return {0, 0}
"""
)
"""Takes the number of the charge, its tokens and its money, and for each budget the number of its key, its field and
its limit. Returns the number of the budget that refuses, or 0, and whether requests in flight hold its rest."""
_SETTLE: Final = (
    _ADD
    + """
local journal = KEYS[1]
local kept, batch, settled, unconfirmed = unpack(ARGV, 1, 4)
if tonumber(redis.call('HGET', journal, 'batch') or 0) >= tonumber(batch) then return {} end
redis.call('HSET', journal, 'batch', batch)
redis.call('EXPIRE', journal, kept)
local i = 5
for charge = 1, settled + unconfirmed do
  local number, tokens, money, day, month = unpack(ARGV, i, i + 4)
  local absent
  if charge <= tonumber(settled) then
    absent = redis.call('HDEL', journal, number) == 0
  else
    absent = redis.call('HSETNX', journal, number, 1) == 1
  end
  if absent then
    add(KEYS[tonumber(day)], tokens, money, tokens, money, kept)
    add(KEYS[tonumber(month)], tokens, money, tokens, money, kept)
  end
  i = i + 5
end
while i <= #ARGV do
  local key, tokens, money, reserved_tokens, reserved_money = unpack(ARGV, i, i + 4)
  add(KEYS[tonumber(key)], tokens, money, reserved_tokens, reserved_money, kept)
  i = i + 5
end
return {}
"""
)
"""Takes the number of the batch; the number of settled charges and of unconfirmed ones; these charges, the settled ones
first, with their tokens, their money and the numbers of their keys; then for each changed key its number and its
changes. A charge that is not in the journal is charged. The settled ones leave the journal, the others stay in it."""


class _StoredCharge(Charge, frozen=True):
    """A charge of the counters ``keys`` in the store. ``number`` is that of its entry in the journal, 0 if it has none;
    ``confirmed`` is whether the store has confirmed the charge."""

    keys: tuple[str, str]
    number: int
    confirmed: bool


class _Entry(NamedTuple):
    """A charge in the journal."""

    number: int
    tokens: int
    nanos: int
    keys: tuple[str, str]


class _Batch(NamedTuple):
    """A call that settles requests, sent until the store confirms it."""

    keys: list[str]
    arguments: list[int]


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
        self._charge_script = self._redis.register_script(_CHARGE)
        self._settle_script = self._redis.register_script(_SETTLE)
        fallback = "using this gateway's share" if on_store_error == "local" else "refusing requests of keys with one"
        self._health = RedisHealth(
            self._redis, "budgets", fallback, probe=self._probe, work=self._work_once, wake=self._wake
        )
        self._journal = f"ztoapi:{{budgets}}:journal:{secrets.token_hex(_JOURNAL_ID_BYTES)}"
        self._charge_numbers = itertools.count(1)
        self._batch_numbers = itertools.count(1)
        self._batch: _Batch | None = None
        """The batch that the store has not confirmed."""
        self._work = asyncio.Event()
        self._owed: dict[tuple[str, str], list[int]] = {}
        """Changes that are in no batch yet, by the keys of the day and of the month."""
        self._settled: list[_Entry] = []
        self._unconfirmed: list[_Entry] = []
        """Charges that the store may have counted, or may still count: their entries stay in the journal."""

    @property
    def up(self) -> bool:
        return self._health.up

    async def start(self) -> None:
        """Starts the task. An unreachable store is probed until it answers."""
        await self._health.start()

    async def close(self) -> None:
        """Sends the last settlements if the store is reachable, and closes the connection."""
        await self._health.stop()
        # One batch may wait for its confirmation, and the rest is in the next.
        for _ in range(2):
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
        keys = _keys(account, *periods(self._clock()))
        if not self._health.up:
            decision = self._decide_alone(account, tokens, nanos)
            if isinstance(decision, Charge):
                self._owe(keys, tokens, nanos, tokens, nanos)
                return _stored(decision, keys)
            return decision
        number = next(self._charge_numbers)
        arguments: list[int | str] = [_KEPT_SECONDS, number, tokens, nanos]
        for budget in budgets:
            arguments += (2 if budget.monthly else 1, "money" if budget.by_money else "tokens", budget.limit)
        reply = await self._call(self._charge_script, [*keys, self._journal], arguments)
        if reply is not None:
            refused, in_flight = reply
            if refused:
                return Exhausted(budgets[refused - 1], in_flight=bool(in_flight))
            return _stored(self._ledger.add(account, tokens, nanos), keys, number, confirmed=True)
        self._unconfirmed.append(_Entry(number, tokens, nanos, keys))
        self._work.set()
        decision = self._decide_alone(account, tokens, nanos)
        if isinstance(decision, Charge):
            return _stored(decision, keys, number)
        self._owe(keys, -tokens, -nanos, -tokens, -nanos)
        return decision

    def _decide_alone(self, account: Account, tokens: int, nanos: int) -> Charge | Exhausted | None:
        return None if self._on_store_error == "deny" else self._ledger.charge(account, tokens, nanos)

    async def used(self, accounts: Sequence[Account]) -> list[dict[str, int]]:
        """Returns the common counters of each account by the names of its budgets; none if the store is unreachable."""
        if not self._health.up:
            return [{} for _ in accounts]
        numbers = periods(self._clock())
        calls = self._redis.pipeline(transaction=False)
        for account in accounts:
            for key in _keys(account, *numbers):
                calls.hmget(key, "tokens", "money")
        try:
            async with asyncio.timeout(_READ_SECONDS):
                replies = await calls.execute()
        except FAILURES as error:
            self._health.failed(error)
            return [{} for _ in accounts]
        return [
            {budget.name: int(replies[2 * place + budget.monthly][budget.by_money] or 0) for budget in account.budgets}
            for place, account in enumerate(accounts)
        ]

    def settle(self, charge: Charge, tokens: int, nanos: int) -> None:
        """Replaces the estimates of a request by what it has used. ``charge`` is what :meth:`charge` returned."""
        self._ledger.settle(charge, tokens, nanos)
        assert isinstance(charge, _StoredCharge)
        if charge.number:
            entries = self._settled if charge.confirmed else self._unconfirmed
            entries.append(_Entry(charge.number, charge.tokens, charge.nanos, charge.keys))
        self._owe(charge.keys, tokens - charge.tokens, nanos - charge.nanos, -charge.tokens, -charge.nanos)

    def _owe(self, keys: tuple[str, str], *changes: int) -> None:
        owed = self._owed.setdefault(keys, [0] * len(changes))
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
        if not self._health.up or not self._has_changes():
            return
        if self._batch is None:
            self._batch = self._next_batch()
        if await self._call(self._settle_script, *self._batch) is not None:
            self._batch = None
        if self._has_changes():
            self._work.set()

    def _has_changes(self) -> bool:
        return self._batch is not None or bool(self._owed or self._unconfirmed)

    def _next_batch(self) -> _Batch:
        arguments = [_KEPT_SECONDS, next(self._batch_numbers), len(self._settled), len(self._unconfirmed)]
        places: dict[str, int] = {self._journal: 1}

        def place(key: str) -> int:
            return places.setdefault(key, len(places) + 1)

        for entry in (*self._settled, *self._unconfirmed):
            arguments += (entry.number, entry.tokens, entry.nanos, *map(place, entry.keys))
        for keys, changes in self._owed.items():
            for key in keys:
                arguments += (place(key), *changes)
        self._settled, self._unconfirmed, self._owed = [], [], {}
        return _Batch(list(places), arguments)

    async def _call(
        self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[int | str]
    ) -> Sequence[int] | None:
        """Returns the reply of a script, or None if the call has failed. The script may run nevertheless, or later."""
        loop = asyncio.get_running_loop()
        late = loop.time() + self._timeout + _STALL_SECONDS
        try:
            async with asyncio.timeout(self._timeout):
                reply: Sequence[int] = await script(keys=keys, args=arguments)
        except FAILURES as error:
            if loop.time() < late:
                self._health.failed(error)
            return None
        return reply

    async def _probe(self) -> None:
        """Checks that the store accepts writes: one without memory, or a replica, accepts reads only."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._redis.set(_PROBE_KEY, 1, ex=1)
        async with asyncio.timeout(self._timeout):
            await self._redis.set(_PROBE_KEY, 1, ex=1)
        if self._has_changes():
            self._work.set()


def _stored(charge: Charge, keys: tuple[str, str], number: int = 0, *, confirmed: bool = False) -> _StoredCharge:
    return _StoredCharge(charge.account, charge.tokens, charge.nanos, charge.day, keys, number, confirmed)


def _keys(account: Account, day: int, month: int) -> tuple[str, str]:
    """Returns the keys of the day and of the month. One hash tag puts all keys on one node of a cluster."""
    return f"ztoapi:{{budgets}}:day:{day}:{account.hash:x}", f"ztoapi:{{budgets}}:month:{month}:{account.hash:x}"
