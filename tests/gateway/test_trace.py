"""A client's trace reaches the upstream as it came, on every platform, and stands in the record."""

from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from tests.stack import BASES, Stack

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
CHAT = {"model": "glm-4.6:tokens=2", "messages": [{"role": "user", "content": "x"}], "repository": "vllm-project/vllm"}


@pytest.fixture(params=[*BASES, "httpx"])
def traced(request: pytest.FixtureRequest) -> Iterator[Stack]:
    platform, variables = request.param, {}
    if platform == "httpx":
        platform, variables = "zai", {"ZTOAPI_TRANSPORT": "httpx"}
    with Stack(platform, options=None, **variables) as stack:
        yield stack


def asked(stack: Stack, headers: dict[str, str]) -> dict[str, str]:
    """The trace fields of the upstream request for a request with ``headers``."""
    httpx.post(f"{stack.base_url}/chat/completions", json=CHAT, headers=headers).raise_for_status()
    return last_head(stack)


def last_head(stack: Stack) -> dict[str, str]:
    head: dict[str, str] = cast("dict[str, Any]", stack.stats()["last_request"])["headers"]
    return head


def test_a_trace_is_passed_on_unchanged(traced: Stack) -> None:
    sent = asked(traced, {"traceparent": PARENT, "tracestate": "rojo=1,congo=2"})
    assert (sent["traceparent"], sent["tracestate"]) == (PARENT, "rojo=1,congo=2")
    assert traced.record().trace_id == TRACE_ID


def test_nothing_is_made_up_and_nothing_invalid_passed_on(traced: Stack) -> None:
    for headers in ({}, {"traceparent": "garbage", "tracestate": "a=1"}, {"tracestate": "a=1"}):
        sent = asked(traced, headers)
        assert not {"traceparent", "tracestate"} & set(sent)
    assert traced.record(3).trace_id is None


def test_two_traceparents_are_none() -> None:
    with Stack() as stack:
        headers = [("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
        httpx.post(f"{stack.base_url}/chat/completions", json=CHAT, headers=headers).raise_for_status()
        sent = last_head(stack)
        assert "traceparent" not in sent
        httpx.post(f"{stack.base_url}/chat/completions", json=CHAT, headers=headers[1:]).raise_for_status()
        sent = last_head(stack)
        assert (sent["traceparent"], sent["tracestate"]) == (PARENT, "a=1, b=2")


def test_a_retry_belongs_to_the_same_trace_and_the_next_request_does_not() -> None:
    with Stack() as stack, httpx.Client() as client:
        retried = {**CHAT, "model": "glm-4.6:tokens=2:fault_times=1:fault=500"}
        client.post(f"{stack.base_url}/chat/completions", json=retried, headers={"traceparent": PARENT})
        assert stack.record().attempts == 2
        assert last_head(stack)["traceparent"] == PARENT
        client.post(f"{stack.base_url}/chat/completions", json=CHAT)
        assert "traceparent" not in last_head(stack)


def test_the_clients_request_id_stays_here() -> None:
    """vLLM takes it for the request's own id, and refuses a second request of the same id: see decision 27."""
    with Stack() as stack:
        assert "x-request-id" not in asked(stack, {"x-request-id": "mine"})
        assert stack.record().request_id == "mine"
