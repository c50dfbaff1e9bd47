"""Client keys. ``Authorization: Bearer KEY`` as OpenAI's clients send it, or ``x-api-key: KEY`` as Anthropic's do."""

import hmac

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange

__all__ = ["Auth"]


class Auth:
    """A gate: lets an exchange pass that carries one of ``keys``; without any key configured everybody passes, which
    the configuration allows on a loopback bind only."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = tuple(key.encode("utf-8") for key in keys)

    def check(self, exchange: Exchange) -> ApiError | None:
        """The refusal (401), or None. Takes the same time for every key, known or not."""
        if not self._keys:
            return None
        headers = exchange.request.headers
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not given:
            given = headers.get(b"x-api-key", b"")
        if not given:
            return _refusal("no API key was given: send it as 'Authorization: Bearer YOUR_KEY'", "missing_api_key")
        known = False
        for key in self._keys:
            known |= hmac.compare_digest(key, given.strip())
        return None if known else _refusal("the API key is not known here", "invalid_api_key")


def _refusal(message: str, code: str) -> ApiError:
    return ApiError(message, status=401, type="authentication_error", code=code)
