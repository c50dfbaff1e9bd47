"""How many tokens a request may come to, before anybody has counted them."""

import re
from typing import Final

from ztoapi.dialects.request import ChatRequest

__all__ = ["estimate"]

_BYTES_PER_TOKEN: Final = 4
"""OpenAI's rule of thumb for English; Chinese text has three bytes a character, and about two to a token."""
_DEFAULT_COMPLETION_TOKENS: Final = 1024
"""What is set aside for an answer whose request names no limit; settled when the answer's usage is known."""
_SMALL_BYTES: Final = 4096
"""No picture fits in there that would matter."""
_DATA_URI = re.compile(rb'"data:[^"]{64,}"')
"""A picture's octets are no text: it is counted as ..."""
_TOKENS_PER_PICTURE: Final = 1000
"""... so many tokens, which is what vision models of this kind take for one."""


def estimate(request: ChatRequest) -> int:
    """Tokens that a request may come to: its text, its pictures, and the longest answer it allows."""
    body, fields = request.body, request.fields
    size, pictures = len(body), 0
    if size > _SMALL_BYTES and b'"data:' in body:
        found = [len(one) for one in _DATA_URI.findall(body)]
        size, pictures = size - sum(found), len(found)
    completion = _DEFAULT_COMPLETION_TOKENS
    # Most requests have neither; a call to find that out costs as much as the rest.
    if "max_tokens" in fields or "max_completion_tokens" in fields:
        completion = _completion_tokens(request)
    return size // _BYTES_PER_TOKEN + pictures * _TOKENS_PER_PICTURE + completion


def _completion_tokens(request: ChatRequest) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        raw = bytes(request.fields.get(name, b""))
        if raw.isdigit() and len(raw) < 10:
            return int(raw)
    return _DEFAULT_COMPLETION_TOKENS
