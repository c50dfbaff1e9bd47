"""Successful responses of other shapes than the requested one: statuses, content types, codings, streams for whole
requests and whole completions for streams."""

import gzip
import json
import zlib
from typing import Any

import pytest

from tests.gateway.conftest import Reading
from tests.gateway.replies import COMPLETION, GOOD, WEB, Replies, Reply, ask, streamed, text_of, whole
from tests.support.table import table
from ztoapi.errors import Ending

TRANSPORTS = pytest.mark.parametrize("transport", ["native", "httpx"])
TEXT = b"content-type: text/plain; charset=utf-8\r\n"
BINARY = b"content-type: application/octet-stream\r\n"
JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream\r\n"
HTML = b"content-type: text/html\r\n"
LIMIT = b'{"error":{"code":429,"message":"busy"}}'


def answered(
    reply: Reply, *, stream: bool, platform: str = "openai", **variables: str
) -> tuple[int, str, dict[str, Any]]:
    """The status, the text or the error message, and the error object, of one request; the record agrees with them."""
    with Replies(lambda _: reply) as upstream, upstream.stack(platform, ZTOAPI_MAX_TRIES="1", **variables) as stack:
        response = ask(stack, stream=stream)
        record = stack.record()
        assert record.status == response.status_code
        if response.status_code == 200:
            assert record.ending is Ending.DONE
            return 200, text_of(response), {}
        error: dict[str, Any] = response.json()["error"]
        assert response.status_code != 500
        return response.status_code, error["message"], error


@TRANSPORTS
@pytest.mark.parametrize("status", [b"201 Created", b"202 Accepted", b"203 X", b"206 Partial Content", b"299 X"])
def test_any_success_is_one(status: bytes, transport: str) -> None:
    assert answered(streamed(*GOOD, status=status), stream=True, ZTOAPI_TRANSPORT=transport)[:2] == (200, "Good day")
    assert answered(whole(COMPLETION, status), stream=False, ZTOAPI_TRANSPORT=transport)[:2] == (200, "Good day")


@TRANSPORTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("body", [b"\n\n", b"\r\n", b" ", b"\xef\xbb\xbf"])
def test_a_success_of_blanks_is_none(body: bytes, stream: bool, transport: str) -> None:
    code, _, error = answered(streamed(body), stream=stream, ZTOAPI_TRANSPORT=transport)
    assert (code, error["code"]) == (502, "upstream_empty")


@TRANSPORTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [b"200 OK", b"201 Created", b"204 No Content", b"205 Reset Content"])
def test_a_success_without_a_body_is_none(status: bytes, stream: bool, transport: str) -> None:
    reply = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
    if status.startswith(b"204"):
        reply = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    code, _, error = answered(reply, stream=stream, ZTOAPI_TRANSPORT=transport)
    assert (code, error["code"]) == (502, "upstream_empty")


@table("fields", [TEXT, JSON, b""])
@table("platform", ["openai", "zai", "zai_web"])
@table("stream", [True, False])
@table("before", [b"", b"\xef\xbb\xbf", b": hi\n\n", b"id: 1\n", b"retry: 5\n\n", b"\r\n\r\n"])
def test_events_of_any_name_are_read(
    reading: Reading, fields: bytes, platform: str, stream: bool, before: bytes
) -> None:
    events = b"".join(WEB if platform == "zai_web" else GOOD)
    reply = streamed(before + events, fields=fields)
    assert text_of(reading(reply, platform, stream=stream)) == "Good day"


@table("fields", [TEXT, BINARY, JSON, EVENTS, HTML, b""])
@table("stream", [True, False])
def test_a_beginning_in_single_bytes(fields: bytes, stream: bool) -> None:
    start = b"\xef\xbb\xbf\n: hi\n\nevent: message\n" + GOOD[0]
    pieces = [start[at : at + 1] for at in range(len(start))]
    assert answered(streamed(*pieces, *GOOD[1:], fields=fields), stream=stream)[:2] == (200, "Good day")


