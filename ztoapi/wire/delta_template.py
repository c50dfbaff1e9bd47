"""Rewrites the plain events of a stream by comparing bytes, without decoding them.

The events of a stream that carry only a delta begin with the same bytes (id, model, ...) and end with the same bytes
(``"finish_reason":null}]}``). Raw quotes and line ends cannot occur inside a JSON string, so a block that consists of
such heads, deltas and tails holds nothing else: no finish reason, no usage, no error. ``dialects/delta_template.py``
makes the template of a stream from one of its events.
"""

from itertools import repeat
from operator import add, itemgetter
from typing import Final

import msgspec

from ztoapi.wire.chunked import WHOLE_CHUNK_LINES

__all__ = ["DeltaTemplate"]

_LF: Final = 10
_CR: Final = 13
"""Line ends are searched as numbers: Python 3.11 handles ``bytes in bytes`` by way of an exception, which costs 0.2 us
more than ``find``."""


class DeltaTemplate(msgspec.Struct, gc=False, eq=False):
    """The bytes that all plain events share before and after the delta, with their replacements.

    ``absent`` are keys that must not occur in an event. The head is compared as well, because an ``error`` may precede
    the choices. The other fields are computed. A Struct, because C code makes its copy for the next stream.
    """

    head: bytes
    new_head: bytes
    tail: bytes
    new_tail: bytes
    absent: tuple[bytes, ...]
    chunk_end: bytes = b""
    delta_stop: int = 0
    """The end of the delta in a chunk."""
    added: int = 0
    between: bytes | None = None
    """The bytes between two deltas after the replacement; None if nothing changes."""

    def __post_init__(self) -> None:
        self.chunk_end = self.tail + b"\r\n"
        self.delta_stop = -len(self.chunk_end)
        self._compare()

    def with_head(self, head: bytes, new_head: bytes) -> "DeltaTemplate":
        """Returns a copy for a stream with another head."""
        copy: DeltaTemplate = self.__copy__()  # type: ignore[attr-defined] # of msgspec; copy.copy adds a frame
        copy.head = head
        copy.new_head = new_head
        if self.between is not None or head is not new_head:
            copy._compare()
        return copy

    def _compare(self) -> None:
        same = self.head == self.new_head and self.tail == self.new_tail
        self.added = len(self.new_head) + len(self.new_tail)
        self.between = None if same else self.new_tail + self.new_head

    @property
    def absent_key(self) -> bytes | None:
        """A key whose absence is enough for a delta without line ends; None if there are several."""
        if len(self.absent) > 1:
            return None
        return self.absent[0] if self.absent else b"\n"

    def fits(self, event: bytes) -> bool:
        """Whether ``event``, one event with its blank line, matches."""
        return self.apply(event) is not None

    def take_chunk(self, read: bytes) -> bytes | None:
        """Returns one whole chunk with one matching event, rewritten; None for any other read.

        The delta is cut out, joined with the expected bytes again and compared with the read: a slice, two additions
        and a comparison cost less than two calls of ``startswith`` (0.05 us each in Python 3.11).
        """
        try:
            start = WHOLE_CHUNK_LINES[len(read)] + self.head
        except IndexError:
            return None
        delta = read[len(start) : self.delta_stop]
        if start + delta + self.chunk_end != read or _LF in delta or _CR in delta:
            return None
        for key in self.absent:
            if delta.find(key) >= 0:
                return None
        if self.between is None:
            return read
        return b"%x\r\n%b%b%b\r\n" % (len(delta) + self.added, self.new_head, delta, self.new_tail)

    def take_chunks(self, read: bytes) -> tuple[bytes, bytes]:
        """Returns the chunks that ``read`` begins with, as far as they are of one matching event each, rewritten, and
        the rest.

        The read is split at the ends of chunks. Each piece must begin with the size line of a chunk of its length,
        followed by the head. The loops are calls of ``map``: 64 chunks take a third of the instructions of a loop.
        """
        pieces = read.split(self.chunk_end)
        count = len(pieces) - 1
        if not count:
            return b"", read
        rest = pieces.pop()
        if count == 1 and not rest:
            out = self.take_chunk(read)
            return (b"", read) if out is None else (out, b"")
        sizes = list(map(add, map(len, pieces), repeat(-self.delta_stop)))
        try:
            lines = list(map(WHOLE_CHUNK_LINES.__getitem__, sizes))
        except IndexError:
            return b"", read
        starts = list(map(add, lines, repeat(self.head)))
        # A slice and a comparison take half of the instructions of ``startswith``, and ``itemgetter`` half of a slice.
        size = len(starts[0])
        beginnings = list(map(itemgetter(slice(0, size)), pieces))
        if beginnings == starts:
            deltas = list(map(itemgetter(slice(size, None)), pieces))
        else:
            matches = list(map(bytes.startswith, pieces, starts))
            count = matches.index(False) if False in matches else count
            if not count:
                return b"", read
            del pieces[count:], starts[count:]
            rest = read[sum(sizes[:count]) :]
            deltas = list(map(bytes.removeprefix, pieces, starts))
        # A search for one byte takes a fortieth of the time of counting it, which goes byte by byte.
        together = b"\0".join(deltas)
        if together.find(b"\n") >= 0 or together.find(b"\r") >= 0 or _CR in self.head:
            return b"", read
        for key in self.absent:
            if together.find(key) >= 0:
                return b"", read
        if self.between is None:
            return read[: len(read) - len(rest)] if rest else read, rest
        size = len(together) + (count - 1) * (len(self.between) - 1) + self.added
        return b"%x\r\n%b%b%b\r\n" % (size, self.new_head, self.between.join(deltas), self.new_tail), rest

    def apply(self, block: bytes) -> bytes | None:
        """Returns ``block``, one or more whole events, rewritten; None if one of the events does not match.

        A search for more than one byte costs about a nanosecond per byte, more than all other steps, so there is only
        one, for the tail. The text between two tails must be a single line.
        """
        tail_bytes = len(self.tail)
        if block[-tail_bytes:] != self.tail or _CR in block:
            return None
        for key in self.absent:
            if block.find(key) >= 0:
                return None
        size = len(self.head)
        if block.find(b"\n", size) == len(block) - 2:
            if block[:size] != self.head:
                return None
            if self.between is None:
                return block
            return b"%b%b%b" % (self.new_head, block[size:-tail_bytes], self.new_tail)
        parts = block.split(self.tail)
        del parts[-1]
        deltas = [part[size:] for part in parts]
        if b"".join(deltas).find(b"\n") >= 0 or [part[:size] for part in parts].count(self.head) != len(parts):
            return None
        if self.between is None:
            return block
        return b"%b%b%b" % (self.new_head, self.between.join(deltas), self.new_tail)
