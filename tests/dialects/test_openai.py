"""Upstreams that speak OpenAI's format: the reader, whole answers, request bodies."""

import json
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ztoapi.dialects import openai
from ztoapi.dialects.openai import OpenAIReader, Rewrite, build, completion
from ztoapi.dialects.request import decode_request
from ztoapi.errors import Ending, UpstreamError

HEAD = b'{"id":"x1","created":1767225600,"model":"glm-4.7","choices":[{"index":0,"delta":'
USAGE = (
    b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":8}}'
)


def event(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


def delta(text: str, field: str = "content") -> bytes:
    return event(HEAD + b'{"role":"assistant",' + json.dumps({field: text}).encode()[1:] + b"}]}")


def finish(reason: bytes = b"stop") -> bytes:
    return event(HEAD + b'{"role":"assistant","content":""},"finish_reason":"' + reason + b'"}],' + USAGE + b"}")


DONE = b"data: [DONE]\n\n"
STREAM = [delta("Add", "reasoning_content"), delta("Four"), delta(" }}]}\u00e9\n\n"), finish(), DONE]


def zai_reader(*, include_usage: bool = False) -> OpenAIReader:
    return OpenAIReader(Rewrite("chatcmpl-7", "glm-4.6", normalise=True), {}, include_usage=include_usage)


def plain_reader(*, include_usage: bool = True, model: str | None = None) -> OpenAIReader:
    return OpenAIReader(Rewrite("chatcmpl-7", model, normalise=False), {}, include_usage=include_usage)


def objects(out: bytes) -> list[dict[str, object]]:
    return [json.loads(part[6:]) for part in out.split(b"\n\n") if part and part != b"data: [DONE]"]


def text_of(out: bytes, field: str = "content") -> str:
    parts = []
    for chunk in objects(out):
        choices = chunk["choices"]
        assert isinstance(choices, list)
        parts += [choice["delta"].get(field, "") for choice in choices]
    return "".join(parts)


def test_plain_stream_passes_byte_for_byte() -> None:
    reader = plain_reader()
    assert b"".join(reader.feed(part) for part in STREAM) == b"".join(STREAM)
    assert reader.done
    assert reader.usage is not None and reader.usage.total_tokens == 21


def test_plain_stream_with_crlf_and_comments_passes_byte_for_byte() -> None:
    stream = b": ping\r\n\r\n" + b"".join(STREAM[:-1]).replace(b"\n", b"\r\n") + b"data:[DONE]\r\n\r\n"
    reader = plain_reader()
    assert reader.feed(stream) == stream
    assert reader.done


def test_alias_is_rewritten_in_every_chunk_and_nothing_else_changes() -> None:
    reader = plain_reader(model="my-glm")
    out = b"".join(reader.feed(part) for part in STREAM)
    assert [chunk["model"] for chunk in objects(out)] == ["my-glm"] * 4
    assert [{**chunk, "model": "glm-4.7"} for chunk in objects(out)] == objects(b"".join(STREAM))


def test_zai_chunks_become_what_the_openai_schema_wants() -> None:
    reader = zai_reader()
    out = b"".join(reader.feed(part) for part in STREAM)
    for chunk in objects(out):
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["id"] == "chatcmpl-7"
        assert chunk["model"] == "glm-4.6"
        assert chunk["created"] == 1767225600
    finishes = [choice["finish_reason"] for chunk in objects(out) for choice in chunk["choices"]]  # type: ignore[attr-defined]  # JSON
    assert finishes == [None, None, None, "stop"]
    assert out.endswith(DONE)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.booleans())
def test_any_grouping_of_events_gives_the_same_chunks(sizes: list[int], include_usage: bool) -> None:
    one = zai_reader(include_usage=include_usage)
    expected = objects(b"".join(one.feed(part) for part in STREAM))
    reader = zai_reader(include_usage=include_usage)
    out, rest = b"", list(STREAM)
    for size in [*sizes, len(STREAM)]:
        if rest:
            out += reader.feed(b"".join(rest[:size]))
            rest = rest[size:]
    assert objects(out) == expected
    assert reader.done


@given(st.lists(st.text(), min_size=1, max_size=6))
@example(["finish_reason", "logprobs", "usage"])
def test_defect_01_text_survives_untouched(texts: list[str]) -> None:
    reader = zai_reader()
    out = b"".join(reader.feed(delta(text)) for text in texts) + reader.feed(finish() + DONE)
    assert text_of(out) == "".join(texts)


