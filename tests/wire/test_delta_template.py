"""Reads that are passed on with their framing become what they would become chunk by chunk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.inmemory import Gateway, chunked, request, stream_head
from tests.support.table import table
from ztoapi.dialects.events import events as split_events
from ztoapi.dialects.registry import DialectName
from ztoapi.errors import ProtocolError
from ztoapi.wire.chunked import CHUNK_LINES, ChunkDecoder
from ztoapi.wire.delta_template import DeltaTemplate

HEAD = b'data: {"id":"1","choices":[{"index":0,"delta":'
TAIL = b'"finish_reason":null}]}\n\n'
TEMPLATES = [
    DeltaTemplate(b"", b"", TAIL, TAIL, ()),
    DeltaTemplate(HEAD, HEAD, TAIL, TAIL, (b'"logprobs"',)),
    DeltaTemplate(
        HEAD, b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":', TAIL, b'"logprobs":null,' + TAIL, ()
    ),
    DeltaTemplate(HEAD, HEAD, TAIL, TAIL, (b'"usage"', b'"logprobs"')),
]
FINISH = HEAD + b'{},"finish_reason":"stop"}]}\n\n'

deltas = st.sampled_from(
    [b'{"content":"a"},', b'{"content":"\\n\\r"},', b'{},"logprobs":null,', b"x" * 1200, b"\n", b"\r\n"]
)
events = st.one_of(
    deltas.map(lambda delta: HEAD + delta + TAIL),
    st.sampled_from([FINISH, b"data: [DONE]\n\n", b": comment\n\n", b"data: x" + TAIL, TAIL, HEAD, b"\n\n"]),
)
chunks = st.one_of(
    events.map(chunked),
    st.lists(events, min_size=1, max_size=3).map(lambda several: chunked(b"".join(several))),
    events.map(lambda event: b"%X;x=1\r\n%b\r\n" % (len(event), event)),
    st.sampled_from([b"0\r\n\r\n", b"\r\n", b"", b"5\r\nabc\r\n", b"0\r\n", b"00000005\r\nhello\r\n"]),
)


def payload_of(raw: bytes) -> bytes | None:
    decoder = ChunkDecoder()
    try:
        payload = decoder.decode(raw)
    except ProtocolError:
        return None
    return payload if decoder.between and not decoder.done else None


@given(read=st.lists(chunks, max_size=5).map(b"".join), template=st.sampled_from(TEMPLATES), cut=st.integers(0, 12))
def test_what_comes_out_is_what_the_payload_becomes(read: bytes, template: DeltaTemplate, cut: int) -> None:
    read = read[: len(read) - cut] if cut < 4 else read
    out, rest = template.take_chunks(read)
    taken = read.removesuffix(rest)
    assert taken + rest == read and bool(out) == bool(taken)
    if out:
        payload = payload_of(taken)
        assert payload is not None
        assert payload_of(out) == template.apply(payload)
    one = template.take_chunk(read)
    if one is not None:
        assert (out, rest) == (one, b"")


@given(
    plain=st.lists(deltas.filter(lambda delta: not delta.startswith((b"\n", b"\r")) and len(delta) < 999), max_size=5),
    others=st.lists(chunks, max_size=3),
    template=st.sampled_from(TEMPLATES[::2]),
)
def test_all_plain_chunks_at_the_beginning_are_taken(
    plain: list[bytes], others: list[bytes], template: DeltaTemplate
) -> None:
    following = b"".join(others)
    read = b"".join(chunked(HEAD + delta + TAIL) for delta in plain)
    out, rest = template.take_chunks(read + following)
    again, last = template.take_chunks(following)
    if again or (plain and TAIL + b"\r\n" in following):
        # They are taken together, or not all are found plain.
        return
    assert rest == following
    assert payload_of(out) == (template.apply(b"".join(HEAD + delta + TAIL for delta in plain)) if plain else b"")
    assert last == following


NAMED_HEAD = b"event: x.delta\ndata: {"
NAMED = DeltaTemplate(NAMED_HEAD, NAMED_HEAD, b"}\n\n", b"}\n\n", ())
named_events = st.one_of(
    st.sampled_from([b"", b'"a":"\\n"', b'"a":{}}', b"x" * 1200]).map(lambda delta: NAMED_HEAD + delta + b"}\n\n"),
    st.sampled_from([b"event: x.done\ndata: {}\n\n", b"data: {}\n\n", b"event: x.delta\n\n", b"}\n\n", b"\n", b"\r\n"]),
)


@given(
    named=st.lists(st.lists(named_events, min_size=1, max_size=3).map(b"".join), max_size=4),
    cut=st.integers(0, 12),
)
def test_events_with_names(named: list[bytes], cut: int) -> None:
    block = b"".join(named)
    taken = NAMED.apply(block)
    if taken is not None:
        assert taken is block
        assert all(name == "x.delta" and data[:1] == b"{" for name, data in split_events(block))
    read = b"".join(map(chunked, named))
    read = read[: len(read) - cut] if cut < 4 else read
    out, rest = NAMED.take_chunks(read)
    assert out + rest == read
    if out:
        payload = payload_of(out)
        assert payload is not None
        assert NAMED.apply(payload) == payload


@pytest.mark.parametrize("count", [1, 2, 8])
def test_events_with_names_are_taken(count: int) -> None:
    events = [NAMED_HEAD + b'"a":%d}\n\n' % 10**number for number in range(count)]
    assert NAMED.apply(b"".join(events)) is not None
    read = b"".join(map(chunked, events))
    assert NAMED.take_chunks(read) == (read, b"")


@table("template", TEMPLATES)
@table("count", [1, 2, 8])
def test_plain_events_in_chunks_of_their_own_are_taken(template: DeltaTemplate, count: int) -> None:
    read = b"".join(chunked(HEAD + b'{"content":"%d"},' % 10**number + TAIL) for number in range(count))
    out, rest = template.take_chunks(read)
    assert out and not rest
    assert (out is read) == (template is not TEMPLATES[2])


def test_a_chunk_that_begins_with_the_line_of_its_length_is_whole() -> None:
    for size, line in enumerate(CHUNK_LINES):
        if line:
            chunk = line + bytes(size - len(line) - 2) + b"\r\n"
            assert payload_of(chunk) == bytes(size - len(line) - 2)
    assert not any(CHUNK_LINES[:6])


@pytest.mark.parametrize("dialect", ["openai", "zai"])
def test_chunks_that_reads_have_cut_are_put_together(dialect: DialectName) -> None:
    head = HEAD.replace(b'"id":"1",', b'"id":"1","model":"glm-4.6",')
    plain = [chunked(head + b'{"content":"w%d"},' % number + TAIL) for number in range(4)]
    stream = plain[2] + plain[3] + chunked(FINISH) + chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    gateway = Gateway(dialect)
    written: list[bytes] = []
    gateway.client.write = lambda raw: written.append(bytes(raw))  # type: ignore[method-assign, assignment]
    for cut in range(1, len(stream)):
        written.clear()
        gateway.receive_request(request(stream=True))
        for read in (stream_head() + plain[0], plain[1], stream[:cut], stream[cut:]):
            gateway.receive_response(read)
        decoder = ChunkDecoder()
        answer = decoder.decode(b"".join(written).partition(b"\r\n\r\n")[2])
        assert decoder.done and not decoder.rest
        *events, done, end = answer.split(b"\n\n")
        said = [json.loads(event[6:])["choices"][0] for event in events]
        assert [choice["delta"].get("content") for choice in said] == ["w0", "w1", "w2", "w3", None]
        assert [choice.get("finish_reason") for choice in said] == [None] * 4 + ["stop"]
        assert (done, end) == (b"data: [DONE]", b"")
    gateway.close()
