"""Requests from web pages: the CORS protocol, and protection of a gateway without client keys.

With client keys a page needs a key like any other client, and any origin may use it (``cors_origins``). Without keys
every program on this host is admitted. Then pages of other origins are refused, and names that merely resolve to this
host (DNS rebinding), because a browser would give them access.
https://fetch.spec.whatwg.org/#http-cors-protocol
"""

import re
from typing import Final

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange
from ztoapi.wire.address import LOOPBACK_AUTHORITY

__all__ = ["Cors"]

_LOOPBACK_ORIGIN = re.compile(rb"https?://" + LOOPBACK_AUTHORITY.pattern, re.IGNORECASE)
_EXPOSED: Final = (
    b"access-control-expose-headers: x-request-id, request-id, retry-after, retry-after-ms, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, ratelimit, "
    b"ratelimit-policy, x-ztoapi-cache, x-ztoapi-warning\r\n"
)
_PREFLIGHT: Final = (
    b"access-control-allow-methods: GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS\r\n"
    b"access-control-allow-headers: %b\r\n"
    b"access-control-max-age: 86400\r\n"
)
_ANY_METHOD: Final = "GET, POST, HEAD, OPTIONS"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9, _-]{1,1000}")


class Cors:
    """A gate. ``origins`` may contain ``*``. With ``open`` no client key is required."""

    def __init__(self, origins: tuple[str, ...], *, open: bool) -> None:
        self._any = "*" in origins and not open
        self._origins = frozenset(origin.encode("ascii").lower() for origin in origins)
        self._open = open

    def check(self, exchange: Exchange) -> ApiError | None:
        """Returns the refusal (403), or None after adding the header lines of the response."""
        headers = exchange.request.headers
        if self._open and not LOOPBACK_AUTHORITY.fullmatch(headers.get(b"host", b"localhost")):
            return _refusal("without client keys only loopback names are served: set DEFAULT_KEY", "host_not_allowed")
        origin = headers.get(b"origin")
        if origin is None:
            return None
        if self._any:
            exchange.extra_headers += b"access-control-allow-origin: *\r\n" + _EXPOSED
        elif origin.lower() in self._origins or (self._open and _LOOPBACK_ORIGIN.fullmatch(origin)):
            exchange.extra_headers += b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSED)
        elif self._open:
            return _refusal("pages of this origin need a client key: set DEFAULT_KEY", "origin_not_allowed")
        return None

    def preflight(self, exchange: Exchange) -> None:
        """Responds to OPTIONS with the methods of the route."""
        allowed = _ANY_METHOD if exchange.route is None else exchange.route.allowed
        requested = exchange.request.headers.get(b"access-control-request-headers", b"")
        if not _HEADER_NAMES.fullmatch(requested):
            requested = b"authorization, content-type"
        exchange.respond(204, b"", headers=b"allow: %b\r\n" % allowed.encode("ascii") + _PREFLIGHT % requested)


def _refusal(message: str, code: str) -> ApiError:
    return ApiError(message, status=403, type="permission_error", code=code)
