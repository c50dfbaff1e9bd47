"""POST /v1/chat/completions."""

from collections.abc import Callable
from typing import Final

import msgspec

from ztoapi.cache.key import cache_key
from ztoapi.cache.policy import Use, use_of
from ztoapi.cache.response_cache import ResponseCache
from ztoapi.config.model import ClientKey, Config
from ztoapi.dialects.registry import DIALECTS
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.errors import ApiError
from ztoapi.relay.chat import Chat, ChatRelays
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.server.authorization import client_key
from ztoapi.server.exchange import Exchange

__all__ = ["ChatHandler"]

_ALSO_NAME_MODELS: Final = frozenset(("model", "models", "fallbacks"))
"""Fields that name a model for some upstream: Go's JSON decoder reads ``Model`` as ``model``, OpenRouter has
``models``, LiteLLM ``fallbacks``."""

_encode = msgspec.json.Encoder().encode


class ChatHandler:
    """Checks a chat request and serves it, from the response cache or by ``relays``.

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

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        request = decode_request(exchange.request.body)
        exchange.record.model = request.model
        key = self._key_of(exchange)
        if key is not None and key.models:
            request = _permitted(request, key)
        if self._limits is None or self._limits.enter(exchange, key, request):
            self._begin(exchange, request, key)
        else:
            exchange.spawn(self._wait_to_enter(self._limits, exchange, key, request))

    async def _wait_to_enter(
        self, limits: RateLimits, exchange: Exchange, key: ClientKey | None, request: ChatRequest
    ) -> None:
        await limits.wait_to_enter(exchange, key, request)
        self._begin(exchange, request, key)

    def _begin(self, exchange: Exchange, request: ChatRequest, key: ClientKey | None) -> None:
        config = self._config
        fallbacks = config.fallbacks.get(request.model.lower(), ()) if config.fallbacks else ()
        if key is not None and key.models:
            fallbacks = tuple(model for model in fallbacks if key.allows(model))
        stream = config.default_stream if request.stream is None else request.stream
        if self._cache is None:
            Chat(self._relays, exchange, stream, fallbacks).send(request)
            return
        relays = self._relays
        _, upstream = relays.find(request.model)
        repeatable = DIALECTS[upstream.platform.dialect].repeatable
        use = use_of(request, exchange.request.headers, repeatable=repeatable)
        self._cache.serve(
            exchange,
            None if use is Use.NONE else self._cache_key(exchange, request, stream, fallbacks, key),
            use,
            stream=stream,
            send=lambda downstream: Chat(relays, downstream, stream, fallbacks).send(request),
        )

    def _cache_key(
        self, exchange: Exchange, request: ChatRequest, stream: bool, fallbacks: tuple[str, ...], key: ClientKey | None
    ) -> bytes | None:
        config = self._config
        route, upstream = self._relays.find(request.model)
        platform = upstream.platform
        # The key itself, because its name may be given to another key.
        client = "" if key is None or config.cache.shared else client_key(exchange.request.headers).hex()
        source = (platform.id, platform.chat_url, route.upstream)
        options = (config.enable_thinking, config.think_mode, config.zread_repository, fallbacks)
        return cache_key(request.body, stream=stream, parts=(client, *source, *options))


def _permitted(request: ChatRequest, key: ClientKey) -> ChatRequest:
    """Returns the request for a key with a list of models. The body is encoded again, because only the last of
    duplicate fields has been checked.

    Raises ApiError: 403 as OpenAI for a project without access to a model; 400 for other fields that name models.
    """
    if not key.allows(request.model):
        raise ApiError(
            f"the API key {key.name} does not have access to the model {request.model!r}; "
            "GET /v1/models lists those that it has",
            status=403,
            code="model_not_found",
            param="model",
        )
    for name in request.fields:
        if name != "model" and name.lower() in _ALSO_NAME_MODELS:
            raise ApiError(
                f"{name} is not open to an API key that is for certain models: name the model in model",
                code="unsupported_parameter",
                param=name,
            )
    return ChatRequest(_encode(request.fields), request.fields)
