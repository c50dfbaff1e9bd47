"""Text for a terminal: without control characters, and cut to a number of columns."""

import os
import unicodedata
from collections.abc import Mapping
from typing import Final

__all__ = ["clean", "columns_of", "counted", "cut", "has_colour"]

_UNKNOWN: Final = "\ufffd"
"""Replaces characters that are not printable."""

_ELLIPSIS: Final = "\u2026"


def clean(text: str) -> str:
    """Returns ``text`` with control characters, and those that change the writing direction, replaced."""
    return "".join(letter if letter.isprintable() else _UNKNOWN for letter in text)


def counted(number: int, noun: str) -> str:
    """Returns ``number`` with its noun, which takes an s in the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def columns_of(letter: str) -> int:
    """Returns the number of columns that a printable letter takes."""
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """Returns ``text``, cleaned, in exactly ``width`` columns of a terminal. A text that is cut has an ellipsis."""
    used = 0
    kept = list[str]()
    for letter in clean(text):
        columns = columns_of(letter)
        # Hundreds of combining accents on one letter would cover the lines above.
        if used + columns > width or (not columns and len(kept) > 2 * width):
            while kept and used >= width:
                used -= columns_of(kept.pop())
            kept.append(_ELLIPSIS[:width])
            used += 1
            break
        used += columns
        kept.append(letter)
    return "".join(kept) + " " * (width - used)


def has_colour(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Returns whether output to ``descriptor`` may have colours: it is a terminal, and NO_COLOR is not set
    (https://no-color.org)."""
    return os.isatty(descriptor) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
