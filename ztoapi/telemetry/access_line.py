"""One line of the access log: what it has of a request's record, as JSON or as text for people.

Much of it was chosen by a client. No control character, line separator or mark that turns the direction of writing
comes out unescaped, in either format: a line is a line, and what a terminal shows is what stands there.
"""

import re
import time
from collections.abc import Iterable
from typing import Final

import msgspec

from ztoapi.errors import Ending
from ztoapi.telemetry.record import RequestRecord

__all__ = ["AccessLine", "json_lines", "make_lines", "text_lines"]

_PATH_CHARACTERS: Final = 512
_NAME_CHARACTERS: Final = 128
"""Of a model, a method, a code: with the path and the agent a line stays below PIPE_BUF, 4096 octets, so that lines of
several workers do not run into each other in a pipe."""
_THOUSANDTHS: Final = tuple(f"{number:03d}Z" for number in range(1000))
_ODD: Final = re.compile(r"[^\x20-\x7e\n]+")
_BARE: Final = re.compile(r"[A-Za-z0-9_.:/@+*,-]+")


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """Times in milliseconds, sizes in bytes; what is not known is left out."""

    time: str
    """When the request ended: RFC 3339, UTC."""
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
    """Only where it is another than ``model``."""
    platform: str | None = None
    credential: str | None = None
    stream: bool = False
    attempts: int = 0
    cache: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    error_code: str | None = None
    trace_id: str | None = None
    user_agent: str | None = None
    peer: str | None = None


_encode_lines = msgspec.json.Encoder().encode_lines
_encode = msgspec.json.Encoder().encode
_FIRST: Final = frozenset(("time", "client", "method", "path", "status", "ending", "duration_ms"))
_REST: Final = tuple(name for name in AccessLine.__struct_fields__ if name not in _FIRST)


def make_lines(records: Iterable[RequestRecord], offset: float) -> list[AccessLine]:
    """``offset`` is what turns monotonic seconds into Unix seconds. The records must have ended.

    It runs beside the event loop and takes time from it, so each line is made in one go: with functions for its parts
    it takes 2.0 us instead of 1.0.
    """
    lines: list[AccessLine] = []
    second, shown_second = 0.0, ""
    for record in records:
        finished, ending = record.finished, record.ending
        assert finished is not None and ending is not None
        past = finished + offset - second
        if not 0.0 <= past < 1.0:
            # Requests end one after the other: most in the second of the one before.
            second = (finished + offset) // 1.0
            past = finished + offset - second
            shown_second = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        whole, first, overhead, usage = record.whole, record.first_byte, record.overhead, record.usage
        agent, model, served = record.user_agent, record.model, record.served_model
        path, code, method = record.path, record.error_code, record.method
        lines.append(
            AccessLine(
                shown_second + _THOUSANDTHS[int(past * 1e3)],
                record.request_id,
                record.client,
                method if len(method) <= _NAME_CHARACTERS else method[:_NAME_CHARACTERS],
                path if len(path) <= _PATH_CHARACTERS else path[:_PATH_CHARACTERS],
                record.status,
                ending,
                # To the microsecond, as the other times.
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
                None if first is None or whole is None or not record.stream else (first - whole) * 1e6 // 1.0 / 1e3,
                None if overhead is None else overhead * 1e6 // 1.0 / 1e3,
                None if code is None else code[:_NAME_CHARACTERS],
                record.trace_id,
                None if agent is None else agent.decode("utf-8", "backslashreplace"),
                record.peer,
            )
        )
    return lines


def json_lines(lines: list[AccessLine]) -> bytes:
    """One JSON object a line, each ended by LF."""
    try:
        octets = _encode_lines(lines)
    except UnicodeEncodeError:
        octets = _encode_lines([_without_surrogates(line) for line in lines])
    return _visible(octets)


def text_lines(lines: Iterable[AccessLine]) -> bytes:
    """For people: what is asked for most in fixed places, the rest as ``name=value``, each line ended by LF."""
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
        # Zero octets and no attempt say nothing to people.
        if value:
            words.append(b"%b=%b" % (name.encode("ascii"), _word(value) if isinstance(value, str) else _encode(value)))
    return b" ".join(words) + b"\n"


def _word(text: str) -> bytes:
    """``text``, in quotes and escaped as in JSON where it is more than a word."""
    return text.encode("ascii") if _BARE.fullmatch(text) else _encode(text)


def _visible(octets: bytes) -> bytes:
    """``octets`` with everything escaped that would not show: JSON itself leaves DEL and all beyond ASCII as it is."""
    if octets.isascii() and b"\x7f" not in octets:
        return octets
    return _ODD.sub(_escaped, octets.decode("utf-8")).encode("utf-8")


def _escaped(found: re.Match[str]) -> str:
    return "".join(one if one.isprintable() else _escape(one) for one in found[0])


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _without_surrogates(line: AccessLine) -> AccessLine:
    """No octets stand for half a surrogate pair: it is shown as its escape."""
    texts = {name: value for name in AccessLine.__struct_fields__ if isinstance(value := getattr(line, name), str)}
    shown = {name: text.encode("utf-8", "backslashreplace").decode("utf-8") for name, text in texts.items()}
    return msgspec.structs.replace(line, **shown)
