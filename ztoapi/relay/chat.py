"""Chats: which upstream receives a request, in which dialect, and which model replaces one that fails.

``completions.py`` decides whether a request is served, and whether from the cache; :class:`ChatRelays` sends it.
"""

from collections.abc import Callable, Mapping
from functools import partial

import httpx
import msgspec

from ztoapi.config.catalogue import Catalogue
from ztoapi.config.model import Config, ModelRoute
from ztoapi.config.routes import RouteTable
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.registry import DIALECTS
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.translate import Translation, TranslationContext
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.relay.options import Prepare, RelayOptions
from ztoapi.relay.relay import Relay
from ztoapi.relay.upstreams import Upstream
from ztoapi.relay.zread import prepare
from ztoapi.server.downstream import Downstream
from ztoapi.upstream.client import Client
from ztoapi.upstream.connection import Timeouts

__all__ = ["Chat", "ChatRelays"]

_encode = msgspec.json.Encoder().encode


class ChatRelays:
    """Shared by all chats of a worker. ``control`` makes the calls that precede a request; ``next_id`` returns unique
    ids; ``clock`` returns Unix seconds."""

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: Client,
        control: httpx.AsyncClient,
        next_id: Callable[[], str],
        clock: Callable[[], float],
        catalogue: Catalogue,
    ) -> None:
        self.config = config
        self._capabilities = {name: catalogue.capabilities(each.platform.dialect) for name, each in upstreams.items()}
        self.client = client
        self._control = control
        self._upstreams = upstreams
        self._routes = RouteTable(config)
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
            ),
        )
        header = upstream.session_header
        self._session_header = None if header is None else header.lower().encode("ascii")

    def find(self, model: str) -> tuple[ModelRoute, Upstream]:
        """Returns the route of a model, and its upstream."""
        route = self._routes.find(model)
        return route, self._upstreams[route.platform]

    def capabilities(self, model: str) -> ModelCapabilities:
        """Returns the capabilities of a requested model."""
        route, _ = self.find(model)
        return self._capabilities[route.platform].get(route.upstream.lower(), UNKNOWN)

    def session(self, downstream: Downstream) -> bytes | None:
        """Returns the value of the session header, if one is configured."""
        return None if self._session_header is None else downstream.request.headers.get(self._session_header)

    def translate(
        self, request: ChatRequest, route: ModelRoute, upstream: Upstream, *, stream: bool, now: float
    ) -> tuple[Translation, Prepare | None]:
        """Returns the translation of ``request``, and the calls that precede it. Raises ApiError if the request is not
        possible with this upstream. ``now`` is the loop's time."""
        config, platform = self.config, upstream.platform
        context = TranslationContext(
            self._response_id,
            self._clock,
            route.upstream,
            stream,
            config.enable_thinking,
            config.think_mode,
            upstream.known_templates,
            now >= upstream.no_usage_until,
            config.zread_repository,
            self._capabilities[route.platform].get(route.upstream.lower(), UNKNOWN),
        )
        translation = DIALECTS[platform.dialect].translate(request, context)
        if not translation.prepares:
            return translation, None
        return translation, partial(prepare, self._control, self._clock, platform.base_url, translation)


class Chat:
    """One chat request: the requested model first, then ``fallbacks``, in order. The client gets a stream if
    ``stream``. ``session`` applies unless the request has the session header."""

    __slots__ = ("_downstream", "_fallbacks", "_first_error", "_relays", "_request", "_session", "_stream")

    def __init__(
        self,
        relays: ChatRelays,
        downstream: Downstream,
        stream: bool,
        fallbacks: tuple[str, ...],
        session: bytes | None = None,
    ) -> None:
        self._relays = relays
        self._session = session
        self._downstream = downstream
        self._stream = stream
        self._fallbacks = fallbacks
        self._first_error: UpstreamError | None = None

    def send(self, request: ChatRequest) -> None:
        """Sends ``request`` to its model. Raises ApiError."""
        self._request = request
        relays, downstream = self._relays, self._downstream
        route, upstream = relays.find(request.model)
        translation, calls = relays.translate(request, route, upstream, stream=self._stream, now=downstream.loop.time())
        downstream.record.served_model = request.model
        Relay(downstream, relays.client, relays.options).start(
            upstream=upstream,
            translation=translation,
            model=route.upstream,
            stream=self._stream,
            session=relays.session(downstream) or self._session,
            prepare=calls,
            # Without fallbacks the relay need not keep the request.
            on_failure=self._failed if self._fallbacks or self._first_error is not None else None,
        )

    def _failed(self, error: UpstreamError) -> bool:
        """Sends the request to the next fallback after ``error``. If every fallback fails, the client gets the error of
        the requested model. Returns False if no fallback can help."""
        if self._first_error is None:
            if not error.elsewhere:
                return False
            self._first_error = error
        downstream = self._downstream
        while self._fallbacks and self._seconds_left() > 0.0:
            model, *others = self._fallbacks
            self._fallbacks = tuple(others)
            fields = {**self._request.fields, "model": msgspec.Raw(_encode(model))}
            try:
                self.send(ChatRequest(_encode(fields), fields))
            except ApiError:
                # The request is not possible with this model, such as one without a repository for zread.
                continue
            return True
        downstream.fail(self._first_error)
        return True

    def _seconds_left(self) -> float:
        downstream = self._downstream
        return self._relays.options.timeouts.total - (downstream.loop.time() - downstream.record.started)
