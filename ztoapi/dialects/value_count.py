"""Counts the values of a JSON document before a decoder makes an object of each.

A value costs a decoder up to 0.2 us, and a translation up to 5 us, however few bytes it has.
"""

from typing import Final

__all__ = ["has_more_values"]

_PIECE_BYTES: Final = 262144
"""Bytes that are counted at a time: at most 5 ms for which no other thread runs."""


def has_more_values(document: bytes | bytearray, most: int) -> bool:
    """Returns whether ``document`` has more than ``most`` values.

    Counts the commas and opening brackets outside of strings. There are as many of them as values, or more: the comma
    between two members of an object counts, and so does each bracket of an empty list.
    """
    values, is_inside, at = 0, 0, 0
    while at < len(document):
        end = at + _PIECE_BYTES
        while document[end - 1 : end] == b"\\":
            # An escape stays whole.
            end += 1
        piece = bytes(document[at:end])
        at = end
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[is_inside::2])
        is_inside ^= (len(parts) - 1) & 1
        values += outside.count(b",") + outside.count(b"{") + outside.count(b"[")
        if values > most:
            return True
    return False
