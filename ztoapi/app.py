"""The composition root: the objects of a worker, its routes and the order of its gates."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import httpx

from ztoapi.apis.messages.errors import error_response as messages_errors
from ztoapi.cache.response_cache import make_response_cache
from ztoapi.config.advice import PricedModels
from ztoapi.config.catalogue import Catalogue
from ztoapi.config.certificates import ServerTLS
from ztoapi.config.host import open_files
from ztoapi.config.keys import KeyRing
from ztoapi.config.listen import api_urls, listen_addresses
from ztoapi.config.load import Loaded
from ztoapi.config.model import Config, KeyBudgets, Platform, ServerConfig, UpstreamConfig
from ztoapi.config.prices import Price, price_of
from ztoapi.errors import ApiError
from ztoapi.handlers.chat import ChatHandler
from ztoapi.handlers.completions import CompletionsHandler
from ztoapi.handlers.config import ConfigHandler
from ztoapi.handlers.credentials import CredentialsHandler
from ztoapi.handlers.dashboard import DashboardHandler
from ztoapi.handlers.embeddings import EmbeddingsHandler
from ztoapi.handlers.health import HealthHandler
from ztoapi.handlers.index import IndexHandler
from ztoapi.handlers.keys import KeysHandler
from ztoapi.handlers.messages import MessagesHandler
from ztoapi.handlers.metrics import MetricsHandler
from ztoapi.handlers.models import ModelsHandler
from ztoapi.handlers.passthrough import PassthroughHandler, add_passthrough
from ztoapi.handlers.responses import ResponsesHandler, responses_errors
from ztoapi.handlers.static import STATIC, FileHandler, Page
from ztoapi.handlers.stored_responses import StoredResponsesHandler
from ztoapi.handlers.usage import UsageHandler
from ztoapi.limits.budgets import BudgetLedger, BudgetMemory
from ztoapi.limits.model import Scope
from ztoapi.limits.scopes import Scopes
from ztoapi.limits.shared_limits import LimitsMemory, LocalLimiter, SharedLimits
from ztoapi.middleware.admin import AdminGate
from ztoapi.middleware.admission import Admission
from ztoapi.middleware.auth import Auth
from ztoapi.middleware.coding import check_coding
from ztoapi.middleware.cors import Cors
from ztoapi.middleware.memory import MemoryGuard
from ztoapi.profiling.handler import ProfilingHandler
from ztoapi.relay.budgets import Budgets
from ztoapi.relay.caps import PlatformCaps, cap_scopes
from ztoapi.relay.chat import ChatRelays
from ztoapi.relay.completions import Completions
from ztoapi.relay.native import NativeEndpoints
from ztoapi.relay.prompt_tokens import PromptTokens
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.relay.redaction import redaction_for
from ztoapi.relay.resets import CredentialResets, ResetWatch
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.context import TICK_SECONDS, ServerContext, Verdict
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies
from ztoapi.server.routes import Group
from ztoapi.server.wrong_keys import WrongKeys
from ztoapi.store.response_store import make_response_store
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.checks import Checks, passed_or_warn
from ztoapi.telemetry.figures import BudgetFigures
from ztoapi.telemetry.history import History
from ztoapi.telemetry.messages import MessageLog
from ztoapi.telemetry.processes import resident_bytes
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BoardRecorder
from ztoapi.telemetry.sampler import Sampler
from ztoapi.telemetry.samples import Sample, Source
from ztoapi.upstream.client import Client, NativeClient
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.httpx_client import HttpxClient
from ztoapi.upstream.tls import client_tls
from ztoapi.upstream.transport import ClientTransport
from ztoapi.upstream.tunnel import environment_proxy
from ztoapi.wire.address import read_network

if TYPE_CHECKING:
    from ztoapi.limits.redis_budgets import RedisBudgets
    from ztoapi.limits.redis_limiter import RedisLimiter
    from ztoapi.telemetry.tracing import SpanTracer

__all__ = ["Application", "has_keys_with_budgets", "limits_words", "make_shared_limits"]

_log = logging.getLogger(__name__)
_API: Final = Group.API
"""A global, because looking up a member of an enumeration is slow."""


# Over 250 lines: all parts of the gateway are made and connected in one place.
class Application:
    """The gateway of one worker. ``context`` is passed to the server; ``recorder`` records requests.

    ``keys`` are the client keys in force; a reload replaces them. Several workers share ``limiter`` (see
    :func:`make_shared_limits`), ``telemetry`` and its ``history``; ``slot`` is the number of this worker. Without a
    history file ``history`` is None. ``access_log`` and ``tracer`` belong to this worker. ``sources`` are those of the
    values of ``config``, as in :class:`ztoapi.config.load.Loaded`.
    """

    def __init__(
        self,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        keys: KeyRing | None = None,
        limiter: LocalLimiter | None = None,
        telemetry: MetricsBoard | None = None,
        slot: int = 0,
        history: History | None = None,
        access_log: AccessLog | None = None,
        tracer: "SpanTracer | None" = None,
        messages: MessageLog | None = None,
        server_tls: ServerTLS | None = None,
        resets: CredentialResets | None = None,
        budgets: BudgetMemory | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.keys = keys = keys or KeyRing(config)
        self._loaded = Loaded(config, dict(sources or {}))
        self.telemetry = telemetry = telemetry or MetricsBoard()
        self._slot = telemetry.slot(slot)
        self._history = history
        self._access_log = access_log
        self._tracer = tracer
        self._messages = messages
        readers = [reader.add for reader in (access_log, tracer) if reader is not None]
        self.recorder = BoardRecorder(self._slot, [route.public for route in config.routes], readers, self._price_of)
        self.context = self._make_context(loop, config, server_tls)
        self.client = self._make_client(loop, config.upstream)
        self._control = control = _control_client(self.client, config.upstream)
        clock = self.context.wall_clock
        limiter = limiter or _local_limiter(config)
        self.upstreams = upstreams = self._make_upstreams(config, limiter)
        self.wrong_keys = WrongKeys(config.server.max_wrong_keys_per_minute, time.monotonic_ns)
        auth = self._auth = Auth(keys, clock, self.wrong_keys)
        self.admission = _admission(config.server, loop, auth.is_urgent)
        self.context.cork.load = self.admission.admitted
        self._redis: RedisLimiter | None = None
        self._shared_budgets: RedisBudgets | None = None
        self._budgets = budgets
        self._key_budgets: Budgets | None = None
        cache = self.response_cache = make_response_cache(config, loop)
        self._response_store = make_response_store(config, loop)
        catalogue = self._catalogue = Catalogue(config.models)
        bodies = self.large_bodies = LargeBodies(loop)
        relays = self._relays = ChatRelays(
            config, upstreams, self.client, bodies, control, self.context.next_id, clock, catalogue
        )
        limits = self.rate_limits = self._make_rate_limits(config, limiter, relays)
        self._separate = any(address.admin for address in listen_addresses(config.server))
        self._admin = self._make_admin_gate(config)
        if limit := config.server.worker_max_memory_bytes:
            self.context.deadlines.add(MemoryGuard(limit, partial(resident_bytes, os.getpid()), self.admission.shed))
        self._cors = Cors(config.cors_origins, open=not keys.required)
        self._add_chat_apis(relays, Completions(config, relays, bodies, auth.key_of, limits, cache))
        add_passthrough(self.context.routes, config.platforms, PassthroughHandler(relays, auth.key_of, limits))
        self._add_models(ModelsHandler(config, upstreams, control, clock, auth.key_of, catalogue, relays.find))
        self._add_pages(config)
        self.sampler = self._watch(config, resets or CredentialResets())

    def _make_client(self, loop: asyncio.AbstractEventLoop, upstream: UpstreamConfig) -> Client:
        tls = partial(client_tls, upstream)
        if upstream.transport == "native":
            return NativeClient(
                loop, upstream, self.context.deadlines, tls=tls, cork=self.context.cork, proxy_of=environment_proxy
            )
        return HttpxClient(loop, upstream, tls=tls())

    def _make_admin_gate(self, config: Config) -> AdminGate:
        addresses = listen_addresses(config.server)
        operators = [address for address in addresses if address.admin]
        loopback = all(address.local for address in operators or addresses)
        return AdminGate(config.admin_key, self.wrong_keys, loopback=loopback)

    def _price_of(self, model: str) -> Price | None:
        """Returns the price of a public model; None if it is unknown."""
        route, upstream = self._relays.find(model)
        return price_of(self._catalogue.find(route.upstream, upstream.platform.dialect))

    def _add_chat_apis(self, relays: ChatRelays, completions: Completions) -> None:
        """Adds the routes of the APIs whose requests become chat requests."""
        routes = self.context.routes
        bodies = self.large_bodies
        find = relays.capabilities
        key_of = self._auth.key_of
        next_id = self.context.next_id
        clock = self.context.wall_clock
        native = partial(NativeEndpoints, self.config, relays, key_of, self.rate_limits)
        tokens = PromptTokens()
        chat = ChatHandler(completions, bodies, default_stream=self.config.default_stream)
        messages = MessagesHandler(completions, bodies, native(attrgetter("messages_url")), find, tokens, next_id)
        endpoints = native(attrgetter("responses_url"))
        responses = ResponsesHandler(
            completions, bodies, endpoints, find, tokens, next_id, clock, key_of, self._response_store
        )
        routes.add("/v1/chat/completions", {"POST": chat.handle}, _API)
        legacy = CompletionsHandler(completions, bodies, find, next_id, clock)
        routes.add("/v1/completions", {"POST": legacy.handle}, _API)
        for path, handler in {"": messages.handle, "/count_tokens": messages.handle_count}.items():
            routes.add(f"/v1/messages{path}", {"POST": handler}, _API, errors=messages_errors)
        for path, handler in {"": responses.handle, "/input_tokens": responses.handle_count}.items():
            routes.add(f"/v1/responses{path}", {"POST": handler}, _API, errors=responses_errors)
        embeddings = EmbeddingsHandler(native(attrgetter("embeddings_url")), bodies).handle
        routes.add("/v1/embeddings", {"POST": embeddings}, _API)
        stored = StoredResponsesHandler(self._response_store, key_of)
        routes.add("/v1/responses/compact", {"POST": stored.handle_compact}, _API, listed=False)
        # The longer ones first, because the id takes any characters.
        response_path = "/v1/responses/{id}"
        routes.add(f"{response_path}/input_items", {"GET": stored.handle_items}, _API)
        routes.add(f"{response_path}/cancel", {"POST": stored.handle_cancel}, _API)
        routes.add(response_path, {"GET": stored.handle, "DELETE": stored.handle_delete}, _API)

    def _add_models(self, models: ModelsHandler) -> None:
        """Adds the routes of the models, of the health checks and of the description."""
        routes = self.context.routes
        health = HealthHandler(self.context, self._checks())
        routes.add("/v1/models", {"GET": models.handle_list}, _API)
        routes.add("/v1/models/{id}", {"GET": models.handle_one}, _API)
        routes.add("/health", {"GET": health.handle_health}, Group.PUBLIC)
        routes.add("/livez", {"GET": health.handle_live}, Group.PUBLIC)
        routes.add("/readyz", {"GET": health.handle_ready}, Group.PUBLIC)
        routes.add("/", {"GET": IndexHandler(pages=self.config.dashboard_enabled).handle}, Group.PUBLIC)
        routes.add("/openapi.json", {"GET": FileHandler(STATIC / "openapi.json").handle}, Group.PUBLIC)

    def _make_upstreams(self, config: Config, limiter: LocalLimiter | None) -> dict[str, Upstream]:
        loop = self.context.loop
        clock = self.context.wall_clock
        redaction = redaction_for(config)
        return {
            platform.id: Upstream(platform, loop, config.upstream, clock, redaction, _caps(platform, limiter))
            for platform in config.platforms
        }

    def _add_pages(self, config: Config) -> None:
        """Adds the pages, which contain no secrets."""
        for name in ("docs", "dashboard", "chat") if config.dashboard_enabled else ("docs",):
            page = Page(name)
            for path, handler in page.files.items():
                self.context.routes.add(path, {"GET": handler}, Group.PUBLIC, listed=path not in page.parts)

    def _watch(self, config: Config, resets: CredentialResets) -> Sampler:
        """Takes over this worker's slot of the metrics board, and adds the routes for operators."""
        context = self.context
        board = self.telemetry
        routes = context.routes
        clock = context.wall_clock
        self._slot.take_over(os.getpid(), clock())
        profiling = ProfilingHandler(self._slot.number, STATIC, context.loop, lambda: context.draining)
        for path, handlers in profiling.routes.items():
            # The index lists the others.
            routes.add(path, handlers, Group.ADMIN, listed=path == "/debug/pprof")
        sampler = Sampler(
            self._slot,
            self.recorder,
            self._sources(),
            self._oldest_records,
            tick=TICK_SECONDS,
            clock=clock,
        )
        context.deadlines.add(sampler)
        metrics = MetricsHandler(board, sampler.refresh, clock)
        routes.add("/metrics", {"GET": metrics.handle}, Group.ADMIN)
        watch = ResetWatch(resets, self.upstreams.values())
        context.deadlines.add(watch)
        credentials = CredentialsHandler(board, sampler.refresh, clock, watch)
        routes.add("/admin/credentials", {"GET": credentials.handle_list}, Group.ADMIN)
        routes.add("/admin/credentials/reset", {"POST": credentials.handle_reset}, Group.ADMIN)
        usage = UsageHandler(self._history, sampler.refresh, clock)
        routes.add("/admin/usage", {"GET": usage.handle}, Group.ADMIN)
        routes.add("/admin/config", {"GET": ConfigHandler(self._loaded, self.keys.of_file).handle}, Group.ADMIN)
        priced = PricedModels(config)
        changes = config.admin_key is not None
        keys = KeysHandler(config.key_file, clock, priced.advice, self._budget_figures, changes=changes)
        routes.add("/admin/keys", {"GET": keys.handle_list, "POST": keys.handle_create}, Group.ADMIN)
        routes.add("/admin/keys/rotate", {"POST": keys.handle_rotate}, Group.ADMIN)
        routes.add("/admin/keys/revoke", {"POST": keys.handle_revoke}, Group.ADMIN)
        if config.dashboard_enabled:
            urls = api_urls(config.server)
            dashboard = DashboardHandler(
                board, sampler.refresh, clock, lambda: context.draining, self._history, context.loop, urls
            )
            routes.add("/dashboard/stats", {"GET": dashboard.handle_stats}, Group.ADMIN)
            routes.add("/dashboard/requests", {"GET": dashboard.handle_requests}, Group.ADMIN)
            routes.add("/dashboard/events", {"GET": dashboard.handle_events}, Group.ADMIN)
            routes.add("/dashboard/history", {"GET": dashboard.handle_history}, Group.ADMIN)
        return sampler

    def _make_context(self, loop: asyncio.AbstractEventLoop, config: Config, tls: ServerTLS | None) -> ServerContext:
        return ServerContext(
            loop,
            self._admit,
            limits=config.server,
            recorder=self.recorder,
            tracer=self._tracer,
            trusted_proxies=tuple(map(read_network, config.server.trusted_proxies)),
            forwarded_header=config.server.forwarded_header,
            tls=tls,
        )

    def _make_rate_limits(self, config: Config, limiter: LocalLimiter | None, relays: ChatRelays) -> RateLimits | None:
        scopes = Scopes(config.limits)
        if limiter is None or not (scopes.all() or has_keys_with_budgets(config)):
            return None
        if config.limits.redis_url is not None:
            self._redis = _redis_limiter(config.limits.redis_url.reveal(), scopes, limiter, config)
        if has_keys_with_budgets(config):
            self._key_budgets = self._make_budgets(config)
        budgets = self._key_budgets
        return RateLimits(config, scopes, self._redis or limiter, lambda model: relays.find(model)[0], budgets)

    def _make_budgets(self, config: Config) -> Budgets:
        clock = self.context.wall_clock
        ledger = BudgetLedger(self._budgets or BudgetMemory(), self._slot.number, clock)
        self.context.deadlines.add(ledger)
        if config.limits.redis_url is not None:
            self._shared_budgets = _redis_budgets(config.limits.redis_url.reveal(), ledger, clock, config)
        return Budgets(ledger, config.limits.budget, self._price_of, clock, self._shared_budgets)

    async def _budget_figures(self) -> list[BudgetFigures]:
        return [] if self._key_budgets is None else await self._key_budgets.figures(self.keys.by_name.values())

    async def start(self) -> None:
        """Starts the parts that use the network or a thread. Called before the first request."""
        if self._history is not None:
            self._history.start(self._slot.number)
        if self._access_log is not None:
            self._access_log.start()
        if self._redis is not None:
            await self._redis.start()
        if self._shared_budgets is not None:
            await self._shared_budgets.start()
        if self.response_cache is not None:
            await self.response_cache.start()
        if self._response_store is not None:
            await self._response_store.values.start()

    async def close(self) -> None:
        """Closes everything. A step that fails is logged, and the other steps follow."""
        # All requests have ended.
        self.recorder.publish()
        for step in self._last_steps():
            try:
                await step()
            except Exception:  # noqa: BLE001 - it is logged, and the other steps follow
                _log.exception("a part of the gateway could not be closed")

    def _last_steps(self) -> Iterator[Callable[[], Awaitable[object]]]:
        if self._redis is not None:
            yield self._redis.close
        if self._shared_budgets is not None:
            yield self._shared_budgets.close
        if self.response_cache is not None:
            yield self.response_cache.close
        if self._response_store is not None:
            yield self._response_store.values.close
        yield self.large_bodies.close
        yield self._control.aclose
        yield self.client.close
        if self._history is not None:
            yield partial(asyncio.to_thread, self._history.close)
        if self._access_log is not None:
            # Last, when all requests have ended. It may take a while.
            yield partial(asyncio.to_thread, self._access_log.close)
        if self._tracer is not None:
            yield partial(asyncio.to_thread, self._tracer.close)

    def _admit(self, exchange: Exchange) -> ApiError | Verdict | None:
        """The gates of each group of routes, in their order: the first that refuses wins. The body is not read yet."""
        if self._separate and (fault := self._wrong_address(exchange)) is not None:
            return fault
        notes = exchange.notes
        if notes.generation == self.keys.generation and not self.wrong_keys.addresses:
            # They have admitted a request with this head: 170 opcodes and 10 calls less.
            return self.admission.check(exchange)
        exchange.forget_notes()
        route = notes.route
        if route is None or route.group is _API:
            if exchange.request.method == "OPTIONS":
                return self._cors.check(exchange) or self._choose_handler(exchange)
            refusal = self._cors.check(exchange) or self._auth.check(exchange) or self._choose_handler(exchange)
            if refusal is not None:
                return refusal
            if self._auth.lasting(exchange):
                exchange.keep_notes(self.keys.generation)
            return self.admission.check(exchange)
        if route.group is Group.ADMIN:
            return self._admin.check(exchange) or self._choose_handler(exchange)
        return self._choose_handler(exchange)

    def _wrong_address(self, exchange: Exchange) -> ApiError | None:
        """A gate: with addresses for operators, these serve nothing to clients, and the others nothing to operators."""
        group = Group.PUBLIC if exchange.route is None else exchange.route.group
        if group is Group.PUBLIC or exchange.for_operators == (group is Group.ADMIN):
            return None
        exchange.forget_notes()
        place = "another address (admin in server.listen)" if group is Group.ADMIN else "an address without admin"
        return ApiError(
            f"{exchange.request.path} is served at {place}", status=404, type="invalid_request_error", code="not_found"
        )

    def _choose_handler(self, exchange: Exchange) -> ApiError | None:
        """A gate: chooses the handler, or returns the error 404, 405 or 415."""
        request = exchange.request
        route = exchange.route
        handler = None if route is None else route.handlers.get(request.method)
        if handler is not None:
            exchange.handler = handler
            if b"content-encoding" in request.headers and request.method == "POST":
                return check_coding(exchange)
            return None
        if request.method == "OPTIONS":
            exchange.handler = self._cors.preflight
            return None
        if route is None:
            return self.context.routes.not_found(request.path)
        exchange.extra_headers += b"allow: %b\r\n" % route.allowed.encode("ascii")
        return route.wrong_method(request.path, request.method)

    def _oldest_records(self, count: int) -> list[RequestRecord]:
        return [exchange.record for exchange in self.admission.oldest(count)]

    def _sources(self) -> list[Source]:
        """The sources of sampled metrics: add the ``samples`` of each object that is made here."""
        sources: list[Source] = [self._own_samples, self.client.samples, self.admission.samples]
        sources.append(self.wrong_keys.samples)
        sources += [upstream.samples for upstream in self.upstreams.values()]
        if self.rate_limits is not None:
            sources.append(self.rate_limits.samples)
        if self._key_budgets is not None:
            sources.append(self._key_budgets.samples)
        if self._history is not None:
            sources.append(self._history.samples)
        if self._access_log is not None:
            sources.append(self._access_log.samples)
        if self._messages is not None:
            sources.append(self._messages.samples)
        if self.response_cache is not None:
            sources.append(self.response_cache.samples)
        if self._response_store is not None:
            sources.append(self._response_store.values.samples)
        return sources

    def _own_samples(self) -> Iterator[Sample]:
        yield from self.context.connection_limits.samples()
        yield from self.context.buffers.samples()
        yield from self.context.plain_http.samples()
        if (redis := self._redis) is not None:
            yield Sample("ztoapi_store_up", float(not redis.statistics().away), "redis")
            yield Sample("ztoapi_store_failures", redis.statistics().failures, "redis")

    def _checks(self) -> Checks:
        """Returns the checks of ``/health``."""
        checks: Checks = {f"upstream:{platform}": upstream.check for platform, upstream in self.upstreams.items()}
        output = "it does not answer"
        if (redis := self._redis) is not None:
            checks["redis:limits"] = lambda: passed_or_warn(not redis.statistics().away, output)
        if self.response_cache is not None and (store := self.response_cache.store) is not None:
            checks["redis:cache"] = lambda: passed_or_warn(store.up, output)
        if self.config.responses.store == "redis" and (responses := self._response_store) is not None:
            checks["redis:responses"] = lambda: passed_or_warn(responses.up, output)
        if self._history is not None:
            checks["history:saves"] = self._history.check
        return checks


