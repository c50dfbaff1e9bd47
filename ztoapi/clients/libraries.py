"""SDKs and frameworks: the variables that they read, and a program that streams a response."""

import json
from collections.abc import Mapping
from functools import partial
from string import Template
from typing import Final, NamedTuple

from ztoapi.clients.agents import claude
from ztoapi.clients.settings import Api, GatewayAccess, Settings, SettingsFile, SettingsMaker

__all__ = ["LIBRARIES"]

_PYTHON: Final = ("python", "hello.py")
_NODE: Final = ("node", "hello.mjs")


class _Program(NamedTuple):
    """A program, with the model's name as a string literal for ``$model``, and the API whose variables it reads."""

    command: tuple[str, ...]
    text: str
    variables: Api = "chat"


_OPENAI_PYTHON: Final = """\
from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
messages = [{"role": "user", "content": "Say hello."}]
for chunk in client.chat.completions.create(model=$model, messages=messages, stream=True):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""
_OPENAI_PYTHON_RESPONSES: Final = """\
from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
with client.responses.stream(model=$model, input="Say hello.") as stream:
    for event in stream:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
print()
"""
_OPENAI_NODE: Final = """\
import OpenAI from "openai";

const client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY
const messages = [{ role: "user", content: "Say hello." }];
for await (const chunk of await client.chat.completions.create({ model: $model, messages, stream: true }))
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
console.log();
"""
_OPENAI_NODE_RESPONSES: Final = """\
import OpenAI from "openai";

const client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY
for await (const event of await client.responses.create({ model: $model, input: "Say hello.", stream: true }))
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
console.log();
"""
_ANTHROPIC_PYTHON: Final = """\
from anthropic import Anthropic

client = Anthropic()  # reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
messages = [{"role": "user", "content": "Say hello."}]
with client.messages.stream(model=$model, max_tokens=4096, messages=messages) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
"""
_ANTHROPIC_NODE: Final = """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic(); // reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
const messages = [{ role: "user", content: "Say hello." }];
const stream = client.messages.stream({ model: $model, max_tokens: 4096, messages });
stream.on("text", (text) => process.stdout.write(text));
await stream.finalMessage();
console.log();
"""
_AI_SDK: Final = """\
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const gateway = createOpenAICompatible({
  name: "zto",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  includeUsage: true,
});
const { textStream } = streamText({ model: gateway($model), prompt: "Say hello." });
for await (const text of textStream) process.stdout.write(text);
console.log();
"""
_AI_SDK_MESSAGES: Final = """\
import { createAnthropic } from "@ai-sdk/anthropic";
import { streamText } from "ai";

const gateway = createAnthropic({
  baseURL: `$${process.env.ANTHROPIC_BASE_URL}/v1`,
  apiKey: process.env.ANTHROPIC_API_KEY,
});
const { textStream } = streamText({ model: gateway($model), prompt: "Say hello." });
for await (const text of textStream) process.stdout.write(text);
console.log();
"""
_AI_SDK_RESPONSES: Final = """\
import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";

const gateway = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const providerOptions = { openai: { store: false } }; // otherwise the next request refers to items of this one
const { textStream } = streamText({ model: gateway.responses($model), prompt: "Say hello.", providerOptions });
for await (const text of textStream) process.stdout.write(text);
console.log();
"""
_LANGCHAIN: Final = """\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=$model)  # reads OPENAI_BASE_URL and OPENAI_API_KEY
for chunk in model.stream("Say hello."):
    print(chunk.text, end="", flush=True)
print()
"""
_LANGCHAIN_MESSAGES: Final = """\
from langchain_anthropic import ChatAnthropic

model = ChatAnthropic(model=$model, max_tokens=4096)  # reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
for chunk in model.stream("Say hello."):
    print(chunk.text, end="", flush=True)
print()
"""
_LANGCHAIN_RESPONSES: Final = """\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=$model, use_responses_api=True)  # reads OPENAI_BASE_URL and OPENAI_API_KEY
for chunk in model.stream("Say hello."):
    print(chunk.text, end="", flush=True)
print()
"""
_LITELLM: Final = """\
import os

import litellm

