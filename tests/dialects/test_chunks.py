"""Chunk events as typed values, for the writers of client APIs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects.chunk_writer import DONE, ChunkWriter
from ztoapi.dialects.chunks import ABSENT, Delta, FunctionDelta, ToolCallDelta, ToolCallIndexes, number, read_chunks
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


@table(
    ("value", "index"),
    [(2, 2), (2.0, 2), ("2", 2), ("x", None), ("", None), (None, None), ([], None), ("\u0662", None)],
)
def test_an_index_is_a_number_in_any_spelling(value: object, index: int | None) -> None:
    assert number(value) == index


def part(index: object, id: str, name: str = "", arguments: str = "") -> ToolCallDelta:
    return ToolCallDelta(index, id or None, None, FunctionDelta(name or None, arguments))


@pytest.mark.parametrize(
    ("deltas", "indexes"),
    [
        # OpenAI: the id comes only with the first delta of a call.
        ([(0, "a", 0), (0, "", 0), (1, "b", 0), (1, "", 0)], [0, 0, 1, 1]),
        # By id only, each delta in a list of its own.
        ([(None, "a", 0), (None, "b", 0), (None, "a", 0)], [0, 1, 0]),
        # By id at the first delta of a call, and then by position.
        ([(None, "a", 0), (None, "b", 0), (None, "", 0)], [0, 1, 1]),
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
    assert [calls.find(part(index, id), position) for index, id, position in deltas] == indexes


@table("index", [0, None, "0"])
@table(
    ("deltas", "numbers"),
    [
        # Whole calls.
        ([("", "f", "{}"), ("", "g", '{"x":1}'), ("", "g", '{"x":2}')], [0, 1, 2]),
        # Calls in pieces, with the name first or with the first piece.
        ([("", "f", ""), ("", "", '{"x":'), ("", "", '"}"}'), ("", "f", ""), ("", "", "{}")], [0, 0, 0, 1, 1]),
        ([("", "f", '{"x'), ("", "", '":1} '), ("", "g", "{"), ("", "", "}")], [0, 0, 1, 1]),
        # The name again before the end.
        ([("", "f", "{"), ("", "f", '"x":1'), ("", "f", "}")], [0, 0, 0]),
        # Half a surrogate pair is text as any other.
        ([("", "f", '{"x":"\\ud83d"}'), ("", "g", "{}")], [0, 1]),
        # Ids.
        ([("a", "f", "{}"), ("b", "g", ""), ("b", "", "{}"), ("a", "", " ")], [0, 1, 1, 0]),
        ([("a", "f", "{}"), ("a", "f", ""), ("", "g", "{}")], [0, 0, 1]),
    ],
)
def test_calls_with_the_same_index_or_none(
    index: object, deltas: list[tuple[str, str, str]], numbers: list[int]
) -> None:
    calls = ToolCallIndexes()
    assert [calls.find(part(index, *delta), 0) for delta in deltas] == numbers


def test_an_id_for_each_part_does_not_divide_a_call() -> None:
    calls = ToolCallIndexes()
    parts = [part(0, "a", "f", "{"), part(0, "b", "", "}"), part(0, "c"), part(1, "d", "f", "{}"), part(1, "e")]
    assert [calls.find(part, 0) for part in parts] == [0, 0, 0, 1, 1]


def test_the_number_of_a_call_is_not_the_index_of_another() -> None:
    calls = ToolCallIndexes()
    parts = [part(0, "a", "f", "{}"), part(0, "b", "g", "{}"), part(1, "c", "h", "{"), part(1, "", "", "}")]
    assert [calls.find(part, 0) for part in parts] == [0, 1, 2, 2]


@given(st.lists(st.tuples(st.none() | st.integers(0, 4), st.sampled_from("abcd")), max_size=12))
def test_the_number_of_an_id_stays(deltas: list[tuple[int | None, str]]) -> None:
    calls = ToolCallIndexes()
    assigned: dict[tuple[int | None, str], int] = {}
    for index, call_id in deltas:
        number = calls.find(part(index, call_id, "f"), 0)
        assert assigned.setdefault((index, call_id), number) == number
        assert assigned.setdefault((None, call_id), number) == number or index is not None
    for index, call_id in assigned:
        others = {assigned[key] for key in assigned if key[1] != call_id}
        assert assigned[index, call_id] not in others


@given(st.dictionaries(st.text(max_size=4), st.lists(st.text(max_size=6) | st.integers()), max_size=3), st.data())
def test_arguments_are_complete_at_the_end_of_the_object(value: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    calls = ToolCallIndexes()
    calls.find(part(0, "a", "f"), 0)
    for place, character in enumerate(text):
        assert not calls.is_complete(0)
        calls.find(part(0, "", "", character), 0)
        if data.draw(st.booleans()) or place == len(text) - 1:
            assert calls.is_complete(0) == (place == len(text) - 1)
    calls.find(part(0, "", "", " \n"), 0)
    assert calls.is_complete(0)
    calls.find(part(0, "", "", "}"), 0)
    assert not calls.is_complete(0)


@table("arguments", ["", " ", "[]", '"x"', "null", "{]", "{x}", "{}{}", "}", '{"x":1', "[" * 5000 + "]" * 5000])
def test_other_arguments_are_never_complete(arguments: str) -> None:
    calls = ToolCallIndexes()
    calls.find(part(0, "a", "f", arguments), 0)
    assert not calls.is_complete(0)


def test_each_piece_of_the_arguments_is_read_once() -> None:
    """Reading all of them for each piece would make a long call quadratic."""
    size = 400

    class Piece(str):
        __slots__ = ()
        reads = 0

        def __radd__(self, before: str) -> str:
            Piece.reads += 1
            return before + str(self)

    calls = ToolCallIndexes()
    calls.find(part(0, "a", "f", '{"x":"'), 0)
    for _ in range(size):
        calls.find(part(0, "", "", Piece("}")), 0)
        assert not calls.is_complete(0)
    assert 0 < Piece.reads <= size


def test_the_chunks_of_any_text_read_back() -> None:
    text = '\u2028 \U0001f600 \\ " \r\n data: [DONE]'
    ((chunk,), done) = read_chunks(WRITER.content(text))
    assert not done
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.content == text
    assert json.loads(bytes(chunk.id)) == "chatcmpl-1"


def only_delta(delta: object) -> Delta:
    """Returns ``delta`` as it is read from a chunk."""
    block = b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()
    (read,) = read_chunks(block).chunks
    assert read.choices is not None
    assert read.choices[0].delta is not None
    return read.choices[0].delta


@table(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        (["a", {"type": "thinking", "thinking": []}, {"type": "text", "text": None}], "a"),
        ([], ""),
        ({"type": "text", "text": "a"}, "a"),
        ([{"type": "text", "text": "cut \ud83d"}], "cut \ufffd"),
    ],
)
@table("name", ["content", "reasoning_content", "reasoning", "refusal"])
def test_texts_of_other_types_are_read(name: str, content: object, text: str) -> None:
    delta = only_delta({name: content})
    assert getattr(delta, name) == text


def test_arguments_may_be_an_object_and_an_id_a_number() -> None:
    call = {"index": 0, "id": 7, "function": {"name": "f", "arguments": {"a": [1, {"b": 2}]}}}
    parts = only_delta({"tool_calls": [None, call]}).tool_calls
    assert parts is not None
    (part,) = parts
    assert part.call_id == "7"
    assert part.function == FunctionDelta("f", '{"a": [1, {"b": 2}]}')


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        ("[1]", "it must be an object, not a list"),
        ('{"choices":5}', "choices must be a list, not a number"),
        ('{"choices":[{"delta":[]}]}', "choices[0].delta must be an object, not a list"),
        ('{"choices":[{"delta":{"content":[1]}}]}', "choices[0].delta.content must be a string, not a list"),
        ('{"choices":[{"delta":{"tool_calls":{}}}]}', "choices[0].delta.tool_calls must be a list, not an object"),
    ],
)
def test_an_unreadable_chunk_is_described_in_plain_words(chunk: str, reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_chunks(b"data: %b\n\n" % chunk.encode())
    assert caught.value.message == f"the upstream sent a chunk that cannot be read: {reason}"


@pytest.mark.parametrize("index", ["9" * 5000, 10**30, -(10**30), 1e300])
def test_a_huge_index_is_none(index: object) -> None:
    assert number(index) is None
