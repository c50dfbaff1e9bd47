"""An OpenAI-shaped chat request, and what is said in answer to it: the same in all chat dialects."""

import functools
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from ztoapi.simulator.plan import FINISH_FAULTS, Plan
from ztoapi.simulator.text import answer_words, json_words, sample

__all__ = ["Answer", "ChatBody", "Function", "Message", "Tool", "decoded", "read_chat"]

T = TypeVar("T")
Octets = bytes | bytearray


class Function(msgspec.Struct):
    name: str
    parameters: dict[str, object] | None = None


class Tool(msgspec.Struct):
    type: str = "function"
    function: Function | None = None


class Message(msgspec.Struct):
    role: str


class _Kind(msgspec.Struct):
    type: str | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, object] | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """The fields that change an answer."""

    messages: list[Message]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    thinking: _Kind | None = None
    response_format: _Format | None = None
    stream_options: _StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: object = None
    tool_stream: bool | None = None
    request_id: str | None = None


class _Prompt(msgspec.Struct):
    messages: msgspec.Raw


_decode = msgspec.json.Decoder(ChatBody).decode
_decode_prompt = msgspec.json.Decoder(_Prompt).decode
_encode = msgspec.json.Encoder().encode


def decoded(decode: Callable[[Octets], T], octets: Octets) -> T:
    """``decode(octets)``. Raises msgspec.DecodeError, for what is nested too deeply as well."""
    try:
        return decode(octets)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deeply") from error


def read_chat(octets: Octets) -> ChatBody:
    """Raises msgspec.DecodeError."""
    return decoded(_decode, octets)


class Answer:
    """What is said: so many tokens of reasoning, then words or a tool call, and why it ends.

    ``octets`` is the request as it came; its messages, four octets a token, are the prompt's count.
    """

    def __init__(self, body: ChatBody, plan: Plan, *, octets: Octets, reasoning: int) -> None:
        self._body = body
        self._plan = plan
        self._prompt_tokens = len(bytes(_decode_prompt(octets).messages)) // 4
        self.reasoning = reasoning
        self.request_id = body.request_id
        limit = body.max_tokens if body.max_tokens is not None else body.max_completion_tokens
        self.tokens = plan.tokens if limit is None else min(plan.tokens, max(limit, 0))
        self._cut = self.tokens < plan.tokens

    @functools.cached_property
    def tool(self) -> Function | None:
        """The function to call: the one that is asked for, or the first, unless its result is what has come."""
        functions = [tool.function for tool in self._body.tools or () if tool.function is not None]
        choice = self._body.tool_choice
        if not functions or choice == "none" or (self._body.messages and self._body.messages[-1].role == "tool"):
            return None
        named = choice.get("function") if isinstance(choice, dict) else None
        name = named.get("name") if isinstance(named, dict) else None
        return next((function for function in functions if function.name == name), functions[0])

    @property
    def arguments(self) -> str:
        """Arguments that fit the called function's schema, as JSON."""
        schema = self.tool.parameters if self.tool is not None else None
        return _encode(sample({"type": "object", **(schema or {})})).decode("utf-8")

    @property
    def finish_reason(self) -> str:
        if self._plan.fault in FINISH_FAULTS:
            return self._plan.fault
        if self.tool is not None:
            return "tool_calls"
        return "length" if self._cut else "stop"

    @property
    def repeats(self) -> bool:
        """Whether the words are few different ones."""
        return not self._plan.stamp

    def words(self) -> Iterator[str]:
        wanted = self._body.response_format
        if wanted is None or wanted.type not in ("json_object", "json_schema"):
            return answer_words(self._plan, self.tokens)
        schema = wanted.json_schema.schema if wanted.json_schema is not None else None
        return json_words(self._plan, self.tokens, schema)

    def usage(self) -> dict[str, object]:
        completion = self.tokens + self.reasoning
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self._prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def whole_usage(self) -> dict[str, object]:
        """The counts of an answer that is not streamed: those of the reasoning beside the rest."""
        return {**self.usage(), "completion_tokens_details": {"reasoning_tokens": self.reasoning}}
