"""Lenient reading of upstream JSON: a field that is only counted or forwarded never fails a response.

All dialects follow the same rules. Usage of an unexpected shape is unknown usage. An empty ``error`` does not count
as an error. Halves of surrogate pairs, which servers write when a token boundary splits an emoji, are valid JSON
(https://www.rfc-editor.org/rfc/rfc8259#section-8.2), but msgspec rejects them.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec

from ztoapi.dialects.field_errors import field_error
from ztoapi.dialects.pieces import PIECE_BYTES, escaped_pieces
from ztoapi.dialects.reader import Usage
from ztoapi.errors import malformed

__all__ = ["decode_part", "hide_halves", "is_empty", "read_objects", "read_usage", "replace_halves", "restore_halves"]

T = TypeVar("T")

_read_counts = msgspec.json.Decoder(Usage, strict=False).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_EMPTY: Final = frozenset((b"", b"null", b"{}", b'""', b"[]", b"false", b"0"))
_BLANKS: Final = b" \t\r\n"
_HALF: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
"""Matches the first half of a pair without the second, and the second without the first."""
_PAIR_BYTES: Final = 12
_HIDDEN: Final = b"\xff"
"""Replaces the backslash of a hidden half. No byte of UTF-8 text has this value."""


def is_empty(raw: bytes | msgspec.Raw) -> bool:
    """Returns whether a JSON value is absent, null, false, zero, or an empty string, object or list."""
    value = bytes(raw)
    return value in _EMPTY or value.translate(None, _BLANKS) in _EMPTY


def read_usage(raw: bytes | msgspec.Raw) -> Usage | None:
    """Returns the token counts of a ``usage`` value; None if it has another shape or all counts are zero, because some
    servers send ``{}`` or zeros."""
    try:
        usage = _read_counts(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return usage if usage.prompt_tokens or usage.completion_tokens or usage.total_tokens else None


def read_objects(raw: bytes | msgspec.Raw) -> list[dict[str, msgspec.Raw]]:
    """Returns the objects in a list without its other elements; none if ``raw`` is not a list. Raises
    msgspec.DecodeError for invalid JSON."""
    try:
        return [_decode_fields(item) for item in _decode_items(raw) if bytes(item).startswith(b"{")]
    except msgspec.ValidationError:
        return []


def decode_part(decode: Callable[[bytes], T], data: bytes, part: str, *, retryable: bool = False) -> T:
    """Returns ``data`` decoded, with U+FFFD for half surrogates. Raises UpstreamError with the noun phrase ``part``."""
    try:
        try:
            return decode(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return decode(replace_halves(data))
    except msgspec.ValidationError as error:
        raise malformed(part, field_error("", error, whole="it"), retryable=retryable) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed(part, error, retryable=retryable) from error


def hide_halves(data: bytes) -> bytes:
    """Returns ``data`` with the backslash of each half surrogate replaced, so that msgspec skips it as text."""
    if _HIDDEN in data:
        return data
    return _with_changes(data, _HIDDEN)


def restore_halves(data: bytes) -> bytes:
    """Inverts ``hide_halves``."""
    return data.replace(_HIDDEN, b"\\")


def replace_halves(data: bytes) -> bytes:
    """Returns ``data`` with U+FFFD in place of each half surrogate, for text that is decoded."""
    return _with_changes(data, b"\\ufffd")


def _with_changes(data: bytes, start: bytes) -> bytes:
    """Returns ``data`` with ``start`` in place of the beginning of each half surrogate."""
    changed: bytearray | None = None
    for at in _halves(data):
        changed = changed or bytearray(data)
        changed[at : at + len(start)] = start
    return data if changed is None else bytes(changed)


def _halves(data: bytes) -> Iterator[int]:
    """Yields the place of each half surrogate."""
    text = b"".join(escaped_pieces(data))
    for begin in range(0, len(text), PIECE_BYTES):
        end = begin + PIECE_BYTES
        for match in _HALF.finditer(text, begin, end + _PAIR_BYTES - 1):
            if match.start() < end:
                yield match.start()
