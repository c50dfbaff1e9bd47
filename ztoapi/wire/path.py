"""Paths of request targets: one normal form for all equivalent spellings.

Routes, gates and logs use the form that :func:`normal_path` returns, so no spelling evades the gates of a route.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["decoded", "normal_path"]

_SLASHES: Final = re.compile("/{2,}")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_BROKEN: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def normal_path(path: str) -> str:
    """Returns ``path`` with one slash for several, and without escapes of characters that need none (RFC 3986 section
    6.2.2.2: ``%63`` is ``c``). Other escapes stay, so ``%2F`` separates no segments; dot segments are ordinary names.

    A base URL that ends in a slash makes clients send ``//chat/completions``.
    """
    if "%" in path and _BROKEN.search(path) is None:
        # A broken escape could become a whole one: "%%32F".
        path = _ESCAPE.sub(_plain, path)
    return _SLASHES.sub("/", path) if "//" in path else path


def decoded(text: str) -> str:
    """Returns a part of a path without its escapes. Raises ValueError, which names the problem."""
    if "%" not in text:
        return text
    broken = _BROKEN.search(text)
    if broken is not None:
        raise ValueError(f"'{text[broken.start() : broken.start() + 3]}' is no percent-encoding: write '%' as '%25'")
    try:
        plain = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("its percent-encoding is not UTF-8") from None
    if _CONTROL.search(plain):
        raise ValueError("its percent-encoding holds a control character")
    return plain


def _plain(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()
