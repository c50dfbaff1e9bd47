"""A Responses request becomes a chat request."""

import json

import pytest

from tests.apis.responses.answering import Event, chat, context, request
from tests.support.table import table
from ztoapi.apis.reasoning import seal
from ztoapi.apis.responses.request import ResponsesRequest
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.errors import ApiError

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": '{"a":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x.py"}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": '{"a":1}'}}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA"}


def messages(*items: object, **fields: object) -> list[Event]:
    found = chat(input=list(items), **fields)["messages"]
    assert isinstance(found, list)
    return found


def refusal(**fields: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    return caught.value


def echoed(**fields: object) -> Event:
    found = json.loads(b"{%b}" % context(**fields).echo)
    assert isinstance(found, dict)
    return found


def test_a_text_is_a_user_message() -> None:
    assert chat(input="hi", stream=True) == {
        "model": "glm-4.6",
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_whole_response_is_requested_without_stream_options() -> None:
    assert chat() == {"model": "glm-4.6", "messages": [USER], "stream": False}


def test_nulls_are_absent() -> None:
    names = (
        "background conversation include instructions max_output_tokens max_tool_calls metadata parallel_tool_calls "
        "previous_response_id prompt prompt_cache_key reasoning safety_identifier service_tier store stream "
        "stream_options temperature text tool_choice tools top_logprobs top_p truncation user"
    ).split()
    assert chat(**dict.fromkeys(names)) == chat()
    assert echoed(**dict.fromkeys(names)) == echoed()


@pytest.mark.parametrize("part", ["input_text", "text"])
def test_instructions_and_leading_developer_messages_are_one_system_message(part: str) -> None:
    developer = {"type": "message", "role": "developer", "content": [{"type": part, "text": "B"}]}
    found = messages(developer, {"role": "system", "content": "C"}, USER, instructions="A")
    assert found == [{"role": "system", "content": "A\n\nB\n\nC"}, USER]


def test_later_developer_messages_keep_their_place() -> None:
    found = messages(USER, {"role": "developer", "content": "B"}, USER)
    assert found == [USER, {"role": "system", "content": "B"}, USER]


def test_an_assistant_message() -> None:
    parts = [{"type": "output_text", "text": "He", "annotations": []}, {"type": "refusal", "refusal": "llo"}]
    found = messages(USER, {"type": "message", "id": "msg_1", "role": "assistant", "content": parts}, USER)
    assert found == [USER, {"role": "assistant", "content": "Hello"}, USER]


def test_reasoning_text_and_calls_are_one_message() -> None:
    found = messages(
        USER,
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal("Hm")},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look"}]},
        CALL,
        {**CALL, "call_id": "c2"},
        {**OUTPUT, "call_id": "c2"},
        {**OUTPUT, "output": ""},
    )
    assert found == [
        USER,
        {
            "role": "assistant",
            "content": "I look",
            "reasoning_content": "Hm",
            "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "(no output)"},
        {"role": "tool", "tool_call_id": "c2", "content": "x.py"},
    ]


def test_a_call_after_an_output_begins_a_message() -> None:
    found = messages(USER, CALL, OUTPUT, {**CALL, "call_id": "c2"}, {**OUTPUT, "call_id": "c2"})
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant", "tool"]


CONTENT = [{"type": "reasoning_text", "text": "content"}]
SUMMARY = [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"encrypted_content": seal("own"), "content": CONTENT, "summary": SUMMARY}, "own"),
        ({"encrypted_content": "gAAAAB-foreign", "content": CONTENT, "summary": SUMMARY}, "content"),
        ({"encrypted_content": None, "content": None, "summary": SUMMARY}, "one\n\ntwo"),
    ],
)
def test_reasoning_is_read_from_the_best_source(item: Event, text: str) -> None:
    assert messages(USER, {"type": "reasoning", **item}, CALL, OUTPUT)[1]["reasoning_content"] == text


def test_reasoning_of_another_server_alone_is_left_out() -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAB-foreign"}
    assert "reasoning_content" not in messages(USER, item, CALL, OUTPUT)[1]


def test_reasoning_without_a_message_is_left_out() -> None:
    item = {"type": "reasoning", "summary": SUMMARY}
    assert messages(USER, item, USER, CALL, OUTPUT)[2] == {
        "role": "assistant", "content": None, "tool_calls": [CHAT_CALL],
    }  # fmt: skip


def test_sent_reasoning_is_kept_by_the_upstream() -> None:
    found = chat(input=[USER, {"type": "reasoning", "summary": SUMMARY}, CALL, OUTPUT])
    assert found["thinking"] == {"type": "enabled", "clear_thinking": False}


