"""The key of a request: ``Authorization: Bearer KEY`` (RFC 6750 section 2.1), as OpenAI's clients send it, or
``x-api-key: KEY``, as Anthropic's do."""

from collections.abc import Mapping
from typing import Final

__all__ = ["bearer_key", "client_key"]

_SCHEME: Final = b"bearer "
_START: Final = len(_SCHEME)


def bearer_key(headers: Mapping[bytes, bytes]) -> bytes:
    """Returns the key in the Authorization field; empty without one."""
    field = headers.get(b"authorization", b"")
    return field[_START:].strip() if field[:_START].lower() == _SCHEME else b""


def client_key(headers: Mapping[bytes, bytes]) -> bytes:
    """Returns the key in either field; empty without one."""
    return bearer_key(headers) or headers.get(b"x-api-key", b"")
