"""OpenAI requests in GLM's terms. Defect 6 of the project before this one: parameters were ignored."""

import json
from typing import Any

import pytest

from tests.support.table import table
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.dialects.request import decode_request
from ztoapi.dialects.zai_request import build
from ztoapi.errors import ApiError

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": True}}
OTHER = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}


def built(default: bool | None = None, /, **fields: object) -> dict[str, Any]:
    body = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}], **fields}
    request = decode_request(json.dumps(body).encode())
    result: dict[str, Any] = json.loads(
        bytes(build(request, model="glm-4.6", stream=bool(request.stream), thinking=default))
    )
    return result


def test_request_without_anything_to_change_is_passed_on_byte_for_byte() -> None:
    body = b'{"model":"glm-4.6", "messages":[{"role":"user","content":"x"}],"tool_stream": true,"stream":true}'
    assert build(decode_request(body), model="glm-4.6", stream=True, thinking=None) is body


@table(
    ("sent", "expected"),
    [
        ({"temperature": 0.3}, {"temperature": 0.3}),
        ({"temperature": 2}, {"temperature": 1.0}),
        ({"top_p": 0}, {"top_p": 0.01}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5, "max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": None, "max_tokens": 7}, {"max_tokens": 7}),
        ({"stop": "end"}, {"stop": ["end"]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"user": "somebody"}, {"user_id": "somebody"}),
        ({"user": "me"}, {}),
        ({"frequency_penalty": 1, "presence_penalty": 1, "logit_bias": {}, "n": 1, "parallel_tool_calls": True}, {}),
        ({"stream_options": {"include_usage": True}, "stream": True}, {"stream": True}),
        ({"thinking": None, "response_format": None, "tools": None}, {}),
        ({"enable_thinking": False}, {"thinking": {"type": "disabled"}}),
        ({"enable_thinking": True, "thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "low", "do_sample": False, "made_up": [1]},) * 2,
        ({"response_format": {"type": "json_object"}},) * 2,
        ({"tools": [OTHER], "tool_choice": "auto"},) * 2,
        ({"tools": [OTHER], "tool_choice": "required"}, {"tools": [OTHER], "tool_choice": "auto"}),
        ({"tools": [OTHER], "tool_choice": "none"}, {}),
    ],
)
def test_parameters(sent: dict[str, object], expected: dict[str, object]) -> None:
    result = built(**sent)
    assert result.pop("model") == "glm-4.6"
    assert result.pop("messages") == [{"role": "user", "content": "x"}]
    assert result == expected


def test_configured_thinking_is_the_default_only() -> None:
    assert built(False)["thinking"] == {"type": "disabled"}
    assert built(False, enable_thinking=True)["thinking"] == {"type": "enabled"}
    assert built(False, thinking_budget=1, reasoning_effort="max")["thinking"] == {"type": "disabled"}


def test_a_forced_tool_leaves_only_that_one() -> None:
    result = built(tools=[OTHER, TOOL], tool_choice={"type": "function", "function": {"name": "add"}})
    assert [tool["function"]["name"] for tool in result["tools"]] == ["add"]
    assert result["tool_choice"] == "auto"
    assert "strict" not in result["tools"][0]["function"]


@pytest.mark.parametrize("content", ["", [], None])
def test_a_tool_result_without_content_gets_some(content: object) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "run", "arguments": "{}"}}
    before = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "c", "name": "run"}
    sent = built(messages=[*before, {**result, "content": content}])["messages"]
    assert sent == [*before, {**result, "content": "(no output)"}]
    assert built(messages=[*before, result])["messages"] == sent
    full = [*before, {**result, "content": "b"}]
    assert built(messages=full)["messages"] == full


def test_developer_messages_become_system_messages_and_names_go() -> None:
    messages = [{"role": "developer", "content": "a"}, {"role": "user", "name": "bob", "content": "b"}]
    result = built(messages=messages)
    assert result["messages"] == [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]


def test_a_json_schema_becomes_json_object_and_an_instruction() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    result = built(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    assert result["response_format"] == {"type": "json_object"}
    assert result["messages"][0]["role"] == "system"
    assert '"properties"' in result["messages"][0]["content"]
    assert result["messages"][1:] == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"n": 2}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "nope"}}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"stop": 3}, "stop"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(sent: dict[str, object], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        built(**sent)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_tools_alone_leave_the_request_as_it_is() -> None:
    body = json.dumps(
        {
            "model": "glm-4.6",
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "sub"}}]}, {"role": "user"}],
            "tools": [OTHER],
        }
    ).encode()
    assert build(decode_request(body), model="glm-4.6", stream=False, thinking=None) is body


