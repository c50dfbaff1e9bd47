"""Chunk events as typed values, for the writers of client APIs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.dialects.chunk_writer import DONE, ChunkWriter
from ztoapi.dialects.chunks import ABSENT, ToolCallIndexes, number, read_chunks
from ztoapi.dialects.lenient import read_usage
from ztoapi.dialects.reader import Usage
from ztoapi.errors import UpstreamError

WRITER = ChunkWriter("chatcmpl-1", 1767225600, "glm-4.6", include_usage=True)
TOOL = b'{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{"}}]}'


def test_each_kind_of_chunk_is_decoded() -> None:
    events = [WRITER.role(), WRITER.reasoning("Hm"), WRITER.content("Hi"), WRITER.delta(TOOL), WRITER.finish("stop")]
    chunks, done = read_chunks(b"".join([*events, WRITER.usage(Usage(1, 2, 3)), DONE]))
    assert done
    *parts, last = chunks
    choices = [chunk.choices[0] for chunk in parts if chunk.choices]
    deltas = [choice.delta for choice in choices if choice.delta is not None]
    assert [delta.content for delta in deltas] == ["", None, "Hi", None, None]
    assert [delta.reasoning_content for delta in deltas] == [None, "Hm", None, None, None]
    assert [choice.finish_reason for choice in choices] == [None] * 4 + ["stop"]
    assert deltas[3].tool_calls is not None
    (call,) = deltas[3].tool_calls
    assert (call.index, call.call_id, call.type) == (0, "call_1", "function")
    assert call.function is not None
    assert (call.function.name, call.function.arguments) == ("f", "{")
    assert [bytes(chunk.usage) for chunk in parts] == [b"null"] * 5
    assert last.choices == []
    usage = read_usage(last.usage)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1, 2, 3)


def test_a_block_may_end_before_the_stream() -> None:
    chunks, done = read_chunks(b": comment\n\n" + WRITER.content("Hi"))
    assert len(chunks) == 1
    assert not done


def test_events_after_the_end_are_not_read() -> None:
    assert read_chunks(WRITER.content("Hi") + DONE + b"data: garbage\n\n")[1]


def test_unknown_fields_are_ignored_and_absent_fields_are_known_as_such() -> None:
    ((chunk,), _) = read_chunks(b'data: {"choices":[{"delta":{"new":1}}],"obfuscation":"x"}\n\n')
    assert chunk.usage is ABSENT
    assert chunk.choices is not None
    assert chunk.choices[0].index is None


def test_a_half_surrogate_is_replaced() -> None:
    ((chunk,), _) = read_chunks(b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n')
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.content == "a\ufffd"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"choices":[{"delta":{"content":1}}]}', b"[" * 5000])
def test_an_event_that_is_no_chunk_is_an_upstream_error(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_chunks(b"data: %b\n\n" % data)
    assert caught.value.code == "upstream_malformed"
    assert caught.value.message.startswith("the upstream sent a chunk that cannot be read")


@pytest.mark.parametrize(
    ("value", "index"),
    [(2, 2), (2.0, 2), ("2", 2), ("x", None), ("", None), (None, None), ([], None), ("\u0662", None)],
)
def test_an_index_is_a_number_in_any_spelling(value: object, index: int | None) -> None:
    assert number(value) == index


@pytest.mark.parametrize(
    ("deltas", "indexes"),
    [
        # OpenAI: the id comes only with the first delta of a call.
        ([(0, "a", 0), (0, "", 0), (1, "b", 0), (1, "", 0)], [0, 0, 1, 1]),
        # By id only, each delta in a list of its own.
        ([(None, "a", 0), (None, "b", 0), (None, "a", 0)], [0, 1, 0]),
        # By position only.
        ([(None, "", 0), (None, "", 1), (None, "", 0)], [0, 1, 0]),
        # A call without an index gets none that is in use.
        ([(1, "a", 0), (None, "b", 0), (None, "c", 0)], [1, 2, 3]),
        ([(0, "a", 0), (None, "a", 0), (None, "b", 1)], [0, 0, 1]),
        # Spellings of an index.
        ([("0", "a", 0), (1.0, "b", 0), (None, "b", 0)], [0, 1, 1]),
    ],
)
def test_deltas_of_tool_calls_find_their_calls(deltas: list[tuple[object, str, int]], indexes: list[int]) -> None:
    calls = ToolCallIndexes()
    assert [calls.find(*delta) for delta in deltas] == indexes


@given(st.lists(st.tuples(st.none() | st.integers(0, 4), st.sampled_from("abcd")), max_size=12))
def test_the_index_of_an_id_stays(deltas: list[tuple[int | None, str]]) -> None:
    calls = ToolCallIndexes()
    assigned: dict[str, int] = {}
    for index, call_id in deltas:
        found = calls.find(index, call_id, 0)
        assert found == (index if index is not None else assigned.get(call_id, found))
        if index is None and call_id not in assigned:
            assert found not in assigned.values()
        assigned.setdefault(call_id, found)


def test_the_chunks_of_any_text_read_back() -> None:
    text = '\u2028 \U0001f600 \\ " \r\n data: [DONE]'
    ((chunk,), done) = read_chunks(WRITER.content(text))
    assert not done
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.content == text
    assert json.loads(bytes(chunk.id)) == "chatcmpl-1"
