"""Chunks of a chat completion become the events of a response."""

import json

import pytest

from tests.apis.responses.answering import DONE, NOW, Event, call, chunk, context, kinds, read_events, usage, writer
from ztoapi.apis.reasoning import seal
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.errors import ApiError, UpstreamError

ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
CUSTOM = {"type": "custom", "name": "apply_patch"}
NAMESPACE = {"type": "namespace", "name": "mcp__files", "tools": [{"type": "function", "name": "read"}]}


def last(stream: bytes) -> Event:
    response = read_events(stream)[-1]["response"]
    assert isinstance(response, dict)
    return response


def items(stream: bytes) -> list[Event]:
    output = last(stream)["output"]
    assert isinstance(output, list)
    done = [event["item"] for event in read_events(stream) if event["type"] == ITEM_DONE]
    assert sorted(map(json.dumps, done)) == sorted(map(json.dumps, output))
    return output


def test_the_events_of_a_text() -> None:
    stream = writer().feed(
        chunk({"role": "assistant", "content": ""})
        + chunk({"content": "Hel"})
        + chunk({"content": "lo\n"})
        + chunk({}, "stop", usage=usage(9, 3, cached=4, reasoning=1))
        + DONE
    )
    created, in_progress, *content, completed = read_events(stream)
    place = {"item_id": "msg_u_0", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    part = {**empty, "text": "Hello\n"}
    item = {"type": "message", "id": "msg_u_0", "status": "completed", "role": "assistant", "content": [part]}
    started = {**item, "status": "in_progress", "content": []}
    assert content == [
        {"type": ADDED, "sequence_number": 2, "output_index": 0, "item": started},
        {"type": "response.content_part.added", "sequence_number": 3, **place, "part": empty},
        {"type": "response.output_text.delta", "sequence_number": 4, **place, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", "sequence_number": 5, **place, "delta": "lo\n", "logprobs": []},
        {"type": "response.output_text.done", "sequence_number": 6, **place, "text": "Hello\n", "logprobs": []},
        {"type": "response.content_part.done", "sequence_number": 7, **place, "part": part},
        {"type": ITEM_DONE, "sequence_number": 8, "output_index": 0, "item": item},
    ]
    assert (created["type"], created["sequence_number"]) == ("response.created", 0)
    assert (in_progress["type"], in_progress["sequence_number"]) == ("response.in_progress", 1)
    assert created["response"] == in_progress["response"]
    response = created["response"]
    assert isinstance(response, dict)
    assert (response["id"], response["status"], response["output"]) == ("resp_u", "in_progress", [])
    assert len(response) == 31
    assert completed["response"] == {
        **response,
        "status": "completed",
        "completed_at": int(NOW),
        "output": [item],
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 12,
        },
    }
    assert (completed["type"], completed["sequence_number"]) == ("response.completed", 9)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_an_item_of_its_own(name: str) -> None:
    chunks = chunk({name: "Hm"}) + chunk({name: "m"}) + chunk({"content": "Yes"}, "stop") + DONE
    stream = writer(reasoning={"effort": "high"}).feed(chunks)
    assert kinds(stream)[2:9] == [
        ADDED,
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        ITEM_DONE,
    ]
    reasoning, message = items(stream)
    assert reasoning == {
        "type": "reasoning",
        "id": "rs_u_0",
        "status": "completed",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hmm"}],
        "encrypted_content": seal("Hmm"),
    }
    assert message["id"] == "msg_u_1"
    unrequested = writer().feed(chunks)
    assert kinds(unrequested)[2:5] == [ADDED, ITEM_DONE, ADDED]
    assert items(unrequested)[0] == reasoning


def test_a_summary_shows_the_reasoning_where_one_was_requested() -> None:
    stream = writer(reasoning={"summary": "auto"}).feed(chunk({"reasoning_content": "Hm"}, "stop") + DONE)
    assert kinds(stream)[3:7] == [
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
    ]
    assert items(stream)[0]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert items(stream)[0]["content"] == [{"type": "reasoning_text", "text": "Hm"}]


def test_reasoning_that_was_switched_off_is_left_out() -> None:
    stream = writer(reasoning={"effort": "none"}).feed(
        chunk({"reasoning_content": "Hm"}) + chunk({"content": "Yes"}, "stop") + DONE
    )
    assert [item["type"] for item in items(stream)] == ["message"]


def test_one_chunk_holds_reasoning_text_and_calls() -> None:
    delta = {"reasoning_content": "Hm", "content": "I look", **call(0, "c1", "ls", '{"a":1}')}
    stream = writer().feed(chunk(delta, "tool_calls") + DONE)
    assert [item["type"] for item in items(stream)] == ["reasoning", "message", "function_call"]


def test_arguments_arrive_in_pieces() -> None:
    stream = writer().feed(
        chunk(call(0, "c1", "ls", ""))
        + chunk(call(0, None, None, '{"a"'))
        + chunk(call(0, None, None, ":1}"))
        + chunk({}, "tool_calls")
        + DONE
    )
    place = {"item_id": "fc_u_0", "output_index": 0}
    item = {"type": "function_call", "id": "fc_u_0", "call_id": "c1", "name": "ls"}
    assert read_events(stream)[2:-1] == [
        {"type": ADDED, "sequence_number": 2, "output_index": 0,
         "item": {**item, "status": "in_progress", "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "sequence_number": 3, **place, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "sequence_number": 4, **place, "delta": ":1}"},
        {"type": "response.function_call_arguments.done", "sequence_number": 5, **place, "name": "ls",
         "arguments": '{"a":1}'},
        {"type": ITEM_DONE, "sequence_number": 6, "output_index": 0,
         "item": {**item, "status": "completed", "arguments": '{"a":1}'}},
    ]  # fmt: skip
    assert last(stream)["status"] == "completed"


def test_pieces_of_parallel_calls_may_alternate() -> None:
    stream = writer().feed(
        chunk(call(0, "c1", "a", '{"x"'))
        + chunk(call(1, "c2", "b", '{"y"'))
        + chunk(call(0, None, None, ":1}"))
        + chunk(call(1, None, None, ":2}"), "tool_calls")
        + DONE
    )
    assert [(item["call_id"], item["arguments"]) for item in items(stream)] == [("c1", '{"x":1}'), ("c2", '{"y":2}')]


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    stream = writer().feed(chunk(call(0, "c1", "ls"), "tool_calls") + DONE)
    deltas = [event["delta"] for event in read_events(stream) if "delta" in event]
    assert deltas == ["{}"]
    assert items(stream)[0]["arguments"] == "{}"


def test_a_call_without_id_gets_one() -> None:
    stream = writer().feed(chunk(call(0, None, "ls", "{}"), "tool_calls") + DONE)
    assert items(stream)[0]["call_id"] == "call_u_0"


def test_a_name_may_come_after_the_first_arguments() -> None:
    stream = writer().feed(chunk(call(0, "c1", None, "{")) + chunk(call(0, None, "ls", "}"), "tool_calls") + DONE)
    assert (items(stream)[0]["name"], items(stream)[0]["arguments"]) == ("ls", "{}")


def test_a_call_without_a_name_is_visible() -> None:
    stream = writer().feed(chunk(call(0, "c1", None, "{}"), "tool_calls") + DONE)
    assert (items(stream)[0]["name"], items(stream)[0]["arguments"]) == ("", "{}")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"*** Begin\\n+a"}', "*** Begin\n+a"),
        ('{"patch":"*** Begin"}', "*** Begin"),
        ('{"input":"a","why":"b"}', "a"),
        ("*** Begin", "*** Begin"),
        ('{"a":1,"b":2}', '{"a":1,"b":2}'),
        ("", ""),
    ],
)
def test_a_custom_tool_gets_its_text(arguments: str, text: str) -> None:
    stream = writer(tools=[CUSTOM]).feed(
        chunk(call(0, "c1", "apply_patch", arguments[:5])) + chunk(call(0, None, None, arguments[5:])) +
        chunk({}, "tool_calls") + DONE
    )  # fmt: skip
    place = {"item_id": "ctc_u_0", "output_index": 0}
    assert read_events(stream)[3:5] == [
        {"type": "response.custom_tool_call_input.delta", "sequence_number": 3, **place, "delta": text},
        {"type": "response.custom_tool_call_input.done", "sequence_number": 4, **place, "input": text},
    ]
    item = {"type": "custom_tool_call", "id": "ctc_u_0", "call_id": "c1", "name": "apply_patch", "input": text}
    assert items(stream) == [{**item, "status": "completed"}]


