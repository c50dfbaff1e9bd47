"""Z.ai's official API as it is simulated."""

import json

import httpx
import pytest

from tests.simulator.asking import ARGUMENTS, MESSAGES, TOOLS, ask, events
from tests.support.table import table

GLM = "/api/paas/v4/chat/completions"
CALLED: dict[str, object] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": name, "type": "function", "function": {"name": "find", "arguments": "{}"}} for name in "cd"],
}
AFTER_TOOL = [*MESSAGES, CALLED, *({"role": "tool", "tool_call_id": name, "content": "4"} for name in "cd")]
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@table(
    ("fields", "code"),
    [
        ({"frequency_penalty": 1}, "1210"),
        ({"presence_penalty": 0.5}, "1210"),
        ({"logit_bias": {}}, "1210"),
        ({"temperature": -0.1}, "1210"),
        ({"temperature": "hot"}, "1210"),
        ({"top_p": 0}, "1210"),
        ({"max_tokens": 0}, "1210"),
        ({"max_tokens": 131073}, "1210"),
        ({"thinking": {"type": "sometimes"}}, "1210"),
        ({"thinking": True}, "1210"),
        ({"stop": "end"}, "1210"),
        ({"stop": list("abcde")}, "1210"),
        ({"user_id": "short"}, "1210"),
        ({"request_id": "x" * 65}, "1210"),
        ({"tools": TOOLS * 129}, "1210"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "1210"),
        ({"tool_choice": {"type": "function", "function": {"name": "find"}}}, "1210"),
        ({"messages": []}, "1213"),
        ({"messages": "x"}, "1214"),
        ({"messages": [{"content": "x"}]}, "1214"),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}]}, "1214"),
        ({"messages": [*MESSAGES, {"role": "developer", "content": "x"}]}, "1214"),
        ({"model": ""}, "1213"),
        ({"model": "glm-5.3", "thinking": {"type": "disabled"}}, "1210"),
        ({"model": "GLM-5.3-Flash:tokens=2", "thinking": {"type": "disabled"}}, "1210"),
        ({"model": "glm-5.3-flashx", "thinking": {"type": "disabled"}}, "1210"),
        ({"model": "glm-5.3", "reasoning_effort": "medium"}, "1210"),
        ({"model": "glm-4.5v", "max_tokens": 16385}, "1210"),
        ({"model": "glm-5.3", "messages": [{"role": "user", "content": [PICTURE]}]}, "1210"),
        ({"messages": [{"role": "user", "content": ""}]}, "1213"),
        ({"messages": [{"role": "user", "content": []}]}, "1213"),
        ({"messages": [{"role": "user"}]}, "1213"),
        ({"messages": [{"role": "system", "content": None}, *MESSAGES]}, "1213"),
        ({"messages": [*AFTER_TOOL[:2], {"role": "tool", "tool_call_id": "c", "content": ""}]}, "1213"),
        ({"messages": [*MESSAGES, {"role": "assistant", "content": ""}, *MESSAGES]}, "1214"),
        ({"messages": [*MESSAGES, *AFTER_TOOL[2:]]}, "1214"),
        ({"messages": [*AFTER_TOOL[:3], *MESSAGES]}, "1214"),
        ({"messages": [*AFTER_TOOL[:3], *MESSAGES, AFTER_TOOL[3]]}, "1214"),
        ({"messages": [*AFTER_TOOL[:2], *MESSAGES, *AFTER_TOOL[2:]]}, "1214"),
        ({"messages": [*AFTER_TOOL, AFTER_TOOL[2]]}, "1214"),
        ({"model": "m:refuse=stream_options", "stream_options": {"include_usage": True}}, "1210"),
        ({"model": "m:refuse=tools+seed", "seed": 1}, "1210"),
    ],
)
@table("path", [GLM, "/api/coding/paas/v4/chat/completions"])
def test_what_glm_does_not_take_is_refused(origin: str, path: str, fields: dict[str, object], code: str) -> None:
    response = ask(origin, path, **{"model": "glm-4.6", **fields})  # type: ignore[arg-type]  # the model is a string
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message"}


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1, "top_p": 0.01, "max_tokens": 131072, "stop": ["a"]},
        {"user_id": "somebody", "request_id": "abcdef", "tool_choice": "auto", "tools": []},
        {"thinking": {"type": "enabled", "clear_thinking": False}, "do_sample": False, "seed": 1},
        {"response_format": {"type": "text"}, "n": None, "temperature": None},
        {"stream_options": {"include_usage": True}, "stream": True},
        {"model": "m:refuse=stream_options+tools", "stream": True},
        {"model": "glm-5.3", "thinking": {"type": "enabled"}, "reasoning_effort": "low"},
        {"model": "glm-5.2", "thinking": {"type": "disabled"}, "reasoning_effort": "medium"},
        {"model": "glm-4.6v", "messages": [{"role": "user", "content": [PICTURE]}], "max_tokens": 32768},
        {"messages": [*AFTER_TOOL, {"role": "assistant", "content": "four"}, *AFTER_TOOL]},
        {"messages": [*AFTER_TOOL[:2], AFTER_TOOL[3], AFTER_TOOL[2], *MESSAGES]},
    ],
)
def test_what_glm_takes_is_taken(origin: str, fields: dict[str, object]) -> None:
    response = ask(origin, GLM, **{"model": "glm-4.6", **fields})  # type: ignore[arg-type]  # the model is a string
    assert response.status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b'{"model":7,"messages":[]}', b"\xff", b"[" * 5000, b"[" * 5000 + b"]" * 5000]
)
def test_a_body_that_is_no_request_is_refused_and_counted(origin: str, body: bytes) -> None:
    response = httpx.post(origin + GLM, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "1210")
    shown = httpx.get(origin + "/sim/stats").json()
    assert (shown["requests"], shown["open_streams"]) == (1, 0)
    assert shown["last_request"]["body_bytes"] == len(body)


