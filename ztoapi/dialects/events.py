"""Splits a block of whole server-sent events into its events.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation without
``id`` and ``retry``: the gateway never reconnects. ``wire/sse.py`` removes the byte order mark of a stream.
"""

__all__ = ["events", "parts", "read_part"]

_NAME = b"event"
_DATA = b"data"


def events(block: bytes) -> list[tuple[str, bytes]]:
    """The events in ``block`` as (name, data); the name is ``""`` where none was given.

    ``block`` ends with a blank line; an event that it leaves unfinished is dropped, as the grammar requires.
    """
    found: list[tuple[str, bytes]] = []
    for part in parts(block):
        if part.startswith(b"data:") and b"\n" not in part:
            found.append(("", part[6:] if part.startswith(b" ", 5) else part[5:]))
        elif part:
            name, data, _ = read_part(part)
            if data is not None:
                found.append((name, data))
    return found


def parts(block: bytes) -> list[bytes]:
    """The lines between the blank lines of ``block``, separated by line feeds."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = block.split(b"\n\n")
    del found[-1]
    return found


def read_part(part: bytes) -> tuple[str, bytes | None, bool]:
    """The name and the data of one part, None where it has no data, and whether clients may get the part as it is.

    They may if it is a comment, or an event with one data line and no ``id`` or ``retry``. The SSE decoders of
    OpenAI's SDKs take every blank line behind an ``id``, a ``retry`` or a lone ``event`` for the end of an event, and
    fail on its empty data.
    """
    name = b""
    data: list[bytes] = []
    foreign = False
    for line in part.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == _DATA:
            data.append(value.removeprefix(b" "))
        elif field == _NAME:
            name = value.removeprefix(b" ")
        elif field:
            foreign = True
    if not data:
        return "", None, not (foreign or name)
    return name.decode("utf-8", "replace"), b"\n".join(data), len(data) == 1 and not foreign
