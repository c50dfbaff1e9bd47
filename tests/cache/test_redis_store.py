"""Answers that gateways share by a real redis-server, and what happens while it stands still or is away."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.cache.asking import CHAT, ask, asked, body, cached, counts
from tests.limits.redis_server import RedisServer
from tests.processes.gateway_process import GatewayProcess
from tests.stack import Stack
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.samples import Sample

RESULT = "x-ztoapi-cache"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@contextmanager
def sharing(redis: RedisServer, **variables: str) -> Iterator[Stack]:
    """A gateway that has found the store."""
    with cached(REDIS_URL=redis.url, ZTOAPI_CACHE_REDIS="1", **variables) as stack:
        until(lambda: store(stack)["ztoapi_store_up"] == 1, stack)
        yield stack


def written(redis: RedisServer) -> list[bytes]:
    """The keys in the store."""
    with Redis.from_url(redis.url) as client:
        found = client.keys()
    assert isinstance(found, list)
    return found


def upstream_of(stack: Stack) -> str:
    """The destination is part of the key: gateways that share responses use the same upstream."""
    return f"http://127.0.0.1:{stack.simulator_port}/api/paas/v4"


def until(condition: Callable[[], bool], stack: Stack) -> None:
    """Wait for what another process does; ``stack`` has the patience."""
    stack.wait_for(condition)


def store(stack: Stack) -> dict[str, float]:
    found: list[Sample] = [sample for source in stack.application._sources() for sample in source()]
    return {sample.metric: sample.value for sample in found if sample.metric.startswith("ztoapi_store_")}


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_to_one_gateway_serves_the_other(redis: RedisServer, stream: bool) -> None:
    with sharing(redis) as one, sharing(redis, UPSTREAM_URL=upstream_of(one)) as two:
        first = ask(two, stream=stream)
        until(lambda: len(written(redis)) == 1, one)
        assert first.headers[RESULT] == "miss"
        assert ask(two, stream=stream).headers[RESULT] == "hit"
        with sharing(redis, UPSTREAM_URL=upstream_of(one)) as three:
            second = ask(three, stream=stream)
            assert second.headers[RESULT] == "hit"
            assert second.content == first.content
            assert counts(three)["entries"] == 1
            assert ask(three, key="two", stream=stream).headers[RESULT] == "miss"
            assert three.record().attempts == 0
        assert asked(one) == 2


def test_gateways_with_other_facts_of_a_model_share_nothing(redis: RedisServer) -> None:
    """The request is adapted to the model: here its max_tokens."""
    facts = '[models."glm-4.6"]\nmax_output_tokens = 5\n'
    with sharing(redis) as one, sharing(redis, UPSTREAM_URL=upstream_of(one), toml=facts) as other:
        assert ask(one, model="glm-4.6", max_tokens=10).headers[RESULT] == "miss"
        until(lambda: len(written(redis)) == 1, one)
        assert ask(other, model="glm-4.6", max_tokens=10).headers[RESULT] == "miss"
        last = one.stats()["last_request"]
        assert isinstance(last, dict) and last["body"]["max_tokens"] == 5


def test_nothing_in_the_store_reveals_a_key_or_a_request(redis: RedisServer) -> None:
    with sharing(redis) as stack:
        answer = ask(stack, "a very private question")
        until(lambda: len(written(redis)) == 1, stack)
        with Redis.from_url(redis.url) as client:
            (key,) = written(redis)
            assert client.get(key) == answer.content
            left = client.pttl(key)
        assert isinstance(left, int) and 3_000_000 < left <= 3_600_000
        assert key.startswith(b"ztoapi:answer:")
        assert len(key) == len(b"ztoapi:answer:") + hashlib.sha256().digest_size


def test_an_answer_from_the_store_is_not_given_longer_than_there(redis: RedisServer) -> None:
    with sharing(redis) as stack, sharing(redis, UPSTREAM_URL=upstream_of(stack)) as other:
        first = ask(other).headers[RESULT]
        until(lambda: len(written(redis)) == 1, stack)
        with sharing(redis, UPSTREAM_URL=upstream_of(stack)) as third, Redis.from_url(redis.url) as client:
            client.pexpire(written(redis)[0], 1500)
            assert [first, ask(third).headers[RESULT]] == ["miss", "hit"]
            until(lambda: written(redis) == [], stack)
            expired = third.loop.time()
            until(lambda: third.loop.time() > expired + 0.1, third)
            assert ask(third).headers[RESULT] == "miss"


def test_concurrent_requests_all_get_the_stored_response(redis: RedisServer) -> None:
    with sharing(redis) as stack:
        ask(stack)
        until(lambda: len(written(redis)) == 1, stack)
        with sharing(redis, UPSTREAM_URL=upstream_of(stack)) as other:
            answers = other.call(several(other, 20))
            assert {answer.headers[RESULT] for answer in answers} == {"hit"}
            assert len({answer.content for answer in answers}) == 1
        assert asked(stack) == 1


def test_a_stored_response_that_cannot_be_sent_does_not_keep_the_others_from_theirs(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sharing(redis) as stack:
        ask(stack)
        until(lambda: len(written(redis)) == 1, stack)
        with sharing(redis, UPSTREAM_URL=upstream_of(stack)) as other:
            respond, calls = Exchange.respond, 0

            def fail_once(exchange: Exchange, status: int, body: bytes, **others: Any) -> None:  # noqa: ANN401 - as they come
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise ZeroDivisionError
                respond(exchange, status, body, **others)

            monkeypatch.setattr(Exchange, "respond", fail_once)
            answers = other.call(several(other, 20))
            assert sorted(answer.status_code for answer in answers) == [*[200] * 19, 500]


async def several(stack: Stack, count: int) -> list[httpx.Response]:
    headers = {"authorization": "Bearer one"}
    async with httpx.AsyncClient(headers=headers) as client:
        return list(await asyncio.gather(*(client.post(stack.url + CHAT, json=body()) for _ in range(count))))


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_requests_do_not_wait_for_a_store_that_is_away_and_it_is_taken_up_again(redis: RedisServer, how: str) -> None:
    with sharing(redis) as stack:
        ask(stack, "before")
        until(lambda: len(written(redis)) == 1, stack)
        assert store(stack) == {"ztoapi_store_up": 1, "ztoapi_store_failures": 0}
        if how == "stopped":
            redis.stop()
        else:
            redis.kill()
        # The look-up that notices the failure goes to Redis all the same, and so do many at a time.
        assert ask(stack, "while it is away").headers[RESULT] == "miss"
        assert ask(stack, "while it is away").headers[RESULT] == "hit"
        answers = stack.call(several(stack, 20))
        assert all(answer.status_code == 200 for answer in answers)
        until(lambda: store(stack)["ztoapi_store_up"] == 0, stack)
        assert store(stack)["ztoapi_store_failures"] >= 1
        checks = httpx.get(stack.url + "/health").json()["checks"]
        assert checks["redis:cache"][0]["status"] == "warn"
        if how == "stopped":
            redis.go_on()
        else:
            redis.start()
        until(lambda: store(stack)["ztoapi_store_up"] == 1, stack)
        known = len(written(redis))
        assert ask(stack, "afterwards").headers[RESULT] == "miss"
        until(lambda: len(written(redis)) == known + 1, stack)


def test_a_store_that_is_away_at_the_start_is_found_later(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    with cached(REDIS_URL=redis.url, ZTOAPI_CACHE_REDIS="1") as stack:
        assert [ask(stack).headers[RESULT] for _ in range(2)] == ["miss", "hit"]
        assert store(stack)["ztoapi_store_up"] == 0
        with redis:
            until(lambda: store(stack)["ztoapi_store_up"] == 1, stack)
            ask(stack, "afterwards")
            until(lambda: len(written(redis)) == 1, stack)


def test_a_full_store_is_read_on(redis: RedisServer) -> None:
    with sharing(redis) as stack:
        ask(stack)
        until(lambda: len(written(redis)) == 1, stack)
        with Redis.from_url(redis.url) as client:
            client.config_set("maxmemory", 1)
        ask(stack, "another")
        until(lambda: store(stack)["ztoapi_store_failures"] == 1, stack)
        assert store(stack)["ztoapi_store_up"] == 1
        with sharing(redis, UPSTREAM_URL=upstream_of(stack)) as other:
            assert ask(other).headers[RESULT] == "hit"


def test_workers_share_by_the_store(redis: RedisServer) -> None:
    with Stack() as upstream:
        environment = {
            "PORT": "0",
            "WORKERS": "3",
            "API_KEYS": "one",
            "UPSTREAM_URL": upstream_of(upstream),
            "UPSTREAM_TOKEN": "t",
            "REDIS_URL": redis.url,
            "ZTOAPI_CACHE_ENABLED": "1",
            "ZTOAPI_CACHE_REDIS": "1",
            "ADMIN_KEY": "operator",
        }
        with GatewayProcess(**environment) as gateway:

            def page() -> str:
                return httpx.get(gateway.url + "/metrics", headers={"authorization": "Bearer operator"}).text

            until(lambda: 'ztoapi_store_up{store="cache"} 1.0' in page(), upstream)
            headers = {"authorization": "Bearer one"}
            first = httpx.post(gateway.url + CHAT, json=body(), headers=headers)
            assert first.headers[RESULT] == "miss"
            until(lambda: len(written(redis)) == 1, upstream)
            # Each on a connection of its own: the kernel spreads them over the workers.
            for _ in range(20):
                answer = httpx.post(gateway.url + CHAT, json=body(), headers=headers)
                assert answer.headers[RESULT] == "hit"
                assert answer.content == first.content
            assert asked(upstream) == 1

            until(lambda: 'ztoapi_cache_requests_total{result="hit"} 20.0' in page(), upstream)
            entries = int(float(page().split("\nztoapi_cache_entries ")[1].split("\n")[0]))
            assert 2 <= entries <= 3
