"""Bodies and header lines of error responses, in OpenAI's format.

https://platform.openai.com/docs/guides/error-codes/api-errors; openai-python retries 408, 409, 429 and 5xx and
honours retry-after and retry-after-ms.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from ztoapi.errors import ApiError, UpstreamError

__all__ = ["ErrorFormat", "error_body", "error_event", "error_headers", "error_response"]

ErrorFormat: TypeAlias = Callable[[ApiError, str], tuple[int, bytes, bytes]]
"""Makes the response for an error in the format of a client API: its status, header lines and body, from the error and
the request's id."""

_encode = msgspec.json.Encoder().encode


def error_response(error: ApiError, _request_id: str) -> tuple[int, bytes, bytes]:
    """The :data:`ErrorFormat` of the chat API, and of all routes that belong to no client API."""
    return error.status, error_headers(error), error_body(error)


def error_body(error: ApiError) -> bytes:
    """Returns ``{"error": {...}}`` with all four keys."""
    return _encode({"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}})


def error_event(error: ApiError) -> bytes:
    """Returns the error as an event of a stream, the only signal on which every client raises."""
    return b"data: %b\n\n" % error_body(error)


def error_headers(error: ApiError) -> bytes:
    """Returns header lines for an error. OpenAI's SDKs retry 429 and 5xx unless ``x-should-retry`` forbids it."""
    if error.status == 401:
        # RFC 9110 section 11.6.1 requires it. Browsers open no dialog for this scheme.
        return b'www-authenticate: Bearer realm="ztoapi"\r\n'
    lines = b""
    if isinstance(error, UpstreamError) and not error.retryable and (error.retry_after is None or error.lasting):
        lines = b"x-should-retry: false\r\n"
    if error.retry_after is None:
        return lines
    return lines + b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (
        math.ceil(error.retry_after),
        math.ceil(error.retry_after * 1000),
    )
