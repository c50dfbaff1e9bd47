"""The OpenAI-shaped chat request, and the content of its response, which is the same in all chat dialects."""

import functools
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from ztoapi.simulator.plan import FINISH_FAULTS, ResponsePlan
from ztoapi.simulator.text import answer_words, json_words, sample

__all__ = ["ChatBody", "ChatFunction", "ChatMessage", "ChatTool", "SimulatedAnswer", "decoded", "read_chat"]

T = TypeVar("T")
Body = bytes | bytearray


class ChatFunction(msgspec.Struct):
    name: str
    parameters: dict[str, object] | None = None


class ChatTool(msgspec.Struct):
    type: str = "function"
    function: ChatFunction | None = None


class ChatMessage(msgspec.Struct):
    role: str


class _ThinkingType(msgspec.Struct):
    type: str | None = None


class _JsonSchema(msgspec.Struct):
    schema: dict[str, object] | None = None


class _RequestedFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


class _ChatStreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """The fields that change the response."""

    messages: list[ChatMessage]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    thinking: _ThinkingType | None = None
    response_format: _RequestedFormat | None = None
    stream_options: _ChatStreamOptions | None = None
    tools: list[ChatTool] | None = None
    tool_choice: object = None
    tool_stream: bool | None = None
    request_id: str | None = None


class _Prompt(msgspec.Struct):
    messages: msgspec.Raw


_decode = msgspec.json.Decoder(ChatBody).decode
_decode_prompt = msgspec.json.Decoder(_Prompt).decode
_encode = msgspec.json.Encoder().encode


def decoded(decode: Callable[[Body], T], body: Body) -> T:
    """Returns ``decode(body)``. Raises msgspec.DecodeError, also for values that are nested too deeply."""
    try:
        return decode(body)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deeply") from error


def read_chat(body: Body) -> ChatBody:
    """Raises msgspec.DecodeError."""
    return decoded(_decode, body)


class SimulatedAnswer:
    """The content of a response: tokens of reasoning, then words or a tool call, and the finish reason.

    ``raw`` is the request body. The prompt counts a token for every four bytes of its messages.
    """

    def __init__(self, body: ChatBody, plan: ResponsePlan, *, raw: Body, reasoning: int) -> None:
        self._body = body
        self._plan = plan
        self._prompt_tokens = len(bytes(_decode_prompt(raw).messages)) // 4
        self.reasoning = reasoning
        self.request_id = body.request_id
        limit = body.max_tokens if body.max_tokens is not None else body.max_completion_tokens
        self.tokens = plan.tokens if limit is None else min(plan.tokens, max(limit, 0))
        self._cut = self.tokens < plan.tokens

    @functools.cached_property
    def tool(self) -> ChatFunction | None:
        """The function to call: the one that tool_choice names, or the first; None if the last message is a tool
        result."""
        functions = [tool.function for tool in self._body.tools or () if tool.function is not None]
        choice = self._body.tool_choice
        if not functions or choice == "none" or (self._body.messages and self._body.messages[-1].role == "tool"):
            return None
        named = choice.get("function") if isinstance(choice, dict) else None
        name = named.get("name") if isinstance(named, dict) else None
        return next((function for function in functions if function.name == name), functions[0])

    @property
    def arguments(self) -> str:
        """JSON arguments that fit the schema of the called function."""
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
        """Whether the same few words repeat."""
        return not self._plan.stamp

    def words(self) -> Iterator[str]:
        requested = self._body.response_format
        if requested is None or requested.type not in ("json_object", "json_schema"):
            return answer_words(self._plan, self.tokens)
        schema = requested.json_schema.schema if requested.json_schema is not None else None
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
        """Returns the usage of a response that is not streamed, which also counts the reasoning tokens."""
        return {**self.usage(), "completion_tokens_details": {"reasoning_tokens": self.reasoning}}
