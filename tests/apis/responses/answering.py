"""Chunks of a chat completion as a reader writes them, and the events that a writer makes of them."""

import json

from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.apis.responses.request import ResponseContext, ResponsesRequest
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities

Event = dict[str, object]
DONE = b"data: [DONE]\n\n"
NOW = 1_764_000_000.7


def chunk(delta: dict[str, object], finish: str | None = None, *, usage: object = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    fields = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    if usage is not None:
        fields["usage"] = usage
    return b"data: %b\n\n" % json.dumps(fields).encode()


def call(
    index: int | None = 0, id: str | None = None, name: str | None = None, arguments: str | None = None
) -> dict[str, object]:
    """A delta with a piece of one tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {"tool_calls": [{**piece, "function": function}]}


def usage(prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def request(**fields: object) -> ResponsesRequest:
    return ResponsesRequest(json.dumps({"model": "glm-4.6", "input": "hi", **fields}).encode())


def chat(model: ModelCapabilities = UNKNOWN, /, **fields: object) -> dict[str, object]:
    """The chat request for a Responses request with ``fields``."""
    body = request(**fields).chat(model)[0].body
    decoded = json.loads(body)
    assert isinstance(decoded, dict)
    return decoded


def context(**fields: object) -> ResponseContext:
    return request(**fields).chat(UNKNOWN)[1]


def writer(**fields: object) -> ResponseWriter:
    return ResponseWriter(context(**fields), "u", lambda: NOW)


def read_events(stream: bytes) -> list[Event]:
    """The data of each event; its name must be its type."""
    found: list[Event] = []
    parts = stream.split(b"\n\n")
    assert parts.pop() == b""
    for part in parts:
        name, data = part.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        found.append(event)
    return found


def kinds(stream: bytes) -> list[object]:
    return [event["type"] for event in read_events(stream)]
