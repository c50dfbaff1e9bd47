"""Content codings of request bodies, none of which is supported.

Decoding would multiply the memory for a body, and the SDKs of OpenAI and Anthropic never compress requests.
"""

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange

__all__ = ["check_coding"]


def check_coding(exchange: Exchange) -> ApiError | None:
    """Returns the error (415) for a body in a content coding, unless it is passed on. RFC 9110 section 15.5.16."""
    if exchange.route is not None and exchange.route.streams:
        return None
    field = exchange.request.headers.get(b"content-encoding", b"")
    codings = [coding.strip().lower() for coding in field.decode("latin-1").split(",")]
    coding = next((coding for coding in codings if coding not in ("", "identity")), None)
    if coding is None:
        return None
    exchange.extra_headers += b"accept-encoding: identity\r\n"
    return ApiError(
        f"the content coding {coding!r} of the request body is not supported: send the body without a coding",
        status=415,
        code="unsupported_content_encoding",
    )