def test_a_call_of_a_namespace_has_both_names() -> None:
    stream = writer(tools=[NAMESPACE]).feed(chunk(call(0, "c1", "mcp__files__read", "{}"), "tool_calls") + DONE)
    added = read_events(stream)[2]["item"]
    assert isinstance(added, dict)
    for item in (added, items(stream)[0]):
        assert (item["type"], item["namespace"], item["name"]) == ("function_call", "mcp__files", "read")


def test_a_refusal_is_a_part_of_a_message() -> None:
    stream = writer().feed(chunk({"refusal": "I will"}) + chunk({"refusal": " not"}, "stop") + DONE)
    assert kinds(stream)[4:7] == ["response.refusal.delta", "response.refusal.delta", "response.refusal.done"]
    assert items(stream)[0]["content"] == [{"type": "refusal", "refusal": "I will not"}]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("length", "max_output_tokens"),
        ("model_context_window_exceeded", "max_output_tokens"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
    ],
)
def test_a_truncated_response_is_incomplete(finish: str, reason: str) -> None:
    stream = writer().feed(chunk({"reasoning_content": "Hm"}) + chunk({"content": "One, tw"}, finish) + DONE)
    assert kinds(stream)[-1] == "response.incomplete"
    response = last(stream)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["completed_at"] is None
    assert [item["status"] for item in items(stream)] == ["completed", "incomplete"]


