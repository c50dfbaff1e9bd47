"""Errors in the format of the Messages API.

https://platform.claude.com/docs/en/api/errors. The SDKs retry 408, 409, 429 and 5xx unless ``x-should-retry`` is
false.
"""

import math
import re
from typing import Final

import msgspec

from ztoapi.errors import ApiError, UpstreamError

__all__ = ["THREAD_UNSUPPORTED", "describe_length", "error_body", "error_event", "error_response"]

_encode = msgspec.json.Encoder().encode
THREAD_UNSUPPORTED: Final = "thread_unsupported_request"
"""Code in the error's details, at which the SDKs send the whole conversation instead."""
_CONTEXT: Final = "context_length_exceeded"
_TOO_LONG: Final = "prompt is too long"
_OVERLOADED: Final = 529
_OVERLOADED_RETRY_SECONDS: Final = 4
"""Z.ai sends no retry-after with an overload; without one, Claude Code retries after half a second."""
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}
_COUNT: Final = re.compile(r"(\d[\d,]{0,19}) tokens")
_NUMBER: Final = re.compile(r"\b\d[\d,]{0,19}")
_LIMIT: Final = re.compile(r"(?:maximum|max|limit|context)(?:(?!by )\D){0,60}?(\d[\d,]{0,19}) tokens", re.IGNORECASE)
"""The model's limit in a message: "maximum context length is 8192 tokens", not "exceeded by 200 tokens"."""
_BARE_LIMIT: Final = re.compile(
    r"(?:(?:maximum|max|limit|context|allowed)(?:(?!by )\D){0,60}?|> )(\d[\d,]{0,19})", re.IGNORECASE
)
"""The same without the unit: "> 8192 maximum", "the limit of 8192"."""


def error_response(error: ApiError, request_id: str) -> tuple[int, bytes, bytes]:
    """Returns the status, the header lines and the body of the response for a failure before the first byte."""
    status = _status(error)
    lines = [b"request-id: %b\r\n" % request_id.encode("ascii")]
    retry_after = error.retry_after
    if retry_after is None and status == _OVERLOADED:
        retry_after = _OVERLOADED_RETRY_SECONDS
    if retry_after is not None:
        lines.append(b"retry-after: %d\r\n" % max(math.ceil(retry_after), 1))
    if isinstance(error, UpstreamError) and error.lasting:
        lines.append(b"x-should-retry: false\r\n")
    if status == 401:
        # RFC 9110 section 11.6.1 requires it.
        lines.append(b'www-authenticate: Bearer realm="ztoapi"\r\n')
    return status, b"".join(lines), error_body(error, request_id)


def error_body(error: ApiError, request_id: str) -> bytes:
    """Returns the error object, which is also the data of an ``error`` event."""
    status = _status(error)
    kind = _TYPES.get(status, _TYPES[400] if status < 500 else "api_error")
    described: dict[str, object] = {"type": kind, "message": error.message}
    if error.code == THREAD_UNSUPPORTED:
        described["details"] = {"error_code": error.code, "unsupported": [error.param]}
    return _encode({"type": "error", "error": described, "request_id": request_id})


def error_event(error: ApiError, request_id: str) -> bytes:
    """Returns the event for a failure after the first byte."""
    return b"event: error\ndata: %b\n\n" % error_body(error, request_id)


def describe_length(error: ApiError, input_tokens: int, context_tokens: int | None) -> None:
    """Changes the message of a prompt that is too long into the words from which Claude Code reads both numbers, to
    compact the conversation. ``input_tokens`` is the estimate, ``context_tokens`` the model's context."""
    if error.code != _CONTEXT:
        return
    message = error.message
    match, numbers = _LIMIT.search(message), _COUNT
    if match is None:
        match, numbers = _BARE_LIMIT.search(message), _NUMBER
        if match is not None and not any(_value(number) > _value(match[1]) for number in numbers.findall(message)):
            # A limit of something else, or a code.
            match, numbers = None, _COUNT
    limit = context_tokens if match is None else _value(match[1])
    if limit is None:
        prefix = "" if message.lower().startswith(_TOO_LONG) else f"{_TOO_LONG}: "
        error.message = f"{prefix}{message}"
        return
    counts = [_value(number) for number in numbers.findall(message)]
    tokens = max([count for count in counts if count > limit], default=max(input_tokens, limit + 1))
    error.message = f"{_TOO_LONG}: {tokens} tokens > {limit} maximum"


def _value(number: str) -> int:
    return int(number.replace(",", ""))


def _status(error: ApiError) -> int:
    status = error.status
    if status == 503:
        return _OVERLOADED
    if status < 500 and status not in _TYPES and status not in (405, 408):
        return 400
    return status