def test_defect_04_usage_is_moved_to_a_chunk_of_its_own_on_request() -> None:
    reader = zai_reader(include_usage=True)
    out = objects(b"".join(reader.feed(part) for part in STREAM))
    assert [("usage" in chunk and chunk["usage"] is not None) for chunk in out] == [False, False, False, False, True]
    assert out[-1]["choices"] == []


def test_usage_that_only_the_gateway_requested_is_removed() -> None:
    reader = plain_reader(include_usage=False)
    first = event(b'{"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}')
    last = event(b'{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}')
    only_usage = event(b'{"id":"c","choices":[],' + USAGE + b"}")
    out = reader.feed(first) + reader.feed(first) + reader.feed(last) + reader.feed(only_usage) + reader.feed(DONE)
    assert b"usage" not in out
    assert len(objects(out)) == 3
    assert reader.usage is not None and reader.usage.prompt_tokens == 9


@pytest.mark.parametrize(
    ("reason", "mapped"), [(b"sensitive", "content_filter"), (b"model_context_window_exceeded", "length")]
)
def test_finish_reasons_are_mapped(reason: bytes, mapped: str) -> None:
    for reader in (zai_reader(), plain_reader()):
        out = objects(reader.feed(delta("x")) + reader.feed(finish(reason)))
        assert out[-1]["choices"][0]["finish_reason"] == mapped  # type: ignore[index]  # JSON


def test_network_error_is_an_error_and_never_a_finish() -> None:
    reader = zai_reader()
    reader.feed(delta("x"))
    out = reader.feed(delta("y") + finish(b"network_error") + DONE)
    assert text_of(out) == "y"
    assert not reader.done
    assert reader.error is not None and reader.error.retryable


def test_defect_03_error_in_the_stream_is_reported() -> None:
    reader = zai_reader()
    out = reader.feed(delta("x") + event(b'{"error":{"code":"1302","message":"slow down"}}') + delta("never"))
    assert text_of(out) == "x"
    assert reader.error is not None
    assert (reader.error.status, reader.error.upstream_code) == (429, "1302")


@pytest.mark.parametrize("junk", [b"{", b"nothing", b"[1", b'{"choices":[3}', b"[" * 100000])
def test_junk_in_the_stream_is_an_error(junk: bytes) -> None:
    reader = zai_reader()
    reader.feed(event(junk))
    assert reader.error is not None
    assert not reader.done


def test_stream_that_ends_after_a_finish_is_complete() -> None:
    reader = plain_reader()
    reader.feed(delta("x") + finish())
    assert reader.eof() == DONE
    assert reader.done


def test_stream_that_ends_before_a_finish_is_truncated() -> None:
    reader = plain_reader()
    reader.feed(delta("x"))
    assert reader.eof() == b""
    assert reader.error is not None and reader.error.ending is Ending.TRUNCATED and not reader.error.retryable


@pytest.mark.parametrize("stream", [b"", DONE, b": nothing\n\n"])
def test_empty_stream_is_an_error_that_may_be_tried_again(stream: bytes) -> None:
    reader = plain_reader()
    out = reader.feed(stream) if stream else b""
    if reader.error is None:
        out += reader.eof()
    assert reader.error is not None and reader.error.code == "upstream_empty" and reader.error.retryable
    assert b"[DONE]" not in out


def test_whole_answer_is_normalised() -> None:
    body = (
        b'{"id":"2026","request_id":"r","created":1767225600,"model":"glm-4.7","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"Four.","reasoning_content":"Add."},"finish_reason":"sensitive"}],'
        + USAGE
        + b"}"
    )
    out, usage = completion(body, Rewrite("chatcmpl-7", "glm-4.6", normalise=True))
    answer = json.loads(out)
    assert (answer["object"], answer["id"], answer["model"]) == ("chat.completion", "chatcmpl-7", "glm-4.6")
    assert answer["choices"][0]["finish_reason"] == "content_filter"
    assert answer["choices"][0]["message"]["reasoning_content"] == "Add."
    assert answer["choices"][0]["message"]["refusal"] is None
    assert usage is not None and usage.completion_tokens == 12


ABSENT = object()
VALUES = st.sampled_from([ABSENT, None, "", "x", 1, 0.5, [], {}, [{"a": None}], "\ud800"])
REASONS = st.sampled_from(["stop", "stop", "stop", "tool_calls", "sensitive", "network_error", "", "made_up"])


