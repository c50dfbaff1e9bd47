"""Splits a block of whole server-sent events into its events.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation without
``id`` and ``retry``, because the gateway never reconnects. ``wire/sse.py`` removes the byte order mark of a stream.
"""

__all__ = ["events", "parts", "read_part"]

_NAME = b"event"
_DATA = b"data"
_LF = 10
_CR = 13


def events(block: bytes) -> list[tuple[str, bytes]]:
    """Returns the events in ``block`` as (name, data); the name of an event without one is ``""``.

    ``block`` ends with a blank line. An unfinished event is dropped, as the grammar requires.
    """
    pairs: list[tuple[str, bytes]] = []
    for part in parts(block):
        if part[:5] == b"data:" and _LF not in part:
            pairs.append(("", part[6:] if part[5:6] == b" " else part[5:]))
        elif part:
            name, data, _ = read_part(part)
            if data is not None:
                pairs.append((name, data))
    return pairs


def parts(block: bytes) -> list[bytes]:
    """Returns the parts of ``block`` between its blank lines; the lines of a part are separated by line feeds."""
    if _CR in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    pieces = block.split(b"\n\n")
    del pieces[-1]
    return pieces


def read_part(part: bytes) -> tuple[str, bytes | None, bool]:
    """Returns the name of a part, its data (None without data), and whether it can be forwarded unchanged.

    A comment can, and an event with one data line and without ``id`` and ``retry``. The SSE decoders of OpenAI's SDKs
    treat a blank line after an ``id``, a ``retry`` or a lone ``event`` as the end of an event, and fail on its empty
    data.
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
