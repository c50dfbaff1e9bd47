"""Cuts an event stream into blocks of whole server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream: an event ends at a blank
line; a line ends in CRLF, LF or CR; a byte order mark may precede the first event. The dialects read the events
(``dialects/events.py``). This module only finds the end of the last whole event, because a relay passes on blocks of
whole events.
"""

from typing import Final

from ztoapi.wire.buffer import Ring, Rings

__all__ = ["BYTE_ORDER_MARK", "EventBlocks"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LF: Final = 10


class EventBlocks:
    """One stream: payload in, blocks of whole events out. A partial event waits in a ring of ``rings``."""

    __slots__ = ("_rings", "begun", "ring")

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self.begun = False
        """Whether a block has been returned, or sent past this object."""
        self.ring: Ring | None = None
        """The ring with a partial event; None without one."""

    def feed(self, payload: bytes) -> bytes:
        """Returns all events that are whole now; ``b""`` without any.

        Raises RingOverflow when an unfinished event is larger than the ring's limit.
        """
        ring = self.ring
        if ring is None:
            if payload.endswith(b"\n\n"):
                return payload if self.begun else self._begin(payload)
            ring = self.ring = self._rings.borrow()
        ring.append(payload)
        block = _take_events(ring)
        if not ring.tail:
            self.close()
        return block if self.begun or not block else self._begin(block)

    def _begin(self, block: bytes) -> bytes:
        """Returns the first block, without a byte order mark."""
        self.begun = True
        return block.removeprefix(BYTE_ORDER_MARK)

    def close(self) -> None:
        """Ends the stream; a partial event is dropped."""
        ring, self.ring = self.ring, None
        if ring is not None:
            self._rings.give_back(ring)


def _take_events(ring: Ring) -> bytes:
    buf = ring.buf
    start = ring.start
    tail = ring.tail
    if buf.endswith(b"\n\n", start, tail):
        return ring.take(tail)
    # The search goes back by the longest mark less one: a blank line may have begun in bytes already searched.
    begin = start + max(ring.searched - 2, 0)
    stop = max(buf.rfind(b"\n\n", begin, tail), buf.rfind(b"\r\r", begin, tail)) + 2
    # After LF CR, one more byte shows whether the blank line ends in CR or in CRLF.
    stop = max(stop, buf.rfind(b"\n\r", begin, tail - 1) + 2)
    if stop < 2:
        ring.searched = tail - start
        ring.check_limit()
        return b""
    if buf[stop - 1] != _LF and stop < tail and buf[stop] == _LF:
        stop += 1
    return ring.take(stop)
