"""Counts the values of a JSON document before a decoder makes an object of each.

A value costs a decoder up to 0.2 us, and a translation up to 5 us, however few bytes it has.
"""

from ztoapi.dialects.pieces import escaped_pieces

__all__ = ["count_values"]


def count_values(document: bytes | bytearray, most: int) -> int:
    """Returns the number of values in ``document``, or a number above ``most`` if it has more than that.

    Counts the commas and opening brackets outside of strings. There are as many of them as values, or more: the comma
    between two members of an object counts, and so does each bracket of an empty list.
    """
    values, is_inside = 0, 0
    for piece in escaped_pieces(document):
        parts = piece.replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[is_inside::2])
        is_inside ^= (len(parts) - 1) & 1
        values += outside.count(b",") + outside.count(b"{") + outside.count(b"[")
        if values > most:
            break
    return values
