"""Authentication by client keys."""

from collections.abc import Callable
from typing import Final

from ztoapi.config.keys import KeyRing
from ztoapi.config.model import ClientKey
from ztoapi.errors import ApiError
from ztoapi.server.authorization import client_key
from ztoapi.server.exchange import Exchange
from ztoapi.server.wrong_keys import WrongKeys

__all__ = ["Auth"]

_UNKNOWN: Final = "invalid_api_key"


class Auth:
    """A gate: admits exchanges with one of ``keys``, and writes the key's name into the record.

    Without configured keys all exchanges pass; the configuration allows this on loopback only. A key that a reload
    removes, or that expires by ``clock`` (Unix seconds), is refused at the next request. ``wrong_keys`` counts the
    others.
    """

    def __init__(self, keys: KeyRing, clock: Callable[[], float], wrong_keys: WrongKeys) -> None:
        self._keys = keys
        self._clock = clock
        self._wrong_keys = wrong_keys

    def check(self, exchange: Exchange) -> ApiError | None:
        """Returns the refusal (401) or None. Only a request with the whole key gets the reason: expired or revoked."""
        if not self._keys.required:
            return None
        headers = exchange.request.headers
        refusal = self._check(exchange, client_key(headers))
        if refusal is None and not self._wrong_keys.addresses:
            return None
        if refusal is not None and exchange.notes.two_keys:
            # Clients of Anthropic's API may send both, one of which is for somewhere else.
            if self._check(exchange, headers[b"x-api-key"]) is None:
                # A copy, because the connection may remember the head with its fields.
                exchange.request = exchange.request.without(b"authorization")
                refusal = None
        if refusal is None:
            return self._wrong_keys.right(exchange.record.client, exchange.record.key or "")
        if refusal.code == _UNKNOWN:
            return self._wrong_keys.wrong(exchange.record.client) or refusal
        return refusal

    def _check(self, exchange: Exchange, sent: bytes) -> ApiError | None:
        if not sent:
            return _refusal("no API key was given: send it as 'Authorization: Bearer YOUR_KEY'", "missing_api_key")
        key = self._keys.find(sent)
        if key is None:
            return _refusal("the API key is not known here", _UNKNOWN)
        exchange.record.key = key.name
        if key.revoked:
            return _refusal("the API key has been revoked: ask for a new one", "api_key_revoked")
        if key.expires is not None and key.expired(self._clock()):
            return _refusal(f"the API key expired at {key.expires}: ask for a new one", "api_key_expired")
        return None

    def lasting(self, exchange: Exchange) -> bool:
        """Whether :meth:`check`, which has admitted ``exchange``, admits all requests with the same head until the keys
        have another generation or an address is counted."""
        if not self._keys.required:
            return True
        key = self._keys.by_name.get(exchange.record.key or "")
        return key is not None and key.expires is None and not exchange.notes.two_keys

    def is_urgent(self, exchange: Exchange) -> bool:
        """Whether the key of an admitted exchange has a high priority."""
        key = self._keys.by_name.get(exchange.record.key or "")
        return key is not None and key.priority == "high"

    def key_of(self, exchange: Exchange) -> ClientKey | None:
        """Returns the key of an admitted exchange; None if keys are not required.

        Raises ApiError (401) if a reload has removed it since.
        """
        if not self._keys.required:
            return None
        key = self._keys.by_name.get(exchange.record.key or "")
        if key is None:
            raise _refusal("the API key is not known here", _UNKNOWN)
        return key


def _refusal(message: str, code: str) -> ApiError:
    return ApiError(message, status=401, type="authentication_error", code=code)
