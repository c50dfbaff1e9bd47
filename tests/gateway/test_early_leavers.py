"""Tokens of requests that end early: what was sent is charged where it is more than the estimate."""

import json

import pytest

from tests.stack import Stack
from tests.support.serving import Client
from ztoapi.limits.compiled import CompiledLimits
from ztoapi.limits.estimate import sent_tokens

CHAT = "/v1/chat/completions"
KEY = "authorization: Bearer k\r\n"
ESTIMATE = 1024 + 30
"""For the completion of a request without a limit of its own, and about its prompt."""


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how much the charge of each request was corrected at its end; an estimate that stands is not listed."""
    corrections: list[int] = []
    monkeypatch.setattr(CompiledLimits, "settle", lambda _, __, tokens: corrections.append(tokens))
    return corrections


def body(model: str, **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}).encode()


def stream_until(stack: Stack, model: str, events: int) -> int:
    """Read so many events of a stream, and close the connection; returns how many came."""
    with Client(stack.port) as client:
        client.post(CHAT, body(model, stream=True), KEY)
        seen = b""
        while seen.count(b"data:") < events:
            piece = client.sock.recv(65536)
            assert piece
            seen += piece
        return seen.count(b"data:")


@pytest.mark.parametrize("platform", ["zai", "openai"])
def test_a_client_that_leaves_late_pays_for_what_it_was_sent(platform: str, settled: list[int]) -> None:
    with Stack(platform, DEFAULT_KEY="k", ZTOAPI_GLOBAL_TOKENS_PER_MINUTE="100000") as stack:
        came = stream_until(stack, "glm-4.6:itl=0:ttft=0:reasoning=0:tokens=6000:fault=hang_mid", 2500)
        assert stack.record().usage is None
        (correction,) = settled
        assert came * 0.7 < correction + ESTIMATE
        assert correction + ESTIMATE < stack.record().bytes_out / 64


def test_a_client_that_leaves_soon_pays_the_estimate(settled: list[int]) -> None:
    with Stack(DEFAULT_KEY="k", ZTOAPI_GLOBAL_TOKENS_PER_MINUTE="100000") as stack:
        stream_until(stack, "glm-4.6:itl=100:ttft=0:reasoning=0:tokens=500", 3)
        assert stack.record().ending is not None
        assert settled == []


def test_a_client_that_leaves_before_the_answer_pays_the_estimate(settled: list[int]) -> None:
    with Stack(DEFAULT_KEY="k", ZTOAPI_GLOBAL_TOKENS_PER_MINUTE="100000") as stack:
        with Client(stack.port) as client:
            client.post(CHAT, body("glm-4.6:fault=hang", stream=False), KEY)
            stack.wait_for(lambda: any(one.attempts for one in stack.application._oldest_records(9)))
        assert stack.record().status == 499
        assert settled == []


@pytest.mark.parametrize("fault", ["truncate", "error_mid"])
def test_a_response_that_breaks_off_is_charged_too(fault: str, settled: list[int]) -> None:
    with Stack("openai", DEFAULT_KEY="k", ZTOAPI_GLOBAL_TOKENS_PER_MINUTE="100000") as stack:
        with Client(stack.port) as client:
            client.post(CHAT, body(f"glm-4.6:itl=0:ttft=0:reasoning=0:tokens=9000:fault={fault}", stream=True), KEY)
            client.rest()
        record = stack.record()
        sent = sent_tokens(record.bytes_out, record.event_bytes)
        assert record.usage is None
        assert (settled != []) == (sent > ESTIMATE)


@pytest.mark.parametrize(
    ("sent", "event", "tokens"),
    [(0, None, 0), (4000, None, 1000), (20_000, 200, 100), (20_000, 4000, 78), (20_000, 1, 312)],
)
def test_what_was_sent_in_tokens(sent: int, event: int | None, tokens: int) -> None:
    assert sent_tokens(sent, event) == tokens
