"""The request validation of Z.ai's official API, as described by its documentation and its clients.

https://docs.z.ai/api-reference/llm/chat-completion
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from ztoapi.config.catalogue import zai_models
from ztoapi.config.model import ModelFacts
from ztoapi.simulator.chat import ChatBody, ChatMessage, ChatTool, decoded, read_chat

__all__ = ["Objection", "check"]

_UNKNOWN: Final = (
    "n", "frequency_penalty", "presence_penalty", "logit_bias", "parallel_tool_calls", "max_completion_tokens",
    "logprobs", "enable_thinking",
)  # fmt: skip
_ROLES: Final = frozenset(("system", "user", "assistant", "tool"))
_MAX_TOKENS: Final = 131072
_MAX_TOOLS: Final = 128
_MAX_STOPS: Final = 4
_ID_LENGTHS: Final = {"request_id": (6, 64), "user_id": (6, 128)}
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INPUTS: Final = {"image_url": "image", "video_url": "video", "file": "file", "file_url": "file"}
"""Kinds of input by the types of content parts."""

_decode_fields = msgspec.json.Decoder(dict[str, object]).decode


class Objection(NamedTuple):
    code: str
    message: str


def check(raw: bytes | bytearray, model: str) -> ChatBody | Objection:
    """Returns the request, or the error that Z.ai would return. ``model`` is the name without settings."""
    try:
        fields = decoded(_decode_fields, raw)
    except msgspec.DecodeError as error:
        return Objection("1210", f"API parameter error: {error}")
    for name in ("model", "messages"):
        if fields.get(name) in (None, "", []):
            return Objection("1213", f"The {name} parameter was not received")
    for name in _UNKNOWN:
        if fields.get(name) is not None:
            return Objection("1210", f"API parameter error: {name}")
    try:
        body = read_chat(raw)
    except msgspec.DecodeError as error:
        return Objection("1214" if "$.messages" in str(error) else "1210", f"API parameter error: {error}")
    facts = zai_models().get(model.lower()) or ModelFacts()
    wrong = _wrong_value(body, facts) or _wrong_field(fields)
    if wrong:
        return Objection("1210", f"API parameter error: {wrong}")
    return _wrong_messages(body.messages, facts) or body


def _wrong_value(body: ChatBody, facts: ModelFacts) -> str:
    """Returns the name of a parameter with an invalid value, or ""."""
    max_tokens = facts.max_output_tokens or _MAX_TOKENS
    always = facts.thinking == "always"
    thinking = None if body.thinking is None else body.thinking.type
    wrong = {
        "temperature": body.temperature is not None and not 0 <= body.temperature <= 1,
        "top_p": body.top_p is not None and not 0.01 <= body.top_p <= 1,
        "max_tokens": body.max_tokens is not None and not 1 <= body.max_tokens <= max_tokens,
        "tool_choice": body.tool_choice not in ("auto", None),
        "response_format": body.response_format is not None
        and body.response_format.type not in ("text", "json_object"),
        "thinking": thinking not in ("enabled", "disabled", None) or (always and thinking == "disabled"),
        "reasoning_effort": always and body.reasoning_effort not in (None, *(facts.reasoning_efforts or ())),
        "tools": not _callable(body.tools or []),
    }
    return next((name for name, refused in wrong.items() if refused), "")


def _callable(tools: list[ChatTool]) -> bool:
    functions = [tool.function for tool in tools if tool.function is not None]
    return len(tools) <= _MAX_TOOLS and all(_FUNCTION_NAME.fullmatch(function.name) for function in functions)


def _wrong_field(fields: dict[str, object]) -> str:
    stop = fields.get("stop")
    if stop is not None and not (isinstance(stop, list) and len(stop) <= _MAX_STOPS):
        return "stop"
    for name, (shortest, longest) in _ID_LENGTHS.items():
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and shortest <= len(value) <= longest):
            return name
    return ""


def _wrong_messages(messages: Sequence[ChatMessage], facts: ModelFacts) -> Objection | None:
    roles = {message.role for message in messages}
    if not roles <= _ROLES or not roles & {"user", "tool"}:
        return Objection("1214", "The messages parameter is illegal. Please check the documentation.")
    for number, message in enumerate(messages):
        if message.is_empty:
            if message.role != "assistant":
                return Objection("1213", "The prompt parameter was not received normally.")
            if not message.tool_calls:
                return Objection("1214", f"messages[{number}]: content and tool_calls must not both be empty.")
        if facts.inputs is not None:
            kinds = {_INPUTS[kind] for kind in message.part_types() if kind in _INPUTS}
            if not kinds <= set(facts.inputs):
                return Objection("1210", f"API parameter error: messages[{number}].content.type")
    fault = next(_wrong_order(messages), None)
    return None if fault is None else Objection("1214", f"{fault} Please check the documentation.")


def _wrong_order(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """Yields the places where a tool result does not follow its call, or a call has no result."""
    open_calls: set[str] = set()
    after_calls = False
    for number, message in enumerate(messages):
        if message.role == "tool":
            if not after_calls or message.tool_call_id not in open_calls:
                yield f"messages[{number}]: a tool message must follow the tool_calls that it belongs to."
            open_calls.discard(message.tool_call_id or "")
            continue
        if open_calls:
            yield f"messages[{number}]: the tool_calls before it have no result."
        open_calls = {call.id for call in message.tool_calls or ()}
        after_calls = bool(open_calls)
