"""Translates a request of OpenAI's API into one of Z.ai's.

A field that Z.ai's API rejects is mapped to its equivalent, or dropped if there is none. Other fields, including
unknown ones, are forwarded unchanged. A request without such fields is forwarded byte for byte.
Format: https://docs.z.ai/api-reference/llm/chat-completion
"""

import re
import struct
from typing import Final

import msgspec

from ztoapi.dialects.capabilities import EFFORTS, UNKNOWN, ModelCapabilities
from ztoapi.dialects.field_errors import field_error, missing
from ztoapi.dialects.request import ChatRequest, Element, MessageHead, decode_value
from ztoapi.dialects.zai_tools import chosen_tools
from ztoapi.errors import ApiError

__all__ = ["build", "wants_thinking"]

_DROPPED: Final = frozenset(
    (
        "chat_template_kwargs",  # of servers that host the model themselves
        "enable_thinking",  # the gateway's own field, sent as ``thinking``
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "top_logprobs",
        "user",
        "verbosity",
    )
)
_MAPPED: Final = ("max_completion_tokens", "response_format", "stop", "tool_choice")
_ADAPTED: Final = frozenset(("enable_thinking", "max_completion_tokens", "max_tokens", "reasoning_effort", "thinking"))
"""Fields that are adapted to the model."""
_INSPECTED: Final = frozenset((*_DROPPED, *_ADAPTED, *_MAPPED, "temperature", "tools", "top_p"))
"""Fields that may have to change. Others are forwarded, except nulls."""
_MIN_TOP_P: Final = 0.01
_MIN_USER_ID, _MAX_USER_ID = 6, 128

_NO_EFFORT: Final = ("none", "minimal")
"""Efforts without thinking. Z.ai treats ``minimal`` so too."""
_EFFORT_NAMES: Final = {f'"{name}"'.encode(): name for name in (*_NO_EFFORT, *EFFORTS)}
_PARTS: Final = {
    "image_url": "image",
    "input_image": "image",
    "video_url": "video",
    "input_audio": "audio",
    "file": "file",
    "file_url": "file",
}
"""Kinds of input by the types of content parts."""
_PART: Final = re.compile(rb'"type"\s*:\s*"(?:%b)"' % "|".join(_PARTS).encode())
_LIST: Final = (b"[",)
_first_byte: Final = struct.Struct("c").unpack_from
"""Takes half of the instructions of a memoryview."""

Fields = dict[str, msgspec.Raw]
_NULL: Final = msgspec.Raw(b"null")
_AUTO: Final = msgspec.Raw(b'"auto"')
_DEVELOPER: Final = msgspec.Raw(b'"developer"')
_TOOL: Final = msgspec.Raw(b'"tool"')
_NO_CONTENT: Final = (msgspec.Raw(b'""'), msgspec.Raw(b"[]"), _NULL)
"""Contents that Z.ai refuses (1213). Programs that print nothing are frequent among an agent's commands."""
_NO_OUTPUT: Final = msgspec.Raw(b'"(no output)"')


_encode = msgspec.json.Encoder().encode


def build(
    request: ChatRequest,
    *,
    model: str,
    stream: bool,
    thinking: bool | None,
    capabilities: ModelCapabilities = UNKNOWN,
) -> bytes | bytearray:
    """Returns the body for Z.ai. ``model`` is the upstream's id; ``thinking`` applies if the request does not set it.

    Raises ApiError (400) for a feature that Z.ai does not have.
    """
    if thinking is None and _is_plain(request, model, stream=stream, texts=bool(capabilities.refused_inputs)):
        return request.body
    if capabilities.refused_inputs:
        _check_inputs(request, capabilities)
    fields = request.fields
    changed: Fields = {}
    _map_sampling(fields, changed)
    _map_messages(request, changed)
    _map_tools(fields, changed)
    if "response_format" in fields:
        _map_response_format(fields, changed)
    if thinking is not None or not _ADAPTED.isdisjoint(fields):
        _cap_tokens(fields, changed, capabilities.max_output_tokens)
        _map_thinking(request, changed, thinking, capabilities)
    if request.model != model:
        changed["model"] = _raw(model)
    if bool(request.stream) != stream:
        changed["stream"] = _raw(stream)
    if not changed and _DROPPED.isdisjoint(fields) and _NULL not in fields.values():
        return request.body
    kept = {name: value for name, value in fields.items() if name not in _DROPPED and value != _NULL}
    kept.update(changed)
    return _encode({name: value for name, value in kept.items() if value != _NULL})


