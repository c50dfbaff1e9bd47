"""The number of values of a request body is bounded, whatever stands in its texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects import pieces, request
from ztoapi.dialects.request import decode_large_request, read_body
from ztoapi.dialects.value_count import count_values
from ztoapi.errors import ApiError
from ztoapi.wire.limits import BODY_VALUES, EMBEDDING_VALUES

TEXT = st.text(alphabet='a",[{\\\n€', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def marks(value: object) -> int:
    """The commas and opening brackets around and in a value."""
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(marks, inner))


@given(value=JSON, piece=st.integers(2, 40), ascii=st.booleans())
def test_only_what_stands_outside_of_strings_counts(value: object, piece: int, ascii: bool) -> None:
    document = json.dumps(value, ensure_ascii=ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", piece)
        assert count_values(document, len(document)) == marks(value)


@given(document=st.binary(max_size=60) | st.text(alphabet='"\\,[', max_size=60).map(str.encode))
def test_a_document_has_no_more_values_than_bytes(document: bytes) -> None:
    assert count_values(document, len(document)) <= len(document)


@table("item", [b"1", b"{}", b"[]", b'""', b"null", b'{"role":"user","content":"a"}'])
@table("field", ["messages", "tools"])
def test_a_body_with_too_many_values_is_refused_by_the_name_of_its_field(item: bytes, field: str) -> None:
    items = b",".join([item] * BODY_VALUES)
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"%b":[%b]}' % (field.encode(), items)
    for decode in (decode_large_request, read_body):
        with pytest.raises(ApiError) as caught:
            decode(body)
        error = caught.value
        assert (error.status, error.code, error.param) == (413, "request_too_large", field)
        assert str(BODY_VALUES) in error.message
    read_body(body, EMBEDDING_VALUES)


@pytest.mark.parametrize("values", [BODY_VALUES, EMBEDDING_VALUES])
def test_a_body_with_far_too_many_values_is_refused_without_a_decoder(
    values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "_decode_fields", None)
    with pytest.raises(ApiError) as caught:
        read_body(b'{"model":"m","input":[' + b"1," * EMBEDDING_VALUES + b"1]}", values)
    error = caught.value
    assert (error.status, error.code, error.param) == (413, "request_too_large", None)
    assert error.message.startswith(f"the request is too large: a request may have {values} JSON values")


@pytest.mark.parametrize("end", [b"", b"]", b"]}x"])
def test_a_broken_body_with_too_many_values_is_refused_undecoded(end: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decode_large_request(b'{"model":"m","messages":[' + b"{}," * BODY_VALUES + b"{}" + end)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_text_of_any_length_is_no_value() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": '{"a":[1,2,"\\"]},' * BODY_VALUES}]})
    assert decode_large_request(body.encode()).model == "m"


def test_a_conversation_of_10000_messages_with_tool_calls_is_accepted() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "run", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": "Looking.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "x" * 30}]},
    ]
    decoded = decode_large_request(json.dumps({"model": "m", "messages": turns * 5_000}).encode())
    assert decoded.messages is not None
    assert len(decoded.messages) == 10_000