messages = [{"role": "user", "content": "Say hello."}]
model, base = "openai/" + $model, os.environ["OPENAI_BASE_URL"]
for chunk in litellm.completion(model=model, api_base=base, messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""
_LITELLM_MESSAGES: Final = """\
import os

import litellm

messages = [{"role": "user", "content": "Say hello."}]
model, base = "anthropic/" + $model, os.environ["ANTHROPIC_BASE_URL"]
for chunk in litellm.completion(model=model, api_base=base, messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""
_PYDANTIC_AI: Final = """\
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel

agent = Agent(OpenAIChatModel($model))  # reads OPENAI_BASE_URL and OPENAI_API_KEY
for text in agent.run_stream_sync("Say hello.").stream_text(delta=True):
    print(text, end="", flush=True)
print()
"""
_PYDANTIC_AI_MESSAGES: Final = """\
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel

agent = Agent(AnthropicModel($model))  # reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
for text in agent.run_stream_sync("Say hello.").stream_text(delta=True):
    print(text, end="", flush=True)
print()
"""
_PYDANTIC_AI_RESPONSES: Final = """\
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel

agent = Agent(OpenAIResponsesModel($model))  # reads OPENAI_BASE_URL and OPENAI_API_KEY
for text in agent.run_stream_sync("Say hello.").stream_text(delta=True):
    print(text, end="", flush=True)
print()
"""
_INSTRUCTOR: Final = """\
import instructor
from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    name: str
    inhabitants: int


client = instructor.from_openai(OpenAI(), mode=instructor.Mode.TOOLS)  # reads OPENAI_BASE_URL and OPENAI_API_KEY
messages = [{"role": "user", "content": "Describe Paris."}]
for city in client.chat.completions.create_partial(model=$model, response_model=City, messages=messages):
    print(city)
"""
_OPENAI_AGENTS: Final = """\
import asyncio

from agents import Agent, Runner, set_tracing_disabled

set_tracing_disabled(True)  # traces would go to OpenAI
agent = Agent(name="greeter", instructions="Be brief.", model=$model)  # reads OPENAI_BASE_URL and OPENAI_API_KEY


async def main():
    async for event in Runner.run_streamed(agent, "Say hello.").stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            print(event.data.delta, end="", flush=True)
    print()


asyncio.run(main())
"""
_OPENAI_AGENTS_CHAT: Final = """\
import asyncio

from agents import Agent, Runner, set_default_openai_api, set_tracing_disabled

set_tracing_disabled(True)  # traces would go to OpenAI
set_default_openai_api("chat_completions")
agent = Agent(name="greeter", instructions="Be brief.", model=$model)  # reads OPENAI_BASE_URL and OPENAI_API_KEY


async def main():
    async for event in Runner.run_streamed(agent, "Say hello.").stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            print(event.data.delta, end="", flush=True)
    print()


asyncio.run(main())
"""
_OPENAI_AGENTS_JS: Final = """\
import { Agent, run, setTracingDisabled } from "@openai/agents";

setTracingDisabled(true); // traces would go to OpenAI
const agent = new Agent({ name: "greeter", instructions: "Be brief.", model: $model });
const stream = await run(agent, "Say hello.", { stream: true }); // reads OPENAI_BASE_URL and OPENAI_API_KEY
for await (const text of stream.toTextStream()) process.stdout.write(text);
await stream.completed;
console.log();
"""
_OPENAI_AGENTS_JS_CHAT: Final = """\
import { Agent, run, setOpenAIAPI, setTracingDisabled } from "@openai/agents";

setTracingDisabled(true); // traces would go to OpenAI
setOpenAIAPI("chat_completions");
const agent = new Agent({ name: "greeter", instructions: "Be brief.", model: $model });
const stream = await run(agent, "Say hello.", { stream: true }); // reads OPENAI_BASE_URL and OPENAI_API_KEY
for await (const text of stream.toTextStream()) process.stdout.write(text);
await stream.completed;
console.log();
"""
_LLAMA_INDEX: Final = """\
import os

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

base, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
model = OpenAILike(model=$model, api_base=base, api_key=key, is_chat_model=True, is_function_calling_model=True)
for chunk in model.stream_chat([ChatMessage(role="user", content="Say hello.")]):
    print(chunk.delta, end="", flush=True)
print()
"""
_ZAI_SDK: Final = """\
import os

from zai import ZaiClient

client = ZaiClient(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
messages = [{"role": "user", "content": "Say hello."}]
for chunk in client.chat.completions.create(model=$model, messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""
_CLAUDE_AGENT_SDK: Final = """\
import { query } from "@anthropic-ai/claude-agent-sdk";

const options = { model: $model, settingSources: [] };
for await (const message of query({ prompt: "Say hello.", options }))
  if (message.type === "result") console.log(message.result);
"""

_PROGRAMS: Final[Mapping[str, Mapping[Api, _Program]]] = {
    "openai-python": {
        "chat": _Program(_PYTHON, _OPENAI_PYTHON),
        "responses": _Program(_PYTHON, _OPENAI_PYTHON_RESPONSES),
    },
    "openai-node": {"chat": _Program(_NODE, _OPENAI_NODE), "responses": _Program(_NODE, _OPENAI_NODE_RESPONSES)},
    "anthropic-python": {"messages": _Program(_PYTHON, _ANTHROPIC_PYTHON, "messages")},
    "anthropic-node": {"messages": _Program(_NODE, _ANTHROPIC_NODE, "messages")},
    "ai-sdk": {
        "chat": _Program(_NODE, _AI_SDK),
        "messages": _Program(_NODE, _AI_SDK_MESSAGES, "messages"),
        "responses": _Program(_NODE, _AI_SDK_RESPONSES),
    },
    "langchain": {
        "chat": _Program(_PYTHON, _LANGCHAIN),
        "messages": _Program(_PYTHON, _LANGCHAIN_MESSAGES, "messages"),
        "responses": _Program(_PYTHON, _LANGCHAIN_RESPONSES),
    },
    "litellm": {
        "chat": _Program(_PYTHON, _LITELLM),
        "messages": _Program(_PYTHON, _LITELLM_MESSAGES, "messages"),
    },
    "pydantic-ai": {
        "chat": _Program(_PYTHON, _PYDANTIC_AI),
        "messages": _Program(_PYTHON, _PYDANTIC_AI_MESSAGES, "messages"),
        "responses": _Program(_PYTHON, _PYDANTIC_AI_RESPONSES),
    },
    "instructor": {"chat": _Program(_PYTHON, _INSTRUCTOR)},
    "openai-agents": {
        "responses": _Program(_PYTHON, _OPENAI_AGENTS),
        "chat": _Program(_PYTHON, _OPENAI_AGENTS_CHAT),
    },
    "openai-agents-js": {
        "responses": _Program(_NODE, _OPENAI_AGENTS_JS),
        "chat": _Program(_NODE, _OPENAI_AGENTS_JS_CHAT),
    },
    "llama-index": {"chat": _Program(_PYTHON, _LLAMA_INDEX)},
    "zai-sdk": {"chat": _Program(_PYTHON, _ZAI_SDK)},
}


def _library(name: str, access: GatewayAccess) -> Settings:
    program = _PROGRAMS[name][access.api]
    environment = _anthropic(access) if program.variables == "messages" else _openai(access)
    return Settings(environment, (_file(program, access),), commands=(program.command,))


def _sdk(access: GatewayAccess) -> Settings:
    return Settings(environment=_openai(access) | _anthropic(access))


def _claude_agent_sdk(access: GatewayAccess) -> Settings:
    program = _Program(_NODE, _CLAUDE_AGENT_SDK, "messages")
    return Settings(claude(access).environment, (_file(program, access),), commands=(program.command,))


def _file(program: _Program, access: GatewayAccess) -> SettingsFile:
    return SettingsFile(program.command[-1], Template(program.text).substitute(model=json.dumps(access.model)))


def _openai(access: GatewayAccess) -> dict[str, str]:
    return {"OPENAI_BASE_URL": access.base_url, "OPENAI_API_KEY": access.key}


def _anthropic(access: GatewayAccess) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": access.url, "ANTHROPIC_API_KEY": access.key}


LIBRARIES: Final[Mapping[str, SettingsMaker]] = {
    "sdk": _sdk,
    "claude-agent-sdk": _claude_agent_sdk,
    **{name: partial(_library, name) for name in _PROGRAMS},
}
"""The makers by the client's name."""
