"""Lines of the access log: the record of a request as JSON or as readable text.

Clients choose many of the values. Control characters, line separators and characters that change the writing direction
are escaped in both formats, so that a record is always one line and a terminal shows it as it is.
"""

import re
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from ztoapi.config.prices import NANOS_PER_DOLLAR
from ztoapi.errors import Ending
from ztoapi.telemetry.record import RequestRecord

__all__ = ["AccessLine", "Lines", "json_lines", "make_lines", "text_lines"]

_PATH_CHARACTERS: Final = 512
_NAME_CHARACTERS: Final = 128
"""Maximum length of a model, a method or a code. With path and user agent a line stays below PIPE_BUF, 4096 bytes, so
that lines of several workers do not mix in a pipe."""
_THOUSANDTHS: Final = tuple(f"{number:03d}Z" for number in range(1000))
_ODD: Final = re.compile(r"[^\x20-\x7e\n]+")
_BARE: Final = re.compile(r"[A-Za-z0-9_.:/@+*,-]+")


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """One line. Times are in milliseconds, sizes in bytes; unknown values are left out."""

    time: str
    """End of the request: RFC 3339, UTC."""
    request_id: str
    client: str | None
    method: str
    path: str
    status: int
    ending: Ending
    duration_ms: float
    bytes_in: int
    bytes_out: int
    key: str | None = None
    model: str | None = None
    served_model: str | None = None
    """Only if it differs from ``model``."""
    platform: str | None = None
    credential: str | None = None
    stream: bool = False
    attempts: int = 0
    cache: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    error_code: str | None = None
    trace_id: str | None = None
    user_agent: str | None = None
    peer: str | None = None


class Lines(NamedTuple):
    """Formatted lines. ``finished`` is the time of the last one's request on the monotonic clock; ``requests`` is
    their number."""

    finished: float
    requests: int
    data: bytes


_encode_lines = msgspec.json.Encoder().encode_lines
_encode = msgspec.json.Encoder().encode
_FIRST: Final = frozenset(("time", "client", "method", "path", "status", "ending", "duration_ms"))
_REST: Final = tuple(name for name in AccessLine.__struct_fields__ if name not in _FIRST)


def make_lines(records: Iterable[RequestRecord], offset: float) -> list[AccessLine]:
    """Formats records that have ended. ``offset`` converts monotonic to Unix seconds.

    This takes time from the event loop. Therefore one function builds the whole line: separate functions for its parts
    take 2.0 us instead of 1.0.
    """
    lines: list[AccessLine] = []
    second, second_text = 0.0, ""
    for record in records:
        finished = record.finished
        ending = record.ending
        assert finished is not None and ending is not None
        past = finished + offset - second
        if not 0.0 <= past < 1.0:
            # Requests end in order, most of them in the same second as the one before.
            second = (finished + offset) // 1.0
            past = finished + offset - second
            second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        whole = record.whole
        first = record.first_byte
        overhead = record.overhead
        usage = record.usage
        agent = record.user_agent
        model = record.model
        served = record.served_model
        path = record.path
        method = record.method
        lines.append(
            AccessLine(
                second_text + _THOUSANDTHS[int(past * 1e3)],
                record.request_id,
                record.client,
                method if len(method) <= _NAME_CHARACTERS else method[:_NAME_CHARACTERS],
                path if len(path) <= _PATH_CHARACTERS else path[:_PATH_CHARACTERS],
                record.status,
                ending,
                # In microseconds, like the other times.
                (finished - record.started) * 1e6 // 1.0 / 1e3,
                record.bytes_in,
                record.bytes_out,
                record.key,
                model if model is None or len(model) <= _NAME_CHARACTERS else model[:_NAME_CHARACTERS],
                None if served is None or served == model else served[:_NAME_CHARACTERS],
                record.platform,
                record.credential,
                record.stream,
                record.attempts,
                record.cache,
                None if usage is None else usage.prompt_tokens,
                None if usage is None else usage.completion_tokens,
                None if record.cost is None else record.cost / NANOS_PER_DOLLAR,
                None if first is None or whole is None or not record.stream else (first - whole) * 1e6 // 1.0 / 1e3,
                None if overhead is None else overhead * 1e6 // 1.0 / 1e3,
                record.error_code and record.error_code[:_NAME_CHARACTERS],
                record.trace_id,
                None if agent is None else agent.decode("utf-8", "backslashreplace"),
                record.peer,
            )
        )
    return lines


def json_lines(lines: list[AccessLine]) -> bytes:
    """Returns one JSON object per line, each followed by LF."""
    try:
        data = _encode_lines(lines)
    except UnicodeEncodeError:
        data = _encode_lines([_without_surrogates(line) for line in lines])
    return _visible(data)


def text_lines(lines: Iterable[AccessLine]) -> bytes:
    """Returns readable lines: the most important values at fixed positions, the others as ``name=value``; each line is
    followed by LF."""
    return _visible(b"".join(map(_text_line, lines)))


def _text_line(line: AccessLine) -> bytes:
    try:
        return _words(line)
    except UnicodeEncodeError:
        return _words(_without_surrogates(line))


def _words(line: AccessLine) -> bytes:
    words = [
        line.time.encode("ascii"),
        _word(line.client or "-"),
        _encode(f"{line.method} {line.path}"),
        b"%d" % line.status,
        _word(line.ending.value),
        b"%.1fms" % line.duration_ms,
    ]
    for name in _REST:
        value: object = getattr(line, name)
        # Zero bytes and zero attempts are left out.
        if value:
            words.append(b"%b=%b" % (name.encode("ascii"), _word(value) if isinstance(value, str) else _encode(value)))
    return b" ".join(words) + b"\n"


def _word(text: str) -> bytes:
    """Returns ``text``, quoted and escaped as in JSON unless it is one word."""
    return text.encode("ascii") if _BARE.fullmatch(text) else _encode(text)


def _visible(data: bytes) -> bytes:
    """Escapes characters that are not visible: JSON itself leaves DEL and everything beyond ASCII unescaped."""
    if data.isascii() and b"\x7f" not in data:
        return data
    return _ODD.sub(_escaped, data.decode("utf-8")).encode("utf-8")


def _escaped(match: re.Match[str]) -> str:
    return "".join(character if character.isprintable() else _escape(character) for character in match[0])


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _without_surrogates(line: AccessLine) -> AccessLine:
    """Replaces halves of surrogate pairs, which have no encoding, by their escapes."""
    texts = {name: value for name in AccessLine.__struct_fields__ if isinstance(value := getattr(line, name), str)}
    escaped = {name: text.encode("utf-8", "backslashreplace").decode("utf-8") for name, text in texts.items()}
    return msgspec.structs.replace(line, **escaped)
