"""A chat request in the inner format: one JSON object, decoded as far as routing requires.

One pass over the body checks the JSON and decodes the fields for routing. Other modules use the property ``fields``,
whose values are undecoded (``msgspec.Raw``, views into the body), and decode single values.
Format: https://platform.openai.com/docs/api-reference/chat/create
"""

import codecs
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from ztoapi.dialects.field_errors import field_error, invalid_json, missing
from ztoapi.errors import ApiError

__all__ = [
    "MODEL_REMEDY",
    "ChatRequest",
    "MessageHead",
    "decode_request",
    "decode_value",
    "read_fields",
    "require_utf8",
]

T = TypeVar("T")

MAX_MODEL_CHARACTERS: Final = 256
"""Longest model name, because records and metrics contain it. Real names have fewer than 64 characters."""

MODEL_REMEDY: Final = 'send one, such as "model": "glm-5.3"; GET /v1/models lists the models'
_MESSAGES_REMEDY: Final = 'send the conversation as a list, such as [{"role": "user", "content": "Hello"}]'

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL: Final = msgspec.Raw(b"null")


class StreamOptions(msgspec.Struct):
    """``stream_options``; other keys are forwarded with the raw value."""

    include_usage: bool | None = None


class MessageHead(msgspec.Struct, gc=False):
    """The fields of a message that decide how it is forwarded."""

    role: str | None = None
    name: str | None = None


class _Outline(msgspec.Struct, gc=False):
    """The usual form of a request."""

    model: str
    messages: list[MessageHead]
    stream: bool | None = None
    enable_thinking: bool | None = None
    stream_options: StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    n: int | None = None


_decode_outline = msgspec.json.Decoder(_Outline).decode


class ChatRequest:
    """A request: ``body`` as received, and the decoded fields for routing.

    ``has_stream_options`` is whether the key is present. ``messages`` is None if the list has elements of an unknown
    shape, which the upstream may accept. ``choices`` is the number of choices requested.

    Raises ApiError (400), with the field and the remedy.
    """

    __slots__ = (
        "_fields",
        "body",
        "choices",
        "enable_thinking",
        "has_stream_options",
        "include_usage",
        "messages",
        "model",
        "stream",
    )

    def __init__(self, body: bytes | bytearray, fields: dict[str, msgspec.Raw] | None = None) -> None:
        self.body = body
        self._fields = fields
        try:
            outline = _decode_outline(body)
        except (msgspec.DecodeError, RecursionError):
            outline = None
        if outline is None or not outline.messages:
            self._read_closely()
        else:
            self.model: str = outline.model
            self.stream: bool | None = outline.stream
            self.enable_thinking: bool | None = outline.enable_thinking
            self.messages: list[MessageHead] | None = outline.messages
            self.choices = outline.n or 1
            options = outline.stream_options
            self.has_stream_options = options is not msgspec.UNSET
            self.include_usage = isinstance(options, StreamOptions) and bool(options.include_usage)
        if len(self.model) > MAX_MODEL_CHARACTERS:
            raise ApiError(
                f"model is longer than {MAX_MODEL_CHARACTERS} characters", code="string_above_max_length", param="model"
            )

    @property
    def fields(self) -> dict[str, msgspec.Raw]:
        """The top-level fields with undecoded values. Decoded at the first use, because most requests are forwarded
        unchanged."""
        fields = self._fields
        if fields is None:
            fields = self._fields = read_fields(self.body)
        return fields

    def _read_closely(self) -> None:
        """Decode a request of an unusual form field by field. Raises ApiError (400) for the first invalid field."""
        fields = self.fields
        model = decode_value(fields, "model", str)
        if model is None:
            raise missing("model", MODEL_REMEDY)
        self.model = model
        self.stream = decode_value(fields, "stream", bool)
        self.enable_thinking = decode_value(fields, "enable_thinking", bool)
        self.choices = _count(fields.get("n", _NULL))
        options = decode_value(fields, "stream_options", StreamOptions)
        self.has_stream_options = "stream_options" in fields
        self.include_usage = options is not None and bool(options.include_usage)
        self.messages = None
        messages = fields.get("messages", _NULL)
        if messages == _NULL:
            raise missing("messages", _MESSAGES_REMEDY)
        if bytes(memoryview(messages)[:1]) != b"[":
            raise ApiError(f"messages must be a list: {_MESSAGES_REMEDY}", code="invalid_type", param="messages")
        if not bytes(memoryview(messages)[1:64]).strip().removeprefix(b"]"):
            raise ApiError("messages is empty: send at least one message", code="empty_array", param="messages")


def decode_request(body: bytes | bytearray) -> ChatRequest:
    """Decode a request body. Raises ApiError (400), with the field and the remedy."""
    require_utf8(body)
    request = ChatRequest(body)
    if not request.model:
        raise missing("model", MODEL_REMEDY)
    return request


def require_utf8(body: bytes | bytearray) -> None:
    """Raises ApiError (400) for a body that is not UTF-8; decoders do not check values that stay undecoded."""
    if not body.isascii():
        try:
            codecs.utf_8_decode(body, "strict", True)
        except UnicodeDecodeError as error:
            raise invalid_json(body, error) from error


def read_fields(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    """Returns the top-level members of a JSON object, their values undecoded. Raises ApiError (400)."""
    try:
        return _decode_fields(body)
    except msgspec.ValidationError as error:
        raise ApiError("the request body must be a JSON object", code="invalid_type") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_json(body, error) from error


def decode_value(fields: Mapping[str, msgspec.Raw], name: str, type: type[T]) -> T | None:
    """Return the value of ``name`` decoded as ``type``; None if it is absent or null. Raises ApiError (400)."""
    raw = fields.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise field_error(name, error) from error


def _count(raw: msgspec.Raw) -> int:
    """Return the value of ``n``, or 1 if it is no integer: the upstream validates it."""
    try:
        return msgspec.json.decode(raw, type=int | None) or 1
    except msgspec.DecodeError:
        return 1
