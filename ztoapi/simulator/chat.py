"""The OpenAI-shaped chat request, and the content of its response, which is the same in all chat dialects."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from ztoapi.errors import ApiError
from ztoapi.simulator.plan import FINISH_FAULTS, ResponsePlan
from ztoapi.simulator.schema import sample
from ztoapi.simulator.script import MARKER, Script, ScriptedCall, read_script
from ztoapi.simulator.text import answer_words, json_words

__all__ = [
    "ChatBody",
    "ChatFunction",
    "ChatMessage",
    "ChatTool",
    "SimulatedResponse",
    "ToolCall",
    "decoded",
    "read_chat",
]

T = TypeVar("T")
Body = bytes | bytearray
_NULL: Final = msgspec.Raw(b"null")
_RESULT: Final = "$result"
_SCHEMA_KEYS: Final = frozenset(("$ref", "allOf", "anyOf", "const", "enum", "oneOf", "properties", "type"))


class ChatFunction(msgspec.Struct):
    name: str
    parameters: dict[str, object] | None = None


class ChatTool(msgspec.Struct):
    type: str = "function"
    function: ChatFunction | None = None


class _MadeCall(msgspec.Struct):
    id: str = ""


class _PromptPart(msgspec.Struct):
    type: str = ""
    text: str = ""


class ChatMessage(msgspec.Struct):
    role: str
    content: msgspec.Raw = _NULL
    tool_calls: list[_MadeCall] | None = None
    tool_call_id: str | None = None

    @property
    def is_empty(self) -> bool:
        return bytes(self.content).strip() in (b"null", b'""', b"[]")

    def part_types(self) -> list[str]:
        """Returns the types of the content parts; none of a string."""
        return [part.type for part in self._parts()]

    def text(self) -> str:
        """Returns the text of all parts."""
        if bytes(memoryview(self.content)[:1]) == b'"':
            return str(msgspec.json.decode(self.content))
        return "\n".join(part.text for part in self._parts())

    def _parts(self) -> list[_PromptPart]:
        if bytes(memoryview(self.content)[:1]) != b"[":
            return []
        return msgspec.json.decode(self.content, type=list[_PromptPart])


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
    reasoning_effort: str | None = None
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
_decode_at = json.JSONDecoder().raw_decode
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


class ToolCall(NamedTuple):
    """One call of a response; ``arguments`` is JSON."""

    id: str
    name: str
    arguments: str


class SimulatedResponse:
    """The content of a response: tokens of reasoning, then words or tool calls, and the finish reason.

    ``raw`` is the request body. The prompt counts a token for every four bytes of its messages. Raises ApiError if the
    prompt contains a malformed script.
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
        functions = [tool.function for tool in body.tools or () if tool.function is not None]
        self._functions = functions if body.tool_choice != "none" else []
        script, turn = _script(body.messages) if self._functions and MARKER.encode() in raw else (None, 0)
        self._scripted_answer = None if script is None else script.answer
        previous = sum(len(message.tool_calls or ()) for message in body.messages)
        ids = (f"call_{number}" for number in itertools.count(previous + 1))
        if script is None:
            called = [(function.name, _arguments(function)) for function in self._unscripted()]
        else:
            called = [self._scripted(call) for call in (*script.turns, *[()] * (turn + 1))[turn]]
        self.calls = [ToolCall(id, *call) for id, call in zip(ids, called, strict=False)]
        """The tool calls; none if the response is text."""

    def _unscripted(self) -> Iterable[ChatFunction]:
        """Returns the function that tool_choice names, or the first ones; none if the last message is a tool result."""
        if not self._functions or self._body.messages[-1].role == "tool":
            return ()
        choice = self._body.tool_choice
        function_choice = choice.get("function") if isinstance(choice, dict) else None
        name = function_choice.get("name") if isinstance(function_choice, dict) else None
        functions = [function for function in self._functions if function.name == name] or self._functions
        return itertools.islice(itertools.cycle(functions), self._plan.calls)

    def _scripted(self, call: ScriptedCall) -> tuple[str, str]:
        function = next((function for function in self._functions if function.name == call.name), None)
        if function is None:
            names = ", ".join(function.name for function in self._functions)
            raise ApiError(
                f"the script calls {call.name}; the request has the tools {names}",
                code="invalid_value",
                param="messages",
            )
        arguments = _arguments(function) if call.arguments is None else _encode(call.arguments).decode("utf-8")
        return call.name, arguments

    @property
    def finish_reason(self) -> str:
        if self._plan.fault in FINISH_FAULTS:
            return self._plan.fault
        if self.calls:
            return "tool_calls"
        return "length" if self._cut and self._scripted_answer is None else "stop"

    @property
    def repeats(self) -> bool:
        """Whether the same few words repeat."""
        return not self._plan.stamp

    def words(self) -> Iterator[str]:
        if self._scripted_answer is not None:
            text = self._scripted_answer.replace(_RESULT, _last_result(self._body.messages))
            return iter([word + " " for word in text.split(" ")[:-1]] + [text.rpartition(" ")[2]])
        requested = self._body.response_format
        if requested is None or requested.type not in ("json_object", "json_schema"):
            return answer_words(self._plan, self.tokens, whole=not self._cut)
        schema = requested.json_schema.schema if requested.json_schema is not None else None
        if schema is None:
            schema = _schema_in(self._body.messages)
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

    def message_calls(self) -> list[dict[str, object]]:
        """Returns ``tool_calls`` of a response that is not streamed."""
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.calls
        ]


def _arguments(function: ChatFunction) -> str:
    """Returns JSON arguments that fit the schema of a function."""
    return _encode(sample({"type": "object", **(function.parameters or {})})).decode("utf-8")


def _script(messages: Sequence[ChatMessage]) -> tuple[Script | None, int]:
    """Returns the script of the last user message that has one, and the number of tool turns since."""
    turns = 0
    for message in reversed(messages):
        if message.role == "assistant" and message.tool_calls:
            turns += 1
        elif message.role == "user" and (script := read_script(message.text())) is not None:
            return script, turns
    return None, 0


def _last_result(messages: Sequence[ChatMessage]) -> str:
    return next((message.text() for message in reversed(messages) if message.role == "tool"), "")


def _schema_in(messages: Sequence[ChatMessage]) -> dict[str, object] | None:
    """Returns the JSON Schema that a message describes in words, as for upstreams without ``json_schema``."""
    for message in messages:
        _, word, rest = message.text().replace("Schema", "schema").partition("schema")
        start = rest.find("{")
        if not word or start < 0:
            continue
        try:
            schema, _ = _decode_at(rest, start)
        except ValueError:
            continue
        if isinstance(schema, dict) and schema.keys() & _SCHEMA_KEYS:
            return schema
    return None