def _is_plain(request: ChatRequest, model: str, *, stream: bool, texts: bool) -> bool:
    """Whether the body is forwarded unchanged, as the names of its fields show. That saves most requests the pass over
    the body for ``fields``. With ``texts`` a list of content parts is not plain."""
    members, messages = request.members, request.messages
    if (
        members is None
        or messages is None
        or request.model != model
        or bool(request.stream) != stream
        or not _INSPECTED.isdisjoint(members)
        or None in members.values()
    ):
        return False
    return not _need_mapping(messages, texts=texts)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _absent(fields: Fields, name: str) -> bool:
    return fields.get(name, _NULL) == _NULL


def _map_sampling(fields: Fields, changed: Fields) -> None:
    if "n" in fields and decode_value(fields, "n", int) not in (None, 1):
        raise ApiError(
            "n: GLM gives one choice for each request; leave n out or set it to 1", code="unsupported_value", param="n"
        )
    if "temperature" in fields:
        temperature = decode_value(fields, "temperature", float)
        if temperature is not None and temperature > 1.0:
            changed["temperature"] = _raw(1.0)
    if "top_p" in fields:
        top_p = decode_value(fields, "top_p", float)
        if top_p is not None and top_p < _MIN_TOP_P:
            changed["top_p"] = _raw(_MIN_TOP_P)
    if "max_completion_tokens" in fields:
        if _absent(fields, "max_tokens"):
            changed["max_tokens"] = fields["max_completion_tokens"]
        changed["max_completion_tokens"] = _raw(None)
    if "stop" in fields:
        stop = decode_value(fields, "stop", str | list[str])  # type: ignore[arg-type]  # a union is no type[T] to mypy
        if isinstance(stop, str):
            changed["stop"] = _raw([stop])
    if "user" in fields and _absent(fields, "user_id"):
        user = decode_value(fields, "user", str)
        if user is not None and _MIN_USER_ID <= len(user) <= _MAX_USER_ID:
            changed["user_id"] = _raw(user)


def _cap_tokens(fields: Fields, changed: Fields, max_tokens: int | None) -> None:
    if max_tokens is None:
        return
    # The name that the client has used, for the error.
    name = "max_completion_tokens" if _absent(fields, "max_tokens") else "max_tokens"
    # A float, because some clients write all numbers as floats.
    tokens = decode_value(fields, name, float)
    if tokens is not None and tokens > max_tokens:
        changed["max_tokens"] = _raw(max_tokens)


def wants_thinking(request: ChatRequest, default: bool | None) -> bool | None:
    """Returns whether the model is to think; None if it decides. ``default`` applies if the request does not set it."""
    fields = request.fields
    if not _absent(fields, "thinking"):
        kind = decode_value(fields, "thinking", _ThinkingField)
        return {"enabled": True, "disabled": False}.get(str(kind and kind.type))
    if request.enable_thinking is not None:
        return request.enable_thinking
    effort = _effort(fields)
    return default if effort is None else effort not in _NO_EFFORT


class _ThinkingField(msgspec.Struct):
    type: str | None = None


def _effort(fields: Fields) -> str | None:
    """Returns ``reasoning_effort`` if it is a known one."""
    return _EFFORT_NAMES.get(bytes(fields.get("reasoning_effort", _NULL)))


def _map_thinking(request: ChatRequest, changed: Fields, default: bool | None, capabilities: ModelCapabilities) -> None:
    """GLM has ``thinking`` for ``enable_thinking``, and some models have levels of ``reasoning_effort``."""
    fields = request.fields
    if capabilities.thinking is None:
        enabled = default if request.enable_thinking is None else request.enable_thinking
        if enabled is not None and _absent(fields, "thinking"):
            changed["thinking"] = _raw({"type": "enabled" if enabled else "disabled"})
        return
    efforts = capabilities.efforts
    effort = _effort(fields)
    if capabilities.thinking != "none":
        enabled = wants_thinking(request, default)
        setting = decode_value(fields, "thinking", Fields) or {}
        if enabled is False and capabilities.thinking == "always":
            # The model refuses ``disabled``: it thinks as little as it can, and the client does not see it.
            changed["thinking"] = _raw({**setting, "type": "enabled"})
            changed["reasoning_effort"] = _raw(efforts[0] if efforts else None)
            return
        if enabled is False or effort in _NO_EFFORT:
            effort, efforts = None, ()
        if enabled is not None and not setting:
            changed["thinking"] = _raw({"type": "enabled" if enabled else "disabled"})
    if efforts == () and "reasoning_effort" in fields:
        changed["reasoning_effort"] = _raw(None)
    elif effort is not None and efforts and effort not in efforts:
        higher = EFFORTS[EFFORTS.index(effort) :] if effort in EFFORTS else EFFORTS
        changed["reasoning_effort"] = _raw(next((level for level in efforts if level in higher), efforts[-1]))


