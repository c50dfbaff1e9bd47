"""The request validation of Z.ai's official API, as described by its documentation and its clients.

https://docs.z.ai/api-reference/llm/chat-completion
"""

import re
from typing import Final, NamedTuple

import msgspec

from ztoapi.simulator.chat import ChatBody, ChatTool, decoded, read_chat

__all__ = ["Objection", "check"]

_UNKNOWN: Final = (
    "stream_options", "n", "frequency_penalty", "presence_penalty", "logit_bias", "parallel_tool_calls",
    "max_completion_tokens", "logprobs", "enable_thinking",
)  # fmt: skip
_ROLES: Final = frozenset(("system", "user", "assistant", "tool"))
_MAX_TOKENS: Final = 131072
_MAX_TOOLS: Final = 128
_MAX_STOPS: Final = 4
_ID_LENGTHS: Final = {"request_id": (6, 64), "user_id": (6, 128)}
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_decode_fields = msgspec.json.Decoder(dict[str, object]).decode


class Objection(NamedTuple):
    code: str
    message: str


def check(raw: bytes | bytearray) -> ChatBody | Objection:
    """Returns the request, or the error that Z.ai would return."""
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
    wrong = _wrong_value(body) or _wrong_field(fields)
    if wrong:
        return Objection("1210", f"API parameter error: {wrong}")
    roles = {message.role for message in body.messages}
    if not roles <= _ROLES or not roles & {"user", "tool"}:
        return Objection("1214", "The messages parameter is illegal. Please check the documentation.")
    return body


def _wrong_value(body: ChatBody) -> str:
    """Returns the name of a parameter with an invalid value, or ""."""
    wrong = {
        "temperature": body.temperature is not None and not 0 <= body.temperature <= 1,
        "top_p": body.top_p is not None and not 0.01 <= body.top_p <= 1,
        "max_tokens": body.max_tokens is not None and not 1 <= body.max_tokens <= _MAX_TOKENS,
        "tool_choice": body.tool_choice not in ("auto", None),
        "response_format": body.response_format is not None
        and body.response_format.type not in ("text", "json_object"),
        "thinking": body.thinking is not None and body.thinking.type not in ("enabled", "disabled", None),
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
