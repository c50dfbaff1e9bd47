"""The Responses API through gateway and simulator, as OpenAI's SDK and Codex use it."""

import json
from collections.abc import Callable

import httpx
import openai
import pytest

from tests.stack import Stack
from ztoapi.errors import Ending

Clients = Callable[[Stack], openai.OpenAI]
Fields = dict[str, object]
READ: Fields = {
    "type": "function",
    "name": "Read",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}


def post(stack: Stack, body: Fields, path: str = "/v1/responses", **headers: str) -> httpx.Response:
    return httpx.post(stack.url + path, json={"model": "glm-5.3", **body}, headers=headers)


def events(text: str) -> list[Fields]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_a_whole_response(stack: Stack, openai_sdk: Clients) -> None:
    response = openai_sdk(stack).responses.create(model="glm-5.3", input="Hello")
    assert response.output_text.startswith("Gateways that stream well")
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert stack.record().route == "/v1/responses"


def test_a_stream_equals_the_whole_response(stack: Stack, openai_sdk: Clients) -> None:
    whole = openai_sdk(stack).responses.create(model="glm-5.3", input="Hello")
    with openai_sdk(stack).responses.stream(model="glm-5.3", input="Hello") as stream:
        response = stream.get_final_response()
    assert response.output_text == whole.output_text
    assert (response.usage and response.usage.total_tokens) == (whole.usage and whole.usage.total_tokens)


def test_a_tool_runs_to_the_end(stack: Stack) -> None:
    script = '[simulate: Read {"path": "a.py"} > "It contains $result"]'
    items: list[Fields] = [{"role": "user", "content": script}]
    output = post(stack, {"input": items, "tools": [READ], "store": False}).json()["output"]
    (call,) = [item for item in output if item["type"] == "function_call"]
    assert (call["name"], json.loads(call["arguments"])) == ("Read", {"path": "a.py"})
    items += [*output, {"type": "function_call_output", "call_id": call["call_id"], "output": "x = 1"}]
    done = post(stack, {"input": items, "tools": [READ], "store": False}).json()
    assert done["output"][-1]["content"][0]["text"] == "It contains x = 1"


def test_tokens_are_counted(stack: Stack) -> None:
    counted = post(stack, {"input": "Hello"}, "/v1/responses/input_tokens").json()
    assert counted["object"] == "response.input_tokens"
    assert counted["input_tokens"] > 0
    assert stack.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"input": []}, "input"), ({"input": "a", "background": True}, "background"), ({"input": 5}, "input")],
)
def test_refusals(shared: Stack, fields: Fields, param: str) -> None:
    response = post(shared, fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_used_up_quota_has_the_time_of_its_reset() -> None:
    with Stack(ZTOAPI_MAX_TRIES="1") as stack:
        response = post(stack, {"model": "glm-4.6:fault=1308:reset=3600", "input": "a"})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (429, "usage_limit_reached")
    assert error["resets_at"] > 0


@pytest.mark.parametrize("fault", ["truncate", "error_mid", "reset_mid"])
def test_a_cut_stream_has_failed(stack: Stack, fault: str) -> None:
    received = b""
    body = {"model": f"glm-4.6:fault={fault}", "stream": True, "input": "a"}
    with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", f"{stack.url}/v1/responses", json=body) as got:
        for piece in got.iter_raw():
            received += piece
    last = events(received.decode())[-1]
    assert last["type"] == "response.failed"
    assert b"response.completed" not in received
    assert stack.record().ending is not Ending.DONE


def test_a_response_that_reaches_its_limit_is_incomplete(stack: Stack) -> None:
    body = {"stream": True, "input": "a", "max_output_tokens": 5, "reasoning": {"effort": "none"}}
    last = events(post(stack, body).text)[-1]
    assert last["type"] == "response.incomplete"


def test_keepalives_follow_the_first_events() -> None:
    with Stack(ZTOAPI_SSE_KEEPALIVE_SECONDS="0.3", ZTOAPI_SSE_KEEPALIVE_BEFORE_FIRST_BYTE="true") as stack:
        found = events(post(stack, {"input": "a", "stream": True, "model": "glm-4.6:ttft=1500"}).text)
    assert [event["type"] for event in found[:3]] == ["response.created", "response.in_progress", "keepalive"]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert found[-1]["type"] == "response.completed"