@table("fields", [TEXT, BINARY, JSON, EVENTS, b""])
@table("platform", ["openai", "zai"])
@table("stream", [True, False])
@table("before", [b"", b"\xef\xbb\xbf", b" \r\n\t"])
def test_completions_of_any_name_are_read(
    reading: Reading, fields: bytes, platform: str, stream: bool, before: bytes
) -> None:
    reply = whole(before + COMPLETION, fields=fields)
    assert text_of(reading(reply, platform, stream=stream)) == "Good day"


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_completion_for_a_streamed_request_keeps_all_that_it_has(include_usage: bool) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": calls}
    choices = [
        {"index": 0, "message": message, "finish_reason": "tool_calls"},
        {"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"},
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    body = {
        "id": "u",
        "object": "chat.completion",
        "created": 1,
        "model": "glm-4.6",
        "choices": choices,
        "usage": usage,
    }
    with Replies(lambda _: whole(json.dumps(body).encode())) as upstream, upstream.stack() as stack:
        response = ask(stack, stream_options={"include_usage": include_usage})
        record = stack.record()
        assert record.usage is not None and record.usage.total_tokens == 3
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    first, second = chunks[0]["choices"]
    assert first["delta"] == {**message, "tool_calls": [{"index": 0, **calls[0]}]}
    assert (second["index"], second["delta"]["content"]) == (1, "b")
    assert [choice["finish_reason"] for choice in chunks[1]["choices"]] == ["tool_calls", "stop"]
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == ([usage] if include_usage else [])


def test_a_stream_for_a_whole_request_keeps_its_usage() -> None:
    usage = b'data: {"id":"u1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    with Replies(lambda _: streamed(*GOOD[:-1], usage, GOOD[-1])) as upstream, upstream.stack() as stack:
        assert ask(stack, stream=False).json()["usage"]["total_tokens"] == 5


@table("stream", [True, False])
@table("platform", ["openai", "zai", "zai_web"])
@table("body", [b"<html><title>Sign in</title></html>", b"Please sign in", b"dat", b"da\n\n"])
def test_anything_else_is_an_error_that_shows_it(body: bytes, platform: str, stream: bool) -> None:
    status, message, _ = answered(whole(body, fields=TEXT), stream=stream, platform=platform)
    assert status == 502
    assert "<" not in message
    assert ("Sign in" if b"<" in body else body.decode().strip()) in message


@table("stream", [True, False])
@table("fields", [JSON, EVENTS, TEXT, b""])
@table("platform", ["openai", "zai", "zai_web"])
def test_an_error_object_of_any_name_in_a_success_is_read(stream: bool, fields: bytes, platform: str) -> None:
    for body in (LIMIT, b"[%b]" % LIMIT):
        status, message, error = answered(whole(body, fields=fields), stream=stream, platform=platform)
        assert (status, error["code"]) == (429, "rate_limit_exceeded")
        assert "busy" in message


@TRANSPORTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"br", b"zstd", b"deflate", b"GZIP", b"identity, gzip"])
def test_a_coded_completion_is_an_error_that_names_the_coding(coding: bytes, stream: bool, transport: str) -> None:
    fields = b"content-type: text/event-stream\r\ncontent-encoding: %b\r\n" % coding
    reply = streamed(gzip.compress(b"".join(GOOD)), fields=fields) if stream else whole(COMPLETION, fields=fields)
    status, message, error = answered(reply, stream=stream, ZTOAPI_TRANSPORT=transport)
    assert (status, error["code"]) == (502, "upstream_content_encoding")
    assert coding.decode().lower().removeprefix("identity, ") in message


@pytest.mark.parametrize("coding", [b"identity", b"", b"Identity"])
@pytest.mark.parametrize("stream", [True, False])
def test_identity_is_no_coding(coding: bytes, stream: bool) -> None:
    fields = b"content-encoding: %b\r\n" % coding
    reply = streamed(*GOOD, fields=EVENTS + fields) if stream else whole(COMPLETION, fields=JSON + fields)
    assert answered(reply, stream=stream)[:2] == (200, "Good day")


@TRANSPORTS
@pytest.mark.parametrize(
    ("coding", "body", "words"),
    [
        (b"gzip", gzip.compress(LIMIT, mtime=0), "busy"),
        (b"x-gzip", gzip.compress(LIMIT, mtime=0), "busy"),
        (b"deflate", zlib.compress(LIMIT), "busy"),
        (b"gzip", b"no gzip", "the upstream responded with 429"),
        (b"br", LIMIT, "the upstream responded with 429"),
    ],
)
def test_coded_errors_keep_their_status(coding: bytes, body: bytes, words: str, transport: str) -> None:
    reply = whole(body, b"429 Too Many Requests", JSON + b"content-encoding: %b\r\n" % coding)
    status, message, _ = answered(reply, stream=True, ZTOAPI_TRANSPORT=transport)
    assert status == 429
    assert words in message
