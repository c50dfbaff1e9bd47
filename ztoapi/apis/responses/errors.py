"""Errors as clients of the Responses API understand them.

Codex decides by ``error.code`` of ``response.failed``. It does not repeat a request that failed with
``context_length_exceeded``, ``insufficient_quota``, ``server_is_overloaded`` or ``invalid_prompt``, and repeats one
with ``rate_limit_exceeded`` after the time that the message names. It repeats all others five times at once.
"""

import math
from typing import Final

import msgspec

from ztoapi.errors import ApiError, Fault, UpstreamError

__all__ = ["error_body", "failure"]

_KEPT: Final = frozenset(("context_length_exceeded", "insufficient_quota", "rate_limit_exceeded"))
_OVERLOADED: Final = frozenset(("upstream_overloaded", "overloaded"))
_WAIT: Final = "try again in"
_encode = msgspec.json.Encoder().encode


def failure(error: ApiError) -> dict[str, str]:
    """Returns the ``error`` of ``response.failed``."""
    code = _code(error)
    message = error.message
    if code == "rate_limit_exceeded" and error.retry_after is not None and _WAIT not in message.lower():
        message = f"{message.rstrip('.')}. Please {_WAIT} {math.ceil(error.retry_after)}s."
    return {"code": code, "message": message}


def error_body(error: ApiError) -> bytes:
    """Returns the body of an HTTP error.

    A used-up quota with a known end has the type ``usage_limit_reached``: Codex then shows the time of the reset.
    """
    body: dict[str, object] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if isinstance(error, UpstreamError) and error.fault is Fault.QUOTA and error.reset_at is not None:
        body["type"] = "usage_limit_reached"
        body["resets_at"] = int(error.reset_at)
    return _encode({"error": body})


def _code(error: ApiError) -> str:
    if error.code in _KEPT:
        return error.code
    if error.status == 429:
        return "rate_limit_exceeded"
    if error.code in _OVERLOADED:
        return "server_is_overloaded"
    if error.status < 500:
        return "invalid_prompt"
    return "server_error"
