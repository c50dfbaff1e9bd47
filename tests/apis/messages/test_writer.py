"""Chunks in, events of the Messages API out: the invariants hold for every run."""

import json
from pathlib import Path
from typing import Final, cast

import jsonschema  # type: ignore[import-untyped]  # its stubs would be one more package
import llm_comply  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.apis.chunks import DONE, calls, chunk, delta, runs, usage
from tests.support.table import table
from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.fold import fold
from ztoapi.apis.messages.writer import MessageWriter
from ztoapi.apis.reasoning import digest, seal
from ztoapi.errors import ApiError, Ending, UpstreamError

GOLDEN = Path(__file__).parent / "golden"
THINKING = MessagesContext("claude-sonnet-5", thinking=True, stop_sequences=("END",))
SPEC = json.loads((Path(llm_comply.__file__).parent / "specs" / "anthropic.json").read_text())
VALIDATORS: Final = {
    name: jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]})
    for name in ("Message", "MessageStreamEvent", "ErrorResponse")
}
Event = dict[str, object]


def writer(context: MessagesContext = THINKING) -> MessageWriter:
    return MessageWriter(context, "msg_1", 120, "req_1")


def written(*blocks: bytes, context: MessagesContext = THINKING) -> bytes:
    one = writer(context)
    return b"".join([one.feed(block) for block in blocks])


def parsed(stream: bytes) -> list[Event]:
    found: list[Event] = []
    for part in stream.decode().split("\n\n")[:-1]:
        name, data = part.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def schema_errors(name: str, value: object) -> list[str]:
    return [error.message for error in VALIDATORS[name].iter_errors(value)]


def content_of(stream: bytes) -> list[dict[str, object]]:
    found = json.loads(fold(stream))["content"]
    assert isinstance(found, list)
    return found


def assert_invariants(events: list[Event]) -> None:
    """Checks the rules of a stream that the SDKs rely on."""
    assert [event["type"] for event in events].count("message_start") == 1
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    kinds = {
        "text_delta": "text",
        "thinking_delta": "thinking",
        "signature_delta": "thinking",
        "input_json_delta": "tool_use",
    }
    opened, current = 0, ""
    deltas = 0
    for event in events[1:-2]:
        assert event["index"] == (opened if event["type"] == "content_block_start" else opened - 1)
        if event["type"] == "content_block_start":
            assert current == ""
            block = cast(dict[str, str], event["content_block"])
            opened, current, deltas = opened + 1, block["type"], 0
        elif event["type"] == "content_block_delta":
            part = cast(dict[str, str], event["delta"])
            assert kinds[part["type"]] == current
            assert all(part.values())
            deltas += 1
        else:
            assert event["type"] == "content_block_stop"
            assert current == "tool_use" or deltas
            current = ""
    assert current == ""


def test_golden_events() -> None:
    chunks = (GOLDEN / "thinking_and_tools.sse").read_bytes()
    expected = (GOLDEN / "thinking_and_tools.expected.sse").read_bytes()
    events = [part + b"\n\n" for part in chunks.split(b"\n\n")[:-1]]
    assert written(chunks) == expected
    assert written(*events) == expected


def test_every_field_of_the_schema_is_there() -> None:
    stream = (GOLDEN / "thinking_and_tools.expected.sse").read_bytes()
    for event in parsed(stream):
        assert schema_errors("MessageStreamEvent", event) == []
    assert schema_errors("Message", json.loads(fold(stream))) == []


