"""Reads Messages requests: the equal request for chat, and the facts that the response needs.

Fields without an equivalent (``top_k``, ``cache_control``, ``context_management``, unknown ones) are left out. The
chat request of a longer conversation begins with the messages of the shorter one, byte for byte.

https://platform.claude.com/docs/en/api/messages
"""

import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from ztoapi.apis.messages.content import Content, Conversation, Turn, system_text
from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.errors import THREAD_UNSUPPORTED
from ztoapi.apis.messages.tools import ToolChoice, ToolDefinition, Tools
from ztoapi.apis.thinking import thinking_fields
from ztoapi.apis.transcript import Transcript
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.chunks import ABSENT
from ztoapi.dialects.field_errors import excerpt, field_error, invalid_json, missing
from ztoapi.dialects.lenient import replace_halves
from ztoapi.dialects.request import ChatRequest, check_values, decode_request, decode_value, require_utf8
from ztoapi.errors import ApiError

__all__ = ["decode", "decode_count"]

_MIN_USER_ID, _MAX_USER_ID = 6, 128
"""Characters of GLM's ``user_id``. Claude Code's has 150."""
_MAX_STOPS: Final = 4
"""GLM and OpenAI take no more stop sequences."""
_NO_MESSAGES: Final = msgspec.Raw(b"[]")
_THINKING: Final = ("enabled", "adaptive", "between_tools", "disabled")


class _Thinking(msgspec.Struct, gc=False):
    type: str
    display: str | None = None


class _Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


class _OutputFormat(msgspec.Struct, gc=False):
    type: str
    schema: msgspec.Raw = ABSENT


class _OutputConfig(msgspec.Struct, gc=False):
    effort: str | None = None
    format: _OutputFormat | None = None


class _Request(msgspec.Struct, gc=False):
    model: str
    messages: list[Turn]
    max_tokens: float | None = None
    """JavaScript has no integers: 5.0 is accepted."""
    system: Content | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
    thinking: _Thinking | None = None
    stream: bool | None = None
    metadata: _Metadata | None = None
    stop_sequences: list[str] | None = None
    temperature: msgspec.Raw = ABSENT
    top_p: msgspec.Raw = ABSENT
    output_config: _OutputConfig | None = None
    output_format: _OutputFormat | None = None
    """The earlier name of ``output_config.format``."""
    thread: dict[str, object] | None = None


Find: TypeAlias = Callable[[str], ModelCapabilities]
"""Finds the capabilities of a requested model name, which may be an alias."""

_decode = msgspec.json.Decoder(_Request).decode


def decode(body: bytes | bytearray, find: Find) -> tuple[ChatRequest, MessagesContext]:
    """Reads the body of ``/v1/messages``. Raises ApiError (400) that names the field and the remedy."""
    request = _read(body)
    if request.thread is not None:
        # Without the field the next request of the thread would be taken for a whole conversation.
        raise ApiError(
            "thread: the gateway stores no conversations; send all messages without it",
            code=THREAD_UNSUPPORTED,
            param="thread",
        )
    if request.max_tokens is None:
        raise missing("max_tokens", "send the largest number of tokens of the response")
    if request.max_tokens < 1:
        raise ApiError("max_tokens: use at least 1", code="integer_below_min_value", param="max_tokens")
    return _translate(request, find(request.model), counts=False)


def decode_count(body: bytes | bytearray) -> ChatRequest:
    """Reads the body of ``/v1/messages/count_tokens``: returns the chat request whose tokens count. It has no
    ``max_tokens``, and is not refused for what only a model refuses, because clients count parts of a conversation."""
    return _translate(_read(body), UNKNOWN, counts=True)[0]


def _read(body: bytes | bytearray) -> _Request:
    require_utf8(body)
    check_values(body)
    try:
        try:
            request = _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            # JavaScript clients send halves of surrogate pairs, which are legal in JSON, but not to msgspec.
            request = _decode(replace_halves(bytes(body)))
    except msgspec.ValidationError as error:
        raise field_error("", error, dotted=True) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_json(body, error) from error
    if not request.model:
        raise missing("model")
    if not request.messages:
        raise ApiError("messages is empty: send at least one message", code="empty_array", param="messages")
    return request


