"""Several gateways on one redis-server: the bound over all of them, its losses, and what happens when it is away."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from tests.limits.redis_server import RedisServer
from tests.support.waiting import WAIT_SECONDS
from ztoapi.limits.model import Descriptors, InFlightLimit, OnStoreError, RateLimit, Rejection, Reservation, Scope, Unit
from ztoapi.limits.quota_lease import QuotaLease
from ztoapi.limits.redis_limiter import RedisLimiter, RedisReservation
from ztoapi.limits.shared_limits import LocalReservation, SharedLimits
from ztoapi.structures.bucket import SECOND_NS, Rate

HOUR_NS = 3600 * SECOND_NS
GATEWAYS = 3
PATIENCE_SECONDS = 10.0
"""A busy machine takes its time, which is not what most of these tests are about."""


def hourly(name: str, requests: int, *, tokens: int = 10**6, streams: int = 10**6) -> Scope:
    """Limits that time does not change while a test runs."""
    limits = (
        RateLimit(f"{name}_requests", Unit.REQUESTS, Rate(requests, HOUR_NS)),
        RateLimit(f"{name}_tokens", Unit.TOKENS, Rate(tokens, HOUR_NS)),
        InFlightLimit(f"{name}_streams", streams),
    )
    return Scope(name, limits, 1000)


KEY = hourly("key", 100)
MODEL = hourly("model", 1000, tokens=5000)
ALICE: Descriptors = ((KEY, "alice"), (MODEL, "glm-4.6"))
BOB: Descriptors = ((KEY, "bob"), (MODEL, "glm-4.6"))
Use = Callable[[list[RedisLimiter]], Awaitable[None]]


def run(
    server: RedisServer,
    use: Use,
    *scopes: Scope,
    gateways: int = 1,
    on_store_error: OnStoreError = "local",
    timeout_seconds: float = PATIENCE_SECONDS,
) -> None:
    """``use`` gets as many gateways, each a machine with a shared of its own."""

    async def main() -> None:
        limiters = [
            RedisLimiter(
                server.url,
                scopes,
                SharedLimits(scopes, machines=gateways).limiter(0),
                on_store_error=on_store_error,
                timeout_seconds=timeout_seconds,
            )
            for _ in range(gateways)
        ]
        for limiter in limiters:
            await limiter.start()
        try:
            await use(limiters)
        finally:
            for limiter in limiters:
                await limiter.close()

    asyncio.run(main())


async def decide(limiter: RedisLimiter, descriptors: Descriptors, tokens: int = 0) -> Reservation | Rejection:
    return limiter.reserve(descriptors, tokens) or await limiter.wait_to_reserve(descriptors, tokens)


async def a_moment() -> None:
    """Let the loop do what it has to do."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, turn.set_result, None)
    await turn


