"""Budgets of several gateways with a real redis-server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.limits.redis_server import RedisServer
from tests.support.waiting import until
from ztoapi.config.model import KeyBudgets
from ztoapi.limits import redis_budgets
from ztoapi.limits.budgets import BudgetLedger, BudgetMemory, Charge, Exhausted, budgets_of
from ztoapi.limits.model import OnStoreError
from ztoapi.limits.redis_budgets import RedisBudgets

NOW = 1_795_435_200.0
DAY = 86400


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Gateway:
    """One gateway that shares the budget of the key ``alice``."""

    def __init__(self, url: str, clock: Clock, gateways: int, policy: OnStoreError, **budgets: float) -> None:
        self.ledger = BudgetLedger(BudgetMemory(), 0, clock)
        self.store = RedisBudgets(url, self.ledger, clock, gateways, policy, timeout_seconds=5.0)
        self.budgets = budgets_of(KeyBudgets(**budgets), KeyBudgets())  # type: ignore[arg-type]
        self.account = self.ledger.account("alice", self.store.shares(self.budgets))

    async def charge(self, tokens: int, nanos: int = 0) -> Charge | Exhausted | None:
        return await self.store.charge(self.account, self.budgets, tokens, nanos)

    async def use(self, tokens: int, estimate: int = 1) -> bool:
        """Whether a request that uses so many tokens is admitted."""
        charge = await self.charge(estimate)
        if isinstance(charge, Charge):
            self.store.settle(charge, tokens, 0)
            await self.store.flush()
        return isinstance(charge, Charge)


def run(
    server: RedisServer,
    use: Callable[[list[Gateway], Clock], Awaitable[None]],
    *,
    gateways: int = 2,
    policy: OnStoreError = "local",
    **budgets: float,
) -> None:
    async def main() -> None:
        clock = Clock()
        all_of_them = [Gateway(server.url, clock, gateways, policy, **budgets) for _ in range(gateways)]
        for gateway in all_of_them:
            await gateway.store.start()
        try:
            await use(all_of_them, clock)
        finally:
            for gateway in all_of_them:
                await gateway.store.close()

    asyncio.run(main())


def test_gateways_share_a_budget_to_the_last_token(server: RedisServer) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        async def drain(gateway: Gateway) -> int:
            granted = 0
            while True:
                charge = await gateway.charge(1)
                if isinstance(charge, Charge):
                    granted += 1
                    gateway.store.settle(charge, 1, 0)
                elif isinstance(charge, Exhausted) and not charge.in_flight:
                    return granted
                await gateway.store.flush()

        assert sum(await asyncio.gather(*map(drain, gateways))) == 200

    run(server, use, gateways=3, tokens_per_day=200)


def test_estimates_count_and_are_settled(server: RedisServer) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        charge = await one.charge(100, 5)
        assert isinstance(charge, Charge)
        refusal = await other.charge(1)
        assert isinstance(refusal, Exhausted)
        assert (refusal.budget.name, refusal.in_flight) == ("tokens_per_day", True)
        one.store.settle(charge, 40, 5)
        await one.store.flush()
        assert await other.use(60)
        refusal = await one.charge(1)
        assert isinstance(refusal, Exhausted)
        assert not refusal.in_flight
        clock.now += DAY
        assert await one.use(1)

    run(server, use, tokens_per_day=100, usd_per_month=1.0)


def test_a_client_that_leaves_before_the_decision_is_charged_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        script, charged, left = one.store._charge_script, asyncio.Event(), asyncio.Event()

        async def call(keys: Sequence[str], args: Sequence[int | str]) -> object:
            result = await script(keys=keys, args=args)
            charged.set()
            await left.wait()
            return result

        monkeypatch.setattr(one.store, "_charge_script", call)
        request = asyncio.ensure_future(one.charge(100))
        await charged.wait()
        request.cancel()
        await asyncio.wait([request])
        left.set()
        for _ in range(100):
            await one.store.flush()
            if await other.use(0):
                break
        else:
            raise AssertionError
        assert one.ledger.used(one.account) == {"tokens_per_day": 0}

    run(server, use, tokens_per_day=100)


def test_money_and_months(server: RedisServer) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        charge = await one.charge(1, 1)
        assert isinstance(charge, Charge)
        one.store.settle(charge, 1, 10**9)
        await one.store.flush()
        clock.now += DAY
        refusal = await other.charge(1, 1)
        assert isinstance(refusal, Exhausted)
        assert refusal.budget.name == "usd_per_month"

    run(server, use, usd_per_month=1.0)


@pytest.mark.parametrize("policy", ["local", "deny"])
def test_without_the_store_a_gateway_has_its_share_or_refuses(server: RedisServer, policy: OnStoreError) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        assert await one.use(10)
        server.kill()
        assert [await one.use(10) for _ in range(5)] == ([True] * 4 + [False] if policy == "local" else [False] * 5)
        if policy == "deny":
            assert await one.charge(1) is None
            assert await other.charge(1) is None
        else:
            assert await other.use(0)
        server.start()
        for gateway in gateways:
            await until(lambda gateway=gateway: gateway.store.up)  # type: ignore[misc]
        await one.store.flush()
        # The restarted server has forgotten the first ten; the rest was sent when it was back.
        assert [await other.use(1, 1) for _ in range(70)].count(True) == (60 if policy == "local" else 70)

    run(server, use, policy=policy, tokens_per_day=100)


async def counters(gateway: Gateway, period: str) -> list[int]:
    """Returns the only counters of the period, in the order of their fields in the script."""
    redis = gateway.store._redis
    (key,) = await redis.keys(f"ztoapi:*:{period}:*")
    values = await redis.hmget(key, ["tokens", "money", "reserved_tokens", "reserved_money"])
    return [int(value or 0) for value in values]


@pytest.mark.parametrize("policy", ["local", "deny"])
def test_calls_whose_replies_are_late_count_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, policy: OnStoreError
) -> None:
    # Every timeout counts as a failure of the store, also on a busy machine.
    monkeypatch.setattr(redis_budgets, "_STALL_SECONDS", 60)

    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        # The store knows the scripts, and each charge opens a connection.
        assert await one.use(0)
        await until(lambda: not one.store._has_changes())
        charges = await asyncio.gather(*(one.charge(5, 7) for _ in range(4)))
        server.stop()
        one.store._timeout = 0.01
        for charge in charges:
            assert isinstance(charge, Charge)
            one.store.settle(charge, 10, 3)
        # The server runs the calls that have failed when it continues.
        charges = await asyncio.gather(*(one.charge(20) for _ in range(3)))
        await until(lambda: one.store._health.failures >= 4)
        one.store._timeout = 5.0
        server.go_on()
        await until(lambda: one.store.up)
        for charge in charges:
            assert isinstance(charge, Charge if policy == "local" else type(None))
            if charge is not None:
                one.store.settle(charge, 100, 4)
        await until(lambda: not one.store._has_changes())
        used = {"local": [340, 24], "deny": [40, 12]}[policy]
        assert [await counters(other, period) for period in ("day", "month")] == [[*used, 0, 0]] * 2

    run(server, use, policy=policy, tokens_per_day=1000)


def test_a_charge_that_arrives_after_its_settlement_counts_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        script, calls = one.store._charge_script, list[tuple[Sequence[str], Sequence[int | str]]]()

        async def lose(keys: Sequence[str], args: Sequence[int | str]) -> object:
            calls.append((keys, args))
            raise TimeoutError

        monkeypatch.setattr(one.store, "_charge_script", lose)
        charge = await one.charge(20, 3)
        assert isinstance(charge, Charge)
        one.store.settle(charge, 9, 2)
        await until(lambda: one.store.up and not one.store._has_changes())
        for keys, args in calls:
            await script(keys=keys, args=args)
        assert await counters(other, "day") == [9, 2, 0, 0]

    run(server, use, tokens_per_day=1000)


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_request_during_which_the_store_loses_its_data_counts_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, confirmed: bool
) -> None:
    async def use(gateways: list[Gateway], clock: Clock) -> None:
        one, other = gateways
        with pytest.MonkeyPatch.context() as patch:
            if not confirmed:

                async def lose(keys: Sequence[str], args: Sequence[int | str]) -> object:
                    raise TimeoutError

                patch.setattr(one.store, "_charge_script", lose)
            charge = await one.charge(100, 5)
        await until(lambda: one.store.up and not one.store._has_changes())
        assert await counters(other, "day") == [100, 5, 100, 5]
        server.kill()
        server.start()
        for gateway in gateways:
            await until(lambda gateway=gateway: gateway.store.up)  # type: ignore[misc]
        kept = await other.charge(30, 1)
        assert isinstance(charge, Charge)
        one.store.settle(charge, 20, 2)
        await until(lambda: all(gateway.store.up and not gateway.store._has_changes() for gateway in gateways))
        assert await counters(other, "day") == [50, 3, 30, 1]
        assert isinstance(kept, Charge)
        other.store.settle(kept, 30, 1)

    run(server, use, tokens_per_day=1000)
