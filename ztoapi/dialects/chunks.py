"""Reads ``chat.completion.chunk`` events: the form in which every dialect's reader returns a stream.

A writer for another client API reads the blocks of a :class:`~ztoapi.dialects.reader.Reader` with :func:`read_chunks`
and numbers the tool calls with :class:`ToolCallIndexes`. Fields that such writers only forward stay undecoded
(``msgspec.Raw``); they are views into the block, which has to be kept or copied.
Format: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from typing import Final, NamedTuple

import msgspec

from ztoapi.dialects.events import events
from ztoapi.dialects.lenient import decode_part

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


def read_chunks(block: bytes) -> Chunks:
    """Returns the chunks in ``block``: whole events. Raises UpstreamError for an event that is no chunk."""
    # Nearly all blocks of a paced stream are one plain event: this saves half of the time.
    if block.startswith(b"data: {") and block.find(b"\n") == len(block) - 2 and b"\r" not in block:
        return Chunks([decode_part(_decode, block[6:-2], "a chunk")], False)
    chunks: list[Chunk] = []
    for _, payload in events(block):
        if payload.strip() == _END:
            return Chunks(chunks, True)
        chunks.append(decode_part(_decode, payload, "a chunk"))
    return Chunks(chunks, False)


def number(value: object) -> int | None:
    """Returns an index as an integer: some servers write it as a float or a string. None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) else None


class ToolCallIndexes:
    """Assigns the tool call deltas of one choice to calls: by index, without one by id, without both by position."""

    __slots__ = ("_by_id", "_used")

    def __init__(self) -> None:
        self._by_id: dict[str, int] = {}
        self._used: set[int] = set()

    def find(self, index: object, call_id: str, position: int) -> int:
        """Returns the index of the call that a delta belongs to; ``position`` is the delta's in its list."""
        found = number(index)
        if found is None:
            found = self._by_id.get(call_id)
        if found is None:
            found = max(self._used, default=-1) + 1 if call_id else position
        self._used.add(found)
        if call_id:
            self._by_id.setdefault(call_id, found)
        return found