def test_a_truncated_call_is_incomplete() -> None:
    stream = writer().feed(chunk(call(0, "c1", "a", "{}")) + chunk(call(1, "c2", "b", '{"x'), "length") + DONE)
    assert [item["status"] for item in items(stream)] == ["completed", "incomplete"]


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "unknown_reason"])
def test_any_other_finish_completes(finish: str) -> None:
    assert kinds(writer().feed(chunk({"content": "a"}, finish) + DONE))[-1] == "response.completed"


def test_the_last_event_waits_for_the_usage() -> None:
    under_test = writer()
    assert "response.completed" not in kinds(under_test.feed(chunk({"content": "a"}, "stop")))
    late = under_test.feed(b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}\n\n')
    counts = last(late)["usage"]
    assert isinstance(counts, dict)
    assert counts["total_tokens"] == 6
    assert under_test.done
    assert under_test.feed(DONE) == b""


def test_usage_before_the_finish_does_not_end_the_response() -> None:
    stream = writer().feed(
        chunk({"content": "a"}, usage=usage(5, 1)) + chunk({"content": "b"}, "stop", usage=usage(5, 2)) + DONE
    )
    counts = last(stream)["usage"]
    assert isinstance(counts, dict)
    assert counts["output_tokens"] == 2
    assert len(items(stream)) == 1


def test_usage_that_is_unknown_is_null() -> None:
    assert last(writer().feed(chunk({"content": "a"}, "stop") + DONE))["usage"] is None


def test_other_choices_are_left_out() -> None:
    other = chunk({"content": "b"}, "length").replace(b'"index": 0', b'"index": 1')
    stream = writer().feed(chunk({"content": "a"}) + other + chunk({}, "stop") + DONE)
    assert items(stream)[0]["content"] == [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]


def test_an_empty_response_has_no_items() -> None:
    stream = writer().feed(chunk({"content": ""}, "stop") + DONE)
    assert kinds(stream) == ["response.created", "response.in_progress", "response.completed"]


@pytest.mark.parametrize("end", [DONE, chunk({}, "network_error") + DONE])
def test_a_cut_is_never_completed(end: bytes) -> None:
    under_test = writer()
    stream = under_test.feed(chunk({"content": "One, tw"}) + end)
    assert under_test.error is not None
    assert not under_test.done
    stream += under_test.fail(under_test.error)
    assert kinds(stream)[-1] == "response.failed"
    response = last(stream)
    assert response["error"] == {"code": "server_error", "message": under_test.error.message}
    assert response["completed_at"] is None


def test_a_failure_finishes_no_open_call() -> None:
    """A client executes a call at its ``output_item.done``."""
    under_test = writer()
    stream = under_test.feed(chunk({"content": "I look"}) + chunk(call(0, "c1", "rm", '{"path":"/tmp'))) + (
        under_test.fail(ApiError("gone", code="c", status=502))
    )
    assert kinds(stream).count(ITEM_DONE) == 1
    output = last(stream)["output"]
    assert isinstance(output, list)
    assert [(item["type"], item["status"]) for item in output] == [
        ("message", "completed"),
        ("function_call", "incomplete"),
    ]


def test_a_failure_before_the_first_chunk_still_begins_with_created() -> None:
    stream = writer().fail(ApiError("gone", code="c", status=502))
    assert kinds(stream) == ["response.created", "response.in_progress", "response.failed"]


def test_nothing_follows_the_last_event() -> None:
    under_test = writer()
    under_test.feed(chunk({"content": "a"}, "stop") + DONE)
    assert under_test.feed(chunk({"content": "b"}, "stop") + DONE) == b""
    assert under_test.fail(ApiError("late", code="c")) == b""
    assert under_test.start() == b""