async def turns(count: int) -> None:
    """So many turns of the loop, of no length."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


async def until(limiter: RedisLimiter, *, away: bool) -> None:
    """Ask, as clients do, until the store is seen to be away, or back."""
    while limiter.statistics().away != away:
        answer = await decide(limiter, ALICE)
        if not isinstance(answer, Rejection):
            answer.finish()
        await a_moment()


def lease(scope: Scope, number: int = 0) -> QuotaLease:
    limit = scope.limits[number]
    assert isinstance(limit, RateLimit)
    return QuotaLease(limit, "")


def test_gateways_together_admit_the_limit(server: RedisServer) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        async def drain(limiter: RedisLimiter) -> int:
            granted = 0
            while not isinstance(answer := await decide(limiter, ALICE), Rejection):
                answer.finish()
                granted += 1
            assert answer.limit is KEY.limits[0]
            assert answer.wait_ns is not None
            assert answer.wait_ns > 0
            return granted

        granted = sum(await asyncio.gather(*map(drain, limiters)))
        # Nothing beyond the burst; what falls short is what was set aside, and what leases hold at the end.
        most = lease(KEY).max_held
        assert 100 - most * (1 + GATEWAYS) <= granted <= 100
        # Another key has its own.
        assert not isinstance(await decide(limiters[0], BOB), Rejection)

    run(server, use, KEY, MODEL, gateways=GATEWAYS)


def test_no_window_sees_more_than_rate_and_burst_over_all_gateways(server: RedisServer) -> None:
    rate = Rate(2000, SECOND_NS, 50)
    scope = Scope("key", (RateLimit("key_requests", Unit.REQUESTS, rate),), 8)
    moments: list[int] = []

    async def use(limiters: list[RedisLimiter]) -> None:
        async def press(limiter: RedisLimiter) -> None:
            while len(moments) < 10 * rate.burst:
                now = time.monotonic_ns()
                answer = limiter.reserve(((scope, "alice"),))
                if answer is None:
                    answer = await limiter.wait_to_reserve(((scope, "alice"),))
                    now = time.monotonic_ns()
                if isinstance(answer, RedisReservation):
                    moments.append(now)
                elif isinstance(answer, Rejection):
                    await a_moment()

        await asyncio.gather(*map(press, limiters))
        assert not any(limiter.statistics().failures for limiter in limiters)

    run(server, use, scope, gateways=GATEWAYS)
    moments.sort()
    beyond, last = 0.0, moments[0]
    for moment in moments:
        beyond = max(beyond - (moment - last) * rate.limit / SECOND_NS, 0.0) + 1
        last = moment
        assert beyond <= rate.burst


def test_most_requests_do_not_wait(server: RedisServer) -> None:
    scope = Scope("key", (RateLimit("key_requests", Unit.REQUESTS, Rate(100_000, SECOND_NS)),), 8)

    async def use(limiters: list[RedisLimiter]) -> None:
        for _ in range(2000):
            assert not isinstance(await decide(limiters[0], ((scope, "alice"),)), Rejection)
        statistics = limiters[0].statistics()
        assert statistics.decided_here + statistics.sent_to_store == 2000
        assert statistics.sent_to_store < 100

    run(server, use, scope)


def test_a_denial_costs_nothing_anywhere(server: RedisServer) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        one, other = limiters
        assert isinstance(await decide(one, ALICE, 4000), RedisReservation)
        for _ in range(50):
            rejection = await decide(one, ALICE, 4000)
            assert isinstance(rejection, Rejection)
            assert (rejection.limit, rejection.subject) == (MODEL.limits[1], "glm-4.6")
        impossible = await decide(one, ALICE, 5000)
        assert isinstance(impossible, Rejection)
        assert impossible.wait_ns is None
        # Alice's requests are what they were: one is gone.
        granted = 0
        while isinstance(await decide(other, ((KEY, "alice"),)), RedisReservation):
            granted += 1
        assert granted >= lease(KEY).burst - 1 - 2 * lease(KEY).max_held

    run(server, use, KEY, MODEL, gateways=2)


def test_what_was_not_used_comes_back_to_every_gateway(server: RedisServer) -> None:
    scope = hourly("key", 1000, tokens=1000)
    descriptors: Descriptors = ((scope, "alice"),)

    async def use(limiters: list[RedisLimiter]) -> None:
        one, other = limiters
        reservation = await decide(one, descriptors, 900)
        assert isinstance(reservation, RedisReservation)
        status = reservation.status(Unit.TOKENS)
        assert status is not None
        assert (status.capacity, status.remaining) == (999, 99)
        assert isinstance(await decide(other, descriptors, 800), Rejection)
        reservation.finish(50)
        while isinstance(await decide(other, descriptors, 800), Rejection):
            await a_moment()
        assert isinstance(await decide(one, descriptors, 800), Rejection)

    run(server, use, scope, gateways=2)


def test_streams_in_flight_are_each_machines_own(server: RedisServer) -> None:
    scope = hourly("key", 1000, streams=2)
    descriptors: Descriptors = ((scope, "alice"),)

    async def use(limiters: list[RedisLimiter]) -> None:
        for limiter in limiters:
            reservations = [await decide(limiter, descriptors) for _ in range(2)]
            rejection = await decide(limiter, descriptors)
            assert isinstance(rejection, Rejection)
            assert rejection.limit is scope.limits[2]
            assert isinstance(reservations[0], RedisReservation)
            reservations[0].finish()
            assert isinstance(await decide(limiter, descriptors), RedisReservation)

    run(server, use, scope, gateways=2)


def test_a_store_that_has_forgotten_the_script_is_given_it_again(server: RedisServer) -> None:
    # Their entries last half an hour, until the rates have made up for the requests.
    key, model = hourly("key", 1), hourly("model", 2)

    async def use(limiters: list[RedisLimiter]) -> None:
        async with Redis.from_url(server.url) as redis:
            assert isinstance(await decide(limiters[0], ((key, "alice"), (model, "glm-4.6"))), RedisReservation)
            await redis.script_flush()
            assert isinstance(await decide(limiters[0], ((key, "bob"), (model, "glm-4.6"))), RedisReservation)
            assert limiters[0].statistics().failures == 0
            # Its entries expire by themselves, and contain no name.
            keys = await redis.keys("*/*")
            assert len(keys) == 6, keys
            assert not any(b"alice" in key for key in keys)
            assert min([await redis.ttl(key) for key in keys]) >= 0

    run(server, use, key, model)


def test_many_at_once_do_not_make_the_store_look_away(server: RedisServer) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        limiter = limiters[0]
        requested: list[Descriptors] = [((KEY, f"key {number}"), (MODEL, "glm-4.6")) for number in range(100)]
        answers = await asyncio.gather(*(limiter.wait_to_reserve(descriptors) for descriptors in requested))
        assert {type(answer) for answer in answers} == {RedisReservation}
        assert (limiter.statistics().failures, limiter.statistics().away) == (0, False)

    # One after the other they would take five seconds.
    with server.far_away(seconds=0.05):
        run(server, use, KEY, MODEL, timeout_seconds=3.0)


def test_to_connect_may_take_longer_than_a_call(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        assert limiters[0].statistics() == (0, 0, 0, False)

    monkeypatch.setattr("ztoapi.limits.redis_limiter._CONNECT_SECONDS", WAIT_SECONDS)
    # A call is one way there and back, 0.8 s, which leaves a busy machine 0.7 s; the first one takes several.
    with server.far_away(seconds=0.4):
        run(server, use, KEY, MODEL, timeout_seconds=1.5)


def test_a_stall_of_ones_own_does_not_make_the_store_look_away(server: RedisServer) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        limiter = limiters[0]
        for number in range(12):
            asking = asyncio.ensure_future(limiter.wait_to_reserve(ALICE))
            await turns(number)
            # It blocks the loop for longer than the timeout.
            threading.Event().wait(0.4)
            await asking
        assert (limiter.statistics().failures, limiter.statistics().away) == (0, False)

    run(server, use, KEY, MODEL, timeout_seconds=0.3)


def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(server: RedisServer) -> None:
    scope = hourly("key", 1000, tokens=1000, streams=1)
    descriptors: Descriptors = ((scope, "alice"),)

    async def use(limiters: list[RedisLimiter]) -> None:
        limiter = limiters[0]
        answered = 0
        for number in range(60):
            task = asyncio.ensure_future(limiter.wait_to_reserve(descriptors, 100))
            await turns(number)
            answered += task.done()
            task.cancel()
            for answer in await asyncio.gather(task, return_exceptions=True):
                if isinstance(answer, RedisReservation):
                    answer.finish(0)
            answer = await decide(limiter, descriptors, 10)
            assert isinstance(answer, RedisReservation)
            answer.finish(0)
        assert 0 < answered < 60
        # The tokens reach the store a moment later.
        while isinstance(await decide(limiter, descriptors, 950), Rejection):
            await a_moment()

    run(server, use, scope)


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"), ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")],
    ids=["memory", "replica"],
)
def test_a_store_that_takes_no_writes_is_away_until_it_does(
    server: RedisServer, caplog: pytest.LogCaptureFixture, refuse: str, allow: str
) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        limiter = limiters[0]
        assert isinstance(await decide(limiter, ALICE), RedisReservation)
        async with Redis.from_url(server.url) as redis:
            # Untyped in redis-py.
            await redis.execute_command(*refuse.split())  # type: ignore[no-untyped-call]
            assert isinstance(await decide(limiter, BOB), LocalReservation)
            # Two looks at least: what answers is not yet what can be used.
            while limiter.statistics().failures < 3:
                assert limiter.statistics().away
                await a_moment()
            await redis.execute_command(*allow.split())  # type: ignore[no-untyped-call]
        await until(limiter, away=False)
        assert isinstance(await decide(limiter, BOB), RedisReservation)

    run(server, use, KEY, MODEL)
    assert [" ".join(record.message.split()[:4]) for record in caplog.records] == [
        "Redis (limits) is unreachable",
        "Redis (limits) is reachable",
    ]


@pytest.mark.parametrize("how", ["stopped", "asleep", "killed"])
def test_no_request_waits_for_a_store_that_is_away_and_it_comes_back(server: RedisServer, how: str) -> None:
    async def use(limiters: list[RedisLimiter]) -> None:
        limiter = limiters[0]
        assert isinstance(await decide(limiter, ALICE), RedisReservation)
        sleeper = Redis.from_url(server.url, socket_timeout=30)
        sleep = None
        if how == "stopped":
            server.stop()
        elif how == "killed":
            server.kill()
        else:
            await sleeper.ping()
            # Untyped in redis-py.
            command = sleeper.execute_command("DEBUG", "SLEEP", "2")  # type: ignore[no-untyped-call]
            sleep = asyncio.ensure_future(command)
        if how != "asleep":
            # Many at once: one waits for the timeout, the others for it, and all are answered by the shared.
            requested: list[Descriptors] = [((KEY, f"key {number}"), (MODEL, "glm-4.6")) for number in range(200)]
            answers = await asyncio.gather(*(limiter.wait_to_reserve(descriptors) for descriptors in requested))
            assert {type(answer) for answer in answers} <= {LocalReservation, Rejection}
        await until(limiter, away=True)
        assert isinstance(limiter.reserve(ALICE), LocalReservation)
        asked = limiter.statistics().sent_to_store
        if how == "stopped":
            server.go_on()
        elif how == "killed":
            server.start()
        await until(limiter, away=False)
        assert limiter.statistics().sent_to_store <= asked + 1
        assert isinstance(await decide(limiter, ((MODEL, "glm-4.6"),)), RedisReservation)
        if sleep is not None:
            await sleep
        await sleeper.aclose()

    run(server, use, KEY, MODEL, timeout_seconds=0.4)


def test_without_a_store_a_machine_admits_its_share(server: RedisServer) -> None:
    server.kill()

    async def use(limiters: list[RedisLimiter]) -> None:
        granted = 0
        while isinstance(answer := limiters[0].reserve(ALICE), LocalReservation):
            answer.finish()
            granted += 1
        assert granted == 100 // GATEWAYS

    run(server, use, KEY, MODEL, gateways=GATEWAYS)
    server.start()


def test_without_a_store_requests_are_refused_if_so_configured(server: RedisServer) -> None:
    server.kill()

    async def use(limiters: list[RedisLimiter]) -> None:
        rejection = limiters[0].reserve(ALICE)
        assert isinstance(rejection, Rejection)
        assert (rejection.limit, rejection.wait_ns, rejection.statuses) == (None, SECOND_NS, ())
        server.start()
        while limiters[0].statistics().away:
            await a_moment()
        assert isinstance(await decide(limiters[0], ALICE), RedisReservation)

    run(server, use, KEY, MODEL, on_store_error="deny")


def test_a_gateway_that_dies_takes_a_lease_with_it_and_no_more(server: RedisServer) -> None:
    rate = Rate(100_000, HOUR_NS, burst=400)
    scope = Scope("key", (RateLimit("key_requests", Unit.REQUESTS, rate),), 8)
    descriptors: Descriptors = ((scope, "alice"),)

    async def use(limiters: list[RedisLimiter]) -> None:
        dead, alive = limiters
        started = time.monotonic_ns()
        used = 0
        for _ in range(100):
            used += isinstance(await decide(dead, descriptors), RedisReservation)
            if used == 90:
                await a_moment()
        while isinstance(await decide(alive, descriptors), RedisReservation):
            used += 1
        brought = rate.limit * (time.monotonic_ns() - started) / HOUR_NS
        ours = lease(scope)
        assert ours.max_held == 28
        assert ours.burst - 2 * ours.max_held <= used <= rate.burst + brought

    run(server, use, scope, gateways=2)


def test_a_limit_that_redis_cannot_count_is_refused() -> None:
    scope = Scope("key", (RateLimit("key_tokens", Unit.TOKENS, Rate(999_983, HOUR_NS, 10**7)),), 1)
    with pytest.raises(ValueError, match="the burst of key_tokens is too large"):
        RedisLimiter("redis://127.0.0.1", (scope,), SharedLimits([scope]).limiter(0))
