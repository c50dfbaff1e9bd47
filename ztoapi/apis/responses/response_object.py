"""The Response object, which the first events, the last event and a whole response carry.

Its members are those that Open Responses requires (https://www.openresponses.org/specification); clients check them.
The members that repeat the request are encoded once for a response.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from ztoapi.apis.writing import TokenCounts
from ztoapi.dialects.request import decode_value

__all__ = [
    "DEFAULT_SCHEMA_NAME",
    "EchoedTool",
    "Fields",
    "ResponseTemplate",
    "Status",
    "echo",
    "input_tokens_body",
    "usage_json",
]

Fields: TypeAlias = dict[str, msgspec.Raw]
Status: TypeAlias = Literal["in_progress", "completed", "incomplete", "failed"]

DEFAULT_SCHEMA_NAME: Final = "response"
"""Name of a schema that has none: the chat API requires one."""
_NULL: Final = msgspec.Raw(b"null")
_DEFAULTS: Final = {
    "previous_response_id": b"null",
    "instructions": b"null",
    "tool_choice": b'"auto"',
    "parallel_tool_calls": b"true",
    "top_p": b"1.0",
    "presence_penalty": b"0.0",
    "frequency_penalty": b"0.0",
    "top_logprobs": b"0",
    "temperature": b"1.0",
    "max_output_tokens": b"null",
    "max_tool_calls": b"null",
    "service_tier": b'"default"',
    "metadata": b"{}",
    "safety_identifier": b"null",
    "prompt_cache_key": b"null",
    "truncation": b'"disabled"',
}
"""Members that repeat the request as it came, with their values where it has none."""
_encode = msgspec.json.Encoder().encode


class EchoedTool(msgspec.Struct, tag_field="type", tag="function"):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    strict: bool | None = None


class _EchoedReasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _EchoedFormat(msgspec.Struct):
    type: str = "text"


class _SchemaFormat(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = _NULL
    strict: bool | None = None


class _EchoedText(msgspec.Struct, omit_defaults=True):
    format: msgspec.Raw = _NULL
    verbosity: str | None = None


def echo(fields: Fields, tools: list[msgspec.Raw], *, stored: bool) -> bytes:
    """Returns the members of the Response object that repeat a request, without the braces; ``store`` is the last."""
    members = {name: default if (raw := fields.get(name, _NULL)) == _NULL else bytes(raw)
               for name, default in _DEFAULTS.items()}  # fmt: skip
    members["tools"] = _encode(tools)
    members["background"] = b"false"
    members["reasoning"] = _encode(decode_value(fields, "reasoning", _EchoedReasoning) or _EchoedReasoning())
    members["text"] = _text(fields)
    members["store"] = b"true" if stored else b"false"
    echoed = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items())
    # Line ends are white space in JSON, and would end the data line of an event.
    return echoed.replace(b"\r", b" ").replace(b"\n", b" ")


def _text(fields: Fields) -> bytes:
    text = decode_value(fields, "text", _EchoedText) or _EchoedText()
    kind = _EchoedFormat() if text.format == _NULL else msgspec.json.decode(text.format, type=_EchoedFormat)
    format: _EchoedFormat | _SchemaFormat = kind
    if kind.type == "json_schema":
        format = msgspec.json.decode(text.format, type=_SchemaFormat)
        format.name = format.name or DEFAULT_SCHEMA_NAME
        format.strict = format.strict is True
    text.format = msgspec.Raw(_encode(format))
    return _encode(text)


def usage_json(counts: TokenCounts) -> bytes:
    return (
        b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d},"output_tokens":%d,'
        b'"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
    ) % (counts.prompt, counts.cached, counts.completion, counts.reasoning or 0, counts.prompt + counts.completion)


def input_tokens_body(count: int) -> bytes:
    """Returns the body of a response to ``input_tokens``."""
    return b'{"object":"response.input_tokens","input_tokens":%d}' % count


class ResponseTemplate:
    """The Response objects of one response, from its ``echo``; ``created_at`` in Unix seconds."""

    __slots__ = ("_head", "_tail")

    def __init__(self, id: str, model: str, created_at: int, echo: bytes) -> None:
        self._head = b'{"id":%b,"object":"response","created_at":%d,"model":%b' % (
            _encode(id),
            created_at,
            _encode(model),
        )
        self._tail = echo

    def fill(
        self,
        status: Status,
        *,
        completed_at: int | None = None,
        output: list[bytes] | None = None,
        usage: bytes = b"null",
        incomplete: str | None = None,
        error: dict[str, str] | None = None,
    ) -> bytes:
        """Returns the object. ``output`` holds encoded items; ``incomplete`` is the reason of that status."""
        return (
            b'%b,"status":"%b","completed_at":%b,"error":%b,"incomplete_details":%b,"output":[%b],"usage":%b,%b}'
        ) % (
            self._head,
            status.encode(),
            _encode(completed_at),
            _encode(error),
            b"null" if incomplete is None else _encode({"reason": incomplete}),
            b",".join(output or ()),
            usage,
            self._tail,
        )
