"""Serves chat requests of every client API: permissions of the key, limits, response cache, and the relay.

A handler reads a request in the format of its API, and passes it on as a chat request with the downstream that
translates the response.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from ztoapi.cache.key import cache_key
from ztoapi.cache.policy import Use, use_of
from ztoapi.cache.response_cache import ResponseCache
from ztoapi.cache.shared_response import MarkedDownstream
from ztoapi.config.model import ClientKey, Config
from ztoapi.dialects.registry import DIALECTS
from ztoapi.dialects.request import ChatRequest
from ztoapi.relay.chat import ChatRelays
from ztoapi.relay.permissions import check_models
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.server.authorization import owner_of
from ztoapi.server.exchange import Exchange

__all__ = ["Completions"]

_encode = msgspec.json.Encoder().encode


class Completions:
    """See the module docstring.

    ``key_of`` returns the client's key, None if no key is required; ``limits`` and ``cache`` are None if they are not
    configured.
    """

    def __init__(
        self,
        config: Config,
        relays: ChatRelays,
        key_of: Callable[[Exchange], ClientKey | None],
        limits: RateLimits | None,
        cache: ResponseCache | None,
    ) -> None:
        self._config = config
        self._relays = relays
        self._key_of = key_of
        self._limits = limits
        self._cache = cache

    @property
    def max_response_bytes(self) -> int:
        return self._config.upstream.max_response_bytes

    def serve(
        self,
        exchange: Exchange,
        request: ChatRequest,
        downstream: MarkedDownstream,
        *,
        stream: bool,
        session: bytes | None = None,
    ) -> None:
        """Serves ``request``; the response goes to ``downstream``, as a stream if ``stream``. Requests with the same
        ``session`` use the same credential if possible. Raises ApiError for a request that is not possible."""
        exchange.record.model = request.model
        key = self._key_of(exchange)
        if key is not None and key.models:
            request = self._permitted(request, key)
        if self._limits is None or self._limits.enter(exchange, key, request):
            self._begin(exchange, request, key, downstream, stream, session)
        else:
            begin = partial(self._begin, exchange, request, key, downstream, stream, session)
            exchange.spawn(self._limits.enter_later(exchange, key, request, begin))

    def _begin(
        self,
        exchange: Exchange,
        request: ChatRequest,
        key: ClientKey | None,
        downstream: MarkedDownstream,
        stream: bool,
        session: bytes | None,
    ) -> None:
        fallbacks = self._relays.fallbacks(request.model, key) if self._config.fallbacks else ()
        if self._cache is None:
            self._relays.send(request, downstream, stream, session, fallbacks)
            return
        _, upstream = self._relays.find(request.model)
        repeatable = DIALECTS[upstream.platform.dialect].repeatable
        use = use_of(request, exchange.request.headers, repeatable=repeatable)
        self._cache.serve(
            downstream,
            None if use is Use.NONE else self._cache_key(exchange, request, stream, fallbacks, key),
            use,
            stream=stream,
            # A lambda would make cells of these variables, in requests without a cache too.
            send=partial(self._relays.send, request, stream=stream, session=session, fallbacks=fallbacks),
        )

    def _cache_key(
        self, exchange: Exchange, request: ChatRequest, stream: bool, fallbacks: tuple[str, ...], key: ClientKey | None
    ) -> bytes | None:
        config = self._config
        route, upstream = self._relays.find(request.model)
        platform = upstream.platform
        client = "" if config.cache.shared else owner_of(exchange.request.headers, key)
        source = (platform.id, platform.chat_url, route.upstream)
        options = (config.enable_thinking, config.think_mode, config.zread_repository, fallbacks)
        # The request is adapted to them, and a common store outlives a change of the catalogue.
        capabilities = self._relays.capabilities(request.model)
        return cache_key(request.body, stream=stream, parts=(client, *source, *options, capabilities))

    def _permitted(self, request: ChatRequest, key: ClientKey) -> ChatRequest:
        """Returns the request for a key with a list of models. The body is encoded again, because only the last of
        duplicate fields has been checked. Raises ApiError."""
        check_models(key, request.model, self._relays.find(request.model)[0].public, request.fields)
        return ChatRequest(_encode(request.fields), request.fields)
