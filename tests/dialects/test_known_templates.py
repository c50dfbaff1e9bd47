"""The template that a stream's plain events have is remembered for the next stream of that upstream.

The memory must not change the output: a reader with the templates of earlier streams writes the same chunks as one
without, also if the upstream's streams are of different kinds.
"""

import json
from contextlib import ExitStack
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ztoapi.dialects.events import events as events_of
from ztoapi.dialects.openai import NO_REWRITE, KnownTemplates, OpenAIReader, Rewrite

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


class Kind(msgspec.Struct, frozen=True):
    """How an upstream writes its chunks."""

    id: str = "x1"
    model: str = "glm-4.6"
    spaced: bool = False
    role: bool = False
    finish: bool = False
    finish_first: bool = False
    logprobs: bool = False
    usage: bool = False
    trailing: bool = False
    choices: int = 1

    def chunk(self, text: str, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
        choice: dict[str, object] = {"finish_reason": finish} if self.finish_first else {}
        choice["delta"] = {"role": "assistant", "content": text} if self.role else {"content": text}
        if self.logprobs:
            choice["logprobs"] = None
        if not self.finish_first and (self.finish or finish):
            choice["finish_reason"] = finish
        head: dict[str, object] = {"id": self.id, "object": "chat.completion.chunk", "created": 1, "model": self.model}
        head["choices"] = [{"index": index, **choice} for index in range(self.choices)]
        if usage or self.usage:
            head["usage"] = usage
        if self.trailing:
            head["system_fingerprint"] = "fp"
        return b"data: %b\n\n" % json.dumps(head, separators=(", ", ": ") if self.spaced else (",", ":")).encode()

    def stream(self, texts: list[str], *, role: bool = True) -> list[bytes]:
        first = [msgspec.structs.replace(self, role=True).chunk("")] if role else []
        last = [self.chunk("", "stop"), self.chunk("", "stop", USAGE)][:: 1 if len(texts) % 2 else -1][:1]
        return [*first, *(self.chunk(text) for text in texts), *last, DONE]


kinds = st.builds(
    Kind,
    id=st.sampled_from(["x1", "y2"]),
    model=st.sampled_from(["glm-4.6", "glm-4.5"]),
    spaced=st.booleans(),
    role=st.booleans(),
    finish=st.booleans(),
    finish_first=st.booleans(),
    logprobs=st.booleans(),
    usage=st.booleans(),
    trailing=st.booleans(),
    choices=st.sampled_from([1, 1, 1, 2]),
)
texts = st.lists(
    st.sampled_from(["a", '"}}]}', "é\n\n", '"finish_reason":"stop"', "finish_reason", "logprobs", '"usage":{', ""]),
    max_size=6,
)


def said(known: KnownTemplates, blocks: list[bytes], rewrite: tuple[str | None, bool], include_usage: bool) -> bytes:
    reader = OpenAIReader(Rewrite("chatcmpl-7", rewrite[0], normalise=rewrite[1]), known, include_usage=include_usage)
    out = b"".join(reader.feed(block) for block in blocks)
    assert reader.done and reader.error is None
    return out


def objects(out: bytes) -> list[object]:
    return [json.loads(part[6:]) for part in out.split(b"\n\n")[:-2]]


@given(
    st.lists(st.tuples(kinds, texts, st.booleans(), st.integers(1, 4)), min_size=2, max_size=4),
    st.sampled_from([(None, False), ("alias", False), ("alias", True)]),
    st.booleans(),
)
@example([(Kind(finish=True, trailing=True, choices=count), ["a"], True, 1) for count in (1, 2)], ("alias", True), True)
def test_what_was_remembered_never_shows(
    streams: list[tuple[Kind, list[str], bool, int]], rewrite: tuple[str | None, bool], include_usage: bool
) -> None:
    known: KnownTemplates = {}
    for kind, words, role, size in streams:
        events = kind.stream(words, role=role)
        blocks = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
        expected = objects(said({}, events, rewrite, include_usage))
        assert objects(said({}, blocks, rewrite, include_usage)) == expected
        again = said(known, blocks, rewrite, include_usage)
        assert objects(again) == expected
        if rewrite == (None, False) and include_usage:
            assert again == b"".join(events)


LAST = st.sampled_from(
    [
        Kind().chunk("", "stop", USAGE),
        Kind().chunk("", "stop"),
        Kind(finish_first=True).chunk("end", "length", USAGE),
        Kind(usage=True).chunk("", "tool_calls"),
        Kind(logprobs=True).chunk("", "stop"),
        Kind(role=True).chunk("", "sensitive", USAGE),
        Kind(id="y2").chunk("", "stop", USAGE),
        Kind(trailing=True).chunk("", "stop"),
        Kind(spaced=True).chunk("", "stop", USAGE),
        Kind(choices=2).chunk("", "stop"),
        Kind(choices=0).chunk("", None, USAGE),
        Kind(choices=0).chunk("", None, {"prompt_tokens": 1.0}),  # type: ignore[dict-item] # servers differ
        Kind(choices=0).chunk(""),
        Kind(usage=True).chunk(""),
        Kind().chunk("").replace(b"}}]}", b'}}],"error":{"message":"no"}}'),
        Kind().chunk("", "stop").replace(b'"stop"', b'"st\nop"'),
        Kind().chunk("", "stop").replace(b",", b",\n"),
        Kind().chunk("", "stop").replace(b"\n", b"\r\n"),
        Kind().chunk("", "stop").replace(b'{"content": ""}', b"null").replace(b'{"content":""}', b"null"),
        Kind().chunk("", "stop").replace(b'"index":0,', b""),
        Kind().chunk("", "").replace(b'"index":0', b'"index":1'),
        b'data: {"id":"x1","choices":[],"usage":{},"code":500,"message":"no"}\n\n',
        b": comment\n\n",
    ]
)


@given(
    st.lists(LAST, max_size=3),
    st.sampled_from([(None, False), ("alias", False), ("alias", True)]),
    st.booleans(),
    st.booleans(),
)
def test_the_usual_end_is_read_as_by_the_long_way(
    last: list[bytes], rewrite: tuple[str | None, bool], include_usage: bool, apart: bool
) -> None:
    results = []
    for short in (True, False):
        reader = OpenAIReader(Rewrite("chatcmpl-7", rewrite[0], normalise=rewrite[1]), {}, include_usage=include_usage)
        reader.feed(Kind().chunk("a"))
        with ExitStack() as ways:
            for way in () if short else ("_feed_last", "_last_event"):
                ways.enter_context(patch.object(OpenAIReader, way, return_value=None))
            blocks = [*last, DONE] if apart else [b"".join(last) + DONE]
            out = b"".join(reader.feed(block) for block in blocks if reader.error is None)
        texts = [json.loads(text) for _, text in events_of(out) if text != b"[DONE]"]
        results.append((texts, out.endswith(DONE), reader.done, reader.error and reader.error.code, reader.usage))
    assert results[0] == results[1]


def test_an_end_mark_in_the_event_of_a_finish_ends_nothing() -> None:
    reader = OpenAIReader(NO_REWRITE, {}, include_usage=False)
    reader.feed(Kind().chunk("a"))
    assert reader.feed(Kind().chunk("", "stop")[:-2] + b"}\n" + DONE) == b""
    assert reader.error is not None and not reader.done


@pytest.mark.parametrize("normalise", [True, False])
def test_a_finish_without_the_last_field_of_the_other_heads(normalise: bool) -> None:
    # The field and `"choices":` have as many bytes as the usual end of a head.
    start, choice = b'data: {"id":"x1",', b'"choices":[{"delta":{"content":"a"},"index":0,"finish_reason":%b}]}\n\n'
    reader = OpenAIReader(Rewrite("chatcmpl-7", "alias", normalise=normalise), {}, include_usage=False)
    reader.feed(start + b'"model":"glm-4-air",' + choice % b"null")
    out = reader.feed(start + choice % b'"stop"' + DONE)
    (_, finish), end = events_of(out)
    assert json.loads(finish)["model"] == "alias"
    assert end == ("", b"[DONE]")


@pytest.mark.parametrize("apart", [True, False])
def test_the_usual_end_takes_the_short_way(apart: bool) -> None:
    for rewrite in (NO_REWRITE, Rewrite("chatcmpl-7", "alias", normalise=True)):
        reader = OpenAIReader(rewrite, {}, include_usage=False)
        reader.feed(Kind().chunk("a"))
        with patch.object(OpenAIReader, "_feed_slowly", side_effect=AssertionError):
            if apart:
                reader.feed(Kind().chunk("", "stop"))
                reader.feed(Kind(choices=0).chunk("", None, USAGE))
            assert reader.feed((b"" if apart else Kind().chunk("", "stop", USAGE)) + DONE).endswith(DONE)
        assert reader.done and reader.usage is not None


@pytest.mark.parametrize("rewrite", [(None, False), ("alias", True)])
def test_the_next_stream_of_the_same_kind_is_not_decoded(rewrite: tuple[str | None, bool]) -> None:
    known: KnownTemplates = {}
    said(known, Kind(finish=True).stream(["a", "b"]), rewrite, True)
    reader = OpenAIReader(Rewrite("chatcmpl-8", rewrite[0], normalise=rewrite[1]), known, include_usage=True)
    reader.feed(Kind(id="another", finish=True).chunk("a"))
    template = reader.template
    assert template is not None
    assert template.apply(Kind(id="another", finish=True).chunk("b")) is not None
