"""A chat request in the common inner form: one JSON object, decoded to the depth that routing needs.

One pass over the body checks the JSON and finds what routing needs. Whoever needs more asks for the ``fields``, whose
values stay undecoded (``msgspec.Raw``, a view into the body), and decodes those that it needs. Format:
https://platform.openai.com/docs/api-reference/chat/create
"""

import codecs
from typing import Final, TypeVar

import msgspec

from ztoapi.errors import ApiError

__all__ = ["ChatRequest", "MessageHead", "decode_request", "decode_value"]

T = TypeVar("T")

MAX_MODEL_CHARACTERS: Final = 256
"""Longest model name: names are kept in records and shown in metrics. Real ones have under 64 characters."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool | None)
_NULL: Final = msgspec.Raw(b"null")


class StreamOptions(msgspec.Struct):
    """``stream_options``; other keys are passed on with the value as it is."""

    include_usage: bool | None = None


class MessageHead(msgspec.Struct, gc=False):
    """What must be known of a message to pass it on."""

    role: str | None = None
    name: str | None = None


class _Outline(msgspec.Struct, gc=False):
    """A request as nearly all are."""

    model: str
    messages: list[MessageHead]
    stream: bool | None = None
    enable_thinking: bool | None = None
    stream_options: StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    n: int | None = None


_stream_options = msgspec.json.Decoder(StreamOptions | None)
_decode_outline = msgspec.json.Decoder(_Outline).decode


class ChatRequest:
    """``body`` as it came, and what routing needs of it, decoded. ``has_stream_options``: whether the key stands there;
    ``messages`` is None where they are a list of something else than messages: the upstream may know more; ``choices``
    is the number of choices that the client wants.

    Raises ApiError (400) that names the field and the remedy.
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
            raise ApiError(f"model is longer than {MAX_MODEL_CHARACTERS} characters", param="model")

    @property
    def fields(self) -> dict[str, msgspec.Raw]:
        """The top-level keys, their values as octets. Decoded when somebody asks: most requests are passed on as they
        came."""
        fields = self._fields
        if fields is None:
            fields = self._fields = _read_fields(self.body)
        return fields

    def _read_closely(self) -> None:
        """Say what is wrong with a request that is not as nearly all are, if it is wrong."""
        fields = self.fields
        self.model = _required(fields, "model", _string)
        self.stream = _optional(fields, "stream", _flag)
        self.enable_thinking = _optional(fields, "enable_thinking", _flag)
        self.choices = _count(fields.get("n", _NULL))
        options: StreamOptions | None = _optional(fields, "stream_options", _stream_options)
        self.has_stream_options = "stream_options" in fields
        self.include_usage = options is not None and bool(options.include_usage)
        self.messages = None
        messages = fields.get("messages")
        if messages is None:
            raise ApiError("messages is missing: send the conversation as a list", param="messages")
        if bytes(memoryview(messages)[:1]) != b"[":
            raise ApiError("messages must be a list of messages", param="messages")
        if not bytes(memoryview(messages)[1:64]).strip().removeprefix(b"]"):
            raise ApiError("messages is empty: send at least one message", param="messages")


def decode_request(body: bytes | bytearray) -> ChatRequest:
    """Read a request body. Raises ApiError (400) that names the field and the remedy."""
    if not body.isascii():
        try:
            codecs.utf_8_decode(body, "strict", True)
        except UnicodeDecodeError as error:
            raise ApiError(f"the request body is not valid JSON: {error}") from error
    return ChatRequest(body)


def _read_fields(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    try:
        return _decode_fields(body)
    except msgspec.ValidationError as error:
        raise ApiError("the request body must be a JSON object") from error
    except msgspec.DecodeError as error:
        raise ApiError(f"the request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ApiError("the request body is nested too deeply") from error


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


def _count(raw: msgspec.Raw) -> int:
    """The value of ``n``, which the upstream checks."""
    try:
        return msgspec.json.decode(raw, type=int | None) or 1
    except msgspec.DecodeError:
        return 1


def _decode(raw: msgspec.Raw, name: str, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise ApiError(f"{name} is not valid: {error}", param=name) from error
