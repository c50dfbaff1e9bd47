"""Messages requests as chat requests."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.request import decode, decode_count
from ztoapi.apis.reasoning import digest, seal
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.errors import ApiError

Fields = dict[str, object]
TEXT_MODEL = ModelCapabilities(
    refused_inputs={"image": (), "video": (), "audio": (), "file": ()},
    thinking="toggle",
    efforts=(),
    max_output_tokens=4096,
    tool_stream=True,
)
HELLO: Fields = {"role": "user", "content": "hello"}
PNG: Fields = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PNG_PART: Fields = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
READ: Fields = {"name": "Read", "description": "Reads.", "input_schema": {"$schema": "x", "type": "object"}}
BASH: Fields = {"type": "bash_20250124", "name": "bash"}
READ_TOOL: Fields = {
    "type": "function",
    "function": {"name": "Read", "description": "Reads.", "parameters": {"$schema": "x", "type": "object"}},
}


def body(**fields: object) -> bytes:
    request = {"model": "claude-opus-5", "max_tokens": 1000, "messages": [HELLO]} | fields
    return json.dumps({name: value for name, value in request.items() if value is not ...}).encode()


def read(model: ModelCapabilities = UNKNOWN, /, **fields: object) -> tuple[Fields, MessagesContext]:
    request, context = decode(body(**fields), lambda _: model)
    return json.loads(request.body), context


def messages(*turns: object, model: ModelCapabilities = UNKNOWN, **fields: object) -> list[Fields]:
    found = read(model, messages=list(turns), **fields)[0]["messages"]
    assert isinstance(found, list)
    return found


def refused(model: ModelCapabilities = UNKNOWN, /, **fields: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(model, **fields)
    assert caught.value.status == 400
    assert caught.value.param is None or caught.value.param in caught.value.message
    return caught.value


def user(*blocks: object) -> Fields:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: object) -> Fields:
    return {"role": "assistant", "content": list(blocks)}


def source(kind: str, **fields: object) -> Fields:
    """Returns a message with a block that has a source."""
    return user({"type": kind, "source": fields})


def document(media_type: str) -> Fields:
    return source("document", type="base64", media_type=media_type, data="A")


def text(value: str) -> Fields:
    return {"type": "text", "text": value, "cache_control": {"type": "ephemeral"}}


def use(id: str, **fields: object) -> Fields:
    return {"type": "tool_use", "id": id, "name": "Read", "input": {"path": "a"}} | fields


def result(id: str, content: object = ..., **fields: object) -> Fields:
    block = {"type": "tool_result", "tool_use_id": id, "content": content} | fields
    return {name: value for name, value in block.items() if value is not ...}


def test_a_plain_request() -> None:
    fields, context = read(
        temperature=0.5, top_p=0.9, top_k=4, stop_sequences=["A", "B"], service_tier="auto", future={}
    )
    assert fields == {
        "model": "claude-opus-5",
        "messages": [HELLO],
        "max_tokens": 1000,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["A", "B"],
        "enable_thinking": False,
        "chat_template_kwargs": {"enable_thinking": False},
        "thinking": {"type": "disabled"},
    }
    assert context == MessagesContext("claude-opus-5", stop_sequences=("A", "B"))


def test_null_is_absent() -> None:
    nulls: Fields = dict.fromkeys(
        ("system", "tools", "tool_choice", "thinking", "stream", "metadata", "stop_sequences", "output_config")
    )
    assert read(**nulls) == read()


def test_a_stream_reports_usage_and_streams_arguments() -> None:
    fields, _ = read(TEXT_MODEL, stream=True, tools=[READ])
    assert (fields["stream"], fields["stream_options"], fields["tool_stream"]) == (True, {"include_usage": True}, True)
    assert "tool_stream" not in read(TEXT_MODEL, stream=True)[0]
    assert "tool_stream" not in read(stream=True, tools=[READ])[0]


def test_numbers_keep_their_spelling() -> None:
    request, _ = decode(
        b'{"model":"m","max_tokens":5,"messages":[%b],"temperature":0,"top_p":1e0}' % (json.dumps(HELLO).encode()),
        lambda _: UNKNOWN,
    )
    assert (bytes(request.fields["temperature"]), bytes(request.fields["top_p"])) == (b"0", b"1e0")
    assert "temperature" not in read(temperature=None)[0]


def test_an_integral_float_is_a_number_of_tokens() -> None:
    request, _ = decode(body(max_tokens=5.0), lambda _: UNKNOWN)
    assert bytes(request.fields["max_tokens"]) == b"5"


def test_more_stop_sequences_than_the_upstream_takes_are_named() -> None:
    fields, context = read(stop_sequences=list("abcde"))
    assert fields["stop"] == list("abcd")
    assert context.dropped == ("stop_sequences: only the first 4 are sent",)
    assert read(stop_sequences=list("abcd"))[1].dropped == ()


@pytest.mark.parametrize("decoder", [lambda data: decode(data, lambda _: UNKNOWN), decode_count])
@pytest.mark.parametrize("block", [use("a", input={"x": "?"}), result("a", "?"), text("?")])
def test_a_body_that_is_not_utf_8_is_refused(decoder: Callable[[bytes], object], block: Fields) -> None:
    turn = user(block) if block["type"] != "tool_use" else assistant(block)
    with pytest.raises(ApiError, match=r"^the request body is not valid JSON: it is not UTF-8 \(byte \d+\)$") as caught:
        decoder(body(messages=[HELLO, turn]).replace(b"?", b"\xff"))
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_the_error_of_an_unknown_role_names_the_valid_ones() -> None:
    error = refused(messages=[HELLO, {"role": "tool", "content": "a"}])
    assert error.message.startswith("messages.1.role is 'tool': use user, assistant, system;")


@pytest.mark.parametrize("content", ["", [], [text("")]])
def test_the_error_of_empty_messages_is_true(content: object) -> None:
    error = refused(messages=[{"role": "user", "content": content}])
    assert error.message == "messages: at least one message of the user with content is needed"


def test_a_server_tool_may_lack_a_name() -> None:
    fields, context = read(tools=[READ, {"type": "mcp_toolset", "mcp_server_name": "x"}])
    assert fields["tools"] == [READ_TOOL]
    assert context.dropped == ("tool 1: mcp_toolset is executed by Anthropic's servers only",)
    nameless: list[Fields] = [
        {},
        {"type": "custom"},
        {"input_schema": {}},
        {"type": "function", "function": {"name": "f"}},
    ]
    for tool in nameless:
        assert refused(tools=[tool]).param == "tools.0.name"


def test_a_deferred_tool_is_described_once() -> None:
    """A reference takes a few bytes, and a description may have many thousands."""
    reference = {"type": "tool_reference", "tool_name": "Read"}
    deferred = READ | {"defer_loading": True, "description": "long " * 1000}
    turns = [user(*[reference] * 100), assistant(text("Hm.")), user(result("a", [reference] * 100), reference)]
    request = json.dumps(messages(*turns, tools=[deferred]))
    assert request.count("Tool: Read") == 201
    assert (request.count("long long"), request.count("Input schema:")) == (500, 1)


def test_the_error_of_a_forced_deferred_tool_names_it() -> None:
    error = refused(tools=[READ | {"defer_loading": True}, BASH], tool_choice={"type": "tool", "name": "Read"})
    assert error.message == (
        "tool_choice.name: 'Read' has defer_loading, and no tool_reference in messages names it yet"
    )


@pytest.mark.parametrize(
    "block",
    [
        document("application/pdf"),
        source("document", type="file", file_id="f"),
        source("image", type="file", file_id="f"),
    ],
)
def test_a_count_includes_files_that_no_model_reads(block: Fields) -> None:
    request = decode_count(body(max_tokens=..., messages=[block]))
    assert json.loads(request.body)["messages"] == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    ]


def test_max_tokens_are_capped() -> None:
    assert read(TEXT_MODEL, max_tokens=32_000)[0]["max_tokens"] == 4096
    assert read(max_tokens=32_000)[0]["max_tokens"] == 32_000


def test_a_billing_line_is_no_prompt() -> None:
    billing = "x-anthropic-billing-header: cc_version=2.1; cch=1a2b;"
    expected = [{"role": "system", "content": "You are an agent.\n\nBe brief."}, HELLO]
    assert messages(HELLO, system=[text(billing), text("You are an agent."), text("Be brief.")]) == expected
    assert messages(HELLO, system=f"{billing}\nYou are an agent.\n\nBe brief.") == expected
    assert messages(HELLO, system=billing) == [HELLO]


def test_leading_system_messages_join_the_prompt_and_later_ones_stay() -> None:
    first, later = {"role": "system", "content": [text("Two.")]}, {"role": "system", "content": "Note."}
    assert messages(first, HELLO, later, assistant(text("Hi")), HELLO, system="One.") == [
        {"role": "system", "content": "One.\n\nTwo."},
        HELLO,
        {"role": "system", "content": "Note."},
        {"role": "assistant", "content": "Hi"},
        HELLO,
    ]


def test_results_come_first_in_the_order_of_the_calls_and_images_behind_them() -> None:
    found = messages(
        HELLO,
        assistant(text("Reading."), use("a"), use("b"), use("c")),
        {"role": "system", "content": "Note."},
        user(
            text("Go on."),
            result("c", [PNG]),
            result("b", [text("two"), text("lines")], is_error=True),
            result("a"),
        ),
    )
    assert [(one["role"], one.get("tool_call_id"), one["content"]) for one in found[2:]] == [
        ("tool", "a", "(no output)"),
        ("tool", "b", "Error: two\n\nlines"),
        ("tool", "c", "(the image is in the next message)"),
        ("system", None, "Note."),
        ("user", None, [PNG_PART, {"type": "text", "text": "Go on."}]),
    ]


@table(
    ("content", "is_error", "shown"),
    [
        (..., False, "(no output)"),
        ([], False, "(no output)"),
        ("", False, "(no output)"),
        (None, False, "(no output)"),
        ("done", None, "done"),
        ("boom", True, "Error: boom"),
        ("Error: boom", True, "Error: boom"),
        ([], True, "Error: (no output)"),
    ],
)
def test_a_tool_result_is_never_empty(content: object, is_error: bool | None, shown: str) -> None:
    assert messages(HELLO, assistant(use("a")), user(result("a", content, is_error=is_error)))[-1]["content"] == shown


def test_arguments_are_the_text_of_the_input() -> None:
    calls = messages(HELLO, assistant(use("a"), use("b", input=None), use("c", input="x")), HELLO)[1]["tool_calls"]
    assert isinstance(calls, list)
    assert [one["function"]["arguments"] for one in calls] == ['{"path": "a"}', "{}", "{}"]
    assert messages(HELLO, assistant(use("a")))[1]["content"] is None


def test_thinking_is_replayed() -> None:
    thinking = [
        {"type": "thinking", "thinking": "Hm.", "signature": digest("Hm.")},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "", "signature": seal("So.")},
        {"type": "thinking", "thinking": "", "signature": "foreign"},
    ]
    fields, _ = read(messages=[HELLO, assistant(*thinking, text("Hi")), HELLO], thinking={"type": "adaptive"})
    assert fields["messages"][1] == {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.\n\nSo."}  # type: ignore[index]
    assert fields["thinking"] == {"type": "enabled", "clear_thinking": False}


@pytest.mark.parametrize(
    ("thinking", "wanted", "omitted"),
    [
        (None, False, False),
        ({"type": "disabled"}, False, False),
        ({"type": "enabled", "budget_tokens": 1024}, True, False),
        ({"type": "adaptive", "display": "omitted"}, True, True),
        ({"type": "between_tools", "display": "summarized"}, True, False),
        ({"type": "disabled", "display": "omitted"}, False, False),
    ],
)
def test_thinking(thinking: object, wanted: bool, omitted: bool) -> None:
    fields, context = read(thinking=thinking)
    assert (context.thinking, context.thinking_omitted) == (wanted, omitted)
    assert fields["enable_thinking"] is wanted
    assert fields["thinking"] == {"type": "enabled" if wanted else "disabled"}


def test_effort() -> None:
    model = ModelCapabilities(thinking="always", efforts=("low", "high", "max"))
    wanted: Fields = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}
    assert read(model, **wanted)[0]["reasoning_effort"] == "max"
    assert "reasoning_effort" not in read(model, output_config={"effort": "xhigh"})[0]
    assert "reasoning_effort" not in read(model, thinking={"type": "adaptive"})[0]


def test_a_schema_of_the_output() -> None:
    schema = {"type": "object"}
    for fields in (
        {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        {"output_format": {"type": "json_schema", "schema": schema}},
    ):
        assert read(**fields)[0]["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": schema, "strict": True},
        }


def test_user_ids() -> None:
    assert read(metadata={"user_id": "user-1"})[0]["user"] == "user-1"
    hashed = read(metadata={"user_id": "x" * 150})[0]["user"]
    assert isinstance(hashed, str) and len(hashed) == 64 and hashed == read(metadata={"user_id": "x" * 150})[0]["user"]
    assert "user" not in read(metadata={"user_id": ""})[0]


def test_plain_tools() -> None:
    custom = READ | {"type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}, "input_examples": [{}]}
    assert read(tools=[READ, custom])[0]["tools"] == [READ_TOOL, READ_TOOL]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "Read"}, {"type": "function", "function": {"name": "Read"}}),
    ],
)
def test_tool_choice(choice: Fields, sent: object) -> None:
    assert read(tools=[READ], tool_choice=choice)[0]["tool_choice"] == sent
    assert (
        read(tools=[READ], tool_choice=choice | {"disable_parallel_tool_use": True})[0]["parallel_tool_calls"] is False
    )


def test_deferred_tools_come_with_their_reference() -> None:
    search, write = READ | {"name": "ToolSearch"}, READ | {"name": "Write", "defer_loading": True}
    placeholder = READ | {"name": "DeferredToolPlaceholder", "defer_loading": True}
    tools = [placeholder, write, search]
    assert [names(read(tools=tools)[0])] == [["ToolSearch"]]
    turns = [
        HELLO,
        assistant(use("a", name="ToolSearch")),
        user(result("a", [{"type": "tool_reference", "tool_name": "Write"}])),
    ]
    fields, _ = read(tools=tools, messages=turns)
    assert names(fields) == ["ToolSearch", "Write"]
    sent = fields["messages"]
    assert isinstance(sent, list)
    assert sent[-1]["content"] == 'Tool: Write\nReads.\nInput schema: {"$schema": "x", "type": "object"}'
    unknown = user(result("a", [{"type": "tool_reference", "tool_name": "Gone"}]))
    assert messages(*turns[:2], unknown, tools=tools)[-1]["content"] == "Tool: Gone"


def names(fields: Fields) -> list[str]:
    tools = fields.get("tools", [])
    assert isinstance(tools, list)
    return [tool.get("function", tool)["name"] if "function" in tool else tool["type"] for tool in tools]


def test_a_search_on_the_server_needs_all_tools() -> None:
    tools = [{"type": "tool_search_tool_regex_20251119", "name": "search"}, READ | {"defer_loading": True}]
    fields, context = read(tools=tools)
    assert names(fields) == ["Read"]
    assert context.dropped == ("tool search: tool_search_tool_regex_20251119 is executed by Anthropic's servers only",)


def test_server_tools_are_dropped_and_reported() -> None:
    tools = [
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 8},
        BASH,
    ]
    fields, context = read(tools=tools, tool_choice={"type": "auto"})
    assert "tools" not in fields and "tool_choice" not in fields
    assert [reason.split(":")[0] for reason in context.dropped] == ["tool web_search", "tool bash"]


def test_web_search_can_be_that_of_the_upstream() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.com", "b.com"]}
    choice = {"type": "tool", "name": "web_search"}
    request, context = decode(body(tools=[tool], tool_choice=choice), lambda _: ModelCapabilities(web_search=True))
    fields = json.loads(request.body)
    search = {"enable": True, "search_result": True, "search_domain_filter": "a.com"}
    assert fields["tools"] == [{"type": "web_search", "web_search": search}]
    assert (fields["tool_choice"], context.dropped) == ({"type": "web_search"}, ())


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (PNG, PNG_PART),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
            {"type": "file_url", "file_url": {"url": "https://a/b.pdf"}},
        ),
    ],
)
def test_images_and_documents_by_url(block: Fields, part: Fields) -> None:
    assert messages(user(block, text("?")))[0]["content"] == [part, {"type": "text", "text": "?"}]
    assert refused(TEXT_MODEL, messages=[user(text("?"), block)]).param == "messages.0.content.1"


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        (
            {
                "type": "document",
                "title": "T",
                "context": "C",
                "source": {"type": "text", "media_type": "text/plain", "data": "body"},
            },
            "T\nC\n\nbody",
        ),
        ({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "Ym9keQ=="}}, "body"),
        (
            {"type": "document", "title": "T", "source": {"type": "content", "content": [text("a"), text("b")]}},
            "T\n\na\n\nb",
        ),
        ({"type": "document", "source": {"type": "content", "content": "a"}}, "a"),
        ({"type": "search_result", "title": "T", "source": "https://a", "content": [text("a")]}, "T\nhttps://a\n\na"),
    ],
)
def test_documents_as_text(block: Fields, shown: str) -> None:
    assert messages(user(block), model=TEXT_MODEL) == [{"role": "user", "content": shown}]
    found = messages(HELLO, assistant(use("a")), user(result("a", [block])), model=TEXT_MODEL)
    assert found[-1]["content"] == shown


def test_blocks_of_the_server_are_dropped() -> None:
    found = messages(
        HELLO,
        assistant(
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        ),
        HELLO,
        assistant({"type": "mcp_tool_use", "id": "m"}, text(""), text("Hi")),
        HELLO,
    )
    assert [one["content"] for one in found] == ["hello", "hello", "Hi", "hello"]


@table(
    ("fields", "param"),
    [
        ({"model": ...}, "model"),
        ({"messages": ...}, "messages"),
        ({"max_tokens": ...}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5.5}, "max_tokens"),
        (
            {"messages": [source("document", type="content", content=[{"type": "document"}])]},
            "messages.0.content.0.source.content.0.type",
        ),
        ({"model": ""}, "model"),
        ({"temperature": "0"}, "temperature"),
        ({"top_p": [1]}, "top_p"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
        ({"messages": [user()]}, "messages"),
        ({"messages": [assistant(text("a"))]}, "messages"),
        ({"messages": [HELLO, {"role": "tool", "content": "a"}]}, "messages.1.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [user({"text": "a"})]}, "messages.0.content.0.type"),
        ({"messages": [user({"type": "text", "text": 1})]}, "messages.0.content.0.text"),
        ({"messages": [user({"type": "hologram"})]}, "messages.0.content.0.type"),
        ({"messages": [user(result("a", 1))]}, "messages.0.content.0.content"),
        ({"messages": [user({"type": "tool_result"})]}, "messages.0.content.0.tool_use_id"),
        ({"messages": [user({"type": "image"})]}, "messages.0.content.0.source"),
        ({"messages": [user({"type": "image", "source": 1})]}, "messages.0.content.0.source"),
        ({"messages": [source("image", type="file", file_id="f")]}, "messages.0.content.0.source"),
        ({"messages": [source("image", type="base64", data="A")]}, "messages.0.content.0.source.media_type"),
        ({"messages": [document("application/pdf")]}, "messages.0.content.0.source"),
        ({"messages": [document("text/plain")]}, "messages.0.content.0.source.data"),
        ({"messages": [user(result("a", [{"type": "hologram"}]))]}, "messages.0.content.0.content.0.type"),
        ({"system": [PNG]}, "system"),
        ({"system": 1}, "system"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [READ, {"name": "a"}]}, "tools.1.input_schema"),
        ({"tools": [READ], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tools": [READ], "tool_choice": {"type": "tool", "name": "Write"}}, "tool_choice.name"),
        ({"tools": [BASH], "tool_choice": {"type": "tool", "name": "bash"}}, "tool_choice.name"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field(fields: Fields, param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"a"', b'{"model": "\xff"}', b"[" * 100_000])
def test_what_is_no_request(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decode(raw, lambda _: UNKNOWN)
    assert caught.value.status == 400


def test_half_surrogates_become_replacement_characters() -> None:
    request, _ = decode(body(messages=[user(text("a?"))]).replace(b"a?", rb"a\ud83d"), lambda _: UNKNOWN)
    assert json.loads(request.body)["messages"][0]["content"] == "a\N{REPLACEMENT CHARACTER}"


def test_the_catalogue_gets_the_requested_name() -> None:
    asked: list[str] = []

    def find(name: str) -> ModelCapabilities:
        asked.append(name)
        return UNKNOWN

    decode(body(), find)
    assert asked == ["claude-opus-5"]


def test_counting_needs_no_limit() -> None:
    request = decode_count(body(max_tokens=..., system="S", tools=[READ]))
    fields = json.loads(request.body)
    assert "max_tokens" not in fields
    assert len(fields["messages"]) == 2 and names(fields) == ["Read"]


def test_parts_of_a_conversation_are_counted() -> None:
    request = decode_count(body(messages=[assistant(text("a"))]))
    assert json.loads(request.body)["messages"] == [{"role": "assistant", "content": "a"}]


MAKE: dict[str, Callable[[int], list[Fields]]] = {
    "text": lambda n: [user(text(f"u{n}"))],
    "image": lambda n: [user(PNG, text(f"u{n}"))],
    "note": lambda n: [user(text(f"u{n}")), {"role": "system", "content": f"s{n}"}],
    "tool": lambda n: [
        assistant({"type": "thinking", "thinking": f"t{n}", "signature": "s"}, use(f"c{n}"), use(f"d{n}")),
        {"role": "system", "content": f"s{n}"},
        user(text(f"u{n}"), result(f"d{n}", [PNG]), result(f"c{n}", "r")),
    ],
    "search": lambda n: [
        assistant(use(f"c{n}", name="ToolSearch")),
        user(result(f"c{n}", [{"type": "tool_reference", "tool_name": "Read"}])),
    ],
}  # fmt: skip


@given(st.lists(st.sampled_from(sorted(MAKE)), min_size=1, max_size=6))
def test_the_next_request_begins_with_the_messages_of_this_one(kinds: list[str]) -> None:
    turns: list[Fields] = [HELLO]
    before = b"["
    for number, kind in enumerate(kinds):
        turns += [*MAKE[kind](number), assistant(text(f"a{number}"))]
        system = [text(f"x-anthropic-billing-header: cch={number}"), text("You are an agent.")]
        request = decode(body(messages=turns[:-1], system=system, tools=[READ]), lambda _: UNKNOWN)[0]
        encoded = bytes(request.fields["messages"])
        assert encoded.startswith(before)
        before = encoded[:-1]


def test_a_missing_model_has_a_remedy() -> None:
    with pytest.raises(ApiError) as caught:
        decode(b'{"max_tokens":5,"messages":[]}', lambda _: UNKNOWN)
    assert caught.value.message.startswith('model is missing: send one, such as "model": "')
    assert (caught.value.param, caught.value.code) == ("model", "missing_required_parameter")
