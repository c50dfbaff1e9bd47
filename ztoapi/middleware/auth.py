"""Client keys: who may ask at all."""

from collections.abc import Callable

from ztoapi.config.keys import KeyRing
from ztoapi.config.model import ClientKey
from ztoapi.errors import ApiError
from ztoapi.server.authorization import client_key
from ztoapi.server.exchange import Exchange

__all__ = ["Auth"]


class Auth:
    """A gate: lets an exchange pass that carries one of ``keys``, and writes the key's name into its record.

    Without any key configured everybody passes, which the configuration allows on a loopback bind only. Nothing is
    remembered between two requests of a connection, so that what a reload or ``clock`` (Unix seconds) ends, ends with
    the next request.
    """

    def __init__(self, keys: KeyRing, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock

    def check(self, exchange: Exchange) -> ApiError | None:
        """The refusal (401), or None. Only who has the key is told that it has expired or was revoked."""
        if not self._keys.required:
            return None
        given = client_key(exchange.request.headers)
        if not given:
            return _refusal("no API key was given: send it as 'Authorization: Bearer YOUR_KEY'", "missing_api_key")
        key = self._keys.find(given)
        if key is None:
            return _refusal("the API key is not known here", "invalid_api_key")
        exchange.record.key = key.name
        if key.revoked:
            return _refusal("the API key has been revoked: ask for a new one", "api_key_revoked")
        if key.expires is not None and key.expired(self._clock()):
            return _refusal(f"the API key expired at {key.expires}: ask for a new one", "api_key_expired")
        return None

    def key_of(self, exchange: Exchange) -> ClientKey | None:
        """The key of an exchange that has passed; None where none is asked for.

        Raises ApiError (401) if a reload has removed it since.
        """
        if not self._keys.required:
            return None
        key = self._keys.named(exchange.record.key or "")
        if key is None:
            raise _refusal("the API key is not known here", "invalid_api_key")
        return key


def _refusal(message: str, code: str) -> ApiError:
    return ApiError(message, status=401, type="authentication_error", code=code)
