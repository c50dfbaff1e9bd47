"""Unmodified clients against gateway and simulator."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import httpx
import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import SecretStr
from zai import ZaiClient

from tests.stack import Stack

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "adds",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
        },
    }
]


def langchain(stack: Stack, model: str, **client: object) -> "ChatOpenAI":
    """``client`` is an HTTP client, sync or async: LangChain would never close its own."""
    # Not imported by the test processes that run none of its tests: it takes seconds.
    from langchain_openai import ChatOpenAI

    options: dict[str, Any] = {**client, "stream_usage": True}
    return ChatOpenAI(base_url=stack.base_url, api_key=SecretStr("any"), model=model, **options)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture
def client(shared: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=shared.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def troubled(stack: Stack) -> Iterator[openai.OpenAI]:
    """For faults that cost the gateway its credential."""
    with openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client:
        yield client


def test_create(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="glm-4.6", messages=MESSAGES)
    assert answer.object == "chat.completion"
    assert answer.model == "glm-4.6"
    assert answer.id.startswith("chatcmpl-")
    assert (answer.choices[0].message.content or "").startswith("Gateways that stream well")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.completion_tokens == 36


def test_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="glm-4.6", messages=MESSAGES).choices[0].message.content
    chunks = list(client.chat.completions.create(model="glm-4.6", messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert any(getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks)


def test_stream_with_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="glm-4.6", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


def test_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="glm-4.6", messages=MESSAGES) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert (answer.choices[0].message.content or "").startswith("Gateways")


def test_async_create_and_stream(shared: Stack) -> None:
    async def run() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=shared.base_url, api_key="any") as client:
            whole = await client.chat.completions.create(model="glm-4.6", messages=MESSAGES)
            stream = await client.chat.completions.create(model="glm-4.6", messages=MESSAGES, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole.choices[0].message.content or "", "".join(parts)

    whole, streamed = asyncio.run(run())
    assert whole == streamed != ""


@pytest.mark.parametrize("tool_stream", [False, True])
def test_streamed_tool_call(client: openai.OpenAI, tool_stream: bool) -> None:
    with client.chat.completions.stream(
        model="glm-4.6", messages=MESSAGES, tools=TOOLS, extra_body={"tool_stream": tool_stream}
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls
    assert calls is not None and calls[0].function is not None
    assert calls[0].function.name == "add"
    assert json.loads(calls[0].function.arguments) == {"a": 2, "b": 2}
    assert answer.choices[0].finish_reason == "tool_calls"


def test_tool_round_trip(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="glm-4.6", messages=MESSAGES, tools=TOOLS, tool_choice="required")
    calls = first.choices[0].message.tool_calls
    assert calls is not None
    history: list[ChatCompletionMessageParam] = [
        *MESSAGES,
        {
            "role": "assistant",
            "tool_calls": [{"id": calls[0].id, "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": calls[0].id, "content": "4"},
    ]
    second = client.chat.completions.create(model="glm-4.6", messages=history, tools=TOOLS)
    assert second.choices[0].finish_reason == "stop"


def test_structured_output_as_json_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="glm-4.6", messages=MESSAGES, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content or "")["ok"] is True


class Step(pydantic.BaseModel):
    explanation: str
    weight: float
    kind: Literal["add", "carry"]


class Solution(pydantic.BaseModel):
    steps: list[Step] = pydantic.Field(min_length=1)
    first: Step
    note: str | None


@pytest.mark.parametrize("platform", ["zai", "openai"])
def test_structured_output_in_a_schema(http: httpx.Client, platform: str) -> None:
    with (
        Stack(platform) as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client,
    ):
        answer = client.chat.completions.parse(model="glm-5.3", messages=MESSAGES, response_format=Solution)
        with client.chat.completions.stream(model="glm-5.3", messages=MESSAGES, response_format=Solution) as stream:
            for _ in stream:
                pass
            streamed = stream.get_final_completion()
        model = langchain(stack, "glm-5.3", http_client=http)
        found = model.with_structured_output(Solution, method="json_schema").invoke("2 and 2")
    parsed = answer.choices[0].message.parsed
    assert parsed is not None and parsed.steps == [parsed.first]
    assert (parsed.first.kind, parsed.note) == ("add", "sample")
    assert streamed.choices[0].message.parsed == parsed == found


def test_parameters_that_glm_refuses_do_no_harm(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="glm-4.6",
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello", "name": "bob"}],
        temperature=2,
        n=1,
        frequency_penalty=1,
        presence_penalty=1,
        logit_bias={},
        max_completion_tokens=5,
        parallel_tool_calls=True,
        user="somebody",
        stop="never",
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 9


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "glm-5.3"
    assert "glm-4.7" in names
    assert client.models.retrieve("glm-5.3").id == "glm-5.3"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-none")


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("glm-4.6:fault=1302:retry_after=30", openai.RateLimitError),
        ("glm-4.6:fault=1113", openai.RateLimitError),
        ("glm-4.6:fault=1210", openai.BadRequestError),
        ("glm-4.6:fault=1211", openai.NotFoundError),
        ("glm-4.6:fault=529:retry_after=30", openai.InternalServerError),
        ("glm-4.6:fault=html", openai.APIStatusError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_error_classes(troubled: openai.OpenAI, model: str, error: type[Exception], stream: bool) -> None:
    with pytest.raises(error) as caught:
        troubled.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.request_id


@pytest.mark.parametrize("fault", ["error_mid", "network_error", "garbage_mid", "truncate"])
def test_an_error_in_the_stream_is_raised(troubled: openai.OpenAI, fault: str) -> None:
    seen = 0
    with pytest.raises(openai.APIError):
        for _ in troubled.chat.completions.create(model=f"glm-4.6:itl=1:fault={fault}", messages=MESSAGES, stream=True):
            seen += 1
    assert seen > 1


def test_a_wrong_key_is_an_authentication_error() -> None:
    with Stack(DEFAULT_KEY="right-key") as stack:
        with openai.OpenAI(base_url=stack.base_url, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(model="glm-4.6", messages=MESSAGES)
            client.api_key = "right-key"
            assert client.chat.completions.create(model="glm-4.6", messages=MESSAGES).choices
        assert stack.stats()["requests"] == 1


def test_langchain(shared: Stack, http: httpx.Client) -> None:
    async def ask() -> object:
        async with httpx.AsyncClient() as client:
            return (await langchain(shared, "glm-4.6", http_async_client=client).ainvoke("Hello")).content

    model = langchain(shared, "glm-4.6", http_client=http)
    whole = model.invoke("Hello")
    assert str(whole.content).startswith("Gateways")
    chunks = list(model.stream("Hello"))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert total.usage_metadata is not None
    assert total.usage_metadata["output_tokens"] == 36
    assert asyncio.run(ask()) == whole.content


def test_langchain_structured_output(shared: Stack, http: httpx.Client) -> None:
    schema = {
        "title": "add",
        "description": "adds",
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }
    model = langchain(shared, "glm-4.6", http_client=http)
    assert model.with_structured_output(schema, method="function_calling").invoke("2 and 2") == {"a": 2, "b": 2}


def test_zai_sdk(shared: Stack) -> None:
    # Its annotations join streamed and whole responses; ``stream`` decides which one comes.
    client: Any
    with closing(ZaiClient(api_key="abc.def", base_url=shared.base_url)) as client:
        answer = client.chat.completions.create(model="glm-4.6", messages=[{"role": "user", "content": "Hello"}])
        assert answer.choices[0].message.content.startswith("Gateways")
        stream = client.chat.completions.create(
            model="glm-4.6",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            tool_stream=True,
            thinking={"type": "enabled"},
        )
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 36


def test_plain_openai_upstream_is_passed_on_byte_for_byte() -> None:
    with Stack("openai") as stack:
        body = {
            "model": "glm-4.6",
            "messages": MESSAGES,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        ours = httpx.post(f"{stack.base_url}/chat/completions", json=body).content
        theirs = httpx.post(f"http://127.0.0.1:{stack.simulator_port}/v1/chat/completions", json=body).content
        assert ours.replace(b"chatcmpl-sim1", b"chatcmpl-sim2") == theirs


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize("platform", ["zai", "openai", "zai_web", "zread"])
def test_every_dialect_over_either_transport(platform: str, transport: str) -> None:
    with (
        Stack(platform, ZTOAPI_TRANSPORT=transport, ZREAD_REPOSITORY="zai-org/GLM-4.5") as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client,
    ):
        whole = client.chat.completions.create(model="glm-4.6:tokens=9", messages=MESSAGES)
        chunks = list(client.chat.completions.create(model="glm-4.6:tokens=9", messages=MESSAGES, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert text.startswith("Gateways that stream well do little")
        assert chunks[-1].choices[0].finish_reason == "stop"
        if platform != "openai":
            reasoning = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks]
            assert "".join(reasoning).strip() == "The user wants an"
        assert [record.ending and record.ending.value for record in stack.records()] == ["done"] * 2
