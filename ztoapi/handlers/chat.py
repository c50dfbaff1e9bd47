"""POST /v1/chat/completions."""

from collections.abc import Callable, Mapping

import httpx

from ztoapi.config.model import Config, ModelRoute
from ztoapi.dialects import zread_request
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.dialects.translate import OpenAITranslation, Terms, Translation, WebTranslation, ZreadTranslation
from ztoapi.relay.platforms import Upstream
from ztoapi.relay.relay import Relay, RelayRules
from ztoapi.relay.zread import prepare
from ztoapi.server.exchange import Exchange
from ztoapi.upstream.client import Client

__all__ = ["ChatHandler"]


class ChatHandler:
    """Chooses the upstream, translates, and hands the exchange to a relay.

    ``next_id`` gives unique ids; ``clock`` Unix seconds.
    """

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: Client,
        steps: httpx.AsyncClient,
        next_id: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._upstreams = upstreams
        self._client = client
        self._steps = steps
        self._next_id = next_id
        self._clock = clock
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
