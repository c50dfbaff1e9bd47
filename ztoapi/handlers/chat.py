"""POST /v1/chat/completions."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import httpx
import msgspec

from ztoapi.config.model import ClientKey, Config, ModelRoute
from ztoapi.dialects import zread_request
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.dialects.translate import OpenAITranslation, Terms, Translation, WebTranslation, ZreadTranslation
from ztoapi.errors import ApiError
from ztoapi.relay.platforms import Upstream
from ztoapi.relay.relay import Relay, RelayRules
from ztoapi.relay.zread import prepare
from ztoapi.server.exchange import Exchange
from ztoapi.upstream.client import Client

__all__ = ["ChatHandler"]

_ALSO_NAME_MODELS: Final = frozenset(("model", "models", "fallbacks"))
"""Fields by which some upstream or other finds a model: Go's JSON decoder takes ``Model`` for ``model``, OpenRouter has
``models``, LiteLLM ``fallbacks``."""

_encode = msgspec.json.Encoder().encode


class Limits(Protocol):
    """Who decides whether a request may be served now."""

    def enter(self, exchange: Exchange, key: ClientKey | None, request: ChatRequest) -> bool:
        """False: the decision takes :meth:`wait_to_enter`. Raises ApiError."""
        ...

    async def wait_to_enter(self, exchange: Exchange, key: ClientKey | None, request: ChatRequest) -> None: ...


class ChatHandler:
    """Chooses the upstream, translates, and hands the exchange to a relay.

    ``next_id`` gives unique ids; ``clock`` Unix seconds; ``key_of`` the client's key, None where none is asked for;
    ``limits`` is None where there are none.
    """

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: Client,
        steps: httpx.AsyncClient,
        next_id: Callable[[], bytes],
        clock: Callable[[], float],
        key_of: Callable[[Exchange], ClientKey | None],
        limits: Limits | None,
    ) -> None:
        self._config = config
        self._upstreams = upstreams
        self._client = client
        self._steps = steps
        self._next_id = next_id
        self._clock = clock
        self._key_of = key_of
        self._limits = limits
        self._rules = RelayRules(
            max_tries=config.upstream.max_tries,
            max_event_bytes=config.upstream.max_event_bytes,
            max_response_bytes=config.upstream.max_response_bytes,
            keepalive=config.server.sse_keepalive_seconds,
            keepalive_early=config.server.sse_keepalive_before_first_byte,
        )

    def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises ApiError for what is wrong with it."""
        request = decode_request(exchange.request.body)
        exchange.record.model = request.model
        key = self._key_of(exchange)
        if key is not None and key.models:
            request = _permitted(request, key)
        if self._limits is None or self._limits.enter(exchange, key, request):
            self._begin(exchange, request)
        else:
            exchange.spawn(self._wait_to_enter(self._limits, exchange, key, request))

    async def _wait_to_enter(
        self, limits: Limits, exchange: Exchange, key: ClientKey | None, request: ChatRequest
    ) -> None:
        await limits.wait_to_enter(exchange, key, request)
        self._begin(exchange, request)

    def _begin(self, exchange: Exchange, request: ChatRequest) -> None:
        stream = self._config.default_stream if request.stream is None else request.stream
        route = self._config.route(request.model)
        upstream = self._upstreams[route.platform]
        terms = self._terms(route, stream)
        if upstream.platform.dialect == "zread":
            exchange.record.stream = stream
            exchange.spawn(self._ask_zread(exchange, request, upstream, terms))
            return
        translation: Translation
        if upstream.platform.dialect == "zai_web":
            translation = WebTranslation(request, terms)
        else:
            translation = OpenAITranslation(
                request, terms, upstream.known_forms, glm=upstream.platform.dialect == "zai"
            )
        Relay(exchange, self._client, upstream, translation, self._rules, stream=stream).start()

    def _terms(self, route: ModelRoute, stream: bool) -> Terms:
        config = self._config
        return Terms(
            f"chatcmpl-{self._next_id().decode('ascii')}",
            self._clock(),
            route.upstream,
            stream,
            config.enable_thinking,
            config.think_mode,
        )

    async def _ask_zread(self, exchange: Exchange, request: ChatRequest, upstream: Upstream, terms: Terms) -> None:
        target = zread_request.choose(request.fields, terms.upstream_model, self._config.zread_repository)
        path, body = await prepare(self._steps, upstream, request, target)
        translation = ZreadTranslation(request, terms, body)
        Relay(exchange, self._client, upstream, translation, self._rules, stream=terms.stream, path=path).start()


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
