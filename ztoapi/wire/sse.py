"""Finds whole server-sent events in the ring.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream: an event ends at a blank
line; a line ends in CRLF, LF or CR. What an event says is read by the dialects (``dialects/events.py``); here it
only matters where the last whole one ends, because a relay passes on blocks of whole events.
"""

from ztoapi.wire.buffer import Ring

__all__ = ["take_events"]

_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")


def take_events(ring: Ring) -> bytes:
    """Take all whole events out of the ring's payload; ``b""`` when there is none yet.

    Raises RingOverflow when an unfinished event is larger than the ring's limit.
    """
    buf, start, end = ring.buf, ring.start, ring.end
    if buf.endswith(b"\n\n", start, end):
        return ring.take(end)
    # A blank line may have begun in what was searched before: go back over the longest mark less one.
    begin = start + max(ring.searched - 2, 0)
    stop = 0
    for mark in _BLANK_LINES:
        found = buf.rfind(mark, begin, end)
        if found >= 0:
            stop = max(stop, found + len(mark))
    if not stop:
        ring.searched = end - start
        ring.check_limit()
        return b""
    return ring.take(stop)
