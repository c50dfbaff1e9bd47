"""Responses without their reasoning, for clients that disabled the thinking of a model that always thinks."""

import msgspec

from ztoapi.dialects.events import parts, read_part
from ztoapi.dialects.reader import Reader, TranslatingReader

__all__ = ["HiddenReasoningReader", "completion_without_reasoning"]

Fields = dict[str, msgspec.Raw]
_KEY = b'"reasoning_content"'
_NAME = "reasoning_content"
_ALWAYS_THERE = frozenset(("role", "content"))
"""Fields of a delta that carry nothing if the content is empty."""

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(Fields).decode
_choices = msgspec.json.Decoder(list[Fields]).decode
_EMPTY = (msgspec.Raw(b"null"), msgspec.Raw(b'""'))


class HiddenReasoningReader(TranslatingReader):
    """Removes the reasoning from a stream, and events that carry nothing else, before ``reader`` reads it. A template
    would pass reasoning on."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader

    def feed(self, block: bytes) -> bytes:
        if _KEY in block:
            block = b"".join(_without_reasoning(part) for part in parts(block))
        return self._result(self._reader.feed(block) if block else b"")

    def eof(self) -> bytes:
        return self._result(self._reader.eof())

    def _result(self, out: bytes) -> bytes:
        reader = self._reader
        self.usage, self.done, self.error = reader.usage, reader.done, reader.error
        return out


def completion_without_reasoning(body: bytes) -> bytes:
    """Returns a whole response without its reasoning. Anything but a completion is returned as it is."""
    if _KEY not in body:
        return body
    try:
        fields = _fields(body)
        choices = _choices(fields["choices"])
        for choice in choices:
            _take_reasoning(choice, "message")
    except (KeyError, msgspec.DecodeError, RecursionError):
        return body
    return _encode({**fields, "choices": choices})


def _without_reasoning(part: bytes) -> bytes:
    """Returns an event, ended by a blank line, without its reasoning; empty if nothing else is in it."""
    event = part + b"\n\n"
    _, data, _ = read_part(part)
    if data is None or _KEY not in data:
        return event
    try:
        fields = _fields(data)
        choices = _choices(fields["choices"])
        removed = [_take_reasoning(choice, "delta") for choice in choices]
    except (KeyError, msgspec.DecodeError, RecursionError):
        # The reader reports events that are not chunks.
        return event
    if not any(removed):
        return event
    if fields.get("usage", _EMPTY[0]) in _EMPTY and not any(map(_carries, choices)):
        return b""
    return b"data: %b\n\n" % _encode({**fields, "choices": choices})


def _take_reasoning(choice: Fields, part: str) -> bool:
    """Removes the reasoning from ``part`` of a choice; returns whether there was any."""
    message = _fields(choice.get(part, b"{}"))
    if message.pop(_NAME, None) is None:
        return False
    choice[part] = msgspec.Raw(_encode(message))
    return True


def _carries(choice: Fields) -> bool:
    """Returns whether a choice of a chunk carries anything for the client."""
    delta = _fields(choice.get("delta", b"{}"))
    return (
        choice.get("finish_reason", _EMPTY[0]) not in _EMPTY
        or delta.get("content", _EMPTY[0]) not in _EMPTY
        or not delta.keys() <= _ALWAYS_THERE
    )
