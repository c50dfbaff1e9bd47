"""Plain deltas of one stream differ only in the delta: a block of them is checked and rewritten as one.

All events of a stream begin with the same bytes up to the delta (id, model, ...) and end with the same bytes behind
it (``"finish_reason":null}]}``). Raw quotes and line ends cannot occur inside a JSON string, so a block that consists
of such heads, deltas and tails holds nothing else: no finish, no usage, no error. It need not be decoded.
"""

import re
from typing import Final

from ztoapi.wire.chunked import CHUNK_LINES, CHUNK_SIZES

__all__ = ["DELTA", "Form"]

DELTA: Final = b'"choices":[{"index":0,"delta":'
"""Where the head of a plain event ends."""
_BARE_TAIL: Final = b"}}]"
"""The end of a choice that holds nothing behind its delta."""
_FINISH: Final = b'"finish_reason"'
_LOGPROBS: Final = b'"logprobs"'
_ERROR: Final = b'"error"'
_LF: Final = 10
_CR: Final = 13
"""Line ends are searched as numbers: for bytes in bytes Python 3.11 first makes an error, 0.2 us that ``find`` does not
cost."""
_USAGE: Final = b'"usage"'
_NO_USAGE: Final = re.compile(rb',\s*"usage":\s*null\s*}$', re.MULTILINE)


class Form:
    """The bytes that all plain events share before and behind the delta, their replacements, and the keys that must not
    occur. The head is compared too: an ``error`` may stand before the choices."""

    __slots__ = (
        "_absent",
        "_added",
        "_between",
        "_chunk_end",
        "_chunk_end_bytes",
        "_head",
        "_head_bytes",
        "_new_head",
        "_new_tail",
        "_seam",
        "_tail",
        "_tail_bytes",
    )

    def __init__(self, head: bytes, new_head: bytes, tail: bytes, new_tail: bytes, absent: tuple[bytes, ...]) -> None:
        self._head = head
        self._head_bytes = len(head)
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
        """What stands between two deltas afterwards; None where nothing changes."""

    def with_head(self, head: bytes, new_head: bytes) -> "Form":
        """The same form for a stream with another head."""
        return Form(head, new_head, self._tail, self._new_tail, self._absent)

    def fits(self, event: bytes) -> bool:
        """Whether the one ``event``, with its blank line, has this form."""
        return self.apply(event) is not None

    def apply_to_chunks(self, read: bytes) -> bytes | None:
        """The same for a read with its framing: whole chunks of one event each in, chunks out, as HTTP wants them.

        Where nothing changes, the read itself comes out, and nothing of it has been copied. What is left when the parts
        that must be there are left out is put together with them again, and compared: a slice, two additions and a
        comparison cost less than two calls of ``startswith`` (0.05 us each in Python 3.11).
        """
        size = len(read)
        line = CHUNK_LINES[size] if size < len(CHUNK_LINES) else b""
        if read[: len(line)] != line or not line:
            return self._apply_to_many(read)
        start = line + self._head
        delta = read[len(start) : -self._chunk_end_bytes]
        if start + delta + self._chunk_end != read or _LF in delta or _CR in delta:
            return None
        for key in self._absent:
            if delta.find(key) >= 0:
                return None
        if self._between is None:
            return read
        size = len(delta) + self._added
        return b"%x\r\n%b%b%b\r\n" % (size, self._new_head, delta, self._new_tail)

    def _has_many(self, read: bytes) -> bool:
        """Whether ``read`` is whole chunks of one event each, of a form without absent keys.

        The read is split at the ends of chunks, which takes a quarter of the time of a split at every line end. Each
        piece must begin with the size line of a chunk of its length, and with the head.
        """
        pieces = read.split(self._chunk_end)
        if pieces.pop() or not pieces:
            return False
        head, rest = self._head, self._chunk_end_bytes
        for piece in pieces:
            size = len(piece) + rest
            line = CHUNK_LINES[size] if size < len(CHUNK_LINES) else b""
            start = line + head
            if piece[: len(start)] != start or not line:
                return False
        # One line feed in each size line and three in each end of a chunk, two carriage returns: no delta has any.
        return read.count(b"\n") == 4 * len(pieces) and read.count(b"\r") == 2 * len(pieces)

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
        """The rewritten ``block``, one or more whole events; None where one of them has another form.

        Searches cost about a nanosecond a byte, more than all the rest, except for a single byte. There is one, for the
        tail. The text between the tails must be one line each.
        """
        if block[-self._tail_bytes :] != self._tail or _CR in block:
            return None
        for key in self._absent:
            if block.find(key) >= 0:
                return None
        size = self._head_bytes
        if block.index(b"\n") == len(block) - 2:
            if block[:size] != self._head:
                return None
            if self._between is None:
                return block
            return b"%b%b%b" % (self._new_head, block[size : -self._tail_bytes], self._new_tail)
        parts = block.split(self._tail)
        del parts[-1]
        if _LF in b"".join(parts) or [part[:size] for part in parts].count(self._head) != len(parts):
            return None
        if self._between is None:
            return block
        deltas = self._between.join([part[size:] for part in parts])
        return b"%b%b%b" % (self._new_head, deltas, self._new_tail)


def learn(data: bytes, head: bytes, new_head: bytes, *, nulls: bool, usage_removed: bool) -> Form:
    """The form of a plain event whose JSON is ``data`` and whose bytes begin with ``head``.

    ``nulls``: explicit nulls are added where a choice ends with its delta; ``usage_removed``: a ``"usage":null`` at the
    end goes.
    """
    at = data.rfind(_FINISH)
    absent: tuple[bytes, ...] = ()
    if at >= 0 and nulls:
        # The tail begins with the brace that closes the delta, so that events with and without logprobs differ in it.
        brace = data.rfind(b"}", 0, at)
        tail = data[brace:] + b"\n\n"
    elif at >= 0:
        tail = data[at:] + b"\n\n"
    elif data.endswith((_BARE_TAIL + b"}", _BARE_TAIL + b',"usage":null}')):
        tail = data[data.rindex(_BARE_TAIL) :] + b"\n\n"
        absent = (_FINISH,)
    else:
        tail = b"}\n\n"
        absent = (_FINISH, _USAGE, _ERROR)
    new_tail = tail
    if nulls and tail.startswith(_BARE_TAIL):
        new_tail = b'},"logprobs":null,"finish_reason":null}]' + tail[len(_BARE_TAIL) :]
    elif nulls and at >= 0 and _LOGPROBS not in tail:
        new_tail = data[brace:at] + b'"logprobs":null,' + data[at:] + b"\n\n"
        absent = (_LOGPROBS,)
    if usage_removed:
        new_tail = _NO_USAGE.sub(b"}", new_tail)
    return Form(head, new_head, tail, new_tail, absent)
