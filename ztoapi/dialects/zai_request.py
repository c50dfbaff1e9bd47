"""Translates a request of OpenAI's API into one of Z.ai's.

A field that Z.ai's API rejects is mapped to its equivalent, or dropped if there is none. Other fields, including
unknown ones, are forwarded unchanged. A request without such fields is forwarded byte for byte.
Format: https://docs.z.ai/api-reference/llm/chat-completion
"""

from typing import Final

import msgspec

from ztoapi.dialects.request import ChatRequest, MessageHead, decode_value
from ztoapi.dialects.zai_tools import chosen_tools
from ztoapi.errors import ApiError

__all__ = ["build"]

_DROPPED: Final = frozenset(
    (
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
_MIN_TOP_P: Final = 0.01
_MIN_USER_ID, _MAX_USER_ID = 6, 128

Fields = dict[str, msgspec.Raw]
_NULL: Final = msgspec.Raw(b"null")
_AUTO: Final = msgspec.Raw(b'"auto"')
_DEVELOPER: Final = msgspec.Raw(b'"developer"')
_TOOL: Final = msgspec.Raw(b'"tool"')


_encode = msgspec.json.Encoder().encode


def build(request: ChatRequest, *, model: str, stream: bool, thinking: bool | None) -> bytes | bytearray:
    """Return the body for Z.ai. ``model`` is the upstream's id; ``thinking`` applies if the request does not set it.

    Raises ApiError (400) for a feature that Z.ai does not have.
    """
    fields = request.fields
    changed: Fields = {}
    _map_sampling(fields, changed)
    _map_messages(request, changed)
    _map_tools(fields, changed)
    if "response_format" in fields:
        _map_response_format(fields, changed)
    if request.enable_thinking is not None:
        thinking = request.enable_thinking
    if thinking is not None and _absent(fields, "thinking"):
        changed["thinking"] = _raw({"type": "enabled" if thinking else "disabled"})
    if request.model != model:
        changed["model"] = _raw(model)
    if bool(request.stream) != stream:
        changed["stream"] = _raw(stream)
    if not changed and _DROPPED.isdisjoint(fields) and _NULL not in fields.values():
        return request.body
    body = {name: value for name, value in fields.items() if name not in _DROPPED and value != _NULL}
    body.update(changed)
    return _encode({name: value for name, value in body.items() if value != _NULL})


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _absent(fields: Fields, name: str) -> bool:
    return fields.get(name, _NULL) == _NULL


def _map_sampling(fields: Fields, changed: Fields) -> None:
    if "n" in fields and decode_value(fields, "n", int) not in (None, 1):
        raise ApiError("n: GLM gives one choice for each request; leave n out or set it to 1", param="n")
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


def _map_messages(request: ChatRequest, changed: Fields) -> None:
    """``developer`` becomes ``system``; a message's ``name`` is dropped."""
    if request.messages is not None and not _need_mapping(request.messages):
        return
    # A message has to change, or is invalid.
    messages = decode_value(request.fields, "messages", list[Fields]) or []
    changed_any = False
    for message in messages:
        if message.get("role") == _DEVELOPER:
            message["role"] = _raw("system")
            changed_any = True
        if message.get("role") != _TOOL and message.pop("name", None) is not None:
            changed_any = True
    if changed_any:
        changed["messages"] = _raw(messages)


def _need_mapping(messages: list[MessageHead]) -> bool:
    for message in messages:
        if message.role == "developer" or (message.name is not None and message.role != "tool"):
            return True
    return False


def _map_tools(fields: Fields, changed: Fields) -> None:
    """Replace ``tool_choice``, because GLM supports only ``auto``: ``none`` removes all tools, and a forced tool the
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
    chosen = chosen_tools(fields, tools)
    changed["tool_choice"] = _raw("auto")
    if chosen is not None:
        changed["tools"] = _raw(chosen or None)
        if not chosen:
            changed["tool_choice"] = _raw(None)


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: Fields | None = None


def _map_response_format(fields: Fields, changed: Fields) -> None:
    """Move a JSON schema into a system message, because GLM supports ``json_object`` but not ``json_schema``."""
    requested = decode_value(fields, "response_format", _ResponseFormat)
    if requested is None or requested.type != "json_schema":
        return
    changed["response_format"] = _raw({"type": "json_object"})
    schema = (requested.json_schema or {}).get("schema")
    if schema is None:
        raise ApiError("response_format.json_schema.schema is missing", param="response_format")
    text = f"Answer with one JSON object, and nothing else, that matches this JSON Schema: {bytes(schema).decode()}"
    messages = changed.get("messages", fields["messages"])
    rest = bytes(messages).strip()[1:]
    changed["messages"] = msgspec.Raw(b"[%b,%b" % (_encode({"role": "system", "content": text}), rest))
