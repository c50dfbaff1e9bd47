"""A chat request in the common inner form: one JSON object, decoded to the depth that routing needs.

One pass over the body checks the JSON and finds the top-level keys; their values stay undecoded (``msgspec.Raw``, a
view into the body). Whoever needs more of a value decodes that value. Format:
https://platform.openai.com/docs/api-reference/chat/create
"""

import codecs
from typing import Final, TypeVar

import msgspec

from ztoapi.errors import ApiError

__all__ = ["ChatRequest", "decode_request", "decode_value"]

T = TypeVar("T")

MAX_MODEL_CHARACTERS: Final = 256
"""Longest model name: names are kept in records and shown in metrics. Real ones have under 64 characters."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool | None)
_NULL: Final = msgspec.Raw(b"null")


class StreamOptions(msgspec.Struct):
    """``stream_options``; other keys are passed on with the value as it is."""

    include_usage: bool | None = None


_stream_options = msgspec.json.Decoder(StreamOptions | None)


class ChatRequest:
    """``body`` as it came, ``fields`` its top-level keys, and what routing needs of them, decoded."""

    __slots__ = ("body", "enable_thinking", "fields", "include_usage", "model", "stream")

    def __init__(self, body: bytes | bytearray, fields: dict[str, msgspec.Raw]) -> None:
        self.body = body
        self.fields = fields
        self.model: str = _required(fields, "model", _string)
        if len(self.model) > MAX_MODEL_CHARACTERS:
            raise ApiError(f"model is longer than {MAX_MODEL_CHARACTERS} characters", param="model")
        self.stream: bool | None = _optional(fields, "stream", _flag)
        self.enable_thinking: bool | None = _optional(fields, "enable_thinking", _flag)
        options: StreamOptions | None = _optional(fields, "stream_options", _stream_options)
        self.include_usage = options is not None and bool(options.include_usage)
        messages = fields.get("messages")
        if messages is None:
            raise ApiError("messages is missing: send the conversation as a list", param="messages")
        if bytes(memoryview(messages)[:1]) != b"[":
            raise ApiError("messages must be a list of messages", param="messages")
        if not bytes(memoryview(messages)[1:64]).strip().removeprefix(b"]"):
            raise ApiError("messages is empty: send at least one message", param="messages")


def decode_request(body: bytes | bytearray) -> ChatRequest:
    """Read a request body. Raises ApiError (400) that names the field and the remedy."""
    try:
        if not body.isascii():
            codecs.utf_8_decode(body, "strict", True)
        fields = _fields.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError("the request body must be a JSON object") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(f"the request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ApiError("the request body is nested too deeply") from error
    return ChatRequest(body, fields)


def decode_value(fields: dict[str, msgspec.Raw], name: str, type: type[T]) -> T | None:
    """The value of ``name`` decoded as ``type``; None where it is absent or null. Raises ApiError (400)."""
    raw = fields.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(f"{name} is not valid: {error}", param=name) from error


def _required(fields: dict[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T:
    raw = fields.get(name)
    if raw is None:
        raise ApiError(f"{name} is missing", param=name)
    return _decode(raw, name, decoder)


def _optional(fields: dict[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    raw = fields.get(name)
    return None if raw is None else _decode(raw, name, decoder)


def _decode(raw: msgspec.Raw, name: str, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise ApiError(f"{name} is not valid: {error}", param=name) from error
