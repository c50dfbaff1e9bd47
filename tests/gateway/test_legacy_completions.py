"""The legacy completions API through gateway and simulator."""

from collections.abc import Callable

import httpx
import openai
import pytest

from tests.stack import Stack
from ztoapi.errors import Ending

Clients = Callable[[Stack], openai.OpenAI]


def test_a_whole_completion(stack: Stack, openai_sdk: Clients) -> None:
    completion = openai_sdk(stack).completions.create(model="glm-5.3", prompt="Hello", max_tokens=50)
    assert completion.object == "text_completion"
    assert completion.choices[0].text.startswith("Gateways that stream well")
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0
    assert stack.record().route == "/v1/completions"


def test_a_stream_equals_the_whole_completion(shared: Stack, openai_sdk: Clients) -> None:
    whole = openai_sdk(shared).completions.create(model="glm-5.3", prompt=["Hello"])
    chunks = list(
        openai_sdk(shared).completions.create(
            model="glm-5.3", prompt="Hello", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage and whole.usage
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    plain = list(openai_sdk(shared).completions.create(model="glm-5.3", prompt="Hello", stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 3}, "logprobs"),
        ({"prompt": "a", "n": 2}, "n"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
    ],
)
def test_refusals(shared: Stack, fields: dict[str, object], param: str) -> None:
    response = httpx.post(f"{shared.base_url}/completions", json={"model": "glm-5.3", **fields})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_fields_without_effect_pass(shared: Stack) -> None:
    fields = {"prompt": "a", "echo": False, "suffix": None, "logprobs": None, "n": 1, "best_of": 1, "unknown": 1}
    assert httpx.post(f"{shared.base_url}/completions", json={"model": "glm-5.3", **fields}).status_code == 200


@pytest.mark.parametrize("fault", ["truncate", "error_mid"])
def test_a_cut_stream_has_no_done(stack: Stack, fault: str) -> None:
    received = b""
    body = {"model": f"glm-4.6:fault={fault}", "prompt": "a", "stream": True}
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", f"{stack.base_url}/completions", json=body) as got,
    ):
        for piece in got.iter_raw():
            received += piece
    assert b'"error"' in received
    assert b"[DONE]" not in received
    assert stack.record().ending is not Ending.DONE