def _check_inputs(request: ChatRequest, capabilities: ModelCapabilities) -> None:
    """Raises ApiError for a content part of a kind that the model does not accept."""
    messages = request.messages
    if messages is None:
        objects = decode_value(request.fields, "messages", list[Fields]) or []
        messages = [MessageHead(content=each.get("content", _NULL)) for each in objects]
    for number, message in enumerate(messages):
        # Parts are in a list; a text of any length costs nothing more.
        if not isinstance(message, MessageHead) or _first_byte(message.content) != _LIST:
            continue
        for place, part in enumerate(_parts(message.content, number)):
            kind = _PARTS.get(part.type or "")
            if kind is not None and kind in capabilities.refused_inputs:
                models = ", ".join(capabilities.refused_inputs[kind])
                raise ApiError(
                    f"messages[{number}].content[{place}]: {request.model} does not accept {kind} input"
                    + (f"; models that do: {models}" if models else ""),
                    code="unsupported_value",
                    param="messages",
                )


class _PartHead(msgspec.Struct):
    type: str | None = None


_decode_parts = msgspec.json.Decoder(list[_PartHead]).decode


def _parts(content: msgspec.Raw, number: int) -> list[_PartHead]:
    try:
        return _decode_parts(content)
    except (msgspec.DecodeError, RecursionError) as error:
        if _PART.search(content):
            raise field_error(f"messages[{number}].content", error) from error
        # The upstream may support these parts.
        return []


def _map_messages(request: ChatRequest, changed: Fields) -> None:
    """``developer`` becomes ``system``; a message's ``name`` is dropped; a tool result without content gets some."""
    if request.messages is not None and not _need_mapping(request.messages):
        return
    # A message has to change, or is invalid.
    messages = decode_value(request.fields, "messages", list[Fields]) or []
    changed_any = False
    for message in messages:
        if message.get("role") == _DEVELOPER:
            message["role"] = _raw("system")
            changed_any = True
        if message.get("role") == _TOOL:
            if message.get("content", _NULL) in _NO_CONTENT:
                message["content"] = _NO_OUTPUT
                changed_any = True
        elif message.pop("name", None) is not None:
            changed_any = True
    if changed_any:
        changed["messages"] = _raw(messages)


def _need_mapping(messages: list[Element], *, texts: bool = False) -> bool:
    """Whether messages may have to be changed, or with ``texts`` have lists of content parts."""
    for message in messages:
        if type(message) is not MessageHead or (texts and _first_byte(message.content) == _LIST):
            return True
        role = message.role
        if role == "tool":
            if message.content in _NO_CONTENT:
                return True
        elif message.name is not None or role == "developer":
            return True
    return False


def _map_tools(fields: Fields, changed: Fields) -> None:
    """Replaces ``tool_choice``, because GLM supports only ``auto``: ``none`` removes all tools, and a forced tool the
    others."""
    tools = None
    if "tools" in fields and b'"strict"' in bytes(fields["tools"]):
        tools = decode_value(fields, "tools", list[Fields])
        for tool in tools or ():
            function = decode_value(tool, "function", Fields)
            if function is not None and function.pop("strict", None) is not None:
                tool["function"] = _raw(function)
        changed["tools"] = _raw(tools)
    if "tool_choice" not in fields or _absent(fields, "tool_choice"):
        return
    if fields["tool_choice"] == _AUTO:
        return
    if tools is None:
        tools = decode_value(fields, "tools", list[Fields]) or []
    selection = chosen_tools(fields, tools)
    changed["tool_choice"] = _raw("auto")
    if selection is not None:
        changed["tools"] = _raw(selection or None)
        if not selection:
            changed["tool_choice"] = _raw(None)


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: Fields | None = None


def _map_response_format(fields: Fields, changed: Fields) -> None:
    """Moves a JSON schema into a system message, because GLM supports ``json_object`` but not ``json_schema``."""
    requested = decode_value(fields, "response_format", _ResponseFormat)
    if requested is None or requested.type != "json_schema":
        return
    changed["response_format"] = _raw({"type": "json_object"})
    schema = (requested.json_schema or {}).get("schema")
    if schema is None:
        raise missing("response_format.json_schema.schema", "send the JSON Schema of the response")
    text = f"Answer with one JSON object, and nothing else, that matches this JSON Schema: {bytes(schema).decode()}"
    messages = changed.get("messages", fields["messages"])
    rest = bytes(messages).strip()[1:]
    changed["messages"] = msgspec.Raw(b"[%b,%b" % (_encode({"role": "system", "content": text}), rest))
