"""The content blocks of one response, in order, one open at a time.

Chunks may interleave tool calls, and may have text between the pieces of a call. A block that was closed cannot be
opened again, so everything behind an incomplete tool call waits until its arguments are one JSON object, or until the
response ends. Text and thinking go on in a further block.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import enum
from collections import deque
from typing import Final

import msgspec

from ztoapi.apis.reasoning import digest, seal
from ztoapi.dialects.chunks import ToolCallDelta, ToolCallIndexes

__all__ = ["DELTA_END", "Blocks"]

_encode = msgspec.json.Encoder().encode


class _BlockKind(enum.Enum):
    """The kind of a block: the JSON of its start, and the first bytes of its delta."""

    THINKING = b'{"type":"thinking","thinking":"","signature":""}', b'{"type":"thinking_delta","thinking":'
    TEXT = b'{"type":"text","text":"","citations":null}', b'{"type":"text_delta","text":'
    TOOL = b"", b'{"type":"input_json_delta","partial_json":'

    def __init__(self, start: bytes, delta: bytes) -> None:
        self.start = start
        self.delta = delta


_START: Final = (
    b"event: content_block_start\n"
    b'data: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
)  # fmt: skip
_TOOL_START: Final = b'{"type":"tool_use","id":%b,"name":%b,"input":{},"caller":{"type":"direct"}}'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
DELTA_END: Final = b"}}\n\n"
_SIGNATURE: Final = b'{"type":"signature_delta","signature":'
_STOP: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'


class _Block:
    """One block; its ``pieces`` wait until the block is open. ``call`` is the number of its tool call."""

    __slots__ = ("call", "closed", "head", "id", "kind", "name", "pieces", "text")

    def __init__(self, kind: _BlockKind, call: int = 0) -> None:
        self.kind = kind
        self.call = call
        self.pieces: list[str] = []
        self.text: list[str] = []
        """All pieces of thinking, for the signature."""
        self.id = ""
        self.name = ""
        self.head = b""
        """The first bytes of the block's deltas, once it is open."""
        self.closed = False


class Blocks:
    """Writes the events of the blocks to ``out``. ``id_prefix`` begins the id of a call to which the upstream gave
    none."""

    __slots__ = ("_call_indexes", "_calls", "_id_prefix", "_index", "_omitted", "_out", "_queue", "kept", "tools")

    def __init__(self, out: list[bytes], id_prefix: str, *, thinking_omitted: bool) -> None:
        self._out = out
        self._id_prefix = id_prefix
        self._omitted = thinking_omitted
        self._index = 0
        self._queue: deque[_Block] = deque()
        """The open block, and those that wait for it to be closed."""
        self._calls: dict[int, _Block] = {}
        self._call_indexes = ToolCallIndexes()
        self.kept = 0
        """Characters of thinking, of arguments, and of pieces that had to wait."""
        self.tools = 0
        """Number of the tool calls that were written."""

    def think(self, text: str) -> None:
        self._add_text(_BlockKind.THINKING, text)

    def write(self, text: str) -> None:
        self._add_text(_BlockKind.TEXT, text)

    @property
    def text_head(self) -> bytes:
        """The first bytes of the next delta if a text block is open, and no other waits; otherwise empty."""
        queue = self._queue
        return queue[0].head if len(queue) == 1 and queue[0].kind is _BlockKind.TEXT else b""

    def call(self, part: ToolCallDelta, position: int) -> None:
        """Adds a part of a tool call, the ``position``-th of its chunk."""
        function = part.function
        name = (function.name if function is not None else None) or ""
        number = self._call_indexes.find(part, position)
        block = self._calls.get(number)
        if block is None:
            block = self._calls[number] = _Block(_BlockKind.TOOL, number)
            self._queue.append(block)
        elif block.closed:
            return
        block.id = block.id or part.call_id
        block.name = block.name or name
        if function is not None and function.arguments:
            block.pieces.append(function.arguments)
            self.kept += len(function.arguments)
        self._advance()

    def end(self) -> None:
        """Closes all blocks, at the end of the response."""
        for block in self._queue:
            self._flush(block)
            self._close(block)
        self._queue.clear()

    def _add_text(self, kind: _BlockKind, text: str) -> None:
        queue = self._queue
        block = queue[-1] if queue else None
        if block is None or block.kind is not kind:
            block = _Block(kind)
            queue.append(block)
        elif len(queue) == 1 and kind is _BlockKind.TEXT:
            # Nearly all parts: the open block goes on.
            self._out += (block.head, _encode(text), DELTA_END)
            return
        block.pieces.append(text)
        self.kept += len(text)
        self._advance()

    def _advance(self) -> None:
        """Writes what can be written, and closes blocks that others wait for."""
        queue = self._queue
        self._flush(queue[0])
        while len(queue) > 1 and self._can_close(queue[0]):
            self._close(queue.popleft())
            self._flush(queue[0])

    def _can_close(self, block: _Block) -> bool:
        return block.kind is not _BlockKind.TOOL or self._call_indexes.is_complete(block.call)

    def _flush(self, block: _Block) -> None:
        """Opens ``block`` if it is not open, and writes its waiting pieces. A call opens when its name is known."""
        if not block.head:
            start = self._start(block)
            if not start:
                return
            self._out.append(_START % (self._index, start))
            block.head = _DELTA % (self._index, block.kind.delta)
        if block.kind is _BlockKind.THINKING:
            block.text += block.pieces
            if self._omitted:
                block.pieces.clear()
        for piece in block.pieces:
            self._out += (block.head, _encode(piece), DELTA_END)
        block.pieces.clear()

    def _start(self, block: _Block) -> bytes:
        if block.kind is not _BlockKind.TOOL:
            return block.kind.start
        if not block.name:
            return b""
        self.tools += 1
        return _TOOL_START % (_encode(block.id or f"{self._id_prefix}_{self.tools}"), _encode(block.name))

    def _close(self, block: _Block) -> None:
        block.closed = True
        if not block.head:
            return
        if block.kind is _BlockKind.THINKING:
            text = "".join(block.text)
            signature = seal(text) if self._omitted else digest(text)
            self._out += (_DELTA % (self._index, _SIGNATURE), _encode(signature), DELTA_END)
        self._out.append(_STOP % self._index)
        self._index += 1
