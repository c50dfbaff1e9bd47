"""Serves requests of other client APIs by the upstream's own endpoint: permissions of the key, limits, and the relay.

``apis/native.py`` has the requests and the readers. Native requests do not use the response cache.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from ztoapi.apis.native import NativeAPI, NativeRequest
from ztoapi.apis.tokens import native_weight
from ztoapi.config.model import ClientKey, Config, Platform
from ztoapi.errors import ApiError
from ztoapi.relay.chat import ChatRelays
from ztoapi.relay.exchange_response import ExchangeResponse
from ztoapi.relay.permissions import check_models
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.server.exchange import Exchange
from ztoapi.server.stream import ResponseStream

__all__ = ["NativeEndpoints", "NativePrompt", "NativeResponse"]


class NativePrompt(msgspec.Struct, gc=False):
    """A request, and the weight of its prompt (``apis/tokens.py``)."""

    request: NativeRequest
    weight: int


class NativeEndpoints:
    """The endpoints of all upstreams. ``key_of`` and ``limits`` are as in
    :class:`~ztoapi.relay.completions.Completions`; ``url`` returns the URL of the API at a platform, None if the
    platform does not serve it."""

    def __init__(
        self,
        config: Config,
        relays: ChatRelays,
        key_of: Callable[[Exchange], ClientKey | None],
        limits: RateLimits | None,
        url: Callable[[Platform], str | None],
    ) -> None:
        self._relays = relays
        self._key_of = key_of
        self._limits = limits
        self._url = url
        self._available = any(url(platform) is not None for platform in config.platforms)
        """Whether any upstream serves the API."""

    def serves(self, model: str) -> bool:
        """Returns whether the upstream of ``model`` serves the API."""
        return self._url(self._relays.find(model)[1].platform) is not None

    def read(self, body: bytes | bytearray) -> NativePrompt | None:
        """Returns the request, if the upstream of its model serves the API. Raises ApiError for an invalid one."""
        if not self._available:
            return None
        request = NativeRequest(body)
        return NativePrompt(request, native_weight(request.fields)) if self.serves(request.model) else None

    def serve(
        self,
        exchange: Exchange,
        request: NativeRequest,
        api: NativeAPI,
        *,
        headers: bytes = b"",
        session: bytes | None = None,
    ) -> None:
        """Serves ``request``. ``headers`` are raw lines of a successful response, each ended by CRLF; ``session`` is as
        in :meth:`Completions.serve`. Raises ApiError for a request that is not possible."""
        model = exchange.record.model = request.model
        key = self._key_of(exchange)
        if key is not None and key.models:
            check_models(key, model, self._relays.find(model)[0].public, request.fields)
            # Only the last of duplicate fields has been checked.
            request = request.replaced({})
        begin = partial(self._begin, exchange, request, key, api, headers, session)
        if self._limits is None or self._limits.enter(exchange, key, request):
            begin()
        else:
            exchange.spawn(self._limits.enter_later(exchange, key, request, begin))

    def _begin(
        self,
        exchange: Exchange,
        request: NativeRequest,
        key: ClientKey | None,
        api: NativeAPI,
        headers: bytes,
        session: bytes | None,
    ) -> None:
        fallbacks = tuple(filter(self.serves, self._relays.fallbacks(request.model, key)))
        response = NativeResponse(exchange, api, headers)
        self._relays.send_native(request, api, response, session, fallbacks)


class NativeResponse(ExchangeResponse):
    """The :class:`~ztoapi.server.downstream.Downstream` of ``exchange`` for a response in the format of ``api``."""

    __slots__ = ("_api", "_headers")

    def __init__(self, exchange: Exchange, api: NativeAPI, headers: bytes) -> None:
        super().__init__(exchange)
        self._api = api
        self._headers = headers

    def start_stream(self) -> ResponseStream:
        stream = self._exchange.start_stream(headers=self._headers)
        stream.error_event = self._api.fail
        return stream

    @property
    def stream(self) -> ResponseStream:
        return self._exchange.stream

    def respond(self, status: int, body: bytes) -> None:
        self._exchange.respond(status, body, headers=self._headers)

    def fail(self, error: ApiError) -> None:
        self._api.explain(error)
        self._exchange.fail(error)