def has_keys_with_budgets(config: Config) -> bool:
    """Whether client keys may have budgets: those of the key file may get them at any time."""
    return config.key_file is not None or config.limits.budget != KeyBudgets()


def make_shared_limits(config: Config, workers: int = 1, memory: LimitsMemory | None = None) -> SharedLimits:
    """Creates the limits that all workers share; call it before the fork. ``memory`` continues earlier limits."""
    return SharedLimits(_scopes(config), workers, machines=config.limits.gateways, memory=memory)


def limits_words(config: Config, workers: int) -> int:
    """Returns the words of memory for the limits of ``config``."""
    return SharedLimits.words_of(_scopes(config), workers)


def _scopes(config: Config) -> list[Scope]:
    return [*Scopes(config.limits).all(), *cap_scopes(config.platforms)]


def _control_client(client: Client, upstream: UpstreamConfig) -> httpx.AsyncClient:
    """Returns the client for all requests to upstreams except chats. It uses the same connections."""
    timeouts = Timeouts(
        upstream.first_byte_timeout_seconds, upstream.between_bytes_timeout_seconds, upstream.total_timeout_seconds
    )
    return httpx.AsyncClient(
        transport=ClientTransport(client, timeouts, upstream.max_response_bytes),
        timeout=upstream.first_byte_timeout_seconds,
        # No cookie is stored.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


def _local_limiter(config: Config) -> LocalLimiter | None:
    """Returns the limiter of a single worker; None if nothing is limited."""
    counts = Scopes(config.limits).all() or has_keys_with_budgets(config) or cap_scopes(config.platforms)
    return make_shared_limits(config).limiter(0) if counts else None


def _caps(platform: Platform, limiter: LocalLimiter | None) -> PlatformCaps | None:
    return PlatformCaps(platform, limiter) if limiter is not None and cap_scopes([platform]) else None


def _admission(
    server: ServerConfig, loop: asyncio.AbstractEventLoop, is_urgent: Callable[[Exchange], bool]
) -> Admission:
    return Admission(
        loop,
        max_in_flight=server.in_flight_limit(open_files()),
        queued=server.max_queued,
        seconds=server.queue_seconds,
        is_urgent=is_urgent,
    )


def _redis_limiter(url: str, scopes: Scopes, limiter: LocalLimiter, config: Config) -> "RedisLimiter":
    # Most gateways have no Redis, and importing its client takes time and 7 MB.
    from ztoapi.limits.redis_limiter import RedisLimiter

    return RedisLimiter(url, tuple(scopes.all()), limiter, on_store_error=config.limits.on_store_error)


def _redis_budgets(url: str, ledger: BudgetLedger, clock: Callable[[], float], config: Config) -> "RedisBudgets":
    from ztoapi.limits.redis_budgets import RedisBudgets

    limits = config.limits
    return RedisBudgets(url, ledger, clock, limits.gateways, limits.on_store_error)
