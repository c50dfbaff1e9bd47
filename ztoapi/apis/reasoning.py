"""Opaque forms of reasoning that a client returns with the next request.

Clients of other APIs replay reasoning only with a signature or as encrypted content. Both are functions of the text
alone, so that one cached response serves every API. They hold no secret and prove nothing: reasoning is the client's
own conversation.
"""

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

__all__ = ["digest", "seal", "unseal"]

_TEXT: Final = "ztoapi.t1."
"""Prefix and version of a form that holds the text."""
_DIGEST: Final = "ztoapi.d1."
"""Prefix and version of a form that stands beside the text."""
_DIGEST_BYTES: Final = 24


def seal(text: str) -> str:
    """Returns a form of ``text`` from which ``unseal`` restores it."""
    return _TEXT + urlsafe_b64encode(text.encode()).decode()


def unseal(sealed: str) -> str | None:
    """Returns the text of a sealed form; None if the value has another form or another origin."""
    if not sealed.startswith(_TEXT):
        return None
    try:
        return urlsafe_b64decode(sealed.removeprefix(_TEXT)).decode()
    except (binascii.Error, ValueError):
        return None


def digest(text: str) -> str:
    """Returns a short signature for a text that the client keeps beside it."""
    return _DIGEST + urlsafe_b64encode(hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()).decode()
