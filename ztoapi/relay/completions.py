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
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.relay.chat import ChatRelays
from ztoapi.relay.permissions import check_models
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.server.authorization import owner_of
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies

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
        bodies: LargeBodies,
        key_of: Callable[[Exchange], ClientKey | None],
        limits: RateLimits | None,
        cache: ResponseCache | None,
    ) -> None:
        self._config = config
        self._relays = relays
        self._bodies = bodies
        self._key_of = key_of
        self._limits = limits
        self._cache = cache
        self._sends_at_once = cache is None and not config.fallbacks
        """Whether nothing comes between the limits and the relay."""

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
        large: bool = False,
    ) -> None:
        """Serves ``request``; the response goes to ``downstream``, as a stream if ``stream``. Requests with the same
        ``session`` use the same credential if possible. ``large`` is :attr:`ChatRequest.is_large`. Raises ApiError for
        a request that is not possible."""
        exchange.record.model = request.model
        key = self._key_of(exchange)
        if large:
            exchange.spawn(self._serve_large(exchange, request, key, downstream, stream, session))
            return
        if key is not None and key.models:
            request = self._permitted(request, key)
        limits = self._limits
        if limits is None or limits.enter(exchange, key, request):
            if self._sends_at_once:
                # Most gateways: 35 opcodes less than _begin.
                self._relays.send(request, downstream, stream, session, ())
            else:
                self._begin(exchange, request, key, downstream, stream, session)
        else:
            begin = partial(self._begin, exchange, request, key, downstream, stream, session)
            exchange.spawn(limits.enter_later(exchange, key, request, begin))

    async def _serve_large(
        self,
        exchange: Exchange,
        request: ChatRequest,
        key: ClientKey | None,
        downstream: MarkedDownstream,
        stream: bool,
        session: bytes | None,
    ) -> None:
        """Same as :meth:`serve`, with the work on the body in the thread for large ones."""
        run = self._bodies.run
        if key is not None and key.models:
            request = await run(partial(self._permitted, request, key))
        if self._limits is not None and not self._limits.enter(exchange, key, request):
            await self._limits.wait_to_enter(exchange, key, request)
        fallbacks = self._fallbacks(request, key)
        translation = await run(self._relays.translator(request, downstream, stream))
        send = partial(
            self._relays.send, request, stream=stream, session=session, fallbacks=fallbacks, translation=translation
        )
        if self._cache is None:
            send(downstream)
            return
        use, cache_key = await run(partial(self._cache_use, exchange, request, key, fallbacks, stream))
        self._cache.serve(downstream, cache_key, use, stream=stream, send=send)

    def _begin(
        self,
        exchange: Exchange,
        request: ChatRequest,
        key: ClientKey | None,
        downstream: MarkedDownstream,
        stream: bool,
        session: bytes | None,
    ) -> None:
        fallbacks = self._fallbacks(request, key)
        if self._cache is None:
            self._relays.send(request, downstream, stream, session, fallbacks)
            return
        use, cache_key = self._cache_use(exchange, request, key, fallbacks, stream)
        # A lambda would make cells of these variables, in requests without a cache too.
        send = partial(self._relays.send, request, stream=stream, session=session, fallbacks=fallbacks)
        self._cache.serve(downstream, cache_key, use, stream=stream, send=send)

    def _fallbacks(self, request: ChatRequest, key: ClientKey | None) -> tuple[str, ...]:
        return self._relays.fallbacks(request.model, key) if self._config.fallbacks else ()

    def _cache_use(
        self, exchange: Exchange, request: ChatRequest, key: ClientKey | None, fallbacks: tuple[str, ...], stream: bool
    ) -> tuple[Use, bytes | None]:
        """Returns how the request may use the cache, and its cache key."""
        _, upstream = self._relays.find(request.model)
        repeatable = DIALECTS[upstream.platform.dialect].repeatable
        use = use_of(request, exchange.request.headers, repeatable=repeatable)
        return use, None if use is Use.NONE else self._cache_key(exchange, request, stream, fallbacks, key)

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
        return decode_request(_encode(request.fields), request.fields)
