"""GET /health: the checks of the components, and the status of the whole."""

import asyncio
import datetime
from pathlib import Path

import httpx
import pytest

from tests.limits.redis_server import RedisServer
from tests.stack import Stack
from ztoapi import __version__

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}


def health(stack: Stack) -> dict[str, str]:
    """The whole's status, and that of each part."""
    answer = httpx.get(stack.url + "/health")
    assert answer.status_code == 200
    checks = {name: one["status"] for name, (one,) in answer.json()["checks"].items()}
    return {"": answer.json()["status"], **checks}


def ask(stack: Stack) -> int:
    return httpx.post(f"{stack.base_url}/chat/completions", json=BODY).status_code


def test_a_gateway_that_is_well() -> None:
    with Stack(UPSTREAM_TOKEN="a|b") as stack:
        shown = httpx.get(stack.url + "/health").json()
        now = stack.application.context.wall_clock()
    assert shown.pop("version") == __version__
    timestamp = datetime.datetime.fromisoformat(shown.pop("timestamp"))
    assert timestamp.utcoffset() == datetime.timedelta(0)
    assert 0 <= now - timestamp.timestamp() < 60
    assert shown == {
        "status": "ok",
        "checks": {
            "gateway:requests": [{"status": "pass", "observedValue": 1, "observedUnit": "requests"}],
            "upstream:zai": [{"status": "pass", "observedValue": 2, "observedUnit": "credentials"}],
        },
    }


def test_a_refused_credential_is_reported_without_its_name() -> None:
    with Stack(UPSTREAM_TOKEN="secret-one:fault=1000|good") as stack:
        while stack.application.upstreams["zai"].pool.usable(stack.loop.time()) == 2:
            ask(stack)
        assert health(stack) == {"": "warn", "gateway:requests": "pass", "upstream:zai": "warn"}
        text = httpx.get(stack.url + "/health").text
    assert "zai-1" not in text
    assert "secret" not in text


def test_an_upstream_without_a_usable_credential_fails_and_alone_takes_the_gateway_with_it() -> None:
    bad = "a:fault=1000"
    with Stack(UPSTREAM_TOKEN=bad) as stack:
        assert ask(stack) == 502
        assert health(stack) == {"": "fail", "gateway:requests": "pass", "upstream:zai": "fail"}
    with Stack(UPSTREAM_TOKEN=bad, ZREAD_TOKEN="z", ZREAD_UPSTREAM_URL="http://127.0.0.1:PORT/api/v1") as stack:
        assert ask(stack) == 502
        shown = health(stack)
    assert shown == {"": "warn", "gateway:requests": "pass", "upstream:zai": "fail", "upstream:zread": "pass"}


def test_a_gateway_that_shuts_down_fails() -> None:
    with Stack() as stack:
        # It still listens: a load balancer has time to notice.
        stack.call(stack.server.announce_stop(0.0, asyncio.Event()))
        assert health(stack) == {"": "fail", "gateway:requests": "fail", "upstream:zai": "pass"}
        assert httpx.get(f"{stack.url}/readyz").status_code == 503
        assert httpx.get(f"{stack.url}/livez").status_code == 200


@pytest.mark.usefixtures("_patient_limiter")
def test_redis_that_is_away_is_a_warning(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        with Stack(REDIS_URL=redis.url, ZTOAPI_GLOBAL_REQUESTS_PER_SECOND="1000") as stack:
            assert health(stack)["redis:limits"] == "pass"
            metrics = httpx.get(f"{stack.url}/metrics").text
            assert 'ztoapi_store_up{store="redis"} 1.0' in metrics
            assert 'ztoapi_store_failures_total{store="redis"}' in metrics
            redis.kill()
            limiter = stack.application._redis
            assert limiter is not None
            while not limiter.statistics().away:
                ask(stack)
            shown = health(stack)
            assert (shown[""], shown["redis:limits"]) == ("warn", "warn")
            metrics = httpx.get(f"{stack.url}/metrics").text
            assert 'ztoapi_store_up{store="redis"} 0.0' in metrics
            assert 'ztoapi_store_failures_total{store="redis"} 0.0' not in metrics
            redis.start()
