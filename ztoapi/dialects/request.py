"""A chat request in the inner format: one JSON object, decoded as far as routing requires.

One pass over the body checks the JSON and decodes the members of the object as far as routing requires; for a long
conversation it is the greatest cost of a request. Modules that read other values use the property ``fields``, whose
values are undecoded (``msgspec.Raw``, views into the body); it takes a second pass.
Format: https://platform.openai.com/docs/api-reference/chat/create
"""

import codecs
from collections.abc import Collection, Mapping
from typing import ClassVar, Final, TypeVar

import msgspec

from ztoapi.dialects.field_errors import REMEDIES, field_error, invalid_json, missing
from ztoapi.dialects.lenient import replace_halves
from ztoapi.dialects.value_count import count_values
from ztoapi.errors import ApiError
from ztoapi.wire.limits import BODY_VALUES, LARGE_BODY_BYTES, LARGE_CHAT_BODY_BYTES, LARGE_CHAT_ELEMENTS

__all__ = [
    "MAX_MODEL_CHARACTERS",
    "ChatRequest",
    "Element",
    "MessageHead",
    "check_values",
    "decode_large_request",
    "decode_request",
    "decode_value",
    "read_body",
]

T = TypeVar("T")

MAX_MODEL_CHARACTERS: Final = 256
"""Longest model name, because records and metrics contain it. Real names have fewer than 64 characters."""

