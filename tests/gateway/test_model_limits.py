"""Requests to Z.ai are adapted to what the catalogue knows about the model."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.stack import Stack
from tests.support.table import table

MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "Hello"}]
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def ask(stack: Stack, model: str = "glm-5.3", **fields: object) -> httpx.Response:
    body = {"model": model, "messages": MESSAGES, **fields}
    return httpx.post(f"{stack.base_url}/chat/completions", json=body)


def sent(stack: Stack) -> dict[str, Any]:
    """The body of the last request that the upstream received."""
    last = stack.stats()["last_request"]
    assert isinstance(last, dict)
    body: dict[str, Any] = last["body"]
    return body


def deltas(text: str) -> list[dict[str, Any]]:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return [choice["delta"] for event in events for choice in event["choices"]]


@table("model", ["glm-5.3", "GLM-5.3-Flash", "glm-5.3-flashx"])
@table(
    "fields",
    [{"thinking": {"type": "disabled"}}, {"enable_thinking": False}, {"reasoning_effort": "none"}],
)
@table("transport", ["native", "httpx"])
def test_thinking_that_cannot_be_disabled_is_kept_low_and_hidden(
    model: str, fields: dict[str, object], transport: str
) -> None:
    with Stack(ZTOAPI_TRANSPORT=transport) as stack:
        whole = ask(stack, model, **fields)
        assert (sent(stack)["thinking"], sent(stack)["reasoning_effort"]) == ({"type": "enabled"}, "low")
        streamed = ask(stack, model, stream=True, stream_options={"include_usage": True}, **fields)
    assert whole.status_code == streamed.status_code == 200
    message = whole.json()["choices"][0]["message"]
    assert "reasoning_content" not in message
    assert message["content"].startswith("Gateways")
    assert all("reasoning_content" not in delta for delta in deltas(streamed.text))
    assert "".join(delta.get("content") or "" for delta in deltas(streamed.text)) == message["content"]
    assert streamed.text.endswith("data: [DONE]\n\n")
    # The thinking was paid for.
    assert '"completion_tokens":36' in streamed.text


def test_the_default_of_the_configuration_is_hidden_too_and_a_request_overrides_it() -> None:
    with Stack(ENABLE_THINKING="false") as stack:
        assert "reasoning_content" not in ask(stack).text
        assert "reasoning_content" in ask(stack, reasoning_effort="high").text
        assert sent(stack)["reasoning_effort"] == "high"
        assert "reasoning_content" in ask(stack, thinking={"type": "enabled"}).text
        tools = [{"type": "function", "function": {"name": "add"}}]
        called = ask(stack, stream=True, tools=tools)
    assert [delta["tool_calls"] for delta in deltas(called.text) if "tool_calls" in delta]
    assert "reasoning_content" not in called.text


def test_a_stream_without_reasoning_still_ends_with_its_error() -> None:
    with (
        Stack(UPSTREAM_TOKEN="any:fault=truncate") as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client,
    ):
        with pytest.raises(openai.APIError):
            for _ in client.chat.completions.create(
                model="glm-5.3", messages=[{"role": "user", "content": "x"}], stream=True, reasoning_effort="none"
            ):
                pass


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("glm-5.3", "low", "low"),
        ("glm-5.3", "medium", "high"),
        ("glm-5.3", "high", "high"),
        ("glm-5.3", "xhigh", "max"),
        ("glm-5.3", "max", "max"),
        ("glm-5.2", "low", "high"),
        ("glm-5.2", "xhigh", "max"),
        ("glm-4.6", "high", None),
        ("unknown", "medium", "medium"),
    ],
)
def test_an_effort_becomes_one_of_the_models(model: str, effort: str, expected: str | None) -> None:
    with Stack() as stack:
        answer = ask(stack, model, reasoning_effort=effort)
        assert answer.status_code == 200
        assert "reasoning_content" in answer.json()["choices"][0]["message"]
        assert sent(stack).get("reasoning_effort") == expected


def test_thinking_is_disabled_where_the_model_allows_it() -> None:
    with Stack() as stack:
        for fields in ({"enable_thinking": False}, {"reasoning_effort": "minimal"}, {"thinking": {"type": "disabled"}}):
            assert "reasoning_content" not in ask(stack, "glm-5.2", **fields).text
            assert sent(stack)["thinking"] == {"type": "disabled"}
            assert "reasoning_effort" not in sent(stack)
        ask(stack, "glm-4-32b-0414-128k", enable_thinking=True, reasoning_effort="high")
        assert not sent(stack).keys() & {"thinking", "reasoning_effort"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_is_lowered_to_the_limit_of_the_model(name: str) -> None:
    with Stack(toml="[models.'glm-5.1']\nmax_output_tokens = 100") as stack:
        for model, wanted, expected in (
            ("glm-4.5v", 32000, 16384),
            ("glm-4.5v", 16384, 16384),
            ("glm-5.3", 200000, 131072),
            ("glm-5.1", 101, 100),
            ("unknown", 131072, 131072),
        ):
            assert ask(stack, model, **{name: wanted}).status_code == 200
            assert sent(stack)["max_tokens"] == expected
        assert ask(stack, "glm-5.3", **{name: "many"}).json()["error"]["param"] == name


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (PICTURE, "image"),
        ({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}, "video"),
        ({"type": "file", "file": {"file_id": "f"}}, "file"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "audio"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_input_that_the_model_does_not_accept_is_refused(part: dict[str, object], kind: str, stream: bool) -> None:
    messages = [*MESSAGES, {"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    with Stack() as stack:
        refused = ask(stack, messages=messages, stream=stream)
        assert stack.stats()["requests"] == 0
        error = refused.json()["error"]
        assert (refused.status_code, error["param"], error["type"]) == (400, "messages", "invalid_request_error")
        assert error["message"].startswith(f"messages[1].content[1]: glm-5.3 does not accept {kind} input")
        if kind != "audio":
            assert "models that do: glm-5.3-flash, " in error["message"]
            assert ask(stack, "glm-4.6v", messages=messages).status_code == 200
        # A model outside the catalogue gets the request.
        assert ask(stack, "unknown", messages=messages).status_code == 200


def test_text_about_images_is_no_image() -> None:
    content = [{"type": "text", "text": '{"type": "image_url"} and a "file"'}]
    with Stack() as stack:
        assert ask(stack, messages=[{"role": "user", "content": content}]).status_code == 200


def test_a_plain_server_is_not_adapted_to() -> None:
    with Stack("openai") as stack:
        messages = [{"role": "user", "content": [PICTURE]}]
        assert ask(stack, messages=messages, max_tokens=999999, thinking={"type": "disabled"}).status_code == 200
        assert (sent(stack)["max_tokens"], sent(stack)["thinking"]) == (999999, {"type": "disabled"})