ADD: dict[str, object] = {"type": "function", "function": {"name": "add"}}
SUB: dict[str, object] = {"type": "function", "function": {"name": "sub"}}
SEARCH: dict[str, object] = {"type": "web_search", "web_search": {"enable": True}}


def allowed(*tools: object, mode: str = "auto") -> dict[str, object]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


@table(
    ("choice", "names"),
    [
        ({"type": "auto"}, ["add", "sub", "web_search"]),
        ({"type": "required"}, ["add", "sub", "web_search"]),
        ({"type": "none"}, None),
        ("none", None),
        (ADD, ["add"]),
        ({"type": "function", "name": "sub"}, ["sub"]),
        ({"function": {"name": "sub"}}, ["sub"]),
        (allowed(SUB), ["sub"]),
        (allowed(SUB, ADD, SUB, mode="required"), ["add", "sub"]),
        (allowed({"type": "function", "name": "sub"}, {"type": "web_search"}), ["sub", "web_search"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "add"}]}, ["add"]),
        ({"type": "allowed_tools", "tools": [ADD]}, ["add"]),
    ],
)
def test_tool_choice_leaves_the_tools_that_may_be_called(choice: object, names: list[str] | None) -> None:
    result = built(tools=[TOOL, OTHER, SEARCH], tool_choice=choice)
    if names is None:
        assert "tools" not in result and "tool_choice" not in result
        return
    assert [tool.get("function", {}).get("name", tool["type"]) for tool in result["tools"]] == names
    assert result["tool_choice"] == "auto"
    assert "strict" not in json.dumps(result)


@table(
    ("choice", "words"),
    [
        ({"type": "custom", "custom": {"name": "add"}}, "the type 'custom' is not supported"),
        ({"type": "mcp", "server_label": "x"}, "the type 'mcp' is not supported"),
        ({"type": ["auto"]}, "is not supported"),
        ("any", "'any' is not supported"),
        (1, "is not supported"),
        ([], "is not supported"),
        ({}, "the function None, which is not among tools"),
        ({"type": "function", "function": {"name": "mul"}}, "the function 'mul', which is not among tools"),
        (allowed(ADD, {"type": "function", "function": {"name": "mul"}}), "the function 'mul'"),
        (
            allowed({"type": "custom", "custom": {"name": "add"}}),
            "a tool of the type 'custom', which is not among tools",
        ),
        (allowed("add"), "names a tool by 'add'"),
        (allowed(), "allows no tool"),
        (allowed(ADD, mode="never"), "the mode 'never'"),
        ({"type": "allowed_tools"}, "allows no tool"),
        ({"type": "allowed_tools", "allowed_tools": {"tools": {"type": "function"}}}, "allows no tool"),
    ],
)
def test_a_tool_choice_that_cannot_be_had_is_named(choice: object, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        built(tools=[TOOL, OTHER], tool_choice=choice)
    assert words in caught.value.message
    assert (caught.value.status, caught.value.param) == (400, "tool_choice")


VISION_OFF = ModelCapabilities(refused_inputs={"image": ("glm-4.6v",)})
PICTURE = b'{"type":"image_url","image_url":{"url":"u"}}'


@table(
    ("messages", "refused"),
    [
        (b'[{"role":"user","content": [%b]}]' % PICTURE, True),
        (b'[{"role":"user","content":[{"t\\u0079pe":"image\\u005furl"}]}]', True),
        (b'[{"role":"user","content":["x",%b]}]' % PICTURE, True),
        (b'[{"role":7,"content":[%b]}]' % PICTURE, True),
        (b'[{"role":"user","content":"x"},{"role":"user","content":[%b]}]' % PICTURE, True),
        (b'[{"role":"user","content":"[%b]"}]' % PICTURE.replace(b'"', b'\\"'), False),
        (b'[{"role":"user","content":["x"]}]', False),
        (b'[{"role":"user","content":[{"type":"text","text":"x"}]}]', False),
        (b'[{"role":"user"}]', False),
    ],
)
def test_parts_that_the_model_refuses_are_found(messages: bytes, refused: bool) -> None:
    body = b'{"model":"glm-4.6","messages":%b}' % messages
    request = decode_request(body)
    if refused:
        with pytest.raises(ApiError) as caught:
            build(request, model="glm-4.6", stream=False, thinking=None, capabilities=VISION_OFF)
        assert caught.value.status == 400
    else:
        assert build(request, model="glm-4.6", stream=False, thinking=None, capabilities=VISION_OFF) == body


@pytest.mark.parametrize("messages", [b'["x"]', b"[null]", b"[[]]"])
def test_messages_of_another_shape_are_refused(messages: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        build(decode_request(b'{"model":"m","messages":%b}' % messages), model="m", stream=False, thinking=None)
    assert caught.value.param == "messages[0]"
