"""Reads ``chat.completion.chunk`` events: the form in which every dialect's reader returns a stream.

A writer for another client API reads the blocks of a :class:`~ztoapi.dialects.reader.Reader` with :func:`read_chunks`
and numbers the tool calls with :class:`ToolCallIndexes`. Fields that such writers only forward stay undecoded
(``msgspec.Raw``); they are views into the block, which has to be kept or copied.
Format: https://platform.openai.com/docs/api-reference/chat-streaming
"""

import contextlib
import re
from typing import Final, NamedTuple

import msgspec

from ztoapi.dialects.events import events
from ztoapi.dialects.lenient import decode_part, read_objects, replace_halves

__all__ = [
    "ABSENT",
    "Chunk",
    "ChunkChoice",
    "Chunks",
    "Delta",
    "FunctionDelta",
    "ToolCallDelta",
    "ToolCallIndexes",
    "number",
    "read_chunks",
]

ABSENT: Final = msgspec.Raw()
"""The value of a field that a chunk does not have."""
_END: Final = b"[DONE]"
_TOKENS: Final = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)
"""Matches each escape whole, so that an escaped quote does not end a string."""
_NULL: Final = msgspec.Raw(b"null")
_TEXTS: Final = frozenset(("content", "reasoning_content", "reasoning", "refusal"))
_MAX_INDEX_DIGITS: Final = 9
_MAX_INDEX: Final = 10**_MAX_INDEX_DIGITS
"""Responses have a few choices and calls. Encoders reject integers of more than 64 bits."""


class FunctionDelta(msgspec.Struct, gc=False):
    """A part of a function call; ``arguments`` is a piece of JSON text."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, gc=False):
    """A part of a tool call. :class:`ToolCallIndexes` returns the call that it belongs to."""

    index: object = None
    id: object = None
    type: object = None
    function: FunctionDelta | None = None

    @property
    def call_id(self) -> str:
        """The id as text, ``""`` without one."""
        return str(self.id) if isinstance(self.id, str | int) else ""


class Delta(msgspec.Struct, gc=False):
    """The new part of a message. Servers name the text of the reasoning ``reasoning_content`` or ``reasoning``."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    """The part of one choice in a chunk. ``stop_reason`` is vLLM's: the stop sequence that matched."""

    index: object = None
    delta: Delta | None = None
    finish_reason: object = None
    stop_reason: object = None
    logprobs: msgspec.Raw = ABSENT


class Chunk(msgspec.Struct, gc=False):
    """One chunk. ``usage`` is absent or null in most; ``lenient.read_usage`` decodes it."""

    id: msgspec.Raw = ABSENT
    created: msgspec.Raw = ABSENT
    model: msgspec.Raw = ABSENT
    choices: list[ChunkChoice] | None = None
    usage: msgspec.Raw = ABSENT
    system_fingerprint: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT


class Chunks(NamedTuple):
    """The chunks of a block, and whether ``[DONE]`` follows them."""

    chunks: list[Chunk]
    done: bool


_decode = msgspec.json.Decoder(Chunk).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_optional = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def read_chunks(block: bytes) -> Chunks:
    """Returns the chunks in ``block``: whole events. Raises UpstreamError for an event that is not a chunk."""
    # Nearly all blocks of a paced stream are one plain event: this saves half of the time.
    if block.startswith(b"data: {") and block.find(b"\n") == len(block) - 2 and b"\r" not in block:
        return Chunks([_read_chunk(block[6:-2])], False)
    chunks: list[Chunk] = []
    for _, payload in events(block):
        if payload.strip() == _END:
            return Chunks(chunks, True)
        chunks.append(_read_chunk(payload))
    return Chunks(chunks, False)


def _read_chunk(data: bytes) -> Chunk:
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError):
        # Servers differ in the types of texts.
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            data = _with_strings(replace_halves(data))
    return decode_part(_decode, data, "a chunk")


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _with_strings(data: bytes) -> bytes:
    """Returns a chunk with strings for texts of other types."""
    chunk = _decode_object(data)
    choices = _decode_objects(chunk.get("choices", _NULL)) or []
    for choice in choices:
        delta = _decode_optional(choice.get("delta", _NULL))
        if delta is None:
            continue
        for name in _TEXTS & delta.keys():
            delta[name] = _string(delta[name])
        raw_calls = delta.get("tool_calls", _NULL)
        calls = read_objects(raw_calls)
        for call in calls:
            function = _decode_optional(call.get("function", _NULL))
            if function is not None:
                if bytes(function.get("arguments", _NULL))[:1] in (b"{", b"["):
                    function["arguments"] = _raw(bytes(function["arguments"]).decode())
                call["function"] = _raw(function)
        if bytes(raw_calls)[:1] == b"[":
            delta["tool_calls"] = _raw(calls)
        choice["delta"] = _raw(delta)
    if choices:
        chunk["choices"] = _raw(choices)
    return _encode(chunk)


def _string(value: msgspec.Raw) -> msgspec.Raw:
    """Returns a list of parts, or one part, as a JSON string of their texts; other values unchanged."""
    data = bytes(value)
    if data[:1] not in (b"[", b"{"):
        return value
    parts = _decode_raws(data) if data[:1] == b"[" else [value]
    return _raw("".join(map(_part_text, parts)))


