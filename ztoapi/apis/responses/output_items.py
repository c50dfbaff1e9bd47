"""The output items of a response in the making, and the events that announce, extend and finish them.

The events of an item are ``response.output_item.added``, those of its content, and ``response.output_item.done``.
Deltas are the bulk of a stream: an item encodes the members that its deltas share once.
Format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from ztoapi.apis.reasoning import seal
from ztoapi.apis.responses.tools import CalledTool
from ztoapi.dialects.lenient import replace_halves

__all__ = ["CallItem", "EventNumbers", "ItemStatus", "TextItem", "TextKind"]

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode


class ItemStatus(Enum):
    COMPLETED = b"completed"
    INCOMPLETE = b"incomplete"


class EventNumbers:
    """Writes events with consecutive values of ``sequence_number``."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def next(self) -> int:
        number = self._next
        self._next = number + 1
        return number

    def event(self, name: bytes, members: bytes) -> bytes:
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, self.next(), members)


class _TextForm(NamedTuple):
    """Names of one kind of text on the wire."""

    id_prefix: str
    event: bytes
    """Prefix of the names of the delta event and the done event."""
    part_event: bytes
    part_index: bytes
    """Member with the number of the part."""
    part: bytes
    """A part, with a place for the text."""
    member: bytes
    """Member of the done event with the text."""
    extra: bytes
    """More members of the delta event and the done event."""


class TextKind(Enum):
    """A kind of text; an item has one part of one kind."""

    MESSAGE = _TextForm(
        "msg",
        b"response.output_text",
        b"response.content_part",
        b"content_index",
        b'{"type":"output_text","text":%b,"annotations":[],"logprobs":[]}',
        b"text",
        b',"logprobs":[]',
    )
    REFUSAL = _TextForm(
        "msg",
        b"response.refusal",
        b"response.content_part",
        b"content_index",
        b'{"type":"refusal","refusal":%b}',
        b"refusal",
        b"",
    )
    REASONING = _TextForm(
        "rs",
        b"response.reasoning_text",
        b"response.content_part",
        b"content_index",
        b'{"type":"reasoning_text","text":%b}',
        b"text",
        b"",
    )
    SUMMARY = _TextForm(
        "rs",
        b"response.reasoning_summary_text",
        b"response.reasoning_summary_part",
        b"summary_index",
        b'{"type":"summary_text","text":%b}',
        b"text",
        b"",
    )
    """Reasoning for a client that displays summaries."""
    UNREQUESTED = REASONING._replace(event=b"")
    """Reasoning for a client that has not requested any: it gets the item, which it needs for the next request, but no
    events of its text. Open Responses has other names for them than OpenAI."""

    @property
    def is_reasoning(self) -> bool:
        return self in (TextKind.REASONING, TextKind.SUMMARY, TextKind.UNREQUESTED)


_EMPTY_TEXT: Final = b'""'


class TextItem:
    """A message or a reasoning item. ``index`` is its place in the output."""

    __slots__ = ("_delta", "_id", "_numbers", "_place", "_texts", "index", "kind")

    def __init__(self, kind: TextKind, unique: str, index: int, numbers: EventNumbers) -> None:
        self.kind = kind
        self.index = index
        self._numbers = numbers
        self._texts: list[str] = []
        form = kind.value
        self._id = f"{form.id_prefix}_{unique}_{index}".encode()
        self._place = b'"item_id":"%b","output_index":%d,"%b":0' % (self._id, index, form.part_index)
        self._delta = b'event: %b.delta\ndata: {"type":"%b.delta",%b%b,"sequence_number":' % (
            form.event,
            form.event,
            self._place,
            form.extra,
        )

    def added(self) -> bytes:
        form = self.kind.value
        numbers = self._numbers
        if self.kind.is_reasoning:
            item = b'{"type":"reasoning","id":"%b","status":"in_progress","summary":[],"content":[]}' % self._id
        else:
            item = b'{"type":"message","id":"%b","status":"in_progress","role":"assistant","content":[]}' % self._id
        added = numbers.event(b"response.output_item.added", b'"output_index":%d,"item":%b' % (self.index, item))
        if not form.event:
            return added
        part = b'%b,"part":%b' % (self._place, form.part % _EMPTY_TEXT)
        return added + numbers.event(form.part_event + b".added", part)

    def delta(self, text: str) -> bytes:
        self._texts.append(text)
        if not self.kind.value.event:
            return b""
        return b'%b%d,"delta":%b}\n\n' % (self._delta, self._numbers.next(), _encode(text))

    def done(self, item: bytes) -> bytes:
        """Returns the last events, with the complete ``item``."""
        form = self.kind.value
        numbers = self._numbers
        content = b""
        if form.event:
            text = self._text()
            content = numbers.event(
                form.event + b".done", b'%b,"%b":%b%b' % (self._place, form.member, text, form.extra)
            ) + numbers.event(form.part_event + b".done", b'%b,"part":%b' % (self._place, form.part % text))
        done = b'"output_index":%d,"item":%b' % (self.index, item)
        return content + numbers.event(b"response.output_item.done", done)

    def item(self, status: ItemStatus) -> bytes:
        """Returns the item with all its text."""
        text = self._text()
        part = self.kind.value.part % text
        if not self.kind.is_reasoning:
            return b'{"type":"message","id":"%b","status":"%b","role":"assistant","content":[%b]}' % (
                self._id,
                status.value,
                part,
            )
        return (
            b'{"type":"reasoning","id":"%b","status":"%b","summary":[%b],"content":[%b],"encrypted_content":%b}'
        ) % (
            self._id,
            status.value,
            part if self.kind is TextKind.SUMMARY else b"",
            TextKind.REASONING.value.part % text,
            _encode(seal("".join(self._texts))),
        )

    def _text(self) -> bytes:
        return _encode("".join(self._texts))


