"""POST /v1/chat/completions."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import httpx
import msgspec

from ztoapi.cache.key import cache_key
from ztoapi.cache.policy import Use, use_of
from ztoapi.cache.response_cache import ResponseCache
from ztoapi.config.model import ClientKey, Config
from ztoapi.config.routes import RouteTable
from ztoapi.dialects import zread_request
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.dialects.translate import (
    OpenAITranslation,
    Translation,
    TranslationContext,
    WebTranslation,
    ZreadTranslation,
)
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.relay.platforms import Upstream
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.relay.relay import Relay
from ztoapi.relay.rules import RelayRules
from ztoapi.relay.zread import prepare
from ztoapi.server.authorization import client_key
from ztoapi.server.downstream import Downstream
from ztoapi.server.exchange import Exchange
from ztoapi.upstream.client import Client
from ztoapi.upstream.connection import Timeouts

__all__ = ["ChatHandler"]

_ALSO_NAME_MODELS: Final = frozenset(("model", "models", "fallbacks"))
"""Fields by which some upstream or other finds a model: Go's JSON decoder takes ``Model`` for ``model``, OpenRouter has
``models``, LiteLLM ``fallbacks``."""

_encode = msgspec.json.Encoder().encode


class ChatHandler:
    """Chooses the upstream, translates, and hands the exchange to a relay.

    ``next_id`` gives unique ids; ``clock`` Unix seconds; ``key_of`` the client's key, None where none is asked for;
    ``limits`` is None where there are none, ``cache`` without a response cache.
    """

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: Client,
        steps: httpx.AsyncClient,
        next_id: Callable[[], str],
        clock: Callable[[], float],
        key_of: Callable[[Exchange], ClientKey | None],
        limits: RateLimits | None,
        cache: ResponseCache | None,
    ) -> None:
        self._config = config
        self._routes = RouteTable(config)
        self._upstreams = upstreams
        self._client = client
        self._steps = steps
        self._answer_id = lambda: f"chatcmpl-{next_id()}"
        self._clock = clock
        self._key_of = key_of
        self._limits = limits
        self._cache = cache
        self._rules = RelayRules(
            max_tries=config.upstream.max_tries,
            max_event_bytes=config.upstream.max_event_bytes,
            max_response_bytes=config.upstream.max_response_bytes,
            keepalive=config.server.sse_keepalive_seconds,
            keepalive_early=config.server.sse_keepalive_before_first_byte,
            timeouts=Timeouts(
                config.upstream.first_byte_timeout_seconds,
                config.upstream.between_bytes_timeout_seconds,
                config.upstream.total_timeout_seconds,
            ),
        )
        session = config.upstream.session_header
        self._session_header = None if session is None else session.lower().encode("ascii")

    def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises ApiError for what is wrong with it."""
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
        others = self._config.fallbacks.get(request.model.lower(), ()) if self._config.fallbacks else ()
        if key is not None and key.models:
            others = tuple(other for other in others if key.allows(other))
        stream = self._config.default_stream if request.stream is None else request.stream
        if self._cache is not None:
            self._serve_cached(self._cache, exchange, request, stream, others, key)
        else:
            self._ask_first(exchange, request, stream, others)

    def _serve_cached(
        self,
        cache: ResponseCache,
        exchange: Exchange,
        request: ChatRequest,
        stream: bool,
        others: tuple[str, ...],
        key: ClientKey | None,
    ) -> None:
        """Answer by way of the response cache."""
        config, headers = self._config, exchange.request.headers
        route = self._routes.find(request.model)
        platform = self._upstreams[route.platform].platform
        # The web services look things up, and take no heed of what would have them say the same again.
        use = use_of(request, headers, repeatable=platform.dialect in ("openai", "zai"))
        key_of_response = None
        if use is not Use.NONE:
            # The key itself, for a name may be given to another one.
            whose = "" if key is None or config.cache.shared else client_key(headers).hex()
            where = (platform.id, platform.chat_url, route.upstream)
            how = (config.enable_thinking, config.think_mode, config.zread_repository, others)
            key_of_response = cache_key(request.body, stream=stream, parts=(whose, *where, *how))
        cache.serve(
            exchange,
            key_of_response,
            use,
            stream=stream,
            send=lambda asker: self._ask_first(asker, request, stream, others),
        )

    def _ask_first(self, exchange: Downstream, request: ChatRequest, stream: bool, others: tuple[str, ...]) -> None:
        # Without fallbacks there is nothing to keep the request for.
        otherwise = partial(self._stand_in, exchange, request, stream, others, None) if others else None
        self._ask(exchange, request, stream, otherwise)

    def _ask(
        self,
        exchange: Downstream,
        request: ChatRequest,
        stream: bool,
        otherwise: Callable[[UpstreamError], bool] | None,
    ) -> None:
        """Ask the model that the request names. Raises ApiError."""
        config = self._config
        route = self._routes.find(request.model)
        upstream = self._upstreams[route.platform]
        dialect = upstream.platform.dialect
        context = TranslationContext(
            self._answer_id, self._clock, route.upstream, stream, config.enable_thinking, config.think_mode
        )
        translation: Translation
        steps = None
        if dialect == "zread":
            target = zread_request.choose(request.fields, route.upstream, config.zread_repository)
            query = zread_request.query(request.fields)
            steps = partial(prepare, self._steps, self._clock, upstream.platform.base_url, query, target)
            translation = ZreadTranslation(request, context, b"")
        elif dialect == "zai_web":
            translation = WebTranslation(request, context)
        else:
            count = exchange.loop.time() >= upstream.no_usage_until
            translation = OpenAITranslation(
                request, context, upstream.known_templates, glm=dialect == "zai", count=count
            )
        exchange.record.served_model = request.model
        session = None if self._session_header is None else exchange.request.headers.get(self._session_header)
        Relay(
            exchange,
            self._client,
            upstream,
            translation,
            self._rules,
            route.upstream,
            stream,
            session,
            steps,
            otherwise,
        ).start()

    def _stand_in(
        self,
        exchange: Downstream,
        request: ChatRequest,
        stream: bool,
        others: tuple[str, ...],
        first: UpstreamError | None,
        error: UpstreamError,
    ) -> bool:
        """Ask the next of ``others`` because of ``error``. When none of them answers, the client gets the ``first``
        error: it is that of the model that it has asked for."""
        if first is None:
            if not error.elsewhere:
                return False
            first = error
        elapsed = exchange.loop.time() - exchange.record.started
        if not others or elapsed >= self._rules.timeouts.total:
            exchange.fail(first)
            return True
        fields = {**request.fields, "model": msgspec.Raw(_encode(others[0]))}
        otherwise = partial(self._stand_in, exchange, request, stream, others[1:], first)
        try:
            self._ask(exchange, ChatRequest(_encode(fields), fields), stream, otherwise)
        except ApiError:
            # The request is not one for this model, such as one without a repository for zread.
            return self._stand_in(exchange, request, stream, others[1:], first, first)
        return True


def _permitted(request: ChatRequest, key: ClientKey) -> ChatRequest:
    """The request as it may go on: written anew, for of a field that stands twice only the last has been looked at.

    Raises ApiError: 403 as OpenAI answers a project that a model is not open to; 400 for other fields that name models.
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
                f"{name} is not open to an API key that is for certain models: name the model in model", param=name
            )
    return ChatRequest(_encode(request.fields), request.fields)
