"""The events and objects as real clients read them: the openai SDK, and the schema of Open Responses."""

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import openai
import pytest
from openai.lib.streaming.responses._responses import ResponseStreamState

from tests.apis.responses.answering import DONE, call, chunk, read_events, usage, writer
from tests.support.raw_upstream import RawUpstream, stream_of, whole
from ztoapi.apis.responses.errors import error_body
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.dialects.collect import Collector
from ztoapi.errors import ApiError

PACKAGE = importlib.util.find_spec("llm_comply")
assert PACKAGE is not None
assert PACKAGE.origin is not None
SPEC = json.loads((Path(PACKAGE.origin).parent / "specs" / "openresponses.json").read_text("utf-8"))
EVENT_SCHEMAS = {
    "response.created": "ResponseCreatedStreamingEvent",
    "response.in_progress": "ResponseInProgressStreamingEvent",
    "response.completed": "ResponseCompletedStreamingEvent",
    "response.failed": "ResponseFailedStreamingEvent",
    "response.incomplete": "ResponseIncompleteStreamingEvent",
    "response.output_item.added": "ResponseOutputItemAddedStreamingEvent",
    "response.output_item.done": "ResponseOutputItemDoneStreamingEvent",
    "response.content_part.added": "ResponseContentPartAddedStreamingEvent",
    "response.content_part.done": "ResponseContentPartDoneStreamingEvent",
    "response.output_text.delta": "ResponseOutputTextDeltaStreamingEvent",
    "response.output_text.done": "ResponseOutputTextDoneStreamingEvent",
    "response.refusal.delta": "ResponseRefusalDeltaStreamingEvent",
    "response.refusal.done": "ResponseRefusalDoneStreamingEvent",
    "response.reasoning_summary_text.delta": "ResponseReasoningSummaryDeltaStreamingEvent",
    "response.reasoning_summary_text.done": "ResponseReasoningSummaryDoneStreamingEvent",
    "response.reasoning_summary_part.added": "ResponseReasoningSummaryPartAddedStreamingEvent",
    "response.reasoning_summary_part.done": "ResponseReasoningSummaryPartDoneStreamingEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaStreamingEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneStreamingEvent",
}
TOOLS = [{"type": "function", "name": "ls", "parameters": {"type": "object"}}]
CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm"}),
    chunk({"content": "I "}),
    chunk({"content": "look"}),
    chunk(call(0, "c1", "ls", '{"a"')),
    chunk(call(1, "c2", "ls", "{}")),
    chunk(call(0, None, None, ":1}")),
    chunk({}, "tool_calls", usage=usage(5, 2)),
    DONE,
]


@contextlib.contextmanager
def serving(response: bytes) -> Iterator[openai.OpenAI]:
    with (
        RawUpstream(response) as server,
        openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="k", max_retries=0) as client,
    ):
        yield client


def test_the_sdk_accumulates_a_stream() -> None:
    stream = writer(tools=TOOLS).feed(b"".join(CHUNKS))
    with serving(stream_of(stream)) as client, client.responses.stream(model="glm-4.6", input="hi") as events:
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        response = events.get_final_response()
    assert deltas == ["I ", "look"]
    assert response.output_text == "I look"
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert [item.arguments for item in response.output if item.type == "function_call"] == ['{"a":1}', "{}"]
    assert response.usage is not None
    assert response.usage.total_tokens == 7


def test_the_snapshot_of_the_sdk_equals_the_last_event() -> None:
    stream = writer(tools=TOOLS).feed(b"".join(CHUNKS))
    state: ResponseStreamState[object] = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    with serving(stream_of(stream)) as client:
        for event in client.responses.create(model="glm-4.6", input="hi", stream=True):
            state.handle_event(event)
    assert state._completed_response is not None
    found = [item.to_dict() for item in state._completed_output.values()]
    final = read_events(stream)[-1]["response"]
    assert isinstance(final, dict)
    by_id = {item["id"]: item for item in final["output"]}
    assert {str(item["id"]): item for item in found} == by_id


def test_the_sdk_reads_a_whole_response() -> None:
    collector = Collector()
    collector.feed(b"".join(CHUNKS))
    body = writer(tools=TOOLS).whole(collector.body())
    with serving(whole("200 OK", body)) as client:
        response = client.responses.create(model="glm-4.6", input="hi")
    assert response.output_text == "I look"
    assert response.status == "completed"


def test_the_sdk_sees_a_failure() -> None:
    under_test = writer()
    stream = under_test.feed(chunk({"content": "One"})) + under_test.fail(ApiError("gone", code="c", status=502))
    with serving(stream_of(stream)) as client:
        *_, last = client.responses.create(model="glm-4.6", input="hi", stream=True)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "gone"


def test_the_sdk_takes_keepalives() -> None:
    under_test = writer()
    stream = under_test.start() + under_test.keepalive() + under_test.feed(chunk({"content": "One"}, "stop") + DONE)
    with serving(stream_of(stream)) as client, client.responses.stream(model="glm-4.6", input="hi") as events:
        assert events.get_final_response().output_text == "One"


def test_the_sdk_raises_an_error() -> None:
    body = error_body(ApiError("input is empty", code="c", param="input"))
    with serving(whole("400 Bad Request", body)) as client, pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="glm-4.6", input="")
    assert caught.value.param == "input"


def problems(name: str, value: object) -> list[str]:
    schema = {**SPEC, "$ref": f"#/components/schemas/{name}"}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def failed(under_test: ResponseWriter) -> bytes:
    return under_test.feed(chunk({"content": "One"})) + under_test.fail(ApiError("gone", code="c", status=502))


@pytest.mark.parametrize(
    "stream",
    [
        writer(tools=TOOLS, reasoning={"summary": "auto"}).feed(b"".join(CHUNKS)),
        writer(text={"format": {"type": "json_object"}}).feed(chunk({"content": "{}"}, "length") + DONE),
        writer(instructions="Be brief", metadata={"a": "b"}, max_output_tokens=9, temperature=None).feed(
            chunk({"refusal": "No"}, "content_filter") + DONE
        ),
        failed(writer()),
    ],
)
def test_every_event_matches_the_schema(stream: bytes) -> None:
    events = read_events(stream)
    assert [problems(EVENT_SCHEMAS[str(event["type"])], event) for event in events] == [[]] * len(events)
    assert problems("ResponseResource", events[-1]["response"]) == []