def _part_text(part: msgspec.Raw) -> str:
    """Returns the text of one part of a content; parts of another type than text have none."""
    if bytes(part)[:1] == b'"':
        return _decode_string(part)
    fields = _decode_object(part)
    return _decode_string(fields["text"]) if bytes(fields.get("text", _NULL))[:1] == b'"' else ""


def number(value: object) -> int | None:
    """Returns an index as an integer: some servers write it as a float or a string. None if it is none."""
    if isinstance(value, str) and len(value) <= _MAX_INDEX_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) and abs(value) < _MAX_INDEX else None


class _StreamedArguments:
    """The arguments of one call, as far as they have been received. They are scanned only when their end is of
    interest, and each piece once: a decoder would read all of them for each piece."""

    __slots__ = ("_complete", "_depth", "_in_string", "_opened", "_pieces", "_rest", "_scanned")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._scanned = 0
        """Number of the pieces that were scanned."""
        self._rest = ""
        """A backslash at the end of the last piece, which belongs to the next character."""
        self._depth = 0
        self._in_string = False
        self._opened = False
        self._complete: bool | None = None
        """None until the first bracket is closed: no further text can then make invalid JSON valid."""

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    def is_complete(self) -> bool:
        """Returns whether the pieces are one JSON object."""
        while self._scanned < len(self._pieces):
            piece = self._pieces[self._scanned]
            self._scanned += 1
            if self._complete is None:
                self._scan(piece)
            elif not piece.isspace():
                self._complete = False
        if self._complete is None and self._opened and not self._depth and not self._in_string:
            self._complete = _is_object("".join(self._pieces))
        return self._complete is True

    def _scan(self, piece: str) -> None:
        text = self._rest + piece
        self._rest = ""
        for token in _TOKENS.findall(text):
            if token == '"':
                self._in_string = not self._in_string
            elif token == "\\":
                self._rest = token
            elif not self._in_string and token in "{[":
                self._depth += 1
                self._opened = True
            elif not self._in_string and token in "}]":
                self._depth -= 1


def _is_object(text: str) -> bool:
    try:
        _decode_object(replace_halves(text.encode()))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class _NumberedCall:
    """The parts of a call that tell it from others."""

    __slots__ = ("arguments", "id", "name", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id = ""
        self.name = ""
        self.arguments = _StreamedArguments()


class ToolCallIndexes:
    """Assigns the tool call deltas of one choice to calls: by index, without one by id, without both by position.

    Some servers give every call the same index. A delta begins a new call if it has a name, and another id than the
    call with its index. Without an id, a name begins a new call once the arguments of that call are complete.
    """

    __slots__ = ("_by_id", "_by_index", "_by_position", "_calls", "_next")

    def __init__(self) -> None:
        self._calls: dict[int, _NumberedCall] = {}
        self._next = 0
        """The number above all that are in use."""
        self._by_index: dict[int, _NumberedCall] = {}
        """The latest call of each index."""
        self._by_id: dict[tuple[int | None, str], _NumberedCall] = {}
        """Calls by index and id, and by the id alone."""
        self._by_position: dict[int, _NumberedCall] = {}
        """The call of the latest delta at each position."""

    def find(self, part: ToolCallDelta, position: int) -> int:
        """Returns the number of the call that ``part`` belongs to: its index, unless another call has that number.
        ``position`` is the part's in its list."""
        index = number(part.index)
        call_id = part.call_id
        function = part.function or FunctionDelta()
        call = self._by_id.get((index, call_id)) if call_id else None
        if call is None:
            if index is not None:
                call = self._by_index.get(index)
            elif not call_id:
                call = self._by_position.get(position)
            if call is None or _begins_another(call_id, function, call):
                call = self._new(index)
        if call_id:
            call.id = call.id or call_id
            self._by_id.setdefault((None, call_id), call)
            if index is not None:
                self._by_id.setdefault((index, call_id), call)
        if index is not None:
            self._by_index[index] = call
        self._by_position[position] = call
        call.name = call.name or function.name or ""
        if function.arguments:
            call.arguments.add(function.arguments)
        return call.number

    def is_complete(self, number: int) -> bool:
        """Returns whether the call has a name, and arguments that are one JSON object."""
        call = self._calls[number]
        return bool(call.name) and call.arguments.is_complete()

    def _new(self, index: int | None) -> _NumberedCall:
        number = self._next if index is None or index in self._calls else index
        self._next = max(self._next, number + 1)
        call = self._calls[number] = _NumberedCall(number)
        if index is None:
            self._by_index[number] = call
        return call


def _begins_another(call_id: str, function: FunctionDelta, call: _NumberedCall) -> bool:
    """Returns whether a part with the index or the position of ``call`` belongs to another call."""
    if call_id and call.id:
        # vLLM gives each part an id of its own, but only the first part of a call a name.
        return bool(function.name or (function.arguments and call.arguments.is_complete()))
    return bool(function.name and call.name) and call.arguments.is_complete()
