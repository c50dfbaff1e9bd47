"""What makes two chat requests the same question: the value of their JSON, who asks, and where the answer comes from.

The order of keys, white space and escapes do not count; everything else does, fields that nobody here knows included.
Numbers count as they are written, so 1 and 1.0 are two: who knows what an upstream makes of them. A body of which two
readers could see different values, such as one in which a key stands twice, is no question at all: what is asked would
not be what is remembered.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["DIGEST_BYTES", "Terms", "digest"]

Terms = Sequence[str | bool | Sequence[str] | None]
"""What else the answer depends on, always in the same order."""

DIGEST_BYTES: Final = 32
"""SHA-256: nobody finds two questions with the same one. It takes 0.2 ms for 300 KB here, BLAKE2 0.6."""
_MOST_BYTES: Final = 1048576
"""2 ms, for which all others wait. Larger bodies have pictures in them."""
_FORM: Final = 1
"""To be raised when the same question would get another answer from this version: a common store outlives it."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def digest(body: bytes | bytearray, *, stream: bool, terms: Terms) -> bytes | None:
    """The question that ``body`` (a JSON object) asks; None if it cannot be told for sure, or in no time. ``stream``
    says how it is to be answered, whatever the body says."""
    if len(body) > _MOST_BYTES:
        return None
    try:
        question = _decode(body.decode("utf-8"))
        assert isinstance(question, dict)
        question["stream"] = stream
        if not stream:
            # It says how a stream is to be sent.
            question.pop("stream_options", None)
        octets = _encode([_FORM, terms, question])
    except (ValueError, OverflowError, RecursionError):
        return None
    return hashlib.sha256(octets).digest()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _as_written(digits: str) -> msgspec.Raw:
    return msgspec.Raw(digits.encode("ascii"))


def _none_such(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_as_written, parse_int=_as_written, parse_constant=_none_such
).decode
