"""Rewrites the plain events of a stream by comparing bytes, without decoding them.

The events of a stream that carry only a delta begin with the same bytes (id, model, ...) and end with the same bytes
(``"finish_reason":null}]}``). Raw quotes and line ends cannot occur inside a JSON string, so a block that consists of
such heads, deltas and tails holds nothing else: no finish reason, no usage, no error. ``dialects/delta_template.py``
makes the template of a stream from one of its events.
"""

from typing import Final

from ztoapi.wire.chunked import CHUNK_LINES, CHUNK_SIZES

__all__ = ["DeltaTemplate"]

_LF: Final = 10
_CR: Final = 13
"""Line ends are searched as numbers: Python 3.11 handles ``bytes in bytes`` by way of an exception, which costs 0.2 us
more than ``find``."""


class DeltaTemplate:
    """The bytes that all plain events share before and after the delta, with their replacements.

    ``absent`` are keys that must not occur in an event. The head is compared as well, because an ``error`` may precede
    the choices.
    """

    __slots__ = (
        "_absent",
        "_added",
        "_between",
        "_chunk_end",
        "_chunk_end_bytes",
        "_head",
        "_head_bytes",
        "_head_lines",
        "_new_head",
        "_new_tail",
        "_seam",
        "_tail",
        "_tail_bytes",
    )

    def __init__(self, head: bytes, new_head: bytes, tail: bytes, new_tail: bytes, absent: tuple[bytes, ...]) -> None:
        self._head = head
        self._head_bytes = len(head)
        self._head_lines = head.count(b"\n")
        self._new_head = new_head
        self._tail = tail
        self._tail_bytes = len(tail)
        self._new_tail = new_tail
        self._absent = absent
        self._chunk_end = tail + b"\r\n"
        self._chunk_end_bytes = len(self._chunk_end)
        self._seam = tail + head
        self._added = len(new_head) + len(new_tail)
        self._between = None if head == new_head and tail == new_tail else new_tail + new_head
        """The bytes between two deltas after the replacement; None if nothing changes."""

    def with_head(self, head: bytes, new_head: bytes) -> "DeltaTemplate":
        """Returns a copy for a stream with another head."""
        return DeltaTemplate(head, new_head, self._tail, self._new_tail, self._absent)

    def fits(self, event: bytes) -> bool:
        """Whether ``event``, one event with its blank line, matches."""
        return self.apply(event) is not None

    def apply_to_chunks(self, read: bytes) -> bytes | None:
        """Like ``apply``, for a read with HTTP chunk framing: whole chunks of one event each in, chunks out.

        Returns ``read`` itself, without a copy, if nothing changes. The delta is cut out, joined with the expected
        bytes again and compared with the read: a slice, two additions and a comparison cost less than two calls of
        ``startswith`` (0.05 us each in Python 3.11).
        """
        size = len(read)
        line = CHUNK_LINES[size] if size < len(CHUNK_LINES) else b""
        if not line:
            return self._apply_to_many(read)
        start = line + self._head
        delta = read[len(start) : -self._chunk_end_bytes]
        if start + delta + self._chunk_end != read:
            # A read that begins with the line for its own size is one chunk, of another kind of event.
            return None if read.startswith(line) else self._apply_to_many(read)
        if _LF in delta or _CR in delta:
            return None
        for key in self._absent:
            if delta.find(key) >= 0:
                return None
        if self._between is None:
            return read
        size = len(delta) + self._added
        return b"%x\r\n%b%b%b\r\n" % (size, self._new_head, delta, self._new_tail)

    def _has_many(self, read: bytes) -> bool:
        """Whether ``read`` is whole chunks of one matching event each, for a template without absent keys.

        The read is split at the ends of chunks, which takes a quarter of the time of a split at every line end. Each
        piece must begin with the size line of a chunk of its length, followed by the head.
        """
        pieces = read.split(self._chunk_end)
        if pieces.pop() or not pieces:
            return False
        head = self._head
        rest = self._chunk_end_bytes
        for piece in pieces:
            size = len(piece) + rest
            line = CHUNK_LINES[size] if size < len(CHUNK_LINES) else b""
            start = line + head
            if piece[: len(start)] != start or not line:
                return False
        # Each chunk has four line feeds and two carriage returns in its framing and tail, so no delta contains one.
        return read.count(b"\n") == (4 + self._head_lines) * len(pieces) and read.count(b"\r") == 2 * len(pieces)

    def _apply_to_many(self, read: bytes) -> bytes | None:
        if self._between is None and not self._absent:
            return read if self._has_many(read) else None
        pieces = read.split(b"\r\n")
        events = pieces[1::2]
        try:
            sizes = list(map(CHUNK_SIZES.__getitem__, map(len, events)))
        except IndexError:
            return None
        if pieces[::2] != [*sizes, b""]:
            return None
        start, stop = self._head_bytes, -self._tail_bytes
        deltas = [event[start:stop] for event in events]
        together = b"".join(deltas)
        if _LF in together or _CR in together or self._head + self._seam.join(deltas) + self._tail != b"".join(events):
            return None
        for key in self._absent:
            if together.find(key) >= 0:
                return None
        if self._between is None:
            return read
        size = len(together) + (len(events) - 1) * len(self._between) + self._added
        return b"%x\r\n%b%b%b\r\n" % (size, self._new_head, self._between.join(deltas), self._new_tail)

    def apply(self, block: bytes) -> bytes | None:
        """Returns ``block``, one or more whole events, rewritten; None if one of the events does not match.

        A search for more than one byte costs about a nanosecond per byte, more than all other steps, so there is only
        one, for the tail. The text between two tails must be a single line.
        """
        if block[-self._tail_bytes :] != self._tail or _CR in block:
            return None
        for key in self._absent:
            if block.find(key) >= 0:
                return None
        size = self._head_bytes
        if block.find(b"\n", size) == len(block) - 2:
            if block[:size] != self._head:
                return None
            if self._between is None:
                return block
            return b"%b%b%b" % (self._new_head, block[size : -self._tail_bytes], self._new_tail)
        parts = block.split(self._tail)
        del parts[-1]
        lines = self._head_lines * len(parts)
        if b"".join(parts).count(b"\n") != lines or [part[:size] for part in parts].count(self._head) != len(parts):
            return None
        if self._between is None:
            return block
        deltas = self._between.join([part[size:] for part in parts])
        return b"%b%b%b" % (self._new_head, deltas, self._new_tail)