def test_images_follow_the_tool_messages() -> None:
    found = messages(
        USER,
        CALL,
        {**CALL, "call_id": "c2"},
        {**OUTPUT, "output": [{"type": "input_text", "text": "see"}, {**IMAGE, "detail": "high"}]},
        {**OUTPUT, "call_id": "c2"},
    )
    image = {"type": "image_url", "image_url": {"url": IMAGE["image_url"], "detail": "high"}}
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "see"},
        {"role": "tool", "tool_call_id": "c2", "content": "x.py"},
        {"role": "user", "content": [image]},
    ]


@pytest.mark.parametrize("detail", [None, "auto", "original"])
def test_an_image_of_the_user(detail: str | None) -> None:
    content = [{"type": "input_text", "text": "see"}, {**IMAGE, "detail": detail}]
    image = {"type": "image_url", "image_url": {"url": IMAGE["image_url"]}}
    assert messages({"role": "user", "content": content}) == [
        {"role": "user", "content": [{"type": "text", "text": "see"}, image]}
    ]


def test_an_image_in_the_shape_of_the_chat_api() -> None:
    content = [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]
    found = messages({"role": "user", "content": content})
    assert found == [{"role": "user", "content": content}]


def test_a_file_by_its_url() -> None:
    content = [{"type": "input_file", "file_url": "http://a/b.pdf", "filename": "b.pdf"}]
    part = {"type": "file_url", "file_url": {"url": "http://a/b.pdf"}}
    assert messages({"role": "user", "content": content}) == [{"role": "user", "content": [part]}]


@pytest.mark.parametrize(
    "output",
    [{"stdout": "x"}, [{"stdout": "x", "outcome": {"type": "exit", "exit_code": 0}}], 7,
     [{"type": "input_audio", "data": "AA"}]],
)  # fmt: skip
def test_an_output_of_another_shape_is_sent_as_json(output: object) -> None:
    content = messages(USER, CALL, {**OUTPUT, "output": output})[2]["content"]
    assert isinstance(content, str)
    assert json.loads(content) == output


def test_a_custom_call_is_a_function_with_one_text() -> None:
    found = messages(
        USER,
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin\n"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    )
    function = {"name": "apply_patch", "arguments": '{"input":"*** Begin\\n"}'}
    assert found[1]["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert found[2] == {"role": "tool", "tool_call_id": "c1", "content": "done"}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", "{}"),
        (" ", "{}"),
        ('{"a":', '{"invalid_arguments":"{\\"a\\":"}'),
        ("[1]", '{"invalid_arguments":"[1]"}'),
        ('{"b":2}', '{"b":2}'),
    ],
)
def test_arguments_that_are_no_object_become_one(arguments: str, sent: str) -> None:
    found = messages(USER, {**CALL, "arguments": arguments}, OUTPUT)
    assert found[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**CHAT_CALL, "function": {"name": "ls", "arguments": sent}}],
    }


@pytest.mark.parametrize(
    "items",
    [
        [{"role": "developer", "content": "B"}],
        [{"role": "assistant", "content": "B"}],
        [{"role": "user", "content": []}],
    ],
)
def test_an_input_without_a_message_of_the_user_is_refused(items: list[Event]) -> None:
    error = refusal(input=[{"role": "system", "content": "A"}, *items])
    assert (error.param, error.code) == ("input", "invalid_value")
    body = {"input": items, "instructions": "A"}
    assert ResponsesRequest(json.dumps(body).encode(), counts=True).chat(ModelCapabilities())


def test_one_call_at_a_time_is_requested_of_the_upstream() -> None:
    tools = [{"type": "function", "name": "ls"}]
    assert chat(tools=tools, parallel_tool_calls=False)["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in chat(tools=tools, parallel_tool_calls=True)
    assert "parallel_tool_calls" not in chat(parallel_tool_calls=False)


@pytest.mark.parametrize("format", [{"name": None, "description": None, "strict": None}, {}])
def test_nulls_in_the_format_are_absent(format: Event) -> None:
    text = {"format": {"type": "json_schema", "schema": {"a": 1}, **format}, "verbosity": None}
    assert chat(text=text)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "response", "schema": {"a": 1}},
    }
    assert echoed(text=text)["text"] == {
        "format": {"type": "json_schema", "name": "response", "description": None, "schema": {"a": 1}, "strict": False}
    }


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        ({"type": "local_shell_call", "action": {"command": ["ls"]}}, "local_shell", {"command": ["ls"]}),
        ({"type": "shell_call", "action": {"commands": ["ls"]}}, "shell", {"commands": ["ls"]}),
        ({"type": "apply_patch_call", "operation": {"type": "delete_file"}}, "apply_patch", {"type": "delete_file"}),
    ],
)
def test_calls_of_tools_that_the_client_executes_are_kept(item: Event, name: str, arguments: Event) -> None:
    found = messages(USER, {**item, "call_id": "c1"}, {**OUTPUT, "type": f"{item['type']}_output"})
    calls = found[1]["tool_calls"]
    assert isinstance(calls, list)
    assert calls[0]["function"]["name"] == name
    assert json.loads(calls[0]["function"]["arguments"]) == arguments
    assert found[2]["content"] == "x.py"