def test_an_answer_alone() -> None:
    events = parsed(written(delta(content=""), delta(content="Hi"), delta("stop"), usage(), DONE))
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@given(runs(), st.booleans(), st.sampled_from(["stop", "length"]), st.booleans())
def test_any_run(run: tuple[list[bytes], dict[str, object]], thinking: bool, finish: str, counted: bool) -> None:
    chunks, answer = run
    blocks = [*chunks, delta(finish), *([usage()] if counted else []), DONE]
    context = MessagesContext("glm-4.6", thinking=thinking)
    stream = written(*blocks, context=context)
    assert written(b"".join(blocks), context=context) == stream
    events = parsed(stream)
    assert_invariants(events)
    message = json.loads(fold(stream))
    content = message["content"]
    assert "".join(block["text"] for block in content if block["type"] == "text") == answer["text"]
    reasoning = [block for block in content if block["type"] == "thinking"]
    assert "".join(block["thinking"] for block in reasoning) == (answer["reasoning"] if thinking else "")
    assert all(block["signature"] == digest(block["thinking"]) for block in reasoning)
    used = {block["name"]: block["input"] for block in content if block["type"] == "tool_use"}
    assert used == {f"tool{index}": value for index, value in enumerate(cast(list[object], answer["inputs"]))}


@given(
    st.lists(
        st.sampled_from(
            [
                delta(content="a"),
                delta(reasoning_content="b"),
                calls((0, "c", "f", "{")),
                calls((0, "", "", "}")),
                calls((1, "d", "", "")),
                calls((1, "", "g", "{}")),
                delta("stop"),
                usage(),
                chunk(),
                b": ping\n\n",
                chunk(choices=[{"index": 1, "delta": {"content": "other"}}]),
                chunk(choices=None),
                chunk(choices=[{"delta": None}]),
            ]
        ),
        max_size=12,
    )
)
def test_any_order_of_events(blocks: list[bytes]) -> None:
    one = writer()
    stream = b""
    for block in [*blocks, DONE]:
        stream += one.feed(block)
        if one.done or one.error is not None:
            break
    assert one.done == (one.error is None)
    if one.done:
        assert_invariants(parsed(stream))


def test_interleaved_calls_follow_each_other() -> None:
    stream = written(
        calls((0, "a", "read", "")),
        calls((1, "b", "grep", '{"x":')),
        delta(content="Wait."),
        calls((0, "", "", '{"y":1}')),
        calls((1, "", "", "2}")),
        delta("tool_calls"),
        DONE,
    )
    assert_invariants(parsed(stream))
    assert [(block.get("id"), block.get("input"), block.get("text")) for block in content_of(stream)] == [
        ("a", {"y": 1}, None),
        ("b", {"x": 2}, None),
        (None, None, "Wait."),
    ]


def test_a_complete_call_does_not_hold_the_next_one() -> None:
    one = writer()
    one.feed(calls((0, "a", "read", '{"y":1}')))
    events = parsed(one.feed(calls((1, "b", "grep", '{"x"'))))
    assert [event["type"] for event in events] == ["content_block_stop", "content_block_start", "content_block_delta"]


def test_calls_with_the_same_index_are_told_apart_by_their_ids() -> None:
    stream = written(calls((0, "a", "f", "{}")), calls((0, "b", "g", '{"x":1}')), delta("tool_calls"), DONE)
    assert [(block["id"], block["name"]) for block in content_of(stream)] == [("a", "f"), ("b", "g")]


def test_calls_with_the_same_index_are_told_apart_by_their_names() -> None:
    stream = written(
        calls((0, "", "f", '{"x":')),
        calls((0, "", "", "1}")),
        calls((0, "", "g", "")),
        calls((0, "", "", '{"x":2}')),
        delta("tool_calls"),
        DONE,
    )
    assert_invariants(parsed(stream))
    assert [(block["name"], block["input"]) for block in content_of(stream)] == [("f", {"x": 1}), ("g", {"x": 2})]


def test_a_half_surrogate_in_arguments_is_replaced() -> None:
    arguments = '{"x":"a\\ud83d"}'
    stream = written(calls((0, "a", "f", arguments)), delta(content="b"), delta("tool_calls"), DONE)
    assert content_of(stream)[0]["input"] == {"x": "a\ufffd"}
    first = writer().feed(calls((0, "a", "f", arguments)) + calls((1, "b", "g", "{")))
    assert [event["type"] for event in parsed(first)].count("content_block_start") == 2


