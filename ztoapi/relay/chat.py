"""Chats: which upstream receives a request, in which dialect, and which model replaces one that fails.

``completions.py`` decides whether a request is served, and whether from the cache; :class:`ChatRelays` sends it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

import httpx
import msgspec

from ztoapi.apis.native import NativeAPI, NativeRequest, NativeTranslation
from ztoapi.config.catalogue import Catalogue
from ztoapi.config.model import ClientKey, Config, ModelRoute
from ztoapi.config.routes import RouteTable
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.registry import DIALECTS
from ztoapi.dialects.request import MAX_MODEL_CHARACTERS, ChatRequest
from ztoapi.dialects.translate import Translation, TranslationContext
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.relay.options import OnFailure, Prepare, RelayOptions
from ztoapi.relay.passthrough import PassthroughRelay
from ztoapi.relay.relay import Relay
from ztoapi.relay.sessions import session_of
from ztoapi.relay.upstreams import Upstream
from ztoapi.relay.zread import prepare
from ztoapi.server.downstream import Downstream
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies
from ztoapi.server.stream import STALL_SECONDS
from ztoapi.upstream.client import Client
from ztoapi.upstream.connection import Timeouts

__all__ = ["ChatRelays"]

_MAX_TARGETS: Final = 1024
"""Requested models whose targets are kept, about 1 KiB each. Names come from clients; a full map is cleared."""


class _Target(msgspec.Struct, frozen=True):
    """The part of a request's way that depends on nothing but the requested model."""

    route: ModelRoute
    upstream: Upstream
    model: str
    """The upstream's name in lower case."""
    translate: Callable[[ChatRequest, TranslationContext], Translation]
    streamed: TranslationContext
    whole: TranslationContext


