"""Anthropic's SDK reads the events and the whole message as they are meant."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from pydantic import TypeAdapter

from tests.apis.chunks import DONE, delta, runs, usage
from tests.support.pieces import whole_split_and_bytewise
from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.fold import fold
from ztoapi.apis.messages.writer import MessageWriter

anthropic = pytest.importorskip("anthropic")
messages = pytest.importorskip("anthropic.lib.streaming._messages")
types = pytest.importorskip("anthropic.types")
Fields = dict[str, object]


def stream_of(*blocks: bytes) -> bytes:
    writer = MessageWriter(MessagesContext("glm-4.6", thinking=True), "msg_1", 120, "req_1")
    return b"".join([writer.feed(block) for block in blocks])


def decoded(pieces: list[bytes]) -> Iterator[Fields]:
    for event in anthropic._streaming.SSEDecoder().iter_bytes(iter(pieces)):
        data = json.loads(event.data)
        assert isinstance(data, dict) and event.event == data["type"]
        yield data


def accumulated(stream: bytes) -> Fields:
    """Returns the message that the SDK folds from a stream."""
    adapter: TypeAdapter[object] = TypeAdapter(types.RawMessageStreamEvent)
    snapshot = None
    buffers: dict[int, bytes] = {}
    for data in decoded([stream]):
        event = adapter.validate_python(data)
        snapshot = messages.accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    found = snapshot.to_dict()
    assert isinstance(found, dict)
    return found


@given(runs())
def test_any_run(run: tuple[list[bytes], Fields]) -> None:
    stream = stream_of(*run[0], delta("stop"), usage(), DONE)
    message = json.loads(fold(stream))
    found = accumulated(stream)
    assert (found["content"], found["stop_reason"]) == (message["content"], message["stop_reason"])
    assert types.Message.model_validate(message).id == "msg_1"


def test_unknown_usage_leaves_the_estimate() -> None:
    found = accumulated(stream_of(delta(content="123456789"), delta("stop"), DONE))["usage"]
    assert isinstance(found, dict)
    assert (found["input_tokens"], found["output_tokens"]) == (120, 3)


def test_the_stream_may_be_split_anywhere() -> None:
    stream = stream_of(delta(content="\N{EM DASH}\n"), delta("stop"), DONE)
    expected = list(decoded([stream]))
    assert len(expected) == 6
    for pieces in whole_split_and_bytewise(stream):
        assert list(decoded(pieces)) == expected
