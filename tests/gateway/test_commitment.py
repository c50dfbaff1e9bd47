"""Events that are no part of an answer leave retries and fallbacks possible."""

import json

import pytest

from tests.cache.upstream import Upstream
from tests.gateway.replies import DONE, FIN, FIRST, GOOD, SECOND, WEB, Replies, Reply, ask, event, streamed, text_of
from tests.stack import Stack
from tests.support.pieces import whole_split_and_bytewise
from tests.support.serving import Client
from tests.support.table import table
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.openai import NO_REWRITE, KnownTemplates, OpenAIReader, Rewrite
from ztoapi.dialects.reader import Reader
from ztoapi.dialects.zai_web import WebReader
from ztoapi.dialects.zread import ZreadReader
from ztoapi.errors import Ending
from ztoapi.wire.buffer import Rings
from ztoapi.wire.sse import EventBlocks

BUSY = b'data: {"error":{"code":"1305","message":"busy"}}\n\n'
NO_ANSWER = [
    b": processing\n\n",
    b":\n\n",
    b"retry: 3000\n\n",
    b"id: 1\n\n",
    b"\n\n",
    b"\r\n\r\n",
    b": a\n: b\r\n\r\n",
    b'data: {"id":"","model":"m","choices":[],"prompt_filter_results":[]}\n\n',
]


@table("first", NO_ANSWER)
@table("platform", ["openai", "zai"])
def test_a_failure_after_them_is_answered_by_a_fallback(first: bytes, platform: str) -> None:
    def reply(body: dict[str, object]) -> Reply:
        if body["model"] == "other":
            return streamed(*GOOD)
        return streamed(first, BUSY)

    with (
        Replies(reply) as upstream,
        upstream.stack(platform, MODEL_FALLBACKS='{"glm-4.6":["other"]}', ZTOAPI_MAX_TRIES="1") as stack,
    ):
        assert text_of(ask(stack)) == "Good day"
        assert [body["model"] for body in upstream.bodies] == ["glm-4.6", "other"]


@pytest.mark.parametrize("platform", ["openai", "zai", "zai_web"])
def test_another_attempt_follows_and_its_errors_have_their_status(platform: str) -> None:
    with (
        Replies(lambda _: streamed(b": processing\n\n", BUSY)) as upstream,
        upstream.stack(platform, ZTOAPI_MAX_TRIES="2") as stack,
    ):
        response = ask(stack)
        assert response.status_code in (502, 503)
        assert "busy" in response.json()["error"]["message"]


@pytest.mark.parametrize("cache", ["0", "1"])
def test_keepalive_comments_that_have_been_sent_commit_to_nothing(cache: str) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "temperature": 0}
    with (
        Upstream() as upstream,
        Stack(
            "openai",
            UPSTREAM_URL=upstream.url,
            API_KEYS="key",
            ZTOAPI_CACHE_ENABLED=cache,
            ZTOAPI_SSE_KEEPALIVE_SECONDS="0.1",
            ZTOAPI_SSE_KEEPALIVE_BEFORE_FIRST_BYTE="1",
        ) as stack,
        Client(stack.port) as client,
    ):
        client.post("/v1/chat/completions", json.dumps(request).encode(), "authorization: Bearer key\r\n")
        first = upstream.call()
        assert client.head()[0] == 200
        client.until(b": keepalive\n\n")
        first.refuse(b"503 Service Unavailable")
        second = upstream.call()
        second.start()
        second.say("Good day")
        second.finish()
        assert b"[DONE]" in client.until(b"0\r\n\r\n")
        record = stack.record()
        assert (record.ending, record.attempts) == (Ending.DONE, 2)


def readers() -> list[tuple[Reader, bytes, bytes]]:
    """A fresh reader of each dialect, its first event of an answer, and its error event."""
    writer = ChunkWriter("chatcmpl-1", 1, "m", include_usage=False)
    zread_answer = b'event: answer\ndata: {"text":"Good"}\n\n'
    zread_error = b'event: error\ndata: {"code":503,"msg":"busy"}\n\n'
    return [
        (OpenAIReader(NO_REWRITE, {}, include_usage=False), FIRST, BUSY),
        (OpenAIReader(NO_REWRITE, {}, include_usage=True), FIRST, BUSY),
        (OpenAIReader(Rewrite("i", "m", normalise=True), {}, include_usage=True), FIRST, BUSY),
        (WebReader(writer, "reasoning", False), WEB[0], b'data: {"error":{"code":503,"detail":"busy"}}\n\n'),
        (ZreadReader(writer, "reasoning", False), zread_answer, zread_error),
    ]


@table("number", range(5))
@table("first", NO_ANSWER[:-1])
def test_readers_return_nothing_for_them_however_they_are_cut(number: int, first: bytes) -> None:
    rings = Rings(65536)
    _, answer, error = readers()[number]
    for pieces in whole_split_and_bytewise(first + error):
        reader, blocks = readers()[number][0], EventBlocks(rings)
        assert b"".join(reader.feed(block) for block in map(blocks.feed, pieces) if block) == b""
        assert reader.error is not None
        assert "busy" in reader.error.message
    for pieces in whole_split_and_bytewise(first + answer):
        reader, blocks = readers()[number][0], EventBlocks(rings)
        out = b"".join(reader.feed(block) for block in map(blocks.feed, pieces) if block)
        assert b'"Good"' in out
        assert reader.error is None


def test_chunks_without_choices_are_sent_with_the_first_that_has_some() -> None:
    filtered = NO_ANSWER[-1]
    reader = OpenAIReader(NO_REWRITE, {}, include_usage=False)
    assert reader.feed(filtered) == b""
    assert reader.feed(b": c\n\n" + filtered) == b""
    assert reader.feed(FIRST) == filtered + filtered + FIRST
    assert reader.feed(SECOND) == SECOND
    assert reader.feed(FIN + DONE) == FIN + DONE


def test_what_is_held_is_bounded() -> None:
    filtered = b'data: {"choices":[],"x":"%b"}\n\n' % (b"x" * 9000)
    reader = OpenAIReader(NO_REWRITE, {}, include_usage=False)
    held = [reader.feed(filtered) for _ in range(8)]
    assert held == [b""] * 7 + [filtered * 8]
    assert reader.feed(filtered) == filtered


def test_a_form_that_is_known_lets_no_comment_through_either() -> None:
    known: KnownTemplates = {}
    first = OpenAIReader(NO_REWRITE, known, include_usage=True)
    first.feed(FIRST)
    first.feed(SECOND)
    assert known
    second = OpenAIReader(NO_REWRITE, known, include_usage=True)
    assert second.feed(b": processing\n\n") == b""
    assert second.feed(BUSY) == b""
    assert second.error is not None and second.error.upstream_code == "1305"
    third = OpenAIReader(NO_REWRITE, known, include_usage=True)
    assert third.feed(b": processing\n\n" + event({"content": "x"})) == b": processing\n\n" + event({"content": "x"})