def test_a_whole_answer_has_ids_and_counts_and_no_object(origin: str) -> None:
    answer = ask(origin, GLM, request_id="my-request").json()
    assert "object" not in answer
    assert answer["request_id"] == "my-request"
    assert answer["choices"][0]["message"]["reasoning_content"] == "The user wants an "
    usage = answer["usage"]
    assert usage["completion_tokens"] == 36
    assert usage["total_tokens"] == usage["prompt_tokens"] + 36
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 4}


def test_only_the_last_chunk_has_a_finish_reason(origin: str) -> None:
    chunks = events(ask(origin, GLM, stream=True).text)
    assert ["finish_reason" in chunk["choices"][0] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert ["usage" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_the_whole_answer_has_the_content_of_the_stream(origin: str) -> None:
    whole = ask(origin, GLM, "m:tokens=100:reasoning=20").json()["choices"][0]["message"]
    deltas = [
        chunk["choices"][0]["delta"]
        for chunk in events(ask(origin, GLM, "m:tokens=100:reasoning=20", stream=True).text)
    ]
    for name in ("content", "reasoning_content"):
        assert "".join(delta.get(name, "") for delta in deltas) == whole[name]


def test_max_tokens_cuts_with_the_finish_reason_length(origin: str) -> None:
    answer = ask(origin, GLM, max_tokens=3, thinking={"type": "disabled"}).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3
    assert ask(origin, GLM, max_tokens=32).json()["choices"][0]["finish_reason"] == "stop"


def test_a_tool_call_comes_in_one_delta_or_in_fragments(origin: str) -> None:
    for tool_stream in (False, True):
        chunks = events(ask(origin, GLM, stream=True, tools=TOOLS, tool_stream=tool_stream).text)
        parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
        assert (len(parts) > 2) is tool_stream
        assert parts[0]["id"] and parts[0]["function"]["name"] == "find"
        assert all("id" not in part for part in parts[1:])
        assert json.loads("".join(part["function"]["arguments"] for part in parts)) == ARGUMENTS
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tool_result_is_answered_in_words(origin: str) -> None:
    choice = ask(origin, GLM, tools=TOOLS, messages=AFTER_TOOL).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]
    called = ask(origin, GLM, tools=TOOLS).json()["choices"][0]
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"]) == ARGUMENTS


def test_a_schema_in_the_prompt_is_filled(origin: str) -> None:
    schema = {"type": "object", "properties": {"names": {"type": "array", "minItems": 2, "items": {"enum": ["a"]}}}}
    for text in (
        f"Match this JSON Schema: {json.dumps(schema)}",
        f"Use the json_schema:\n\n{json.dumps(schema)}\n ok?",
    ):
        messages = [{"role": "system", "content": text}, *MESSAGES]
        answer = ask(origin, GLM, messages=messages, response_format={"type": "json_object"}).json()
        assert json.loads(answer["choices"][0]["message"]["content"]) == {"names": ["a", "a"]}
    plain = [{"role": "user", "content": 'A schema is {not JSON, and {"this": 1} is none.'}]
    answer = ask(origin, GLM, messages=plain, response_format={"type": "json_object"}).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["ok"] is True


def test_several_tools_are_called_at_once(origin: str) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    whole = ask(origin, GLM, "m:calls=3", tools=[*TOOLS, other]).json()["choices"][0]
    called = [(call["id"], call["function"]["name"]) for call in whole["message"]["tool_calls"]]
    assert called == [("call_1", "find"), ("call_2", "other"), ("call_3", "find")]
    for tool_stream in (False, True):
        chunks = events(ask(origin, GLM, "m:calls=2", stream=True, tools=TOOLS, tool_stream=tool_stream).text)
        parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
        for index in (0, 1):
            own = [part for part in parts if part["index"] == index]
            assert own[0]["id"] == f"call_{index + 1}"
            assert json.loads("".join(part["function"]["arguments"] for part in own)) == ARGUMENTS


@pytest.mark.parametrize("fields", [{"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}])
def test_a_model_that_may_not_think_does_not(origin: str, fields: dict[str, object]) -> None:
    answer = ask(origin, GLM, "glm-4.6", **fields).json()
    assert "reasoning_content" not in answer["choices"][0]["message"]
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_a_tool_without_a_function_is_not_called(origin: str) -> None:
    choice = ask(origin, GLM, tools=[{"type": "web_search", "web_search": {"enable": True}}]).json()["choices"][0]
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("reason", ["network_error", "sensitive", "model_context_window_exceeded"])
@pytest.mark.parametrize("stream", [True, False])
def test_abnormal_ends_have_a_finish_reason(origin: str, reason: str, stream: bool) -> None:
    response = ask(origin, GLM, f"m:fault={reason}", stream=stream)
    assert response.status_code == 200
    last = events(response.text)[-1] if stream else response.json()
    assert last["choices"][0]["finish_reason"] == reason


def test_a_model_name_with_an_at_sign_stands_in_every_chunk(origin: str) -> None:
    assert {chunk["model"] for chunk in events(ask(origin, GLM, "a@b", stream=True).text)} == {"a@b"}


def test_models_are_listed_beside_the_chat(origin: str) -> None:
    for path in ("/api/paas/v4/models", "/api/coding/paas/v4/models", "/v1/models"):
        assert "glm-4.6" in [model["id"] for model in httpx.get(origin + path).json()["data"]]
    refused = httpx.get(origin + GLM)
    assert refused.status_code == 405
    assert httpx.get(origin + "/elsewhere").status_code == 404
