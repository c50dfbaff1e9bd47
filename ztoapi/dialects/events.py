"""Splits a block of whole server-sent events into what each one says.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation without
``id`` and ``retry``: nothing here reconnects. A byte order mark at the start of a stream is not this module's concern.
"""

__all__ = ["events"]

_NAME = b"event"
_DATA = b"data"


def events(block: bytes) -> list[tuple[str, bytes]]:
    """The events in ``block`` as (name, data); the name is ``""`` where none was given.

    ``block`` ends with a blank line; an event that it leaves unfinished is dropped, as the grammar says.
    """
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    parts = block.split(b"\n\n")
    del parts[-1]
    found: list[tuple[str, bytes]] = []
    for part in parts:
        if part.startswith(b"data:") and b"\n" not in part:
            found.append(("", part[6:] if part.startswith(b" ", 5) else part[5:]))
        elif part:
            _read_lines(part, found)
    return found


def _read_lines(part: bytes, found: list[tuple[str, bytes]]) -> None:
    """Any other event: several lines, comments, a name."""
    name = b""
    data: list[bytes] = []
    for line in part.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == _DATA:
            data.append(value.removeprefix(b" "))
        elif field == _NAME:
            name = value.removeprefix(b" ")
    if data:
        found.append((name.decode("utf-8", "replace"), b"\n".join(data)))