class CallItem:
    """A call of the client's ``tool``. The ``call_id`` is the upstream's.

    The input of a custom tool is announced at the end: until then it is a piece of JSON.
    """

    __slots__ = ("_arguments", "_call_id", "_delta", "_id", "_numbers", "_tool", "index")

    def __init__(self, tool: CalledTool, call_id: str, unique: str, index: int, numbers: EventNumbers) -> None:
        self.index = index
        self._tool = tool
        self._call_id = call_id
        self._numbers = numbers
        self._arguments: list[str] = []
        self._id = f"{'ctc' if tool.custom else 'fc'}_{unique}_{index}".encode()
        self._delta = (
            b'event: response.function_call_arguments.delta\ndata: {"type":"response.function_call_arguments.delta",'
            b'"item_id":"%b","output_index":%d,"sequence_number":' % (self._id, index)
        )

    def added(self) -> bytes:
        item = self._item(b"in_progress", b'""')
        return self._numbers.event(b"response.output_item.added", b'"output_index":%d,"item":%b' % (self.index, item))

    def delta(self, arguments: str) -> bytes:
        self._arguments.append(arguments)
        if self._tool.custom:
            return b""
        return b'%b%d,"delta":%b}\n\n' % (self._delta, self._numbers.next(), _encode(arguments))

    def done(self, item: bytes) -> bytes:
        """Returns the last events, with the complete ``item``."""
        numbers = self._numbers
        place = b'"item_id":"%b","output_index":%d' % (self._id, self.index)
        value = self._value()
        events: list[bytes] = []
        if self._tool.custom:
            events.append(numbers.event(b"response.custom_tool_call_input.delta", b'%b,"delta":%b' % (place, value)))
            events.append(numbers.event(b"response.custom_tool_call_input.done", b'%b,"input":%b' % (place, value)))
        else:
            if not any(self._arguments):
                events.append(self.delta("{}"))
            name = _encode(self._tool.name)
            members = b'%b,"name":%b,"arguments":%b' % (place, name, value)
            events.append(numbers.event(b"response.function_call_arguments.done", members))
        events.append(numbers.event(b"response.output_item.done", b'"output_index":%d,"item":%b' % (self.index, item)))
        return b"".join(events)

    def item(self, status: ItemStatus) -> bytes:
        """Returns the item with its whole input."""
        return self._item(status.value, self._value())

    def _value(self) -> bytes:
        arguments = "".join(self._arguments)
        return _encode(_free_text(arguments) if self._tool.custom else arguments or "{}")

    def _item(self, status: bytes, value: bytes) -> bytes:
        tool = self._tool
        return b'{"type":"%b","id":"%b","status":"%b","call_id":%b,%b"name":%b,"%b":%b}' % (
            b"custom_tool_call" if tool.custom else b"function_call",
            self._id,
            status,
            _encode(self._call_id),
            b"" if tool.namespace is None else b'"namespace":%b,' % _encode(tool.namespace),
            _encode(tool.name),
            b"input" if tool.custom else b"arguments",
            value,
        )


def _free_text(arguments: str) -> str:
    """The text in the arguments of a custom tool. A model may forget the object, or name its member otherwise."""
    try:
        members = _members(replace_halves(arguments.encode()))
        texts = [members["input"]] if "input" in members else list(members.values())
        return _string(texts[0]) if len(texts) == 1 else arguments
    except (msgspec.DecodeError, RecursionError):
        return arguments