def test_a_call_without_an_id_gets_one_and_without_a_name_is_left_out() -> None:
    stream = written(calls((0, "", "f", "{}"), (1, "x", "", "{}")), delta("tool_calls"), DONE)
    assert [(block["id"], block["name"]) for block in content_of(stream)] == [("toolu_msg_1_1", "f")]


def test_arguments_that_are_no_object_stay_readable() -> None:
    stream = written(calls((0, "a", "f", '{"x":"unfin')), calls((1, "b", "g", " ")), delta("length"), DONE)
    assert [block["input"] for block in content_of(stream)] == [{"invalid_arguments": '{"x":"unfin'}, {}]


@table(
    ("chunks", "reason", "sequence"),
    [
        ([delta("stop", content="a")], "end_turn", None),
        ([calls((0, "a", "f", "{}")), delta("stop")], "tool_use", None),
        ([delta(content="a"), calls((0, "a", "f", "{}")), delta("tool_calls")], "tool_use", None),
        ([calls((0, "a", "f", "{")), delta("length")], "max_tokens", None),
        ([delta("content_filter")], "refusal", None),
        ([delta("sensitive")], "refusal", None),
        ([delta("stop", refusal="No.")], "refusal", None),
        ([delta("model_context_window_exceeded")], "model_context_window_exceeded", None),
        ([chunk(choices=[{"finish_reason": "stop", "stop_reason": "END"}])], "stop_sequence", "END"),
        ([chunk(choices=[{"finish_reason": "stop", "stop_reason": 151336}])], "end_turn", None),
        ([chunk(choices=[{"finish_reason": "stop", "stop_reason": "other"}])], "end_turn", None),
        ([delta("eos")], "end_turn", None),
    ],
)
def test_stop_reasons(chunks: list[bytes], reason: str, sequence: str | None) -> None:
    message = json.loads(fold(written(*chunks, DONE)))
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


@pytest.mark.parametrize("chunks", [[], [delta(content="a")], [delta("network_error")], [delta("abort")]])
def test_an_unfinished_response_never_has_a_stop_reason(chunks: list[bytes]) -> None:
    one = writer()
    stream = b"".join(one.feed(block) for block in [*chunks, DONE])
    assert b"message_delta" not in stream and not one.done
    assert one.error is not None and one.error.ending is Ending.TRUNCATED


def test_a_malformed_chunk_is_an_error() -> None:
    one = writer()
    one.feed(b"data: {]\n\n")
    assert one.error is not None and one.error.code == "upstream_malformed"


@pytest.mark.parametrize(
    "chunks",
    [
        [delta("stop"), usage(), DONE],
        [
            chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=json.loads(usage()[6:])["usage"]),
            DONE,
        ],
        [usage(completion_tokens=1), delta("stop"), usage(), DONE],
        [usage(), delta("stop"), DONE],
    ],
)
def test_usage_is_exact_at_the_end(chunks: list[bytes]) -> None:
    events = parsed(written(delta(content="a"), *chunks))
    start = cast(dict[str, dict[str, object]], events[0]["message"])["usage"]
    assert (start["input_tokens"], start["output_tokens"]) == (120, 0)
    assert events[-2]["usage"] == {
        "input_tokens": 100,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 50,
        "output_tokens": 7,
        "output_tokens_details": None,
        "server_tool_use": None,
    }


def test_thinking_tokens_are_reported() -> None:
    events = parsed(written(delta("stop"), usage(completion_tokens_details={"reasoning_tokens": 3}), DONE))
    assert cast(dict[str, object], events[-2]["usage"])["output_tokens_details"] == {"thinking_tokens": 3}


def test_unknown_usage_leaves_the_estimate() -> None:
    stream = written(delta(content="123456789"), delta("stop"), DONE)
    assert cast(dict[str, object], parsed(stream)[-2]["usage"])["input_tokens"] is None
    counts = json.loads(fold(stream))["usage"]
    assert (counts["input_tokens"], counts["output_tokens"]) == (120, 3)


