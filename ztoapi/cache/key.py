"""The cache key of a chat request: the value of its JSON, the client, and the source of the response.

The order of keys, white space and escapes do not matter; everything else does, unknown fields included. Numbers are
compared as they are written, so 1 and 1.0 differ: upstreams may treat them differently. A body that two parsers could
read differently, such as one with a duplicate key, has no cache key: the upstream could see another request than the
cache.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import msgspec

from ztoapi.dialects.capabilities import ModelCapabilities

__all__ = ["KeyParts", "cache_key"]

KeyParts = Sequence[str | bool | Sequence[str] | ModelCapabilities | None]
"""Everything else that the response depends on, always in the same order."""

_MAX_BYTES: Final = 1048576
"""2 ms of the event loop. Larger bodies contain pictures."""
_VERSION: Final = 1
"""Increase it when a version responds differently to the same request: a common store outlives a version."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def cache_key(body: bytes | bytearray, *, stream: bool, parts: KeyParts) -> bytes | None:
    """Returns the cache key of ``body``, a JSON object; None if the body is ambiguous or too large. ``stream`` is the
    form of the response and overrides the body."""
    if len(body) > _MAX_BYTES:
        return None
    try:
        request = _decode(body.decode("utf-8"))
        assert isinstance(request, dict)
        request["stream"] = stream
        if not stream:
            # It applies to streams only.
            request.pop("stream_options", None)
        canonical = _encode([_VERSION, parts, request])
    except (ValueError, OverflowError, RecursionError):
        return None
    # Collisions cannot be found. It takes 0.2 ms for 300 KB, BLAKE2 takes 0.6 ms.
    return hashlib.sha256(canonical).digest()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("duplicate key")
    return members


def _as_written(digits: str) -> msgspec.Raw:
    return msgspec.Raw(digits.encode("ascii"))


def _none_such(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_as_written, parse_int=_as_written, parse_constant=_none_such
).decode
