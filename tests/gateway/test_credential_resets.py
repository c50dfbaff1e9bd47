"""/admin/credentials: the state of the credentials, and their reset."""

import httpx
import pytest

from tests.gateway.test_upstream_credentials import ask, credentials
from tests.stack import Stack
from ztoapi.structures.breaker import BreakerState

KEY = {"authorization": "Bearer admin"}


def reset(stack: Stack, body: object, **headers: str) -> httpx.Response:
    return httpx.post(f"{stack.url}/admin/credentials/reset", json=body, headers=headers)


def test_a_reset_puts_a_credential_back_into_service() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=1308:reset=3600:fault_times=1") as stack:
        assert ask(stack).status_code == 429
        (shown,) = httpx.get(f"{stack.url}/admin/credentials").json()["credentials"]
        assert (shown["state"], shown["fault"], shown["last_fault"]) == ("cooling", "quota", "quota")
        assert shown["until"] > shown["last_failed"] > 1e9
        assert ask(stack).json()["error"]["code"] == "insufficient_quota"
        assert reset(stack, {"credential": "zai-1"}).json() == {"reset": [{"platform": "zai", "credential": "zai-1"}]}
        assert ask(stack).status_code == 200
        (shown,) = httpx.get(f"{stack.url}/admin/credentials").json()["credentials"]
        assert (shown["state"], shown["until"], shown["failed"]) == ("ok", None, 1)


def test_models_are_back_too() -> None:
    with Stack(UPSTREAM_TOKEN="bad:fault=1302:retry_after=60:fault_times=1", ZTOAPI_MAX_TRIES="1") as stack:
        assert ask(stack).status_code == 429
        (shown,) = httpx.get(f"{stack.url}/admin/credentials").json()["credentials"]
        assert (shown["state"], shown["models"]) == ("ok", 1)
        assert reset(stack, {"credential": "zai/zai-1"}).status_code == 200
        assert ask(stack).status_code == 200


def test_a_reset_without_effect_on_others() -> None:
    with Stack(UPSTREAM_TOKEN="a:fault=1113|b:fault=1113") as stack:
        assert ask(stack).status_code == 429
        reset(stack, {"credential": "zai-2"})
        assert [one.state for one in credentials(stack)] == [BreakerState.OPEN, BreakerState.CLOSED]
        assert len(reset(stack, {"all": True}).json()["reset"]) == 2
        assert [one.state for one in credentials(stack)] == [BreakerState.CLOSED] * 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"credential": "zai-9"}, 404),
        ({"credential": "openai/zai-1"}, 404),
        ({}, 400),
        ({"all": False}, 400),
        ({"all": True, "credential": "zai-1"}, 400),
        ({"every": True}, 400),
        ([], 400),
        ({"credential": 1}, 400),
    ],
)
def test_invalid_requests_reset_nothing(body: object, status: int) -> None:
    with Stack(UPSTREAM_TOKEN="a:fault=1113") as stack:
        ask(stack)
        assert reset(stack, body).status_code == status
        assert credentials(stack)[0].state is BreakerState.OPEN


def test_only_operators_may_reset() -> None:
    with Stack(ADMIN_KEY="admin", DEFAULT_KEY="client") as stack:
        for headers in ({}, {"authorization": "Bearer client"}):
            assert reset(stack, {"all": True}, **headers).status_code == 401
            assert httpx.get(f"{stack.url}/admin/credentials", headers=headers).status_code == 401
        assert reset(stack, {"all": True}, **KEY).status_code == 200
        assert httpx.get(f"{stack.url}/admin/credentials/reset", headers=KEY).status_code == 405
    with Stack() as stack:
        for name, value in {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}.items():
            assert reset(stack, {"all": True}, **{name: value}).status_code == 403