@pytest.mark.parametrize(
    "type", ["web_search_call", "tool_search_call", "mcp_call", "mcp_list_tools", "image_generation_call", "compaction"]
)
def test_items_of_other_tools_are_left_out(type: str) -> None:
    assert messages(USER, {"type": type, "id": "x", "tools": [], "action": {}, "output": 1}, USER) == [USER, USER]


@pytest.mark.parametrize("type", ["additional_tools", "tool_search_output"])
def test_items_add_tools(type: str) -> None:
    found = chat(input=[USER, {"type": type, "tools": [{"type": "function", "name": "late"}]}])
    assert found["tools"] == [
        {"type": "function", "function": {"name": "late", "parameters": {"type": "object", "properties": {}}}}
    ]


@table(
    ("items", "param"),
    [
        ([USER, {"role": 5}], "input[1].role"),
        ([{"role": "robot", "content": "x"}], "input[0].role"),
        ([{"role": "user", "content": [{"type": "input_text", "text": 5}]}], "input[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "input[0].content[0].image_url"),
        ([{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}], "input[0].content[0]"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0]"),
        ([{"type": "function_call", "name": "ls"}], "input[0].call_id"),
        (["hi"], "input[0]"),
        ("", "input"),
        ([], "input"),
        ([{"role": "user", "content": ""}], "input"),
        (5, "input"),
    ],
)
def test_an_invalid_item_is_named(items: object, param: str) -> None:
    assert refusal(input=items).param == param


def test_a_model_without_vision_gets_no_image() -> None:
    blind = ModelCapabilities(refused_inputs={"image": (), "file": ()})
    for part in (IMAGE, {"type": "input_file", "file_url": "http://a/b.pdf"}):
        with pytest.raises(ApiError, match=r"glm-4\.6 does not accept") as caught:
            chat(blind, input=[{"role": "user", "content": [part]}])
        assert caught.value.param == "input[0].content[0]"


@table(
    ("fields", "param", "code"),
    [
        ({"background": True}, "background", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
        ({"model": None}, "model", "missing_required_parameter"),
        ({"input": None}, "input", "empty_array"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "missing_required_parameter"),
        ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
    ],
)
def test_a_field_that_cannot_be_served(fields: Event, param: str, code: str) -> None:
    error = refusal(**fields)
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")


def test_a_missing_input_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        ResponsesRequest(b'{"model":"glm-4.6"}')
    assert (caught.value.param, caught.value.code) == ("input", "missing_required_parameter")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"model":"\xff","input":"x"}', b"[" * 100_000, b'{"input":\n'])
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    with pytest.raises(ApiError):
        ResponsesRequest(body)


def test_background_false_is_no_background() -> None:
    assert chat(background=False) == chat()


def test_sampling() -> None:
    found = chat(temperature=0.5, top_p=1, max_output_tokens=50, presence_penalty=1, frequency_penalty=2, user="abc")
    assert found == {
        **chat(),
        "temperature": 0.5,
        "top_p": 1.0,
        "presence_penalty": 1.0,
        "frequency_penalty": 2.0,
        "max_tokens": 50,
        "user": "abc",
    }


def test_the_limit_of_the_model_bounds_the_tokens() -> None:
    assert chat(ModelCapabilities(max_output_tokens=40), max_output_tokens=50)["max_tokens"] == 40


def test_the_safety_identifier_is_the_user() -> None:
    assert chat(safety_identifier="abc")["user"] == "abc"


def test_other_fields_are_not_forwarded() -> None:
    assert (
        chat(
            parallel_tool_calls=False, store=True, include=["reasoning.encrypted_content"], metadata={"a": "b"},
            service_tier="flex", truncation="auto", prompt_cache_key="k", top_logprobs=3, max_tool_calls=2,
            client_metadata={"x": 1}, stream_options={"include_obfuscation": True}, text={"verbosity": "low"},
        )
        == chat()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
)
def test_the_format_is_nested(format: Event, expected: Event) -> None:
    assert chat(text={"format": format})["response_format"] == expected


def test_plain_text_needs_no_format() -> None:
    assert "response_format" not in chat(text={"format": {"type": "text"}})


ALWAYS = ModelCapabilities(thinking="always", efforts=("low", "high", "max"))


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "value"),
    [
        (ModelCapabilities(), "none", "disabled", None),
        (ALWAYS, "none", "disabled", None),
        (ALWAYS, "minimal", "enabled", "low"),
        (ALWAYS, "medium", "enabled", "high"),
        (ALWAYS, "xhigh", "enabled", "max"),
    ],
)
def test_the_effort_is_one_that_the_model_has(
    model: ModelCapabilities, effort: str, thinking: str, value: str | None
) -> None:
    found = chat(model, reasoning={"effort": effort})
    assert found["thinking"] == {"type": thinking}
    assert found.get("reasoning_effort") == value


