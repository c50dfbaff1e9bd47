"""Checks on a request head before and after h11 reads it.

h11 parses the grammar. These checks are left to its caller: sizes and counts (its own limit holds for incomplete heads
only), control bytes (it accepts most, and its field pattern backtracks quadratically on a run of blanks that ends in
one, so such heads never reach it), bare LF, folded lines, both framings at once, the version, the Host grammar and the
form of the target. RFC 9112 sections 2.2, 3.2, 5.2, 6.1; RFC 9110 section 7.2.
"""

import re

from ztoapi.errors import ProtocolError
from ztoapi.wire.limits import Limits
from ztoapi.wire.path import normal_path

__all__ = ["check_head", "check_partial_head", "check_version", "split_target", "valid_host"]

_ALLOWED = bytes([9, 10, 13, *range(0x20, 0x7F), *range(0x80, 0x100)])
_BARE_LF = re.compile(rb"(?<!\r)\n")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~!$&'()*+;=%-]{1,255})(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)([/?].*)?")
_MAX_PORT = 65535


def check_partial_head(buffer: bytes | bytearray, searched: int, limits: Limits) -> None:
    """Checks an incomplete head; the bytes before ``searched`` have been checked."""
    line_end = buffer.find(b"\n", 0, limits.max_request_line_bytes + 2)
    # One more byte than the line: its CR may have arrived before its LF.
    if line_end < 0 and len(buffer) > limits.max_request_line_bytes + 1:
        raise ProtocolError(414, f"the request line is longer than {limits.max_request_line_bytes} bytes")
    if len(buffer) > limits.max_head_bytes:
        raise ProtocolError(431, f"the request head is larger than {limits.max_head_bytes} bytes")
    if _BARE_LF.search(buffer, searched):
        raise ProtocolError(400, "a line of the request head ends in a bare LF")


def check_head(head: bytes, limits: Limits) -> None:
    """Checks a whole head, including its blank line, before h11 parses it. Raises ProtocolError 400, 414 or 431."""
    if head.find(b"\r\n") > limits.max_request_line_bytes:
        raise ProtocolError(414, f"the request line is longer than {limits.max_request_line_bytes} bytes")
    if len(head) > limits.max_head_bytes:
        raise ProtocolError(431, f"the request head is larger than {limits.max_head_bytes} bytes")
    lines = head.count(b"\r\n")
    if lines - 2 > limits.max_head_fields:
        raise ProtocolError(431, f"the request head has more than {limits.max_head_fields} fields")
    if head.translate(None, _ALLOWED):
        raise ProtocolError(400, "the request head contains a control character")
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise ProtocolError(400, "a line of the request head does not end in CRLF")
    if head.find(b"\r\n ") >= 0 or head.find(b"\r\n\t") >= 0:
        raise ProtocolError(400, "a folded header line is not accepted; send it as one line")


def check_version(version: bytes) -> bool:
    """Returns True for HTTP/1.1 (and later 1.x), False for HTTP/1.0. Raises ProtocolError (505) for another version."""
    if version[:2] != b"1.":
        raise ProtocolError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    return version != b"1.0"


def valid_host(value: bytes) -> bool:
    """Whether a Host value is a single host with an optional port."""
    match = _HOST.fullmatch(value)
    return match is not None and (match[1] is None or int(match[1]) <= _MAX_PORT)


def split_target(method: bytes, target: bytes) -> tuple[bytes | None, str, bytes]:
    """Returns authority, path and query of a request target in origin, absolute or asterisk form. Only the absolute
    form has an authority."""
    if method == b"CONNECT":
        raise ProtocolError(501, "CONNECT is not supported")
    if b"#" in target:
        raise ProtocolError(400, "the request target contains a fragment")
    authority: bytes | None = None
    if target[:1] != b"/":
        if target == b"*" and method == b"OPTIONS":
            return None, "*", b""
        match = _ABSOLUTE.fullmatch(target)
        if match is None or not valid_host(match[1]):
            raise ProtocolError(400, "the request target is neither a path nor an absolute http URL")
        authority, target = match[1], match[2] or b"/"
        if target[:1] == b"?":
            target = b"/" + target
    path, _, query = target.partition(b"?")
    return authority, normal_path(path.decode("ascii")), query
