"""The order of a chat request's messages, whatever the order of the turns."""

import json
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.apis.transcript import ImagePart, TextPart, Transcript, Url, tool_call

Step = tuple[str, str]


def messages(transcript: Transcript) -> list[dict[str, object]]:
    found = json.loads(bytes(transcript.messages()))
    assert isinstance(found, list)
    return found


def call(id: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": "read", "arguments": "{}"}}


def test_leading_system_messages_are_joined_and_later_ones_stay() -> None:
    transcript = Transcript()
    transcript.system("one")
    transcript.system("")
    transcript.system("two")
    transcript.user([TextPart("hi"), TextPart(""), TextPart("there")])
    transcript.system("three")
    assert messages(transcript) == [
        {"role": "system", "content": "one\n\ntwo"},
        {"role": "user", "content": "hi\n\nthere"},
        {"role": "system", "content": "three"},
    ]


def test_results_come_in_the_order_of_the_calls_and_before_all_else() -> None:
    transcript = Transcript()
    transcript.user([TextPart("go")])
    transcript.assistant("Reading.", reasoning="Two files.", calls=[tool_call("a", "read", "{}")])
    transcript.assistant(calls=[tool_call("b", "read", "{}")])
    transcript.system("note")
    transcript.user([TextPart("and"), ImagePart(Url("data:,x"))])
    transcript.result("b", "2")
    transcript.result("a", "")
    assert messages(transcript)[1:] == [
        {
            "role": "assistant",
            "content": "Reading.",
            "reasoning_content": "Two files.",
            "tool_calls": [call("a"), call("b")],
        },
        {"role": "tool", "tool_call_id": "a", "content": "(no output)"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "system", "content": "note"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "and"}, {"type": "image_url", "image_url": {"url": "data:,x"}}],
        },
    ]


def test_a_call_without_a_result_gets_one() -> None:
    transcript = Transcript()
    transcript.assistant(calls=[tool_call("a", "read", "{}"), tool_call("b", "read", "{}")])
    transcript.result("b", "2")
    transcript.user([TextPart("go on")])
    assert [one.get("tool_call_id") for one in messages(transcript)] == [None, "a", "b", None]


def test_a_trailing_call_stays_open() -> None:
    transcript = Transcript()
    transcript.user([TextPart("go")])
    transcript.assistant(calls=[tool_call("a", "read", "{}")])
    assert messages(transcript)[-1] == {"role": "assistant", "content": None, "tool_calls": [call("a")]}


def test_a_result_without_a_call_or_a_second_result_becomes_a_user_message() -> None:
    transcript = Transcript()
    transcript.result("x", "lost")
    transcript.assistant(calls=[tool_call("a", "read", "{}")])
    transcript.result("a", "1")
    transcript.result("a", "2")
    assert [(one["role"], one["content"]) for one in messages(transcript)] == [
        ("user", "Result of the tool call x:\n\nlost"),
        ("assistant", None),
        ("tool", "1"),
        ("user", "Result of the tool call a:\n\n2"),
    ]


def test_an_assistant_message_of_reasoning_alone_is_left_out() -> None:
    transcript = Transcript()
    transcript.user([TextPart("a")])
    transcript.assistant(reasoning="Hm.")
    transcript.user([TextPart("b")])
    assert [one["content"] for one in messages(transcript)] == ["a", "b"]
    assert not transcript.has_reasoning


ADD: dict[str, Callable[[Transcript, str], None]] = {
    "system": lambda transcript, text: transcript.system(text),
    "user": lambda transcript, text: transcript.user([TextPart(text)]),
    "result": lambda transcript, text: transcript.result(text, text),
    "text": lambda transcript, text: transcript.assistant(text),
    "call": lambda transcript, text: transcript.assistant(calls=[tool_call(text, "f", "{}")]),
}


@pytest.mark.parametrize("kind", sorted(ADD))
def test_a_turn_does_not_copy_those_before_it(kind: str) -> None:
    """Copies would make a long conversation quadratic: the gateway would stand still for tens of seconds."""
    add, turns = ADD[kind], [f"turn {number:06}" for number in range(3000)]
    transcript = Transcript()
    if kind == "result":
        for turn in turns:
            ADD["call"](transcript, turn)
    for turn in turns[:-20]:
        add(transcript, turn)
    memory = []
    tracemalloc.start()
    try:
        for turn in turns[-20:]:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            add(transcript, turn)
            memory.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    # A list that grows is copied now and then.
    assert min(memory) < 4096


steps = st.lists(st.tuples(st.sampled_from(sorted(ADD)), st.sampled_from("abc")), max_size=12)


def built(turns: list[Step]) -> list[dict[str, object]]:
    transcript = Transcript()
    for kind, text in turns:
        ADD[kind](transcript, text)
    return messages(transcript)


@given(steps)
def test_each_call_has_its_result_behind_it(turns: list[Step]) -> None:
    found = built(turns)
    answered = 0
    for at, message in enumerate(found):
        calls = message.get("tool_calls", [])
        assert isinstance(calls, list)
        ids = [one["id"] for one in calls]
        behind = [one.get("tool_call_id") for one in found[at + 1 : at + 1 + len(ids)]]
        if message["role"] == "assistant":
            assert behind == (ids if at + 1 < len(found) else [])
            assert message["content"] or ids
        answered += len(behind)
    assert sum(message["role"] == "tool" for message in found) == answered


@given(steps, steps)
def test_a_longer_conversation_begins_with_the_shorter_one(before: list[Step], after: list[Step]) -> None:
    # A request ends with a turn of the client, and the next one has the assistant's reply behind it.
    shorter = built([*before, ("user", "u")])
    longer = built([*before, ("user", "u"), ("text", "reply"), *after])
    assert longer[: len(shorter)] == shorter