class ChatRelays:
    """Shared by all chats of a worker. ``control`` makes the calls that precede a request; ``next_id`` returns unique
    ids; ``clock`` returns Unix seconds."""

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: Client,
        bodies: LargeBodies,
        control: httpx.AsyncClient,
        next_id: Callable[[], str],
        clock: Callable[[], float],
        catalogue: Catalogue,
    ) -> None:
        self.config = config
        self._capabilities = {name: catalogue.capabilities(each.platform.dialect) for name, each in upstreams.items()}
        self._client = client
        self._bodies = bodies
        self._control = control
        self._upstreams = upstreams
        self._routes = RouteTable(config)
        self._targets: dict[str, _Target] = {}
        self._response_id = lambda: f"chatcmpl-{next_id()}"
        self._clock = clock
        upstream = config.upstream
        self.options = RelayOptions(
            max_attempts=upstream.max_tries,
            max_event_bytes=upstream.max_event_bytes,
            max_response_bytes=upstream.max_response_bytes,
            keepalive=config.server.sse_keepalive_seconds,
            keepalive_early=config.server.sse_keepalive_before_first_byte,
            timeouts=Timeouts(
                upstream.first_byte_timeout_seconds,
                upstream.between_bytes_timeout_seconds,
                upstream.total_timeout_seconds,
                min(config.server.sse_keepalive_seconds or STALL_SECONDS, STALL_SECONDS),
            ),
        )
        header = upstream.session_header
        self._session_header = None if header is None else header.lower().encode("ascii")

    def find(self, model: str) -> tuple[ModelRoute, Upstream]:
        """Returns the route of a model, and its upstream."""
        target = self._target(model)
        return target.route, target.upstream

    def capabilities(self, model: str) -> ModelCapabilities:
        """Returns the capabilities of a requested model. A name that is too long, which will be refused, has none."""
        return UNKNOWN if len(model) > MAX_MODEL_CHARACTERS else self._target(model).whole.capabilities

    def fallbacks(self, model: str, key: ClientKey | None) -> tuple[str, ...]:
        """Returns the models that replace a requested model, and that ``key`` may use."""
        models = self.config.fallbacks.get(self.find(model)[0].public.lower(), ())
        return models if key is None else tuple(model for model in models if key.allows(model))

    def send(
        self,
        request: ChatRequest,
        downstream: Downstream,
        stream: bool,
        session: bytes | None,
        fallbacks: tuple[str, ...],
        on_failure: OnFailure | None = None,
        translation: Translation | None = None,
    ) -> None:
        """Sends ``request`` to the upstream of its model, for a stream if ``stream``. ``session`` applies unless the
        request has the session header; the models ``fallbacks`` replace one that fails. ``translation`` is the one of
        :meth:`translator` if that has been called. Raises ApiError if the request is not possible with this
        upstream."""
        if fallbacks:
            send = partial(self._send_renamed, request, downstream, stream, session)
            on_failure = _Fallbacks(send, downstream, fallbacks, self.options.timeouts.total).failed
        model = request.model
        target = self._targets.get(model) or self._target(model)
        upstream = target.upstream
        if translation is None:
            context = self._streamed(target, downstream) if stream else target.whole
            translation = target.translate(request, context)
        calls: Prepare | None = None
        if translation.prepares:
            calls = partial(prepare, self._control, self._clock, upstream.platform.base_url, translation)
        if upstream.has_choice:
            session = self._session(downstream, session)
        record = downstream.record
        record.served_model = model
        record.stream = stream
        Relay(
            downstream,
            self._client,
            self.options,
            upstream,
            translation,
            target.model,
            stream,
            session,
            calls,
            on_failure,
        ).start()

    def translator(self, request: ChatRequest, downstream: Downstream, stream: bool) -> Callable[[], Translation]:
        """Returns the function that translates ``request`` for :meth:`send`. Another thread may call it."""
        target = self._target(request.model)
        context = self._streamed(target, downstream) if stream else target.whole
        return partial(target.translate, request, context)

    @staticmethod
    def _streamed(target: _Target, downstream: Downstream) -> TranslationContext:
        if downstream.loop.time() < target.upstream.no_usage_until:
            return msgspec.structs.replace(target.streamed, count_usage=False)
        return target.streamed

    def send_native(
        self,
        request: NativeRequest,
        api: NativeAPI,
        downstream: Downstream,
        session: bytes | None,
        fallbacks: tuple[str, ...],
        on_failure: OnFailure | None = None,
    ) -> None:
        """Sends ``request`` as it is to the endpoint of ``api`` at the upstream of its model, which must have one. The
        others are as in :meth:`send`."""
        if fallbacks:
            send = partial(self._send_native_renamed, request, api, downstream, session)
            on_failure = _Fallbacks(send, downstream, fallbacks, self.options.timeouts.total).failed
        target = self._target(request.model)
        translation = NativeTranslation(api, request, target.route.upstream)
        if target.upstream.has_choice:
            session = self._session(downstream, session)
        record = downstream.record
        record.served_model = request.model
        record.stream = request.stream
        Relay(
            downstream,
            self._client,
            self.options,
            target.upstream,
            translation,
            target.model,
            request.stream,
            session,
            None,
            on_failure,
        ).start()

    def pass_on(self, exchange: Exchange, platform: str, path: bytes) -> None:
        """Passes a request of ``exchange`` on to ``path`` below the base URL of ``platform``."""
        upstream = self._upstreams[platform]
        session = self._session(exchange, None) if upstream.has_choice else None
        PassthroughRelay(exchange, self._client, upstream, self.options, path, session).start()

    async def _send_renamed(
        self,
        request: ChatRequest,
        downstream: Downstream,
        stream: bool,
        session: bytes | None,
        model: str,
        on_failure: OnFailure,
    ) -> None:
        translation = None
        if request.is_large:
            request = await self._bodies.run(partial(request.renamed, model))
            translation = await self._bodies.run(self.translator(request, downstream, stream))
        else:
            request = request.renamed(model)
        self.send(request, downstream, stream, session, (), on_failure, translation)

    async def _send_native_renamed(
        self,
        request: NativeRequest,
        api: NativeAPI,
        downstream: Downstream,
        session: bytes | None,
        model: str,
        on_failure: OnFailure,
    ) -> None:
        self.send_native(request.renamed(model), api, downstream, session, (), on_failure)

    def _session(self, downstream: Downstream, session: bytes | None) -> bytes | None:
        headers = downstream.request.headers
        value = None if self._session_header is None else headers.get(self._session_header)
        return value or session or session_of(headers)

    def _target(self, model: str) -> _Target:
        target = self._targets.get(model)
        if target is None:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            target = self._targets[model] = self._make_target(model)
        return target

    def _make_target(self, model: str) -> _Target:
        config = self.config
        route = self._routes.find(model)
        upstream = self._upstreams[route.platform]
        name = route.upstream.lower()
        dialect = DIALECTS[upstream.platform.dialect]
        models = self._capabilities[route.platform]
        # Servers append a variant to a model's name, as in glm-4.6:free.
        capabilities = models.get(name) or models.get(name.partition(":")[0], UNKNOWN)
        if config.web_search and dialect.glm:
            capabilities = msgspec.structs.replace(capabilities, web_search=True)
        whole = TranslationContext(
            self._response_id,
            self._clock,
            route.upstream,
            False,
            config.enable_thinking,
            config.think_mode,
            upstream.known_templates,
            repository=config.zread_repository,
            capabilities=capabilities,
        )
        streamed = msgspec.structs.replace(whole, stream=True)
        return _Target(route, upstream, name, dialect.translate, streamed, whole)


class _Send(Protocol):
    """Sends a request to the upstream of another model. Raises ApiError if that is not possible."""

    async def __call__(self, model: str, on_failure: OnFailure) -> None: ...


class _Fallbacks:
    """The ``models`` that replace the one of a request if it fails, in order, within ``seconds`` from the start of the
    request. ``send`` sends the request for one of them; ``downstream`` gets the response."""

    __slots__ = ("_downstream", "_first_error", "_models", "_seconds", "_send")

    def __init__(self, send: _Send, downstream: Downstream, models: tuple[str, ...], seconds: float) -> None:
        self._send = send
        self._downstream = downstream
        self._models = models
        self._seconds = seconds
        self._first_error: UpstreamError | None = None

    def failed(self, error: UpstreamError) -> bool:
        """Sends the request to the next fallback after ``error``. If every fallback fails, the client gets the error of
        the requested model. Returns False if no fallback can help."""
        if self._first_error is None:
            if not error.elsewhere:
                return False
            self._first_error = error
        self._downstream.spawn(self._send_to_next(self._first_error))
        return True

    async def _send_to_next(self, first_error: UpstreamError) -> None:
        while self._models and self._seconds_left() > 0.0:
            model, *others = self._models
            self._models = tuple(others)
            try:
                await self._send(model, self.failed)
            except ApiError:
                # The request is not possible with this model, such as one without a repository for zread.
                continue
            return
        self._downstream.fail(first_error)

    def _seconds_left(self) -> float:
        downstream = self._downstream
        return self._seconds - (downstream.loop.time() - downstream.record.started)
