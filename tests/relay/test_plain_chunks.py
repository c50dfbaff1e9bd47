"""Plain deltas that are forwarded in their chunks: the client gets the same events as by the long way.

The long way parses each read, and writes the events of a read as one chunk. Streams here are cut at any byte; their
events are plain and others, in the spellings of several servers.
"""

import re
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.inmemory import Gateway, api_request, chunked, request, stream_head
from tests.support.pieces import cut, cut_points
from tests.wire.test_delta_template import TEMPLATES
from tests.wire.test_delta_template import chunks as CHUNKS
from ztoapi.dialects.registry import DialectName
from ztoapi.relay.relay import Relay
from ztoapi.server.stream import ResponseStream
from ztoapi.telemetry.record import RequestRecord
from ztoapi.wire.chunked import ChunkDecoder
from ztoapi.wire.delta_template import DeltaTemplate

QUESTIONS = {
    "chat": request(stream=True),
    "chat with usage": request(stream=True, more=b',"stream_options":{"include_usage":true}'),
    "two choices": request(stream=True, more=b',"n":2'),
    "messages": api_request(
        "/v1/messages",
        b'{"model":"glm-4.6","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hello"}]}',
    ),
    "responses": api_request("/v1/responses", b'{"model":"glm-4.6","stream":true,"input":"hello"}'),
}
HEAD = b'data: {"id":"1","created":1,"model":"glm-4.6","choices":[{"index":0,'
SPACED = b'data: {"id": "1", "created": 1, "model": "glm-4.6", "choices": [{"index": 0, '
TEXTS = st.sampled_from(["a", " word", '\\"finish_reason\\":\\"stop\\"}]}', "\\n\\r", "\u00e9", "", "}}]}", "x" * 1100])
USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}'
SPELLINGS = [
    (HEAD + b'"delta":{"content":"', b'"}}]}\n\n'),
    (HEAD + b'"delta":{"role":"assistant","content":"', b'"},"finish_reason":null}]}\n\n'),
    (HEAD + b'"delta":{"content":"', b'"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'),
    (HEAD + b'"finish_reason":null,"delta":{"content":"', b'"}}]}\n\n'),
    (SPACED + b'"delta": {"content": "', b'"}, "finish_reason": null}]}\n\n'),
    (HEAD.replace(b"data: ", b"data:") + b'"delta":{"reasoning_content":"', b'"}}]}\n\n'),
    (HEAD + b'"delta":{"content":"', b'"}}]}\r\n\r\n'),
]
REFUSED = b'data: {"error":{"message":"no","code":"1301"}}\n\n'
OTHERS = st.sampled_from(
    [
        HEAD + b'"delta":{},"finish_reason":"stop"}]}\n\n',
        HEAD + b'"delta":{"content":"end"},"finish_reason":"length"}],%b}\n\n' % USAGE,
        HEAD + b'"delta":{},"finish_reason":"sensitive"}]}\n\n',
        HEAD + b'"delta":{},"finish_reason":"network_error"}]}\n\n',
        HEAD.replace(b'"index":0', b'"index":1') + b'"delta":{"content":"other"}}]}\n\n',
        HEAD.replace(b'"id":"1"', b'"id":"2"') + b'"delta":{"content":"other id"}}]}\n\n',
        b'data: {"id":"1","choices":[],%b}\n\n' % USAGE,
        REFUSED,
        b'data: {"error":{"message":"no"},"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n',
        b": comment\n\n",
        b"data: [DONE]\n\n",
        b"data: nonsense\n\n",
        b"event: ping\ndata: {}\n\n",
        b"\xef\xbb\xbf",
        b"\n",
    ]
)


PLAIN = SPELLINGS[0][0] + b"word" + SPELLINGS[0][1]
END = HEAD + b'"delta":{},"finish_reason":"stop"}]}\n\n'
NULLED = [chunked(text.encode().join(SPELLINGS[1])) for text in ("a", "x" * 1100, "b")]
LOST = HEAD + b'"delta":{},"finish_reason":"network_error"}]}\n\n'
OTHER_ID = SPELLINGS[0][0].replace(b'"id":"1"', b'"id":"2"') + b"other" + SPELLINGS[0][1]