def test_no_effort_leaves_the_model_its_default() -> None:
    assert "thinking" not in chat(reasoning={"summary": "auto"})


def test_arguments_are_streamed_where_the_model_can() -> None:
    model, tools = ModelCapabilities(tool_stream=True), [{"type": "function", "name": "f"}]
    assert chat(model, tools=tools, stream=True)["tool_stream"] is True
    assert "tool_stream" not in chat(model, tools=tools)
    assert "tool_stream" not in chat(model, stream=True)


def test_the_context_is_no_part_of_the_request() -> None:
    under_test = request(prompt_cache_key="session", store=False)
    assert under_test.session_key == "session"
    assert under_test.store is False
    assert request().store is True


def test_the_echo_repeats_the_request() -> None:
    fields: Event = {
        "instructions": "Be brief", "temperature": 0.2, "top_p": 0.9, "max_output_tokens": 7, "max_tool_calls": 2,
        "metadata": {"a": "b"}, "parallel_tool_calls": False, "prompt_cache_key": "k", "safety_identifier": "s",
        "service_tier": "flex", "tool_choice": "none", "top_logprobs": 3, "truncation": "auto",
    }  # fmt: skip
    found = echoed(
        **fields,
        store=True,
        reasoning={"effort": "high"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
        tools=[{"type": "function", "name": "f"}],
    )
    assert {name: found[name] for name in fields} == fields
    assert found["store"] is False
    assert found["reasoning"] == {"effort": "high", "summary": None}
    schema: Event = {"type": "json_schema", "name": "n", "description": None, "schema": {}, "strict": False}
    assert found["text"] == {"format": schema, "verbosity": "low"}
    assert found["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}
    ]


def test_an_echo_has_no_line_ends() -> None:
    body = json.dumps({"model": "m", "input": "hi\n", "metadata": {"a": "b"}, "tools": []}, indent=2).encode()
    for pretty in (body, body.replace(b"\n", b"\r\n")):
        made, found = ResponsesRequest(pretty).chat(ModelCapabilities())
        assert b"\n" not in found.echo
        assert b"\r" not in found.echo
        assert json.loads(made.body)["messages"] == [{"role": "user", "content": "hi\n"}]


def test_history_precedes_the_input() -> None:
    under_test = request(previous_response_id="resp_1", input=[OUTPUT])
    history = ResponsesRequest(json.dumps({"model": "m", "input": [USER, CALL]}).encode()).items
    made, found = under_test.chat(ModelCapabilities(), history=history, stored=True)
    assert [message["role"] for message in json.loads(made.body)["messages"]] == ["user", "assistant", "tool"]
    assert json.loads(b"{%b}" % found.echo)["store"] is True
    assert json.loads(b"{%b}" % found.echo)["previous_response_id"] == "resp_1"


def test_a_longer_conversation_begins_with_the_shorter_one() -> None:
    items = [USER, {"type": "reasoning", "summary": SUMMARY}, CALL, {**OUTPUT, "output": [IMAGE]}]
    first = messages(*items)
    more = messages(*items, {"role": "assistant", "content": "Done"}, USER)
    assert more[: len(first)] == first


def test_a_count_needs_no_model() -> None:
    body = ResponsesRequest(b'{"input":"hi"}', counts=True).chat(ModelCapabilities())[0].body
    assert json.loads(body)["messages"] == [USER]
    body = ResponsesRequest(b'{"instructions":"A"}', counts=True).chat(ModelCapabilities())[0].body
    assert json.loads(body)["messages"] == [{"role": "system", "content": "A"}]
    with pytest.raises(ApiError):
        ResponsesRequest(b"{}", counts=True)