def _translate(request: _Request, model: ModelCapabilities, *, counts: bool) -> tuple[ChatRequest, MessagesContext]:
    transcript = Transcript()
    transcript.system(system_text(request.system, "system"))
    tools = Tools(request.tools or [], web_search=model.web_search)
    conversation = Conversation(transcript, model, request.model, tools, counts=counts)
    for at, turn in enumerate(request.messages):
        conversation.add(turn, f"messages.{at}")
    messages = transcript.messages()
    if messages == _NO_MESSAGES or not (counts or transcript.has_input):
        raise ApiError(
            "messages: at least one message of the user with content is needed", code="invalid_value", param="messages"
        )
    thinking = _wants_thinking(request.thinking)
    config = request.output_config or _OutputConfig()
    tool_fields = tools.fields(request.tool_choice, conversation.referenced)
    fields: dict[str, object] = {
        "model": request.model,
        "messages": messages,
        **_limits(request, model),
        **tool_fields,
        **thinking_fields(thinking, config.effort, model, replayed=transcript.has_reasoning),
        **_response_format(config.format or request.output_format),
        **_user(request.metadata),
    }
    if request.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
        if tool_fields and model.tool_stream:
            fields["tool_stream"] = True
    context = MessagesContext(
        model=request.model,
        thinking=thinking,
        thinking_omitted=thinking and request.thinking is not None and request.thinking.display == "omitted",
        stop_sequences=tuple(request.stop_sequences or ()),
        dropped=tuple(tools.dropped + _dropped_stops(request)),
    )
    return decode_request(msgspec.json.encode(fields)), context


def _limits(request: _Request, model: ModelCapabilities) -> dict[str, object]:
    fields: dict[str, object] = {}
    if request.max_tokens is not None:
        if not request.max_tokens.is_integer():
            raise ApiError(
                "max_tokens must be a whole number, not a number with a fraction",
                code="invalid_type",
                param="max_tokens",
            )
        limit = int(request.max_tokens)
        fields["max_tokens"] = min(limit, model.max_output_tokens or limit)
    # Numbers keep their spelling, on which the key of a cached response depends.
    numbers = {"temperature": request.temperature, "top_p": request.top_p}
    numbers = {name: raw for name, raw in numbers.items() if raw is not ABSENT}
    fields |= {name: raw for name, raw in numbers.items() if decode_value(numbers, name, float) is not None}
    if request.stop_sequences:
        fields["stop"] = request.stop_sequences[:_MAX_STOPS]
    return fields


def _dropped_stops(request: _Request) -> list[str]:
    if len(request.stop_sequences or ()) <= _MAX_STOPS:
        return []
    return [f"stop_sequences: only the first {_MAX_STOPS} are sent"]


def _wants_thinking(thinking: _Thinking | None) -> bool:
    if thinking is None:
        return False
    if thinking.type not in _THINKING:
        raise ApiError(
            f"thinking.type: {excerpt(thinking.type)} is not supported; use {', '.join(_THINKING)}",
            code="invalid_value",
            param="thinking.type",
        )
    return thinking.type != "disabled"


def _response_format(format: _OutputFormat | None) -> dict[str, object]:
    if format is None:
        return {}
    if format.type != "json_schema":
        raise ApiError(
            f"output_config.format.type: {excerpt(format.type)} is not supported; use json_schema",
            code="invalid_value",
            param="output_config.format.type",
        )
    if format.schema is ABSENT:
        raise missing("output_config.format.schema", "send the JSON Schema of the response")
    schema = {"name": "output", "schema": format.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _user(metadata: _Metadata | None) -> dict[str, object]:
    user = (metadata.user_id if metadata is not None else None) or ""
    if not user:
        return {}
    if not _MIN_USER_ID <= len(user) <= _MAX_USER_ID:
        user = hashlib.sha256(user.encode()).hexdigest()
    return {"user": user}
