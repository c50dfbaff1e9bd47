"""The trace that a request belongs to: W3C Trace Context, https://www.w3.org/TR/trace-context/.

Who takes no part in a trace passes its fields on as they came; what breaks the grammar is not passed on at all.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["TRACEPARENT", "Trace", "field_lines", "read_trace"]

TRACEPARENT: Final = b"traceparent"
_TRACESTATE: Final = b"tracestate"
_VALUE = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})((?:-[\x21-\x7e]{0,200})?)"
)
"""Versions to come may have more behind another hyphen (section 3.2.4)."""
_KEY: Final = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER: Final = _KEY + rb"=[\x20-+\x2d-<>-~]{0,255}[!-+\x2d-<>-~][ \t]*"
_STATE = re.compile(rb"(?!.{513})(?:%b)?(?:,[ \t]*(?:%b)?){0,31}" % (_MEMBER, _MEMBER))
"""At most 32 members (section 3.3.1.1); 512 characters are to be passed on at least (section 3.3.1.5): more are not.
Whoever sends traces would say of each broken one that it is, in words that a client has chosen."""
_SAMPLED: Final = 1


class Trace(NamedTuple):
    """Who called: the ids are lower-case hexadecimal. ``value`` and ``state`` are the fields as they came."""

    trace_id: str
    span_id: str
    sampled: bool
    value: bytes
    state: bytes


def read_trace(headers: Mapping[bytes, bytes]) -> Trace | None:
    """The trace in a request's head; None without a valid one. Repeated fields are joined already, which makes two
    traceparents none, and two tracestates one."""
    match = _VALUE.fullmatch(headers.get(TRACEPARENT, b""))
    if match is None or (match[4] and match[0].startswith(b"00")):
        return None
    state = headers.get(_TRACESTATE, b"")
    return Trace(
        match[1].decode("ascii"),
        match[2].decode("ascii"),
        bool(int(match[3], 16) & _SAMPLED),
        match[0],
        state if _STATE.fullmatch(state) else b"",
    )


def field_lines(value: bytes, state: bytes) -> bytes:
    """Both fields as raw header lines, each ended by CRLF."""
    lines = b"traceparent: %b\r\n" % value
    return lines + b"tracestate: %b\r\n" % state if state else lines
