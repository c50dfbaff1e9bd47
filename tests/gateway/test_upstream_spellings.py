"""Responses that servers write in unusual but legal ways are complete; incomplete ones never look complete."""

import contextlib
import json
from typing import Protocol

import httpx
import openai
import pytest

from tests.gateway.conftest import Reading
from tests.gateway.replies import (
    COMPLETION,
    DONE,
    FIN,
    FIRST,
    GOOD,
    SECOND,
    WEB,
    Replies,
    ask,
    streamed,
    text_of,
    whole,
)
from tests.support.nesting import TOO_DEEP
from tests.support.table import table
from ztoapi.errors import Ending
from ztoapi.wire.sse import BYTE_ORDER_MARK

OPENAI = ["openai", "zai"]
COUNTED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
EMPTY_CHUNK = (
    b'data: {"id":"","object":"","created":0,"model":"","system_fingerprint":null,"choices":null,"usage":null}\n\n'
)
USAGE_ALONE = b'data: {"id":"u1","object":"chat.completion.chunk","usage":%b}\n\n' % json.dumps(COUNTED).encode()
ODD_USAGE = [
    {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    {"prompt_tokens": 3.0, "completion_tokens": 2.5, "total_tokens": 5.5},
    {"prompt_tokens": "3", "completion_tokens": "2", "total_tokens": "5"},
    {"prompt_tokens": 10**30},
    {"prompt_tokens": True, "prompt_tokens_details": [1]},
    {},
    [],
    "n/a",
    7,
    False,
]
DEEP = b"[" * TOO_DEEP + b"]" * TOO_DEEP
ANSWER1, ANSWER2, WEB_END = WEB


def usage_event(usage: object) -> bytes:
    fields = {"id": "u1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    return b"data: %b\n\n" % json.dumps(fields).encode()


def with_field(event: bytes, field: bytes) -> bytes:
    """``event`` with another field at the beginning of its JSON."""
    return event.replace(b"data: {", b"data: {%b," % field, 1)


class Read(Protocol):
    """Returns the response to a streamed request, which must be complete for HTTP and in its record."""

    def __call__(self, pieces: tuple[bytes, ...], platform: str, **fields: object) -> httpx.Response: ...


@pytest.fixture(scope="module")
def read(reading: Reading) -> Read:
    return lambda pieces, platform, **fields: reading(streamed(*pieces), platform, **fields)


def text_in(response: httpx.Response) -> str:
    """The text of a complete stream, whatever its line ends."""
    lines = [line.removeprefix("data:").strip() for line in response.text.splitlines() if line.startswith("data:")]
    assert lines[-1] == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for choice in choices_in(response))


def choices_in(response: httpx.Response) -> list[dict[str, dict[str, str]]]:
    lines = [line.removeprefix("data:").strip() for line in response.text.splitlines() if line.startswith("data:")]
    return [choice for line in lines[:-1] for choice in json.loads(line)["choices"]]


def broken(pieces: tuple[bytes, ...], platform: str, **fields: object) -> tuple[str, Ending | None]:
    """The bytes that the client of an incomplete stream receives, and the ending in the record."""
    text = b""
    with Replies(lambda _: streamed(*pieces)) as upstream, upstream.stack(platform, ZTOAPI_MAX_TRIES="1") as stack:
        body = {"model": "glm-4.6", "messages": [{"role": "user", "content": "hi"}], "stream": True, **fields}
        with httpx.stream("POST", stack.base_url + "/chat/completions", json=body) as response:
            try:
                for part in response.iter_bytes():
                    text += part
            except httpx.RemoteProtocolError:
                pass
            else:
                assert response.status_code != 200
        return text.decode(), stack.record().ending


COMPLETE = {
    "chunk without choices first": (EMPTY_CHUNK, *GOOD),
    "chunk without choices between": (FIRST, EMPTY_CHUNK, SECOND, FIN, DONE),
    "usage without choices": (FIRST, SECOND, FIN, USAGE_ALONE, DONE),
    "named event": (FIRST, b"event: ping\ndata: {}\n\n", SECOND, FIN, DONE),
    "named event without JSON": (FIRST, b"event: ping\ndata: 2026-11-29\n\n", SECOND, FIN, DONE),
    "lone event name": (FIRST, b"event: ping\n\n", SECOND, FIN, DONE),
    "choices of another type": (FIRST, b'data: {"choices":{}}\n\n', SECOND, FIN, DONE),
    "no object": (b"data: null\n\n", FIRST, b"data: []\n\n", SECOND, b'data: "ping"\n\n', FIN, b"data: 1\n\n", DONE),
    "no choice among the choices": (
        b'data: {"choices":[null]}\n\n',
        FIRST.replace(b"[{", b"[null,{"),
        SECOND.replace(b"}]", b'},"x"]'),
        b'data: {"choices":[1,[]]}\n\n',
        FIN.replace(b"}]", b"},null]"),
        DONE,
    ),
    "empty data": (FIRST, b"data:\n\n", SECOND, FIN, DONE),
    "blank data": (FIRST, b"data: \n\n", b"data\n\n", b"data:   \r\n\r\n", SECOND, FIN, DONE),
    "blank behind [DONE]": (FIRST, SECOND, FIN, b"data: [DONE] \n\n"),
    "blank before [DONE]": (FIRST, SECOND, FIN, b"data:  [DONE]\n\n"),
    "no blank before data": tuple(event.replace(b"data: ", b"data:") for event in GOOD),
    "byte order mark": (BYTE_ORDER_MARK + FIRST, SECOND, FIN, DONE),
    "cut byte order mark": (b"\xef", b"\xbb", b"\xbf", *GOOD),
    "CR": tuple(event.replace(b"\n", b"\r") for event in GOOD),
    "CRLF": tuple(event.replace(b"\n", b"\r\n") for event in GOOD),
    "CR and LF in one read": (b"".join((FIRST[:-2] + b"\r\r", SECOND, FIN[:-2] + b"\r\r", DONE)),),
    "LF CR": (*(event[:-2] + b"\n\r" for event in GOOD[:-1]), DONE),
    "several data lines": tuple(event.replace(b'"choices":', b'"choices":\ndata: ') for event in GOOD),
    "data lines within a delta": tuple(
        event.replace(b'"delta":{', b'"delta":{\ndata: ').replace(b',"finish', b',\ndata: "finish') for event in GOOD
    ),
    "id and retry": (b"retry: 3000\n\n", b"id: 1\n" + FIRST, b": ping\n\n", b"id: 2\n" + SECOND, b"id\n" + FIN, DONE),
    "empty error": tuple(with_field(event, b'"error":{}') for event in GOOD),
    "error without text": tuple(with_field(event, b'"error":""') for event in GOOD),
    "numbers and nulls": tuple(
        with_field(event, b'"created":1.5,"id":null,"system_fingerprint":7,"service_tier":[]') for event in GOOD
    ),
    "index as a string": tuple(event.replace(b'"index":0', b'"index":"0"') for event in GOOD),
    "no index": tuple(event.replace(b'"index":0,', b"") for event in GOOD),
    "empty finish_reason": tuple(event.replace(b"null}]", b'""}]') for event in GOOD),
    "false finish_reason": tuple(event.replace(b"null}]", b"false}]") for event in GOOD),
    "no [DONE]": (FIRST, SECOND, FIN),
    "blanks before colons": tuple(event.replace(b'":', b'" : ') for event in GOOD),
    "usage everywhere": tuple(event.replace(b"}]}", b'}],"usage":"none yet"}') for event in GOOD),
}


@table("platform", OPENAI)
@table("pieces", COMPLETE.values(), ids=COMPLETE)
@table("together", [False, True], ids=["pieces", "one read"])
def test_a_stream_is_complete(read: Read, pieces: tuple[bytes, ...], platform: str, together: bool) -> None:
    response = read((b"".join(pieces),) if together else pieces, platform)
    assert text_in(response) == "Good day"
    lines = {line for line in response.text.splitlines() if not line.startswith("data:")}
    assert lines <= {"", ": ping"}


@table("platform", OPENAI)
@table("pieces", COMPLETE.values(), ids=COMPLETE)
def test_a_stream_that_is_collected_is_complete(read: Read, pieces: tuple[bytes, ...], platform: str) -> None:
    assert text_of(read(pieces, platform, stream=False)) == "Good day"


@table("pieces", COMPLETE.values(), ids=COMPLETE)
def test_openais_sdk_reads_it(pieces: tuple[bytes, ...]) -> None:
    with (
        Replies(lambda _: streamed(*pieces)) as upstream,
        upstream.stack() as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client,
    ):
        chunks = client.chat.completions.create(
            model="glm-4.6", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good day"


WEB_STREAMS = {
    "empty data": (ANSWER1, b"data:\n\n", ANSWER2, WEB_END),
    "byte order mark": (BYTE_ORDER_MARK + ANSWER1, ANSWER2, WEB_END),
    "named event": (ANSWER1, b"event: ping\ndata: now\n\n", ANSWER2, WEB_END),
    "no object": (b"data: null\n\n", ANSWER1, b"data: []\n\n", ANSWER2, b'data: "ping"\n\n', WEB_END),
    "several data lines": tuple(event.replace(b"{", b"{\ndata: ") for event in WEB),
    "odd fields": (
        ANSWER1.replace(b'"phase":"answer"', b'"phase":7,"edit_index":null,"usage":"n/a"'),
        ANSWER2.replace(b'"phase"', b'"done":"no","phase"'),
        WEB_END,
    ),
    "error that is empty": (with_field(ANSWER1, b'"error":{}'), ANSWER2, WEB_END),
}


@table("stream", [True, False])
@table("pieces", WEB_STREAMS.values(), ids=WEB_STREAMS)
def test_a_web_stream_is_complete(read: Read, pieces: tuple[bytes, ...], stream: bool) -> None:
    assert text_of(read(pieces, "zai_web", stream=stream)) == "Good day"


@table("usage", ODD_USAGE, ids=json.dumps)
@table("platform", OPENAI)
@table("wanted", [False, True])
def test_usage_of_any_shape_leaves_a_stream_complete(read: Read, usage: object, platform: str, wanted: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    finish = FIN.replace(b"}]}", b'}],"usage":%b}' % json.dumps(usage).encode())
    for pieces in ((FIRST, SECOND, FIN, usage_event(usage), DONE), (FIRST, SECOND, finish, DONE)):
        assert text_of(read(pieces, platform, **options)) == "Good day"


@table("usage", ODD_USAGE, ids=json.dumps)
@table("platform", OPENAI)
def test_usage_of_any_shape_leaves_a_whole_response_as_it_is(usage: object, platform: str) -> None:
    body = COMPLETION.replace(json.dumps(COUNTED, separators=(",", ":")).encode(), json.dumps(usage).encode())
    assert body != COMPLETION
    with Replies(lambda _: whole(body)) as upstream, upstream.stack(platform) as stack:
        response = ask(stack, stream=False)
        assert text_of(response) == "Good day"
        assert response.json()["usage"] == usage


@pytest.mark.parametrize("platform", OPENAI)
def test_usage_without_choices_is_counted(platform: str) -> None:
    with (
        Replies(lambda _: streamed(FIRST, SECOND, FIN, USAGE_ALONE, DONE)) as upstream,
        upstream.stack(platform) as stack,
    ):
        response = ask(stack, stream_options={"include_usage": True})
        assert text_of(response) == "Good day"
        assert json.loads(response.text.split("\n\n")[-3][6:])["usage"] == COUNTED
        usage = stack.record().usage
        assert usage is not None and usage.total_tokens == 5


@pytest.mark.parametrize("wanted", [False, True])
def test_cumulative_usage_of_zai_is_sent_once(read: Read, wanted: bool) -> None:
    pieces = [
        event.replace(
            b"}]}", b'}],"usage":{"prompt_tokens":3,"completion_tokens":%d,"total_tokens":%d}}' % (at, at + 3)
        )
        for at, event in enumerate(GOOD[:3])
    ]
    response = read((*pieces, DONE), "zai", **({"stream_options": {"include_usage": True}} if wanted else {}))
    chunks = [json.loads(part[6:]) for part in response.text.split("\n\n")[:-2]]
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")] == [5]
    assert chunks[-1]["choices"] == [] if wanted else chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_usage_that_only_the_gateway_wants_is_removed_from_a_finish() -> None:
    finish = FIN.replace(b"}]}", b'}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}')
    with Replies(lambda _: streamed(FIRST, SECOND, finish, DONE)) as upstream, upstream.stack() as stack:
        assert ask(stack).content == b"".join(GOOD)
        usage = stack.record().usage
        assert usage is not None and usage.total_tokens == 5


@pytest.mark.parametrize("platform", OPENAI)
def test_halves_of_a_surrogate_pair_pass(read: Read, platform: str) -> None:
    pieces = (
        FIRST.replace(b"Good", rb"\ud83d"),
        SECOND.replace(b" day", rb"\ude00"),
        SECOND.replace(b" day", rb"\\ud83d\ud83d\ude00"),
    )
    response = read((*pieces, FIN, DONE), platform)
    assert text_of(response) == "\ud83d\ude00\\ud83d\U0001f600"
    if platform == "openai":
        assert response.content == b"".join((*pieces, FIN, DONE))


@pytest.mark.parametrize("platform", OPENAI)
def test_half_of_a_surrogate_pair_passes_in_a_whole_response(platform: str) -> None:
    body = COMPLETION.replace(b"Good day", rb"Good day \ud83d")
    with Replies(lambda _: whole(body)) as upstream, upstream.stack(platform) as stack:
        assert text_of(ask(stack)) == "Good day \ud83d"
        response = ask(stack, stream=False)
        assert response.status_code == 200
        assert json.loads(response.content)["choices"][0]["message"]["content"] == "Good day \ud83d"
        assert platform == "zai" or response.content == body


@pytest.mark.parametrize("stream", [True, False])
def test_halves_become_replacement_characters_in_text_that_is_decoded(read: Read, stream: bool) -> None:
    pieces = (ANSWER1.replace(b"Good", rb"\ud83d"), ANSWER2.replace(b" day", rb"\ude00"), WEB_END)
    assert text_of(read(pieces, "zai_web", stream=stream)) == "\ufffd\ufffd"


@pytest.mark.parametrize("platform", OPENAI)
def test_a_byte_order_mark_before_a_whole_response(platform: str) -> None:
    with Replies(lambda _: whole(BYTE_ORDER_MARK + COMPLETION)) as upstream, upstream.stack(platform) as stack:
        assert text_of(ask(stack, stream=False)) == "Good day"


@pytest.mark.parametrize("platform", OPENAI)
def test_entries_that_are_no_objects_are_dropped_from_a_whole_response(platform: str) -> None:
    body = COMPLETION.replace(b'"choices":[{', b'"choices":[null,{').replace(b'stop"}]', b'stop"},"x"]')
    body = body.replace(b'"Good day"}', b'"Good day","tool_calls":[null,1]}')
    with Replies(lambda _: whole(body)) as upstream, upstream.stack(platform) as stack:
        assert text_of(ask(stack)) == text_of(ask(stack, stream=False)) == "Good day"
        fields = {"model": "glm-4.6", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        message = httpx.post(stack.base_url + "/messages", json=fields).json()
        assert message["content"][0]["text"] == "Good day"


def test_a_byte_order_mark_before_an_error() -> None:
    busy = BYTE_ORDER_MARK + b'data: {"error":{"code":"1305","message":"busy"}}\n\n'
    with (
        Replies(lambda body: streamed(*(GOOD if body["model"] == "other" else [busy]))) as upstream,
        upstream.stack(MODEL_FALLBACKS='{"glm-4.6":["other"]}', ZTOAPI_MAX_TRIES="1") as stack,
    ):
        assert text_of(ask(stack)) == "Good day"


def test_zai_is_translated_behind_a_byte_order_mark(read: Read) -> None:
    finish = FIN.replace(b'"stop"', b'"sensitive"')
    response = read((BYTE_ORDER_MARK + FIRST, SECOND, finish, DONE), "zai")
    chunks = [json.loads(part[6:]) for part in response.text.split("\n\n")[:-2]]
    assert {chunk["model"] for chunk in chunks} == {"glm-4.6"}
    assert len({chunk["id"] for chunk in chunks} - {"u1"}) == 1


INCOMPLETE = {
    "empty finish_reason": (FIRST.replace(b"null}]", b'""}]'),),
    "empty finish_reasons": (FIRST.replace(b"null}]", b'""}]'), SECOND.replace(b"null}]", b'""}]')),
    "no finish": (FIRST, SECOND),
    "finish of another choice": (FIRST, SECOND.replace(b'"index":0', b'"index":1'), FIN),
    "finish of one of two in one chunk": (
        FIRST.replace(b"null}]", b'null},{"index":1,"delta":{},"finish_reason":null}]'),
        FIN.replace(b'"stop"}]', b'"stop"},{"index":1,"delta":{"content":"x"},"finish_reason":null}]'),
    ),
    "finish of the second choice alone": (
        FIRST,
        SECOND.replace(b'"index":0', b'"index":1'),
        FIN.replace(b'"index":0', b'"index":1'),
    ),
    "cut finish": (FIRST, SECOND, FIN[:-1]),
    "network_error": (FIRST, SECOND, FIN.replace(b"stop", b"network_error"), DONE),
}


@table("platform", OPENAI)
@table("pieces", INCOMPLETE.values(), ids=INCOMPLETE)
def test_an_incomplete_stream_ends_with_an_error(pieces: tuple[bytes, ...], platform: str) -> None:
    text, ending = broken(pieces, platform)
    assert "[DONE]" not in text
    assert '"error"' in text.split("\n\n")[-2]
    assert ending is (Ending.UPSTREAM_ERROR if DONE in pieces else Ending.TRUNCATED)


def test_every_requested_choice_must_finish(read: Read) -> None:
    other = FIN.replace(b'"index":0', b'"index":1')
    assert "[DONE]" not in broken((FIRST, FIN), "openai", n=2)[0]
    assert text_of(read((FIRST, SECOND, FIN, other), "openai", n=2)) == "Good day"


ERROR = b'"error":{"code":502,"message":"boom"}'
ERRORS = {
    "before the choices": with_field(SECOND, ERROR),
    "behind the choices": SECOND.replace(b"}]}", b"}],%b}" % ERROR),
    "alone": b"data: {%b}\n\n" % ERROR,
    "with empty choices": b'data: {"choices":[],%b}\n\n' % ERROR,
    "named": b'event: error\ndata: {"code":502,"message":"boom"}\n\n',
    "flat": b'data: {"code":"1234","message":"boom"}\n\n',
    "true": with_field(SECOND, b'"error":"boom"'),
    "in a list": b"data: [{%b}]\n\n" % ERROR,
    "named text": b"event: error\ndata: boom\n\n",
    "named string": b'event: error\ndata: "boom"\n\n',
}


@table("platform", OPENAI)
@table("error", ERRORS.values(), ids=ERRORS)
@table("before", [(FIRST,), (FIRST, SECOND), (FIRST, SECOND, SECOND)], ids=len)
@table("together", [False, True], ids=["pieces", "one read"])
def test_an_error_in_the_stream_is_an_error(
    error: bytes, platform: str, before: tuple[bytes, ...], together: bool
) -> None:
    pieces = (*before, error, SECOND, FIN, DONE)
    text, ending = broken((b"".join(pieces),) if together else pieces, platform)
    assert "[DONE]" not in text
    assert "boom" in text.split("\n\n")[-2]
    assert ending is Ending.UPSTREAM_ERROR


def test_an_error_before_the_choices_is_seen_in_the_next_stream_too() -> None:
    """The form of the first stream is known then."""
    streams = [GOOD, (with_field(FIRST, ERROR), SECOND, FIN, DONE)]
    with (
        Replies(lambda _: streamed(*streams.pop(0))) as upstream,
        upstream.stack(ZTOAPI_MAX_TRIES="1", ZTOAPI_CACHE_ENABLED="1") as stack,
    ):
        assert text_of(ask(stack)) == "Good day"
        assert "boom" in ask(stack, temperature=0).json()["error"]["message"]


def test_an_incomplete_stream_is_not_cached() -> None:
    streams = [(FIRST.replace(b"null}]", b'""}]'),), (FIRST, with_field(SECOND, ERROR), DONE), GOOD]
    with (
        Replies(lambda _: streamed(*streams.pop(0))) as upstream,
        upstream.stack(ZTOAPI_CACHE_ENABLED="1", ZTOAPI_MAX_TRIES="1") as stack,
    ):
        for _ in range(2):
            # The error may come before the first write, as the response.
            with contextlib.suppress(httpx.RemoteProtocolError):
                assert ask(stack, temperature=0).status_code == 502
        response = ask(stack, temperature=0)
        assert (text_of(response), response.headers["x-ztoapi-cache"]) == ("Good day", "miss")


def test_comments_of_the_gateway_do_not_end_events_for_openais_sdk(read: Read) -> None:
    """A blank line behind an ``id`` ends an event for that SDK, so no ``id`` reaches it."""
    pieces = (b"id: 1\n" + FIRST, b"id: 2\n" + SECOND, FIN, DONE)
    assert b"id: " not in read(pieces, "openai").content


@pytest.mark.parametrize("platform", [*OPENAI, "zai_web"])
@pytest.mark.parametrize("stream", [True, False])
def test_deep_nesting_is_malformed(platform: str, stream: bool) -> None:
    event = b'data: {"type":"chat:completion","choices":[{"x":%b}],"data":{"x":%b}}\n\n' % (DEEP, DEEP)
    reply = streamed(event) if stream or platform == "zai_web" else whole(event[6:])
    with Replies(lambda _: reply) as upstream, upstream.stack(platform, ZTOAPI_MAX_TRIES="1") as stack:
        response = ask(stack, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_malformed")


def test_a_stream_in_small_http_chunks(read: Read) -> None:
    payload = b"".join(COMPLETE["several data lines"])
    pieces = tuple(payload[at : at + 7] for at in range(0, len(payload), 7))
    assert text_in(read(pieces, "openai")) == "Good day"


@pytest.mark.parametrize("platform", OPENAI)
def test_an_indented_whole_response_to_a_streamed_request(platform: str) -> None:
    body = json.dumps(json.loads(COMPLETION), indent=2).encode().replace(b"\n", b"\r\n")
    with Replies(lambda _: whole(body)) as upstream, upstream.stack(platform) as stack:
        assert text_of(ask(stack, stream_options={"include_usage": True})) == "Good day"
