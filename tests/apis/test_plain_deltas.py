"""Chunks that are recognised by their bytes get the same translation as those that are decoded."""

import json
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.apis.responses.answering import writer as response_writer
from ztoapi.apis.completions import CompletionWriter
from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.writer import MessageWriter
from ztoapi.apis.plain_deltas import PlainDeltas
from ztoapi.apis.writing import EventWriter

DONE = b"data: [DONE]\n\n"
WRITERS: dict[str, Callable[[], EventWriter]] = {
    "messages": lambda: MessageWriter(MessagesContext("m", thinking=True), "msg_1", 3, "r"),
    "responses": lambda: response_writer(reasoning={"effort": "high"}),
    "completions": lambda: CompletionWriter("m", "cmpl-1", 1, include_usage=True),
}
TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ['"', "\\", "\n", "\u2028", "\x7f", "\x00", "词", "\U0001f600", '","finish_reason":"stop"', "a", "b"]
    ),
)
DELTAS = st.one_of(
    *[TEXTS.map(lambda text: {"content": text})] * 4,
    TEXTS.map(lambda text: {"role": "assistant", "content": text}),
    TEXTS.map(lambda text: {"reasoning_content": text}),
    TEXTS.map(lambda text: {"content": text, "refusal": text}),
    st.just({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
    st.just({}),
)
ENDS = st.sampled_from(["stop", "length", None])


def event(delta: dict[str, object], finish: str | None = None, *, ascii_only: bool = False, **more: object) -> bytes:
    fields = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data: %b\n\n" % json.dumps(fields, ensure_ascii=ascii_only).encode()


@pytest.mark.parametrize("api", WRITERS)
@given(deltas=st.lists(DELTAS, max_size=12), finish=ENDS, ascii_only=st.booleans(), glued=st.booleans())
def test_the_translation_is_that_of_decoded_chunks(
    api: str, deltas: list[dict[str, object]], finish: str | None, ascii_only: bool, glued: bool
) -> None:
    blocks = [event(delta, ascii_only=ascii_only) for delta in deltas]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    end = event({"content": "."}, finish, usage=usage)
    blocks += [end + DONE] if glued else [end, DONE]
    fast, slow = WRITERS[api](), WRITERS[api]()
    with patch.object(PlainDeltas, "learn"):
        expected = b"".join(map(slow.feed, blocks))
    assert b"".join(map(fast.feed, blocks)) == expected
    assert (fast.done, repr(fast.error)) == (slow.done, repr(slow.error))


@pytest.mark.parametrize("api", WRITERS)
def test_most_chunks_are_not_decoded(api: str) -> None:
    under_test = WRITERS[api]()
    under_test.feed(event({"content": "The"}))
    with patch("ztoapi.dialects.chunks.decode_part", side_effect=AssertionError):
        assert b"word" in under_test.feed(event({"content": " word"}))
        assert "词".encode() in under_test.feed(event({"content": "词"}))