def test_thinking_that_the_client_does_not_want_is_dropped() -> None:
    context = MessagesContext("glm-5.3")
    stream = written(delta(reasoning="Hm."), delta(content="Hi"), delta("stop"), DONE, context=context)
    assert [block["type"] for block in content_of(stream)] == ["text"]


def test_omitted_thinking_is_in_the_signature() -> None:
    context = MessagesContext("glm-5.3", thinking=True, thinking_omitted=True)
    stream = written(delta(reasoning="H"), delta(reasoning="m."), delta("stop", content="a"), DONE, context=context)
    assert content_of(stream)[0] == {"type": "thinking", "thinking": "", "signature": seal("Hm.")}


def test_reasoning_in_two_segments_makes_two_blocks() -> None:
    stream = written(delta(reasoning_content="a", content="b"), delta(reasoning_content="c"), delta("stop"), DONE)
    assert [block["type"] for block in content_of(stream)] == ["thinking", "text", "thinking"]
    assert_invariants(parsed(stream))


def test_start_is_written_once() -> None:
    one = writer()
    first = one.start()
    assert parsed(first)[0]["type"] == "message_start"
    assert b"message_start" not in one.feed(delta(content="a"))


def test_a_failure_is_an_error_event() -> None:
    failed = parsed(writer().fail(ApiError("broken", code="c", status=502)))
    assert failed == [{"type": "error", "error": {"type": "api_error", "message": "broken"}, "request_id": "req_1"}]
    assert schema_errors("ErrorResponse", failed[0]) == []


def test_a_ping_is_an_event() -> None:
    ping = writer().keepalive()
    assert parsed(ping) == [{"type": "ping"}]


COMPLETION = {
    "id": "x",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Reading.",
                "reasoning_content": "Hm.",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}


def test_a_whole_message() -> None:
    message = json.loads(writer().whole(json.dumps(COMPLETION).encode()))
    assert schema_errors("Message", message) == []
    assert message["model"] == "claude-sonnet-5"
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": digest("Hm.")},
        {"type": "text", "text": "Reading.", "citations": None},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}, "caller": {"type": "direct"}},
    ]
    assert message["stop_reason"] == "tool_use"
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (9, 4)


@pytest.mark.parametrize("finish", [None, "network_error"])
def test_an_unfinished_completion_is_an_error(finish: str | None) -> None:
    completion = {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": finish}]}
    with pytest.raises(UpstreamError, match=r"^the upstream ended the response with") as caught:
        writer().whole(json.dumps(completion).encode())
    assert "stream" not in caught.value.message.removeprefix("the upstream")


@pytest.mark.parametrize("kind", ["thinking", "arguments"])
def test_a_stream_of_which_too_much_is_kept_fails(kind: str) -> None:
    block = delta(reasoning_content="four") if kind == "thinking" else calls((0, "a", "f", "four"))
    under_test = MessageWriter(MessagesContext("m", thinking=True), "msg_1", 3, "r", None, 10)
    failed = []
    for _ in range(3):
        under_test.feed(block)
        failed.append(under_test.error is not None)
    assert failed == [False, False, True]
    assert under_test.error is not None
    assert under_test.error.code == "upstream_response_too_large"


def test_text_that_is_not_kept_has_no_limit() -> None:
    under_test = MessageWriter(MessagesContext("m", thinking=True), "msg_1", 3, "r", None, 10)
    for _ in range(10):
        under_test.feed(delta(content="four"))
    assert under_test.error is None


def test_numbers_of_any_length_in_the_message_of_an_error() -> None:
    error = ApiError("maximum context length is " + "9" * 5000 + " tokens", code="context_length_exceeded")
    assert b"prompt is too long" in MessageWriter(MessagesContext("m"), "msg_1", 3, "r").fail(error)