class Result(NamedTuple):
    head: bytes
    payload: bytes
    done: bool
    record: tuple[object, ...]


def facts(record: RequestRecord) -> tuple[object, ...]:
    """The parts of a record that the way of the bytes must not change."""
    return record.status, record.ending, record.usage, record.attempts, record.error_code, record.upstream_code


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """The body of a response, with its chunk framing."""
    start, end = draw(st.sampled_from(SPELLINGS))
    plain = TEXTS.map(lambda text: start + text.encode() + end)
    events = draw(st.lists(st.one_of(plain, plain, plain, OTHERS), max_size=8))
    if draw(st.booleans()):
        events += [HEAD + b'"delta":{},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]
    together = draw(st.sampled_from([1, 1, 1, 2, 3]))
    groups = [b"".join(events[at : at + together]) for at in range(0, len(events), together)]
    frame = draw(st.sampled_from([chunked, chunked, lambda data: b"%X;x=1\r\n%b\r\n" % (len(data), data)]))
    last = draw(st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"z\r\n", b""]))
    return b"".join(frame(group) for group in groups if group) + last


PLAIN_STREAM = b"".join(
    [
        *(chunked(SPELLINGS[0][0] + b"w" + SPELLINGS[0][1]) for _ in range(2)),
        chunked(HEAD + b'"delta":{},"finish_reason":"stop"}]}\n\n'),
        chunked(b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    ]
)


def answer(gateway: Gateway, question: bytes, reads: list[bytes], *, short: bool) -> Result:
    """What the client gets for a stream in these reads."""
    written: list[bytes] = []
    recorder = gateway.application.recorder
    before = recorder.total
    take = Relay._take_chunks if short else lambda _, read: read
    with (
        patch.object(Relay, "_take_chunks", take),
        patch.object(gateway.client, "write", lambda data: written.append(bytes(data))),
    ):
        gateway.receive_request(question)
        for read in reads:
            gateway.receive_response(read)
        if gateway._connection.sink is not None:
            gateway._connection.connection_lost(None)
    head, _, body = b"".join(written).partition(b"\r\n\r\n")
    decoder = ChunkDecoder()
    payload = decoder.decode(body) if b"chunked" in head else body
    # Without a record it waits for another attempt.
    seen = facts(recorder.recent[-1]) if recorder.total > before else ()
    return Result(re.sub(rb"x-request-id: .*", b"", head), payload, decoder.done, seen)


@settings(max_examples=300)
# A stream without an end, and an error that a second attempt may cure, behind the first chunk.
@example("openai", "messages", chunked(PLAIN) + b"0\r\n\r\n", [], True, False)
@example("openai", "chat", chunked(PLAIN) + chunked(LOST) + b"0\r\n\r\n", [], True, False)
# The head of a plain event with a line end in it, after a stream with the same head.
@example("openai", "chat", chunked(PLAIN.replace(b',"created"', b',\r"created"')), [], True, False)
# An error that no other attempt can cure, in the read of the first chunk.
@example("openai", "chat", chunked(PLAIN) + chunked(REFUSED) + b"0\r\n\r\n", [], True, False)
# A cut chunk that is too large for the short way, between two that are not.
@example("zai", "chat", b"".join(NULLED) + chunked(END) + b"0\r\n\r\n", [1384], False, False)
# Broken framing in the read of the first chunk.
@example("openai", "chat", chunked(PLAIN) + b"z\r\n", [], True, False)
@given(
    st.sampled_from(["openai", "zai"]),
    st.sampled_from(sorted(QUESTIONS)),
    streams(),
    cut_points(3000),
    st.booleans(),
    st.booleans(),
)
def test_the_client_gets_the_same_as_by_the_long_way(
    dialect: DialectName, question: str, body: bytes, points: list[int], primed: bool, apart: bool
) -> None:
    reads = cut(body, points)
    reads = [stream_head(), *reads] if apart or not reads else [stream_head() + reads[0], *reads[1:]]
    answers = []
    for short in (True, False):
        gateway = Gateway(dialect)
        try:
            if primed:
                answer(gateway, QUESTIONS[question], [stream_head() + PLAIN_STREAM], short=short)
            answers.append(answer(gateway, QUESTIONS[question], reads, short=short))
        finally:
            gateway.close()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("dialect", ["openai", "zai"])
def test_the_same_at_every_byte(dialect: DialectName) -> None:
    start, end = SPELLINGS[0]
    body = chunked(start + b"a" + end) + chunked(start + b"b" + end) + chunked(OTHER_ID) + PLAIN_STREAM
    gateway = Gateway(dialect)
    ids = re.compile(rb"chatcmpl-\w+")
    long = answer(gateway, QUESTIONS["chat"], [stream_head() + body], short=False)
    for point in range(1, len(body)):
        for reads in ([stream_head() + body[:point], body[point:]], [stream_head(), body[:point], body[point:]]):
            short = answer(gateway, QUESTIONS["chat"], reads, short=True)
            assert ids.sub(b"", short.payload) == ids.sub(b"", long.payload)
            assert (short.head, short.done, short.record) == (long.head, long.done, long.record)
    gateway.close()


@pytest.mark.parametrize("dialect", ["openai", "zai"])
def test_a_whole_stream_in_one_read_is_one_write(dialect: DialectName) -> None:
    gateway = Gateway(dialect)
    for _ in range(2):
        writes = gateway.client.writes
        gateway.receive_request(request(stream=True))
        gateway.receive_response(stream_head() + PLAIN_STREAM)
        assert b"[DONE]" in gateway.client.last
    assert gateway.client.writes == writes + 1
    gateway.close()


@pytest.mark.parametrize("dialect", ["openai", "zai"])
def test_plain_chunks_before_the_beginning_of_another_are_not_held_back(dialect: DialectName) -> None:
    gateway = Gateway(dialect)
    start, end = SPELLINGS[0]
    plain, finish = chunked(start + b"word" + end), chunked(HEAD + b'"delta":{},"finish_reason":"stop"}]}\n\n')
    gateway.receive_request(request(stream=True))
    gateway.receive_response(stream_head() + plain)
    for stop in range(1, len(finish)):
        writes = gateway.client.writes
        gateway.receive_response(plain + finish[:stop])
        assert gateway.client.writes == writes + 1
        assert b"word" in gateway.client.last
        gateway.receive_response(finish[stop:-2] + b"\r\n" if stop < len(finish) - 2 else finish[stop:])
    gateway.close()


def test_a_chunk_alone_takes_the_short_way() -> None:
    gateway = Gateway("openai")
    start, end = SPELLINGS[0]
    gateway.receive_request(request(stream=True))
    for _ in range(3):
        gateway.receive_response((stream_head() if not gateway.client.writes else b"") + chunked(start + b"a" + end))
    with patch.object(ResponseStream, "write_framed", side_effect=AssertionError):
        gateway.receive_response(chunked(start + b"b" + end))
    assert gateway.client.last == chunked(start + b"b" + end)
    gateway.close()


class Owner:
    """The exchange of a stream whose gaps are counted."""

    def __init__(self) -> None:
        self.chunked = self.started = True
        self.pace = None
        self.record = RequestRecord("1", "POST", "/", 0.0)
        self.recorder = self

    def begin_stream(self, record: RequestRecord) -> list[int]:
        return [0] * 100


@given(read=st.lists(CHUNKS, max_size=2).map(b"".join), template=st.sampled_from(TEMPLATES))
def test_a_stream_takes_the_chunks_that_a_template_takes(read: bytes, template: DeltaTemplate) -> None:
    written: list[bytes] = []
    stream = ResponseStream(Owner(), b"", written.append)  # type: ignore[arg-type] # as far as a stream needs it
    stream.write_framed(b"first")
    sent = stream.sent
    others: list[bytes] = []

    def otherwise(read: bytes) -> bytes:
        others.append(read)
        return b"rest"

    stream.expect(TEMPLATES[0], otherwise)
    take = stream.expect(template, otherwise)
    rest = take(read)
    out = template.take_chunk(read)
    if out is None or len(template.absent) > 1:
        assert (others, rest, written, stream.sent) == ([read], b"rest", [b"first"], sent)
    else:
        assert (others, rest, written, stream.sent) == ([], b"", [b"first", out], sent + len(out))
    stream.close()
    assert take(read) == read
