"""Budgets of client keys, as clients see them."""

import asyncio
import datetime
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import ANY, patch

import httpx
import pytest

from tests.keys.files import add
from tests.limits.redis_server import RedisServer
from tests.stack import Stack
from ztoapi.cli.main import main
from ztoapi.config.model import ClientKey, KeyBudgets
from ztoapi.limits import redis_budgets
from ztoapi.limits.budgets import BudgetLedger, BudgetMemory
from ztoapi.limits.redis_budgets import RedisBudgets
from ztoapi.relay.budgets import Budgets
from ztoapi.server.context import ServerContext

NOON = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC).timestamp()
HOUR = 3600
QUESTION = {"messages": [{"role": "user", "content": "x"}]}


class Clock:
    now = NOON


class Gateway:
    """A gateway with a key file. ``ask`` sends a request with the key of a name."""

    def __init__(self, stack: Stack, path: Path, clock: Clock) -> None:
        self.stack = stack
        self.path = path
        self.clock = clock

    def add(self, name: str = "alice", **budgets: object) -> str:
        key = add(self.path, name, **budgets)

        async def reload() -> bool:
            return self.stack.application.keys.reload()

        assert self.stack.call(reload())
        return key

    def post(self, key: str, **body: object) -> httpx.Response:
        return self.send(key, "/chat/completions", body)

    def send(self, key: str, path: str, body: dict[str, object]) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(self.stack.base_url + path, json={"model": "glm-4.6", **QUESTION, **body}, headers=headers)

    def turn(self, seconds: float) -> None:
        self.clock.now += seconds
        before = self.stack.application.sampler._last_tick
        self.stack.wait_for(lambda: self.stack.application.sampler._last_tick != before)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    with patch.object(ServerContext, "wall_clock", staticmethod(lambda: clock.now)):
        yield clock


