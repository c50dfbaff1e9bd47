"""The chunks of a stream in, one completion out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.dialects.chunk_writer import DONE, ChunkWriter
from ztoapi.dialects.collect import Collector
from ztoapi.dialects.reader import Usage
from ztoapi.errors import UpstreamError

GOLDEN = Path(__file__).parent / "golden"
WRITER = ChunkWriter("chatcmpl-1", 1767225600, "glm-4.6", include_usage=False)


def collect(*blocks: bytes) -> dict[str, object]:
    collector = Collector()
    for block in blocks:
        assert not collector.done
        collector.feed(block)
    assert collector.done
    body = json.loads(collector.body())
    assert isinstance(body, dict)
    return body


def chunk(**values: object) -> bytes:
    return b"data: " + json.dumps({"id": "x1", "created": 7, "model": "glm-4.7"} | values).encode() + b"\n\n"


def delta(finish_reason: str | None = None, **values: object) -> bytes:
    return chunk(choices=[{"index": 0, "delta": values, "finish_reason": finish_reason}])


def message(body: dict[str, object]) -> dict[str, object]:
    choices = body["choices"]
    assert isinstance(choices, list)
    found = choices[0]["message"]
    assert isinstance(found, dict)
    return found


def test_stream_becomes_one_completion() -> None:
    assert collect((GOLDEN / "zai_web_thinking.expected.sse").read_bytes()) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "glm-4.6",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Four.",
                    "refusal": None,
                    "reasoning_content": "Add them.\nEasy.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    }


def test_defect_04_usage_is_the_upstreams_or_absent() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21, "prompt_tokens_details": {"x": 8}}
    assert collect(delta(content="a") + chunk(choices=[], usage=usage) + DONE)["usage"] == usage
    on_finish = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=usage)
    assert collect(on_finish, chunk(choices=[], usage=None) + DONE)["usage"] == usage
    assert "usage" not in collect(delta(content="a") + DONE)
    assert collect(WRITER.usage(Usage(1, 2, 3)) + DONE)["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
    }


def test_defect_16_id_and_created_are_those_of_the_chunks() -> None:
    body = collect(delta(content="a") + DONE)
    assert (body["id"], body["created"], body["model"]) == ("x1", 7, "glm-4.7")


def test_tool_calls_are_merged_by_index() -> None:
    body = collect(
        delta(role="assistant", content=None),
        delta(tool_calls=[{"index": 1, "id": "b", "type": "function", "function": {"name": "sub", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": "{"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": "}"}}, {"index": 1, "function": {"arguments": "{}"}}]),
        delta("tool_calls") + DONE,
    )
    assert message(body)["content"] is None
    assert message(body)["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
    ]
    assert body["choices"][0]["finish_reason"] == "tool_calls"  # type: ignore[index]


def test_tool_calls_without_index_are_distinguished_by_id() -> None:
    body = collect(
        delta(tool_calls=[{"id": "a", "function": {"name": "add", "arguments": "{"}}]),
        delta(tool_calls=[{"id": "b", "function": {"name": "sub", "arguments": "[]"}}]),
        delta(tool_calls=[{"id": "a", "function": {"arguments": "}"}}]) + DONE,
    )
    calls = message(body)["tool_calls"]
    assert isinstance(calls, list)
    assert [call["function"]["arguments"] for call in calls] == ["{}", "[]"]


def test_text_beside_tool_calls_is_kept() -> None:
    body = collect(delta(content="Let me see.") + delta(tool_calls=[{"index": 0, "id": "a"}]) + DONE)
    assert message(body)["content"] == "Let me see."


def test_empty_answer_is_an_empty_string() -> None:
    assert message(collect(delta("stop") + DONE)) == {"role": "assistant", "content": "", "refusal": None}


def test_other_fields_of_a_chunk_are_kept() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -1.5}]}
    body = collect(
        chunk(
            choices=[{"delta": {"content": "a", "reasoning": "r", "refusal": "no"}, "logprobs": logprobs}],
            system_fingerprint="fp",
            service_tier="default",
        )
        + delta(content="b")
        + DONE
    )
    assert message(body) == {"role": "assistant", "content": "ab", "refusal": "no", "reasoning": "r"}
    assert body["choices"][0]["logprobs"] == logprobs  # type: ignore[index]
    assert (body["system_fingerprint"], body["service_tier"]) == ("fp", "default")


def test_choices_are_kept_apart() -> None:
    body = collect(
        chunk(choices=[{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]),
        chunk(choices=[{"index": 1, "delta": {"content": "c"}, "finish_reason": "length"}]) + DONE,
    )
    choices = body["choices"]
    assert isinstance(choices, list)
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "a"), (1, "bc")]
    assert [choice["finish_reason"] for choice in choices] == [None, "length"]


def test_comments_are_skipped() -> None:
    assert message(collect(b": keepalive\n\n" + delta(content="a") + DONE))["content"] == "a"


@pytest.mark.parametrize("payload", [b"{", b"[]", b'{"choices":7}', b'{"choices":[{"delta":{"content":7}}]}'])
def test_unreadable_chunk_is_an_error(payload: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        Collector().feed(b"data: %b\n\n" % payload)
    assert caught.value.code == "upstream_malformed"


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=6)), max_size=10), st.data())
def test_defect_01_text_is_the_sum_of_the_deltas(parts: list[tuple[bool, str]], data: st.DataObject) -> None:
    blocks = [WRITER.content(text) if visible else WRITER.reasoning(text) for visible, text in parts]
    blocks = [WRITER.role(), *blocks, WRITER.finish("stop") + DONE]
    grouped: list[bytes] = []
    while blocks:
        size = data.draw(st.integers(1, len(blocks)))
        grouped.append(b"".join(blocks[:size]))
        del blocks[:size]
    found = message(collect(*grouped))
    assert found["content"] == "".join(text for visible, text in parts if visible)
    assert (found.get("reasoning_content") or "") == "".join(text for visible, text in parts if not visible)
