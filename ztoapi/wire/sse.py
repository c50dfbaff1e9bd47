"""Cuts an event stream into blocks of whole server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream: an event ends at a blank
line; a line ends in CRLF, LF or CR. What an event says is read by the dialects (``dialects/events.py``); here it
only matters where the last whole one ends, because a relay passes on blocks of whole events.
"""

from ztoapi.wire.buffer import Ring, Rings

__all__ = ["EventBlocks"]

_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")


class EventBlocks:
    """One stream: payload in, blocks of whole events out. What is cut in two waits in a ring of ``rings``."""

    __slots__ = ("_rings", "ring")

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self.ring: Ring | None = None
        """Where the beginning of an event waits; None while there is none."""

    def feed(self, payload: bytes) -> bytes:
        """All events that are whole now; ``b""`` when there is none yet.

        Raises RingOverflow when an unfinished event is larger than the ring's limit.
        """
        ring = self.ring
        if ring is None:
            if payload.endswith(b"\n\n"):
                return payload
            ring = self.ring = self._rings.borrow()
        ring.append(payload)
        block = _take_events(ring)
        if not ring.tail:
            self.close()
        return block

    def close(self) -> None:
        """The stream is over; what is left of it is dropped."""
        ring, self.ring = self.ring, None
        if ring is not None:
            self._rings.give_back(ring)


def _take_events(ring: Ring) -> bytes:
    buf, start, tail = ring.buf, ring.start, ring.tail
    if buf.endswith(b"\n\n", start, tail):
        return ring.take(tail)
    # A blank line may have begun in what was searched before: go back over the longest mark less one.
    begin = start + max(ring.searched - 2, 0)
    stop = 0
    for mark in _BLANK_LINES:
        found = buf.rfind(mark, begin, tail)
        if found >= 0:
            stop = max(stop, found + len(mark))
    if not stop:
        ring.searched = tail - start
        ring.check_limit()
        return b""
    return ring.take(stop)
