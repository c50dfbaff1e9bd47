"""Tools of a Responses request become chat functions, and calls come back under the client's names."""

import json

import pytest

from tests.apis.responses.answering import Event, chat, context, request
from tests.support.table import table
from ztoapi.apis.responses.tools import CalledTool
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.errors import ApiError

PLAIN = {"type": "function", "name": "ls", "description": "Lists", "parameters": {"type": "object"}, "strict": True}
CHAT_PLAIN = {
    "type": "function",
    "function": {"name": "ls", "description": "Lists", "parameters": {"type": "object"}},
}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
CUSTOM = {"type": "custom", "name": "apply_patch", "description": "Edits", "format": GRAMMAR}
NAMESPACE = {"type": "namespace", "name": "mcp__files", "description": "Files", "tools": [PLAIN, CUSTOM]}
HOSTED = [
    {"type": "web_search", "external_web_access": True},
    {"type": "image_generation", "output_format": "png"},
    {"type": "file_search", "vector_store_ids": ["v"]},
    {"type": "mcp", "server_label": "x", "server_url": "http://x"},
    {"type": "local_shell"},
    {"type": "computer_use_preview"},
]


def functions(*tools: object, **fields: object) -> list[Event]:
    found = chat(tools=list(tools), **fields).get("tools", [])
    assert isinstance(found, list)
    return [tool["function"] for tool in found]


def names(*tools: object, **fields: object) -> list[object]:
    return [function["name"] for function in functions(*tools, **fields)]


def test_a_function_is_nested() -> None:
    assert chat(tools=[PLAIN])["tools"] == [CHAT_PLAIN]


def test_a_function_in_the_shape_of_the_chat_api_is_accepted() -> None:
    assert chat(tools=[CHAT_PLAIN])["tools"] == [CHAT_PLAIN]


def test_a_function_without_parameters_takes_none() -> None:
    assert functions({"type": "function", "name": "f", "parameters": None})[0]["parameters"] == {
        "type": "object", "properties": {},
    }  # fmt: skip


def test_a_custom_tool_takes_one_text() -> None:
    (function,) = functions(CUSTOM)
    assert function["description"] == "Edits\n\nThe input must match this lark grammar:\nstart: X"
    parameters = function["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["required"] == ["input"]
    assert context(tools=[CUSTOM]).called == {"apply_patch": CalledTool("apply_patch", None, True)}


@pytest.mark.parametrize("format", [None, {"type": "text"}])
def test_free_text_has_no_grammar(format: object) -> None:
    assert functions({**CUSTOM, "format": format})[0]["description"] == "Edits"


def test_a_namespace_is_flattened() -> None:
    assert names(NAMESPACE) == ["mcp__files__ls", "mcp__files__apply_patch"]
    assert context(tools=[NAMESPACE]).called == {
        "mcp__files__ls": CalledTool("ls", "mcp__files", False),
        "mcp__files__apply_patch": CalledTool("apply_patch", "mcp__files", True),
    }


def test_names_are_unique_and_short_and_the_same_in_every_request() -> None:
    taken = {**PLAIN, "name": "a__b_c"}
    dotted = {"type": "namespace", "name": "a", "tools": [{**PLAIN, "name": "b.c"}]}
    long = {"type": "namespace", "name": "n" * 60, "tools": [{**PLAIN, "name": "x"}, {**PLAIN, "name": "y"}]}
    found = names(dotted, long, taken)
    assert found[0] == "a__b_c"
    assert len(set(found)) == 4
    assert all(isinstance(name, str) and len(name) <= 64 and name.replace("_", "").isalnum() for name in found)
    assert names(dotted, long, taken) == found
    assert names(long)[0] == found[2]


def test_a_call_in_the_history_has_the_name_of_its_function() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "ls", "namespace": "mcp__files", "arguments": "{}"}
    for tools in ([NAMESPACE], []):
        body = chat(input=[{"role": "user", "content": "hi"}, call], tools=tools)
        assert '"name": "mcp__files__ls"' in json.dumps(body["messages"])


def test_tools_that_the_gateway_lacks_are_left_out() -> None:
    assert "tools" not in chat(tools=HOSTED, tool_choice="auto")
    assert names(*HOSTED, PLAIN) == ["ls"]


@pytest.mark.parametrize("type", ["web_search", "web_search_preview", "web_search_2025_08_26"])
def test_the_web_search_of_the_upstream(type: str) -> None:
    made, _ = request(tools=[{"type": type}], tool_choice={"type": type}).chat(ModelCapabilities(web_search=True))
    found = json.loads(made.body)
    assert [tool["type"] for tool in found["tools"]] == ["web_search"]
    assert found["tool_choice"] == "auto"


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_mode_is_forwarded(choice: str) -> None:
    assert chat(tools=[PLAIN], tool_choice=choice)["tool_choice"] == choice
    assert "tool_choice" not in chat(tool_choice=choice)


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"type": "function", "name": "ls"}, "ls"),
        ({"type": "function", "function": {"name": "ls"}}, "ls"),
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        ({"type": "function", "name": "ls", "namespace": "mcp__files"}, "mcp__files__ls"),
    ],
)
def test_a_forced_tool_is_nested(choice: Event, name: str) -> None:
    found = chat(tools=[PLAIN, CUSTOM, NAMESPACE], tool_choice=choice)["tool_choice"]
    assert found == {"type": "function", "function": {"name": name}}


def test_allowed_tools_remove_the_others() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "ls"}]}
    found = chat(tools=[CUSTOM, PLAIN, *HOSTED], tool_choice=choice)
    assert (found["tools"], found["tool_choice"]) == ([CHAT_PLAIN], "required")


def test_allowed_tools_that_the_gateway_lacks_leave_none() -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}
    found = chat(tools=[PLAIN, *HOSTED], tool_choice=choice)
    assert "tools" not in found
    assert "tool_choice" not in found


def test_the_allowed_web_search_of_the_upstream() -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}
    made, _ = request(tools=[PLAIN, *HOSTED], tool_choice=choice).chat(ModelCapabilities(web_search=True))
    assert [tool["type"] for tool in json.loads(made.body)["tools"]] == ["web_search"]


@table(
    "choice",
    [
        "some",
        5,
        [],
        {"name": "ls"},
        {"type": "function", "name": "missing"},
        {"type": "function"},
        {"type": "mcp", "server_label": "x"},
        {"type": "allowed_tools", "mode": "none", "tools": []},
        {"type": "allowed_tools", "mode": "auto"},
        {"type": "allowed_tools", "mode": "auto", "tools": [5]},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "missing"}]},
    ],
)
def test_a_choice_that_cannot_be_served(choice: object) -> None:
    with pytest.raises(ApiError) as caught:
        chat(tools=[PLAIN], tool_choice=choice)
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "name": 5}, "tools[0].name"),
        ({"type": "namespace", "tools": []}, "tools[0].name"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "function"}]}, "tools[0].tools[0].name"),
        ({"type": "namespace", "name": "n", "tools": [5]}, "tools[0].tools[0]"),
        (5, "tools[0]"),
    ],
)
def test_an_invalid_tool_is_named(tool: object, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(tools=[tool])
    assert caught.value.param == param
