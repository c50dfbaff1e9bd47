"""The rules of the event sequence, for any chunks in any blocks."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.apis.responses.answering import DONE, Event, call, chunk, read_events, usage, writer
from ztoapi.dialects.collect import Collector
from ztoapi.errors import ApiError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
FINISHES = st.sampled_from(["stop", "tool_calls", "length", "content_filter", "network_error"])
TOOLS = [
    {"type": "function", "name": "plain"},
    {"type": "custom", "name": "free"},
    {"type": "namespace", "name": "outer", "tools": [{"type": "function", "name": "inner"}]},
]
CALLS = st.builds(
    call,
    st.integers(0, 2),
    st.none() | st.sampled_from(["c1", "c2"]),
    st.none() | st.sampled_from(["plain", "free", "outer__inner", "unknown"]),
    st.none() | TEXTS | st.just('{"input":"x"}'),
)
DELTAS = st.one_of(
    st.fixed_dictionaries({}, optional={"reasoning_content": TEXTS, "content": TEXTS, "refusal": TEXTS}), CALLS
)
CHUNKS = st.builds(chunk, DELTAS)
LAST_CHUNKS = st.builds(lambda delta, finish: chunk(delta, finish), DELTAS, FINISHES)
USAGES = st.sampled_from([b"", chunk({}, usage=usage(4, 2))])
REQUESTS = st.sampled_from(
    [{}, {"reasoning": {"summary": "auto"}}, {"reasoning": {"effort": "high"}}, {"reasoning": {"effort": "none"}}]
)
FIXED = {"id", "type", "call_id", "name", "namespace", "role"}
"""Members of an item that never change."""
PARTS = ("response.content_part.added", "response.reasoning_summary_part.added")


def fold(events: list[Event]) -> None:
    """Fold the events as a strict client does; fails where a rule is broken."""
    announced: dict[object, Event] = {}
    parts: set[object] = set()
    values: dict[object, str] = {}
    done: dict[object, object] = {}
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        kind, index = str(event["type"]), event.get("output_index")
        if kind == "response.output_item.added":
            assert index == len(announced)
            item = event["item"]
            assert isinstance(item, dict)
            announced[index] = item
            values[index] = ""
        elif kind == "response.output_item.done":
            done[index] = item = event["item"]
            assert isinstance(item, dict)
            assert {name: item[name] for name in FIXED & item.keys()} == {
                name: announced[index][name] for name in FIXED & announced[index].keys()
            }
            assert values[index] in strings(item) or (item["type"] == "reasoning" and not values[index])
        elif index is not None:
            assert event["item_id"] == announced[index]["id"]
            assert index not in done
            if kind in PARTS:
                parts.add(index)
            elif kind.endswith(".delta"):
                assert event["delta"] or announced[index]["type"] == "custom_tool_call"
                assert index in parts or "call" in str(announced[index]["type"])
                values[index] += str(event["delta"])
            elif kind.endswith(("_text.done", "refusal.done", "arguments.done", "input.done")):
                assert values[index] in (event.get(name) for name in ("text", "refusal", "arguments", "input"))
    response = events[-1]["response"]
    assert isinstance(response, dict)
    if events[-1]["type"] != "response.failed":
        assert response["output"] == [done[index] for index in announced]
    assert [item["id"] for item in response["output"]] == [item["id"] for item in announced.values()]


def strings(value: object) -> list[str]:
    """All strings in a JSON value."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []


@given(st.lists(CHUNKS, max_size=8), LAST_CHUNKS, USAGES, st.booleans(), REQUESTS)
def test_every_rule_holds(chunks: list[bytes], end: bytes, counts: bytes, cut: bool, fields: dict[str, object]) -> None:
    under_test = writer(tools=TOOLS, **fields)
    stream = under_test.feed(b"".join([*chunks, *([] if cut else [end, counts, DONE])]))
    if not under_test.done:
        assert cut or b"network_error" in end
        stream += under_test.fail(ApiError("cut", code="c", status=502))
    events = read_events(stream)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    final = {"response.completed", "response.incomplete", "response.failed"}
    assert [event["type"] in final for event in events] == [False] * (len(events) - 1) + [True]
    assert (events[-1]["type"] == "response.failed") is not under_test.done
    fold(events)
    response = events[-1]["response"]
    assert json.loads(under_test.response) == response


@given(st.lists(CHUNKS, max_size=8), LAST_CHUNKS, st.data())
def test_blocks_make_no_difference(chunks: list[bytes], end: bytes, data: st.DataObject) -> None:
    events = [*chunks, end, DONE]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events) - 1))))
    under_test = writer(tools=TOOLS)
    stream = b"".join(
        under_test.feed(b"".join(events[start:stop]))
        for start, stop in zip([0, *cuts], [*cuts, len(events)], strict=True)
    )
    assert stream == writer(tools=TOOLS).feed(b"".join(events))


def contents(response: bytes) -> tuple[str, str, list[str]]:
    """The reasoning, the text and the calls of a response, wherever they stand in it."""
    reasoning, text, calls = "", "", []
    for item in msgspec.json.decode(response)["output"]:
        if item["type"] == "reasoning":
            reasoning += item["content"][0]["text"]
        elif item["type"] == "message":
            text += item["content"][0].get("text", "")
        else:
            calls.append(repr((item["name"], item.get("arguments", item.get("input")))))
    return reasoning, text, sorted(calls)


@given(st.lists(CHUNKS, max_size=8), st.sampled_from(["stop", "length"]))
def test_the_folded_stream_equals_the_whole_response(chunks: list[bytes], finish: str) -> None:
    events = b"".join([*chunks, chunk({}, finish), DONE])
    streamed = writer(tools=TOOLS)
    streamed.feed(events)
    collector = Collector()
    collector.feed(events)
    whole = writer(tools=TOOLS).whole(collector.body())
    assert contents(whole) == contents(streamed.response)
    assert json.loads(whole)["status"] == json.loads(streamed.response)["status"]
