"""A plain OpenAI-compatible server as it is simulated."""

import json

import pytest

from tests.simulator.asking import TOOLS, ask, events

PLAIN = "/v1/chat/completions"


def test_a_stream_is_what_openai_sends(origin: str) -> None:
    text = ask(origin, PLAIN, stream=True).text
    chunks = events(text)
    assert text.endswith("data: [DONE]\n\n")
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk["id"].startswith("chatcmpl-") for chunk in chunks)
    assert ["role" in chunk["choices"][0]["delta"] for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_in_a_chunk_of_its_own_on_request(origin: str) -> None:
    chunks = events(ask(origin, PLAIN, stream=True, stream_options={"include_usage": True}).text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 32
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    declined = events(ask(origin, PLAIN, stream=True, stream_options={"include_usage": False}).text)
    assert declined[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_whole_answer_is_what_openai_sends(origin: str) -> None:
    answer = ask(origin, PLAIN, max_completion_tokens=5).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    assert "reasoning_content" not in answer["choices"][0]["message"]


def test_it_reasons_only_with_such_a_model_name(origin: str) -> None:
    message = ask(origin, PLAIN, "m:reasoning=2").json()["choices"][0]["message"]
    assert message["reasoning_content"] == "The user "


def test_tool_choice_is_followed(origin: str) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    named = {"type": "function", "function": {"name": "other"}}
    answer = ask(origin, PLAIN, tools=[*TOOLS, other], tool_choice=named).json()
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("other", "{}")
    assert ask(origin, PLAIN, tools=TOOLS, tool_choice="none").json()["choices"][0]["finish_reason"] == "stop"


def test_a_json_schema_is_followed(origin: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"anyOf": [{"const": "x"}]}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    content = ask(origin, PLAIN, response_format=wanted).json()["choices"][0]["message"]["content"]
    assert json.loads(content) == {"a": 2, "b": "x"}


@pytest.mark.parametrize(("code", "status", "kind"), [("1302", 429, "rate_limit_error"), ("503", 503, "server_error")])
def test_errors_have_openais_shape(origin: str, code: str, status: int, kind: str) -> None:
    response = ask(origin, PLAIN, f"m:fault={code}")
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)


def test_a_body_of_another_shape_is_refused(origin: str) -> None:
    response = ask(origin, PLAIN, messages="x")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
