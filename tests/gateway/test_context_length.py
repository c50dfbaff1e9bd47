"""A prompt that is too long for an OpenAI-compatible upstream, as clients of every API see it."""

import json

import httpx
import pytest

from tests.gateway.replies import Replies, event, streamed, whole
from tests.support.table import table

ERROR = {
    "object": "error",
    "message": "This model's maximum context length is 8192 tokens. However, you requested 10000 tokens (9000 in the "
    "messages, 1000 in the completion).",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
HELLO = [{"role": "user", "content": "Hello"}]
SHOWN = "prompt is too long: 10000 tokens > 8192 maximum"
BODIES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
    "/v1/completions": {"prompt": "Hello"},
}


@table("path", BODIES)
@table("stream", [True, False])
@table("embedded", [True, False])
@table("report", [ERROR, {"error": ERROR}], ids=["flat", "nested"])
def test_a_prompt_that_is_too_long(path: str, stream: bool, embedded: bool, report: dict[str, object]) -> None:
    body = json.dumps(report).encode()
    reply = streamed(b"data: %b\n\n" % body) if embedded else whole(body, b"400 Bad Request")
    with Replies(lambda _: reply) as upstream, upstream.stack() as stack:
        response = httpx.post(stack.url + path, json={"model": "m", "stream": stream, **BODIES[path]})
        assert len(upstream.bodies) == 1
    error = response.json()["error"]
    assert response.status_code == 400
    if path == "/v1/messages":
        assert (error["type"], error["message"]) == ("invalid_request_error", SHOWN)
    else:
        assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_within_a_stream_that_has_begun(path: str) -> None:
    reply = streamed(event({"role": "assistant", "content": "Good"}), b"data: %b\n\n" % json.dumps(ERROR).encode())
    with Replies(lambda _: reply) as upstream, upstream.stack() as stack:
        body = {"model": "m", "stream": True, **BODIES[path]}
        text = ""
        with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", stack.url + path, json=body) as response:
            for part in response.iter_text():
                text += part
    last = text.rpartition("event: ")[2]
    assert (SHOWN if path == "/v1/messages" else '"code":"context_length_exceeded"') in last
