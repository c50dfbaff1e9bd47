"""Folds the events of a stream into the message that a client without ``stream`` gets."""

from typing import Final

import msgspec

from ztoapi.apis.arguments import as_object
from ztoapi.dialects.events import events

__all__ = ["fold"]

_NULL: Final = msgspec.Raw(b"null")

Fields = dict[str, msgspec.Raw]


class _BlockDelta(msgspec.Struct):
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""


class _StreamEvent(msgspec.Struct):
    type: str
    message: Fields = {}
    content_block: Fields = {}
    delta: msgspec.Raw = _NULL
    usage: Fields = {}


class _Content:
    """One block: the fields of its start, and the texts of its deltas."""

    __slots__ = ("arguments", "fields", "signature", "text", "thinking")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.arguments: list[str] = []
        self.signature = ""

    def add(self, delta: _BlockDelta) -> None:
        self.text.append(delta.text)
        self.thinking.append(delta.thinking)
        self.arguments.append(delta.partial_json)
        self.signature = delta.signature or self.signature

    def folded(self) -> Fields:
        fields = self.fields
        if "text" in fields:
            fields["text"] = _raw("".join(self.text))
        elif "thinking" in fields:
            fields["thinking"] = _raw("".join(self.thinking))
            fields["signature"] = _raw(self.signature)
        else:
            fields["input"] = msgspec.Raw(as_object("".join(self.arguments)))
        return fields


_decode = msgspec.json.Decoder(_StreamEvent).decode
_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode_fields = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


def fold(written: bytes) -> bytes:
    """Returns the message of a complete stream of events."""
    message: Fields = {}
    usage: Fields = {}
    content: list[_Content] = []
    for _, data in events(written):
        event = _decode(data)
        if event.type == "message_start":
            message = event.message
            usage = _decode_fields(message["usage"])
        elif event.type == "content_block_start":
            content.append(_Content(event.content_block))
        elif event.type == "content_block_delta":
            content[-1].add(_decode_delta(event.delta))
        elif event.type == "message_delta":
            message.update(_decode_fields(event.delta))
            usage.update({name: count for name, count in event.usage.items() if count != _NULL})
    message["content"] = _raw([block.folded() for block in content])
    message["usage"] = _raw(usage)
    return _encode(message)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