def test_a_chunk_that_cannot_be_read_sets_the_error() -> None:
    under_test = writer()
    under_test.feed(chunk({"content": "a"}))
    assert under_test.feed(b"data: {broken\n\n") == b""
    assert under_test.error is not None


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    stream = writer().feed(b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}\n\n' + DONE)
    assert [event["delta"] for event in read_events(stream) if "delta" in event] == ["a\ufffd"]


def test_start_may_precede_the_first_chunk() -> None:
    under_test = writer()
    assert kinds(under_test.start()) == ["response.created", "response.in_progress"]
    assert kinds(under_test.feed(chunk({"content": "a"})))[0] == ADDED


def test_a_keepalive_is_an_event_with_a_number() -> None:
    under_test = writer()
    stream = (
        under_test.start() + under_test.keepalive() + under_test.feed(chunk({"content": "a"})) + under_test.keepalive()
    )
    events = read_events(stream + under_test.feed(chunk({"content": "b"}, "stop") + DONE))
    assert [event["type"] for event in events].count("keepalive") == 2
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def completion(message: dict[str, object], finish: str | None) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"id": "c", "choices": [choice], "usage": usage(5, 2)}, indent=1).encode()


def test_a_whole_response_equals_the_streamed_one() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "ls", "arguments": '{"a":1}'}}]
    body = completion({"reasoning_content": "Hm", "content": "I look", "tool_calls": calls}, "tool_calls")
    streamed = writer().feed(
        chunk({"reasoning_content": "Hm"}) + chunk({"content": "I look"}) + chunk(call(0, "c1", "ls", '{"a":1}'))
        + chunk({}, "tool_calls", usage=usage(5, 2)) + DONE
    )  # fmt: skip
    assert json.loads(writer().whole(body)) == last(streamed)


@pytest.mark.parametrize("body", [completion({"content": "One, tw"}, None), b"<html>", b"{}"])
def test_a_whole_response_that_was_cut_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        writer().whole(body)


def test_ids_are_those_of_the_response() -> None:
    under_test = ResponseWriter(context(), "other", lambda: NOW)
    stream = under_test.feed(chunk({"content": "a"}, "stop") + DONE)
    assert last(stream)["id"] == "resp_other"
    assert items(stream)[0]["id"] == "msg_other_0"


@pytest.mark.parametrize("arguments", ["[" * 3000, '{"input":' * 3000, '{"input":' + "9" * 5000 + "}"])
def test_unreadable_input_of_a_custom_tool_fails_nothing(arguments: str) -> None:
    tools = [{"type": "custom", "name": "free"}]
    stream = chunk(call(0, "a", "free", arguments))
    complete = writer(tools=tools)
    assert kinds(complete.feed(stream + chunk({}, "tool_calls") + DONE))[-1] == "response.completed"
    assert json.loads(complete.response)["output"][0]["input"] == arguments
    cut = writer(tools=tools)
    cut.feed(stream)
    assert kinds(cut.fail(ApiError("cut", code="c", status=502))) == ["response.failed"]


def test_half_a_surrogate_pair_in_the_input_of_a_custom_tool_is_replaced() -> None:
    under_test = writer(tools=[{"type": "custom", "name": "free"}])
    under_test.feed(chunk(call(0, "a", "free", '{"input":"cut \\ud83d"}')) + chunk({}, "tool_calls") + DONE)
    assert json.loads(under_test.response)["output"][0]["input"] == "cut \ufffd"


@pytest.mark.parametrize(
    "delta", [{"content": "four"}, {"reasoning_content": "four"}, call(0, "a", "f", "four"), call(0, "a", None, "four")]
)
def test_a_stream_above_the_limit_fails(delta: Event) -> None:
    under_test = ResponseWriter(context(), "u", lambda: NOW, 10)
    out, failed = b"", []
    for _ in range(3):
        out += under_test.feed(chunk(delta))
        failed.append(under_test.error is not None)
    assert failed == [False, False, True]
    assert under_test.error is not None
    assert under_test.error.code == "upstream_response_too_large"
    assert kinds(out + under_test.fail(under_test.error))[-1] == "response.failed"


def test_calls_that_all_have_the_index_0_are_told_apart() -> None:
    for first, second in (("a", "b"), (None, None)):
        calls = [call(0, first, "f", "{}"), call(0, second, "g", '{"x":1}')]
        under_test = writer()
        under_test.feed(b"".join([*map(chunk, calls), chunk({}, "tool_calls"), DONE]))
        output = json.loads(under_test.response)["output"]
        assert [(item["name"], item["arguments"]) for item in output] == [("f", "{}"), ("g", '{"x":1}')]
