"""The trace that a request belongs to: W3C Trace Context, https://www.w3.org/TR/trace-context/.

Without tracing of its own the gateway forwards the fields unchanged; fields that break the grammar are not forwarded.
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
"""Later versions may have more after another hyphen (section 3.2.4)."""
_KEY: Final = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER: Final = _KEY + rb"=[\x20-+\x2d-<>-~]{0,255}[!-+\x2d-<>-~][ \t]*"
_STATE = re.compile(rb"(?!.{513})(?:%b)?(?:,[ \t]*(?:%b)?){0,31}" % (_MEMBER, _MEMBER))
"""At most 32 members (section 3.3.1.1) and 512 characters, the length that must be supported (section 3.3.1.5).
Exporters would log each broken one, with text that a client has chosen."""
_SAMPLED: Final = 1


class Trace(NamedTuple):
    """The caller's trace: the ids are lower-case hexadecimal. ``value`` and ``state`` are the unchanged fields."""

    trace_id: str
    span_id: str
    sampled: bool
    value: bytes
    state: bytes


def read_trace(headers: Mapping[bytes, bytes]) -> Trace | None:
    """Returns the trace of a request; None without a valid one. Repeated fields have been joined, so two traceparents
    are invalid, and two tracestates are one."""
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
    """Returns both fields as raw header lines, each ended by CRLF."""
    lines = b"traceparent: %b\r\n" % value
    return lines + b"tracestate: %b\r\n" % state if state else lines