def changed(usual: dict[str, object], *more: str, **parts: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Objects with the members of ``usual``, of which some have other values, or are absent."""

    def merge(drawn: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in {**usual, **drawn, **changes}.items() if value is not ABSENT}

    names = st.sampled_from([*usual, *parts, *more])
    changes = st.dictionaries(names, VALUES, max_size=2)
    return st.builds(merge, st.fixed_dictionaries(parts), changes)


MESSAGES = changed(
    {"role": "assistant", "content": "Four.", "reasoning_content": "Add."},
    "tool_calls",
    "refusal",
    "annotations",
    "more",
)
CHOICES = changed(
    {"index": 0},
    "logprobs",
    "more",
    message=MESSAGES,
    finish_reason=REASONS,
)
WHOLES = changed(
    {"id": "1", "request_id": "2", "created": 3, "model": "glm", "usage": {"completion_tokens": 12, "more": [1]}},
    "object",
    "error",
    "more",
    choices=st.lists(CHOICES, max_size=2),
)


def read_whole(body: bytes, *, short: bool) -> object:
    decode = openai._plain_whole if short else refuse_all
    with patch.object(openai, "_plain_whole", decode):
        try:
            out, usage = completion(body, Rewrite("chatcmpl-7", "glm-4.6", normalise=True))
        except UpstreamError as error:
            return error.code, error.message
    return json.loads(out), usage


def refuse_all(body: bytes) -> object:
    raise msgspec.ValidationError


@settings(max_examples=400)
@given(WHOLES)
def test_an_ordinary_whole_answer_is_read_as_by_the_long_way(answer: object) -> None:
    body = json.dumps(answer).encode()
    assert read_whole(body, short=True) == read_whole(body, short=False)


def test_an_ordinary_whole_answer_takes_the_short_way() -> None:
    body = b'{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"x","role":"assistant"}}],"created":1}'
    with patch.object(openai, "_completion", side_effect=AssertionError("the long way")):
        out, _ = completion(body, Rewrite("chatcmpl-7", "glm-4.6", normalise=True))
    assert json.loads(out)["choices"][0]["message"]["refusal"] is None


def test_whole_plain_answer_is_the_same_bytes() -> None:
    body = b'{ "choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'
    assert completion(body, Rewrite("c", None, normalise=False)) == (body, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"error":{"code":"500","message":"m"}}',
        b'{"choices":[{"finish_reason":"network_error"}]}',
    ],
)
def test_whole_answer_that_is_none_raises(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        completion(body, Rewrite("c", None, normalise=False))


def test_request_is_passed_on_byte_for_byte_when_nothing_changes() -> None:
    body = b'{ "model":"m", "messages":[{}], "made_up": {"deep":[1e5]}, "stream": false}'
    request = decode_request(body)
    assert build(request, model="m", stream=False) is body


def test_alias_changes_only_the_model() -> None:
    body = b'{"model":"m","messages":[ {"a" : 1} ],"unknown":1.50}'
    out = build(decode_request(body), model="other", stream=False)
    assert out == b'{"model":"other","messages":[ {"a" : 1} ],"unknown":1.50}'


def test_usage_is_requested_beside_the_clients_own_stream_options() -> None:
    body = b'{"model":"m","messages":[{}],"stream":true,"stream_options":{"made_up":1}}'
    out = json.loads(build(decode_request(body), model="m", stream=True))
    assert out["stream_options"] == {"made_up": 1, "include_usage": True}


@pytest.mark.parametrize("end", [b"}", b"} \n", b',"tools":[{"a":{}}] }', b',"x":"}"\r\n}\t'])
def test_usage_is_requested_in_a_body_that_is_passed_on(end: bytes) -> None:
    body = b'{"model":"m",  "messages":[{"content":"}"}],"stream":true' + end
    out = build(decode_request(body), model="m", stream=True)
    assert json.loads(out) == {**json.loads(body), "stream_options": {"include_usage": True}}
    assert out.startswith(body.rstrip()[:-1])


@pytest.mark.parametrize("options", [b'"stream_options":null', b'"stream\\u005foptions":{}', b'"stream_options":{}'])
def test_usage_is_requested_once_beside_stream_options(options: bytes) -> None:
    body = b'{"model":"m","messages":[{}],"stream":true,' + options + b"}"
    pairs = json.loads(build(decode_request(body), model="m", stream=True), object_pairs_hook=list)
    assert [value for name, value in pairs if name == "stream_options"] == [[("include_usage", True)]]


def test_default_stream_is_sent_to_the_upstream() -> None:
    out = json.loads(build(decode_request(b'{"model":"m","messages":[{}]}'), model="m", stream=True))
    assert out["stream"] is True
