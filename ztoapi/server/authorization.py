"""The key that a request carries: ``Authorization: Bearer KEY``, as RFC 6750 section 2.1 has it."""

from collections.abc import Mapping
from typing import Final

__all__ = ["bearer_key"]

_SCHEME: Final = b"bearer "


def bearer_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key, or nothing where there is none; ``headers`` are those of a request."""
    given = headers.get(b"authorization", b"")
    return given[len(_SCHEME) :].strip() if given[: len(_SCHEME)].lower() == _SCHEME else b""
