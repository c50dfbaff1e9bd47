"""Access to operators' data: metrics, the dashboard's figures, the profiler.

With an admin key a request needs this key. Without one a request must come from this host: the gateway listens on
loopback, and the request has not passed a proxy, does not belong to a page of another origin, and does not use a name
that merely resolves to this host (DNS rebinding).
"""

import hmac
from typing import Final

from ztoapi.config.model import Secret
from ztoapi.errors import ApiError
from ztoapi.server.authorization import bearer_key, is_own_origin
from ztoapi.server.exchange import Exchange
from ztoapi.server.wrong_keys import WrongKeys
from ztoapi.wire.address import LOOPBACK_AUTHORITY

__all__ = ["AdminGate"]

_NAME: Final = "admin key"
"""Its name among the right keys of an address; the names of client keys contain no blank."""
_FORWARDING: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
"""Headers that proxies add. The connection is local then, but the request is not."""

_OWN_SITE: Final = (b"same-origin", b"none")
"""The values of Fetch Metadata for a page's own requests, and for an address that a person has typed."""


class AdminGate:
    """A gate. ``key`` is the admin key, and ``wrong_keys`` counts wrong ones. With ``loopback`` only this host can
    connect."""

    def __init__(self, key: Secret | None, wrong_keys: WrongKeys, *, loopback: bool) -> None:
        self._key = None if key is None else key.encode()
        self._wrong_keys = wrong_keys
        self._loopback = loopback

    def check(self, exchange: Exchange) -> ApiError | None:
        """Returns the refusal or None: 401 without the key, 403 if no key would help."""
        headers = exchange.request.headers
        if self._key is not None:
            sent = bearer_key(headers)
            if not sent:
                return _refusal(401, "no admin key was given: send it as 'Authorization: Bearer ADMIN_KEY'")
            client = exchange.record.client
            if not hmac.compare_digest(sent, self._key):
                return self._wrong_keys.wrong(client) or _refusal(401, "this is not the admin key")
            return self._wrong_keys.right(client, _NAME)
        if not self._loopback:
            return _refusal(403, "operators' figures are closed without an admin key: set ADMIN_KEY")
        if any(name in headers for name in _FORWARDING):
            return _refusal(403, "operators' figures are closed to proxies without an admin key: set ADMIN_KEY")
        host = headers.get(b"host", b"localhost")
        if not LOOPBACK_AUTHORITY.fullmatch(host):
            return _refusal(403, "without an admin key only loopback names are served: set ADMIN_KEY")
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", b"none")
        foreign = origin is not None and not is_own_origin(origin, host)
        # An image in another page has no origin, but could start a profile.
        if foreign or site not in _OWN_SITE:
            return _refusal(403, "pages of other origins need an admin key: set ADMIN_KEY")
        return None


def _refusal(status: int, message: str) -> ApiError:
    kind = "authentication_error" if status == 401 else "permission_error"
    return ApiError(message, status=status, type=kind, code="admin_key_required")
