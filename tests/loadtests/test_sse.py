"""The reader of streamed responses in the load tests: real bytes in, times and verdicts out."""

import json

import pytest

from loadtests.questions import Question
from loadtests.sse import Stream

DONE = b"data: [DONE]\n"
ANY = Question(body=b"", deltas=None)


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    return b"data: %b\n" % json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()


FINISH = event({"content": ""}, "stop")


def read(*lines: bytes, question: Question = ANY) -> str:
    """The fault of an answer of these lines, one a second."""
    stream = Stream()
    for now, line in enumerate(lines):
        stream.take(line, float(now))
    return stream.fault(question)


def test_times_are_those_of_deltas_with_something_in_them() -> None:
    stream = Stream()
    lines = {
        1.0: event({"role": "assistant", "content": ""}),
        1.5: event({"reasoning_content": "Hm"}),
        2.0: b"\n",
        2.5: b": keepalive\n",
        4.0: event({"content": "Yes"}),
        4.5: event({"content": "."}),
        5.0: FINISH,
        6.0: b'data: {"choices":[],"usage":{"completion_tokens":3}}\n',
        7.0: DONE,
    }
    for now, line in lines.items():
        stream.take(line, now)
    assert (stream.first, stream.last, stream.gaps) == (1.5, 4.5, [2.5, 0.5])
    assert (stream.deltas, stream.deltas_per_second) == (3, 2 / 3)
    assert "".join(stream.text) == "Yes."
    assert stream.fault(ANY) == ""


def test_deltas_that_come_at_once_have_no_speed() -> None:
    stream = Stream()
    stream.take(event({"content": "a"}), 1.0)
    stream.take(event({"content": "b"}), 1.0)
    assert stream.deltas_per_second is None


@pytest.mark.parametrize("end", [(), (FINISH,), (FINISH, b"data: [DON"), (FINISH, b"data: [DONE]")])
def test_an_end_without_done_or_error_is_a_truncation(end: tuple[bytes, ...]) -> None:
    stream = Stream()
    stream.broken = "reset by peer"
    for line in (event({"content": "a"}), *end):
        stream.take(line, 0.0)
    assert stream.truncated
    assert stream.fault(ANY) == "truncated: no [DONE] and no error event (reset by peer)"


def test_an_error_event_is_no_truncation() -> None:
    stream = Stream()
    stream.take(event({"content": "a"}), 0.0)
    stream.take(b'data: {"error":{"message":"went away","code":"upstream_truncated"}}\n', 1.0)
    assert not stream.truncated
    assert stream.fault(ANY) == "in-band error upstream_truncated: went away"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ((b"<html>\n",), "not a line of an event stream: <html>"),
        ((b"data: {]\n",), "not a chat chunk: data: {]"),
        ((FINISH, DONE, event({"content": "late"})), "an event after the end"),
        ((event({"content": "a"}), DONE), "no finish_reason"),
    ],
)
def test_wrong_bodies_are_distinguished(lines: tuple[bytes, ...], fault: str) -> None:
    assert read(*lines).startswith(f"wrong body: {fault}")


def test_the_number_of_deltas_is_checked_where_it_is_known() -> None:
    question = Question(body=b"", deltas=2)
    one = event({"content": "a"})
    assert read(one, one, FINISH, DONE, question=question) == ""
    assert read(one, FINISH, DONE, question=question) == "wrong body: expected 2 deltas, received 1"


def fragment(index: int, **function: str) -> bytes:
    return event({"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]})


def test_tool_calls_are_joined_from_their_fragments() -> None:
    stream = Stream()
    question = Question(body=b"", deltas=None, tools=frozenset({"add"}), must_call=True)
    parts = [
        fragment(0, name="add", arguments=""),
        fragment(1, name="add", arguments="{}"),
        fragment(0, arguments='{"'),
    ]
    for line in (*parts, fragment(0, arguments='a":1}'), event({}, "tool_calls"), DONE):
        stream.take(line, 0.0)
    assert [(call.id, call.name, call.arguments) for call in stream.calls.values()] == [
        ("call_0", "add", '{"a":1}'),
        ("call_1", "add", "{}"),
    ]
    assert stream.fault(question) == ""


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (event({"content": "no"}), "wrong body: no tool call"),
        (fragment(0, name="drop", arguments="{}"), "wrong body: a call of 'drop', which is not a tool of the request"),
        (fragment(0, name="add", arguments='{"a'), 'wrong body: arguments of add are not JSON: {"a'),
    ],
)
def test_wrong_tool_calls_are_distinguished(line: bytes, fault: str) -> None:
    question = Question(body=b"", deltas=None, tools=frozenset({"add"}), must_call=True)
    assert read(line, event({}, "tool_calls"), DONE, question=question) == fault


def test_a_stream_without_blanks_and_with_null_deltas_is_good() -> None:
    stream = Stream()
    for line in (
        b'data:{"choices":[{"delta":{"content":"a"}}]}\n',
        b"data:\n",
        b'data:{"choices":[{"delta":null,"finish_reason":"stop"}]}\n',
        b"data:[DONE]\n",
    ):
        stream.take(line, 1.0)
    assert (stream.done, stream.truncated, stream.deltas) == (True, False, 1)
    assert stream.fault(ANY) == ""
