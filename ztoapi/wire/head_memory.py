"""Heads that come again: compared instead of parsed.

A client repeats the same head, except for the length of the body. Parsing it costs 40 us, half of a plain request. A
connection keeps the head of its last request, and a worker those of all clients that it has admitted, because some
clients open a connection for each request.

Only a head whose framing the parser has read is remembered. Two rules make a match equal to a new parse: without a
Content-Length every byte has to match, and with one every byte except its digits. The digits are those of the single
line that begins with the field name, so the name in another field, value or target frames nothing. A head with a
chunked body, an expectation or several Content-Length lines is not remembered.

Heads contain keys. The worker's memory is bounded, drops a head that was not used for one to two ``PERIOD_SECONDS``,
and all heads when the keys change (decision 41).
"""

import sys
from typing import Final, TypeAlias

from ztoapi.wire.limits import Limits
from ztoapi.wire.request import IsUnbounded, RequestHead, every_body_is_bounded

__all__ = ["HeadMemory", "KnownHead", "cut_head"]

MEMORY_BYTES: Final = 2048
"""The largest head that is remembered. SDKs send a quarter of it, and ten thousand idle connections should not hold the
cookies of their clients."""
MEMORY_HEADS: Final = 256
"""Heads that a worker remembers of one period: more clients than usually open a connection for each request. With the
heads of the period before, at most 5 MB."""
PERIOD_SECONDS: Final = 60.0
_LENGTH: Final = b"\r\ncontent-length:"
"""The start of a field line. A head that has passed the guard has no other line breaks, and no folded lines."""
_LENGTH_DIGITS: Final = 9

Cut: TypeAlias = tuple[bytes, bytes, bytes]
"""A head before the digits of its Content-Length, the digits, and the rest; without the field the first is all."""


def cut_head(data: bytes) -> Cut | None:
    """Splits a whole head. Returns None if it is not to be remembered."""
    if len(data) > MEMORY_BYTES:
        return None
    # A pattern that ignores case takes 60 us, a lower-case copy with two searches 1 us.
    lower = data.lower()
    line = lower.find(_LENGTH)
    if line < 0:
        return data, b"", b""
    if line != lower.rfind(_LENGTH):
        return None
    start = line + len(_LENGTH)
    value = data[start : data.find(b"\r\n", start)]
    digits = value.strip(b" \t")
    start += value.find(digits)
    return data[:start], digits, data[start + len(digits) :]


class KnownHead:
    """A parsed head, split at the digits of its Content-Length if it has one. It becomes that of each request that
    matches it: clients often send the same length again."""

    __slots__ = ("_after", "_before", "_digits", "_max_body_bytes", "_start", "_stop", "data", "end", "head", "key")

    def __init__(self, cut: Cut, head: RequestHead, max_body_bytes: int) -> None:
        self._before, self._digits, self._after = cut
        self.key = (self._before, self._after)
        self.head = head
        """The head of the last match."""
        self.data = b"".join(cut)
        """Its bytes."""
        self._max_body_bytes = max_body_bytes
        self._start = len(self._before)
        """Offset of the digits."""
        self._stop = self._start + len(self._digits)
        """Offset of the first byte after the digits."""
        self.end = self._stop + len(self._after)
        """Its length."""

    def match(self, buffer: bytes) -> RequestHead | None:
        """Returns the head if ``buffer`` begins with it. A body that is too long is left to the parser."""
        # Slices and comparisons: in Python 3.11 ``startswith`` and ``find`` cost two or three times as much.
        start = self._start
        if buffer[:start] != self._before:
            return None
        stop = self._stop
        after = self._after
        # The lengths of most bodies of a client have equally many digits.
        if buffer[stop : self.end] != after:
            stop = buffer.find(b"\r\n", start, start + _LENGTH_DIGITS + 2)
            if stop < 0 or buffer[stop : stop + len(after)] != after:
                return None
        digits = buffer[start:stop]
        if digits == self._digits:
            return self.head
        if not digits.isdigit() or (length := int(digits)) > self._max_body_bytes:
            return None
        self._digits = digits
        self._stop = stop
        self.end = stop + len(after)
        self.data = buffer[: self.end]
        self.head = self.head.with_length(digits, length)
        return self.head


class HeadMemory:
    """The heads that the connections of a worker share."""

    __slots__ = ("_generation", "_is_unbounded", "_limits", "_older", "_recent", "_until")

    def __init__(self, limits: Limits, is_unbounded: IsUnbounded = every_body_is_bounded) -> None:
        self._limits = limits
        self._is_unbounded = is_unbounded
        self._recent: dict[tuple[bytes, bytes], KnownHead] = {}
        """The heads that were used in this period."""
        self._older: dict[tuple[bytes, bytes], KnownHead] = {}
        """Those of the period before."""
        self._until = 0.0
        self._generation = 0

    @property
    def size(self) -> int:
        """The number of heads."""
        return len(self._recent.keys() | self._older.keys())

    def make(self, cut: Cut | None, head: RequestHead) -> KnownHead | None:
        """Returns what a connection remembers of ``head``, the result of parsing ``cut``; None if nothing."""
        if cut is None or head.chunked or head.expect_continue or cut[1] != head.headers.get(b"content-length", b""):
            return None
        if len(cut[0]) + len(cut[2]) + _LENGTH_DIGITS > self._limits.max_head_bytes:
            return None
        unbounded = self._is_unbounded(head.path)
        return KnownHead(cut, head, sys.maxsize if unbounded else self._limits.max_body_bytes)

    def find(self, cut: Cut | None) -> KnownHead | None:
        """Returns the shared head that matches ``cut`` up to its digits."""
        if cut is None:
            return None
        key = (cut[0], cut[2])
        known = self._recent.get(key)
        if known is None and (known := self._older.get(key)) is not None:
            self._add(known)
        return known

    def share(self, known: KnownHead, generation: int) -> None:
        """Remembers a head for all connections. The gates have admitted it with the keys of ``generation``."""
        if generation != self._generation:
            self._generation = generation
            self._recent = {}
            self._older = {}
        self._add(known)

    def expire(self, now: float) -> None:
        """Drops the heads that were not used for a period."""
        if now >= self._until:
            self._until = now + PERIOD_SECONDS
            self._next_period()

    def _add(self, known: KnownHead) -> None:
        if len(self._recent) >= MEMORY_HEADS:
            self._next_period()
        self._recent[known.key] = known

    def _next_period(self) -> None:
        self._older = self._recent
        self._recent = {}
