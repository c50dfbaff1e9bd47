"""Arguments of tool calls as one JSON object.

Models write arguments as text, which may be cut or may never have been JSON. Clients of the Messages API and GLM's
prompt template read objects only.
"""

import msgspec

from ztoapi.dialects.lenient import replace_halves

__all__ = ["as_object"]

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def as_object(text: str) -> bytes:
    """Returns the JSON of the object in ``text``; other text becomes a member of an object."""
    if not text.strip():
        return b"{}"
    encoded = replace_halves(text.encode())
    try:
        _decode_object(encoded)
    except (msgspec.DecodeError, RecursionError):
        return _encode({"invalid_arguments": text})
    return encoded
