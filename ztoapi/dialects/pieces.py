"""Pieces of a JSON document, so that other threads run between two searches."""

from collections.abc import Iterator
from typing import Final

__all__ = ["PIECE_BYTES", "escaped_pieces"]

PIECE_BYTES: Final = 262144
"""Bytes that are searched at a time: at most 5 ms for which no other thread runs."""


def escaped_pieces(document: bytes | bytearray) -> Iterator[bytes]:
    """Yields ``document`` in pieces, with blanks in place of escaped backslashes: each backslash that is left begins
    another escape, whose second byte is in the same piece."""
    at = 0
    while at < len(document):
        piece = bytes(document[at : at + PIECE_BYTES])
        at += len(piece)
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"  ")
            if piece.endswith(b"\\") and at < len(document):
                piece = piece[:-1]
                at -= 1
        yield piece
