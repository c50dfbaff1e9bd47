"""The key that a request carries: ``Authorization: Bearer KEY``, as RFC 6750 section 2.1 has it and OpenAI's clients
send it, or ``x-api-key: KEY`` as Anthropic's do."""

from collections.abc import Mapping
from typing import Final

__all__ = ["bearer_key", "client_key"]

_SCHEME: Final = b"bearer "
_START: Final = len(_SCHEME)


def bearer_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key, or nothing where there is none; ``headers`` are those of a request."""
    given = headers.get(b"authorization", b"")
    return given[_START:].strip() if given[:_START].lower() == _SCHEME else b""


def client_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The same, by either name."""
    return bearer_key(headers) or headers.get(b"x-api-key", b"")