@pytest.fixture(params=["zai"])
def gateway(tmp_path: Path, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    path = tmp_path / "keys.toml"
    path.touch()
    with Stack(request.param, ZTOAPI_KEY_FILE=str(path), API_KEYS="free") as stack:
        yield Gateway(stack, path, clock)


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()["error"]
    return response.status_code, body["type"], body["code"]


def tokens_of(response: httpx.Response) -> int:
    assert response.status_code == 200, response.text
    total: int = response.json()["usage"]["total_tokens"]
    return total


def use_up(gateway: Gateway, key: str) -> httpx.Response:
    """Sends requests until one is refused; returns the refusal."""
    for _ in range(30):
        response = gateway.post(key)
        if response.status_code != 200:
            return response
    raise AssertionError("never refused")


def test_a_budget_that_is_used_up_gets_429_until_the_next_day(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_day=100)
    each = tokens_of(gateway.post(key))
    served = 1 + sum(gateway.post(key).status_code == 200 for _ in range(10))
    assert served == -(-100 // each), "the last request may exceed the budget, and none follows"
    refusal = gateway.post(key)
    assert error(refusal) == (429, "insufficient_quota", "insufficient_quota")
    message = refusal.json()["error"]["message"]
    assert message == "this API key has used up its budget of 100 tokens a day: it is reset at 2026-11-30T00:00:00Z"
    assert refusal.headers["retry-after"] == str(12 * HOUR)
    assert refusal.headers["x-should-retry"] == "false"
    assert gateway.post("free").status_code == 200
    gateway.turn(12 * HOUR)
    assert gateway.post(key).status_code == 200


def test_a_month_ends_with_its_last_day(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_month=1, tokens_per_day=1)
    gateway.post(key)
    refusal = gateway.post(key)
    assert "1 tokens a month: it is reset at 2026-12-01T00:00:00Z" in refusal.json()["error"]["message"]
    gateway.turn(12 * HOUR)
    assert error(gateway.post(key))[2] == "insufficient_quota"
    gateway.turn(24 * HOUR)
    assert gateway.post(key).status_code == 200


def test_a_budget_of_money_counts_the_cost(gateway: Gateway) -> None:
    response = gateway.post("free")
    usage = response.json()["usage"]
    cost = (usage["prompt_tokens"] * 0.60 + usage["completion_tokens"] * 2.20) / 1e6
    limit = round(cost * 3.5, 9)
    key = gateway.add(usd_per_month=limit)
    served = sum(gateway.post(key).status_code == 200 for _ in range(8))
    assert served == 4
    assert error(gateway.post(key)) == (429, "insufficient_quota", "insufficient_quota")
    assert f"its budget of {limit:.9f}".rstrip("0") in gateway.post(key).json()["error"]["message"]
    other = gateway.add("bob", usd_per_day=0.000_000_001)
    gateway.post(other)
    assert "its budget of 0.000000001 US dollars a day" in gateway.post(other).json()["error"]["message"]


def test_models_without_a_price_are_not_for_keys_with_a_budget_of_money(gateway: Gateway) -> None:
    key = gateway.add(usd_per_day=1.0)
    refusal = gateway.post(key, model="glm-5.3-highspeed")
    assert error(refusal) == (403, "invalid_request_error", "model_not_priced")
    assert refusal.json()["error"]["param"] == "model"
    assert gateway.post(key, model="glm-4.5-flash").status_code == 200
    assert gateway.post(gateway.add("bob", tokens_per_day=5), model="glm-5.3-highspeed").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/chat/completions", "/messages", "/responses", "/completions"])
def test_every_api_counts_and_is_refused_in_its_form(gateway: Gateway, path: str, stream: bool) -> None:
    key = gateway.add(tokens_per_day=1)
    body: dict[str, object] = {"stream": stream, "max_tokens": 50}
    if path == "/responses":
        body = {"stream": stream, "input": "x"}
    if path == "/completions":
        body = {"stream": stream, "prompt": "x"}
    assert gateway.send(key, path, body).status_code == 200
    gateway.stack.record(1)
    refusal = gateway.send(key, path, body)
    assert refusal.status_code == 429
    assert "has used up its budget of 1 tokens a day" in refusal.text
    expected = "rate_limit_error" if path == "/messages" else "insufficient_quota"
    assert refusal.json()["error"]["type"] == expected


def test_a_key_without_a_budget_has_the_default_one(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys.toml"
    path.touch()
    toml = "[limits.budget]\ntokens_per_day = '0.001k'\n"
    with Stack(toml=toml, ZTOAPI_KEY_FILE=str(path), API_KEYS="one|two") as stack:
        gateway = Gateway(stack, path, clock)
        own = gateway.add(tokens_per_day=1000)
        for key in ("one", "two"):
            assert gateway.post(key).status_code == 200
            assert error(gateway.post(key))[2] == "insufficient_quota"
        assert [gateway.post(own).status_code for _ in range(3)] == [200] * 3


def test_requests_in_flight_hold_the_rest_of_a_budget(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_day=500)
    body = {"model": "glm-4.6:itl=20:tokens=20", **QUESTION, "stream": True, "max_tokens": 1000}
    headers = {"authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{gateway.stack.base_url}/chat/completions", json=body, headers=headers) as response:
        lines = response.iter_lines()
        next(lines)
        refusal = gateway.post(key)
        assert error(refusal) == (429, "tokens", "rate_limit_exceeded")
        refusals = 'ztoapi_budget_refusals_total{budget="tokens_per_day",reason="in_flight"} 1.0'
        assert refusals in httpx.get(f"{gateway.stack.url}/metrics").text
        assert (refusal.headers["retry-after"], "x-should-retry" in refusal.headers) == ("1", False)
        list(lines)
    gateway.stack.record(2)
    assert gateway.post(key).status_code == 200


def test_a_failed_request_costs_nothing(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_day=10)
    for _ in range(3):
        assert gateway.post(key, model="glm-4.6:fault=1210").status_code != 200
    assert gateway.post(key).status_code == 200


def test_a_request_that_a_rate_limit_refuses_costs_nothing(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_day=5000, requests_per_minute=1)
    used = tokens_of(gateway.post(key))
    for _ in range(3):
        assert error(gateway.post(key))[2] == "rate_limit_exceeded"
    more = gateway.add("bob", tokens_per_day=used + 1)
    assert gateway.post(more).status_code == 200


def test_a_changed_budget_counts_at_once(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_day=1)
    assert gateway.post(key).status_code == 200
    assert error(gateway.post(key))[2] == "insufficient_quota"
    gateway.path.write_text(gateway.path.read_text().replace("tokens_per_day = 1", "tokens_per_day = '5k'"))
    gateway.add("bob")
    assert gateway.post(key).status_code == 200


def test_use_up_is_recorded_as_a_refusal(gateway: Gateway) -> None:
    key = gateway.add(tokens_per_day=1)
    use_up(gateway, key)
    metrics = httpx.get(f"{gateway.stack.url}/metrics").text
    assert 'ztoapi_key_requests_denied_total{key="alice"} 1.0' in metrics


def figures(stack: Stack) -> list[dict[str, object]]:
    page: dict[str, list[dict[str, object]]] = httpx.get(f"{stack.url}/admin/keys").json()
    return page["budgets"]


def test_operators_see_what_is_used_and_what_was_refused(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    key = gateway.add(tokens_per_day=5, usd_per_month=10.0)
    used = tokens_of(gateway.post(key))
    gateway.stack.record(1)
    for _ in range(2):
        assert error(gateway.post(key))[2] == "insufficient_quota"
    gateway.add("bob", tokens_per_month=1000)
    tokens, money, other = figures(gateway.stack)
    midnight, month = "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"
    assert tokens == {"key": "alice", "budget": "tokens_per_day", "used": used, "limit": 5, "reset": midnight}
    cost = float(str(money.pop("used")))
    assert 0 < cost < 0.01
    assert money == {"key": "alice", "budget": "usd_per_month", "limit": 10.0, "reset": month}
    assert other == {"key": "bob", "budget": "tokens_per_month", "used": 0, "limit": 1000, "reset": month}
    ratio = f'ztoapi_budget_used_ratio{{budget="tokens_per_day",key="alice"}} {used / 5}'
    metrics = httpx.get(f"{gateway.stack.url}/metrics").text
    assert ratio in metrics
    assert "bob" not in metrics, "series are for keys that have sent requests"
    assert 'ztoapi_budget_refusals_total{budget="tokens_per_day",reason="used_up"} 2.0' in metrics
    assert httpx.get(f"{gateway.stack.url}/dashboard/stats").json()["rate_limits"]["denied"] == 2
    text = f"client key alice has used up its budget of 5 tokens a day: its requests get 429 until {midnight}"
    assert [record.getMessage() for record in caplog.records if "used up" in record.msg] == [text]
    capsys.readouterr()
    assert main(["keys", "budgets", "--url", gateway.stack.url]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["KEY", "BUDGET", "USED", "LIMIT", "SHARE", "RESET"],
        ["alice", "tokens_per_day", f"{used}", "5", f"{used * 20}%", midnight],
        ["alice", "usd_per_month", f"{cost:.6f}", "10.00", "0%", month],
        ["bob", "tokens_per_month", "0", "1,000", "0%", month],
    ]
    assert main(["keys", "budgets", "--url", gateway.stack.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == figures(gateway.stack)


def test_a_budget_that_was_removed_has_no_used_share(gateway: Gateway) -> None:
    def share() -> float:
        pattern = r'ztoapi_budget_used_ratio\{budget="tokens_per_day",key="alice"\} (\S+)'
        match = re.search(pattern, httpx.get(f"{gateway.stack.url}/metrics").text)
        assert match is not None
        return float(match[1])

    assert gateway.post(gateway.add(tokens_per_day=5)).status_code == 200
    assert share() > 1
    gateway.path.write_text("")
    assert gateway.post(gateway.add(tokens_per_month=1000)).status_code == 200
    assert share() == 0


def test_the_figures_of_many_keys_take_several_turns() -> None:
    """The streams of a worker wait for each turn of the event loop."""
    ledger = BudgetLedger(BudgetMemory(), 0, lambda: 0.0)
    budgets = Budgets(ledger, KeyBudgets(tokens_per_day=5), lambda _: None, lambda: 0.0, None)
    keys = [ClientKey(name=str(number)) for number in range(100)]

    async def count_turns() -> int:
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(count)

        count()
        assert [one.key for one in await budgets.figures(keys)] == [key.name for key in keys]
        return turns

    assert asyncio.run(count_turns()) >= 5


def test_gateways_share_budgets_in_redis(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine a call may take longer than a gateway waits, which then admits its share alone.
    monkeypatch.setattr(redis_budgets, "RedisBudgets", partial(RedisBudgets, timeout_seconds=5.0))
    path = tmp_path / "keys.toml"
    key = add(path, "alice", tokens_per_day=100)
    with RedisServer(tmp_path) as server:
        stacks = [Stack(ZTOAPI_KEY_FILE=str(path), REDIS_URL=server.url, ZTOAPI_GATEWAYS="2") for _ in range(2)]
        with stacks[0], stacks[1]:
            gateways = [Gateway(stack, path, clock) for stack in stacks]
            each = tokens_of(gateways[0].post(key))
            served = 1
            for number in range(20):
                gateway = gateways[number % 2]
                response = gateway.post(key)
                while response.status_code == 429 and response.json()["error"]["code"] == "rate_limit_exceeded":
                    # The settlement of the last request is on its way.
                    response = gateway.post(key)
                served += response.status_code == 200
            assert served == -(-100 // each)
            assert error(gateways[0].post(key))[2] == error(gateways[1].post(key))[2] == "insufficient_quota"
            expected = [{"key": "alice", "budget": "tokens_per_day", "used": served * each, "limit": 100, "reset": ANY}]
            assert figures(stacks[0]) == figures(stacks[1]) == expected
            server.kill()
            assert figures(stacks[0]) == [{**expected[0], "used": None}]