_NAMED_VALUES: Final = 4 * BODY_VALUES
"""Values of a refused body above which its largest field is not searched: 5 ms of a decoder that skips them."""
_MAX_FIELD_CHARACTERS: Final = 80
"""Characters of a field's name in an error."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_NULL: Final = msgspec.Raw(b"null")


class StreamOptions(msgspec.Struct):
    """``stream_options``; other keys are forwarded with the raw value."""

    include_usage: bool | None = None


class MessageHead(msgspec.Struct, gc=False):
    """The fields of a message that decide how it is forwarded. ``content`` is undecoded, null if it is absent."""

    role: str | None = None
    name: str | None = None
    content: msgspec.Raw = _NULL


_Scalar = str | int | float | bool | None
Element = MessageHead | _Scalar
"""An element of a list: in the list of messages, a message."""
Members = dict[str, list[Element] | StreamOptions | _Scalar]
"""The members of a request. Every list has elements of the same types, and every object is decoded as StreamOptions,
because the types cannot depend on the name."""

_decode_members = msgspec.json.Decoder(Members).decode
_OPTIONAL: Final = frozenset(("enable_thinking", "n", "stream_options"))
"""Members for routing that most requests do not have."""


class ChatRequest(msgspec.Struct, gc=False, eq=False):
    """A request: ``body`` as received, and the decoded fields for routing. :func:`decode_request` makes one.

    ``members`` is None for a request of an unusual form, such as one with a list in a list. ``messages`` is None then,
    because the upstream may accept messages of an unknown shape. ``choices`` is the number of choices requested.
    """

    body: bytes | bytearray
    members: Members | None
    model: str
    messages: list[Element] | None
    stream: bool | None
    enable_thinking: bool | None = None
    choices: int = 1
    include_usage: bool = False
    _fields: dict[str, msgspec.Raw] | None = None

    generates: ClassVar[bool] = True

    @property
    def names(self) -> Collection[str]:
        """The names of the top-level fields."""
        return self.fields if self.members is None else self.members

    @property
    def fields(self) -> dict[str, msgspec.Raw]:
        """The top-level fields with undecoded values. Decoded at the first use, because most requests are forwarded
        unchanged."""
        fields = self._fields
        if fields is None:
            fields = self._fields = _read_fields(self.body)
        return fields

    @property
    def is_large(self) -> bool:
        """Whether its translation may take milliseconds, because it has many messages, tools or content parts."""
        size, members = len(self.body), self.members
        if size <= LARGE_BODY_BYTES:
            return False
        if size > LARGE_CHAT_BODY_BYTES or members is None or len(self.messages or ()) > LARGE_CHAT_ELEMENTS:
            return True
        tools = members.get("tools")
        return isinstance(tools, list) and len(tools) > LARGE_CHAT_ELEMENTS

    def renamed(self, model: str) -> "ChatRequest":
        """Returns the request for another model."""
        fields = {**self.fields, "model": msgspec.Raw(_encode(model))}
        return decode_request(_encode(fields), fields)


def decode_request(
    body: bytes | bytearray, fields: dict[str, msgspec.Raw] | None = None, *, needs_model: bool = True
) -> ChatRequest:
    """Decodes a request body, with U+FFFD for half surrogates. ``fields`` are its undecoded members if they are known.
    Unless ``needs_model``, the name of the model may be empty. Raises ApiError (400), with the field and the remedy."""
    if not body.isascii():
        require_utf8(body)
    try:
        members = _decode_members(body)
        model, messages = members["model"], members["messages"]
    except (msgspec.DecodeError, RecursionError, KeyError):
        return _decode_closely(body, needs_model)
    stream = members.get("stream")
    if not (
        type(model) is str
        and (model or not needs_model)
        and len(model) <= MAX_MODEL_CHARACTERS
        and type(messages) is list
        and messages
        and (stream is None or type(stream) is bool)
    ):
        return _decode_closely(body, needs_model)
    if _OPTIONAL.isdisjoint(members):
        return ChatRequest(body, members, model, messages, stream, _fields=fields)
    thinking = members.get("enable_thinking")
    options = members.get("stream_options")
    choices = members["n"] if "n" in members else 1
    if (
        (thinking is None or isinstance(thinking, bool))
        and (options is None or isinstance(options, StreamOptions))
        and type(choices) is int
    ):
        include_usage = options is not None and options.include_usage is True
        return ChatRequest(
            body, members, model, messages, stream, thinking, choices or 1, include_usage=include_usage, _fields=fields
        )
    return _decode_closely(body, needs_model)


def _decode_closely(body: bytes | bytearray, needs_model: bool) -> ChatRequest:
    """Decodes a request of an unusual form field by field. Raises ApiError (400) for the first invalid field."""
    try:
        fields = _read_fields(body)
    except ApiError as error:
        return decode_request(_without_halves(body, error), needs_model=needs_model)
    model = decode_value(fields, "model", str)
    if model is None or (needs_model and not model):
        raise missing("model")
    stream = decode_value(fields, "stream", bool)
    thinking = decode_value(fields, "enable_thinking", bool)
    choices = _count(fields.get("n", _NULL))
    options = decode_value(fields, "stream_options", StreamOptions)
    include_usage = options is not None and bool(options.include_usage)
    messages = fields.get("messages", _NULL)
    if messages == _NULL:
        raise missing("messages")
    if bytes(memoryview(messages)[:1]) != b"[":
        raise ApiError(f"messages must be a list: {REMEDIES['messages']}", code="invalid_type", param="messages")
    if not bytes(memoryview(messages)[1:64]).strip().removeprefix(b"]"):
        raise ApiError("messages is empty: send at least one message", code="empty_array", param="messages")
    if len(model) > MAX_MODEL_CHARACTERS:
        raise ApiError(
            f"model is longer than {MAX_MODEL_CHARACTERS} characters", code="string_above_max_length", param="model"
        )
    return ChatRequest(body, None, model, None, stream, thinking, choices, include_usage, fields)


def decode_large_request(body: bytes | bytearray) -> ChatRequest:
    """Same as :func:`decode_request`. Raises ApiError (413) for too many values."""
    require_utf8(body)
    check_values(body)
    return decode_request(body)


def check_values(body: bytes | bytearray, most: int = BODY_VALUES) -> None:
    """Raises ApiError (413) for a body with more than ``most`` values, with the name of the largest field unless the
    body has more than ``_NAMED_VALUES``."""
    # With its comma, a value takes two bytes at least.
    if len(body) <= 2 * most:
        return
    values = count_values(body, max(most, _NAMED_VALUES))
    if values <= most:
        return
    name = None
    if values <= _NAMED_VALUES:
        fields = _read_fields(body)
        name = max(fields, key=lambda name: len(memoryview(fields[name])))[:_MAX_FIELD_CHARACTERS]
    raise ApiError(
        f"{name or 'the request'} is too large: a request may have {most} JSON values; send fewer, or longer texts",
        status=413,
        code="request_too_large",
        param=name,
    )


def read_body(body: bytes | bytearray, values: int = BODY_VALUES) -> tuple[bytes | bytearray, dict[str, msgspec.Raw]]:
    """Returns a request body, with U+FFFD for half surrogates, and its top-level members. Raises ApiError: 400, or 413
    for more than ``values`` values."""
    require_utf8(body)
    check_values(body, values)
    try:
        return body, _read_fields(body)
    except ApiError as error:
        body = _without_halves(body, error)
        return body, _read_fields(body)


def _read_fields(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    """Returns the top-level members of a JSON object, their values undecoded. Raises ApiError (400)."""
    try:
        return _decode_fields(body)
    except msgspec.ValidationError as error:
        raise ApiError("the request body must be a JSON object", code="invalid_type") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_json(body, error) from error


def decode_value(fields: Mapping[str, msgspec.Raw], name: str, type: type[T]) -> T | None:
    """Returns the value of ``name`` decoded as ``type``; None if it is absent or null. Raises ApiError (400)."""
    raw = fields.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise field_error(name, error) from error


def require_utf8(body: bytes | bytearray) -> None:
    """Raises ApiError (400) for a body that is not UTF-8; decoders do not check values that stay undecoded."""
    if not body.isascii():
        try:
            codecs.utf_8_decode(body, "strict", True)
        except UnicodeDecodeError as error:
            raise invalid_json(body, error) from error


def _without_halves(body: bytes | bytearray, error: ApiError) -> bytes:
    """Returns ``body`` with U+FFFD for half surrogates; raises ``error`` if it has none.

    JavaScript clients that cut a text between the halves of a pair send them. They are valid JSON, but not to msgspec.
    """
    if error.code != "invalid_json":
        raise error
    replaced = replace_halves(bytes(body))
    if replaced == body:
        raise error
    return replaced


def _count(raw: msgspec.Raw) -> int:
    """Returns the value of ``n``, or 1 if it is not an integer: the upstream validates it."""
    try:
        return msgspec.json.decode(raw, type=int | None) or 1
    except msgspec.DecodeError:
        return 1
