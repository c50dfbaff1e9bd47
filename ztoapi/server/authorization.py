"""The key of a request: ``Authorization: Bearer KEY`` (RFC 6750 section 2.1), as OpenAI's clients send it, or
``x-api-key: KEY``, as Anthropic's do; and the origin of a page that sends it."""

from collections.abc import Mapping
from typing import Final

from ztoapi.config.model import ClientKey

__all__ = ["bearer_key", "client_key", "is_own_origin", "owner_of"]

_SCHEME: Final = b"bearer "
_START: Final = len(_SCHEME)


def bearer_key(headers: Mapping[bytes, bytes]) -> bytes:
    """Returns the key in the Authorization field; empty without one."""
    field = headers.get(b"authorization", b"")
    return field[_START:].strip() if field[:_START].lower() == _SCHEME else b""


def client_key(headers: Mapping[bytes, bytes]) -> bytes:
    """Returns the key in either field; empty without one."""
    return bearer_key(headers) or headers.get(b"x-api-key", b"")


def is_own_origin(origin: bytes, host: bytes) -> bool:
    """Returns whether the page of an ``Origin`` field comes from the ``Host`` that the request names."""
    host = host.lower()
    return origin.lower() in (b"http://" + host, b"https://" + host)


def owner_of(headers: Mapping[bytes, bytes], key: ClientKey | None) -> str:
    """Returns the owner of what is kept for a request with ``key``: its key, empty if no key is required."""
    # The key itself, because its name may be given to another key.
    return "" if key is None else client_key(headers).hex()
