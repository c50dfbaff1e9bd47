"""GET /v1/models and /v1/models/{id}: the configured models and those that the upstreams list, with known facts.

The object is OpenAI's, with the names of OpenRouter for facts where it has any. Clients of Anthropic's API, which send
its version, get Anthropic's object. Claude Code offers only models whose names begin with ``claude``, so their list has
each model under such a name too.
https://platform.openai.com/docs/api-reference/models
https://openrouter.ai/docs/api-reference/list-available-models
"""

import asyncio
import datetime
import decimal
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import httpx
import msgspec

from ztoapi.apis.messages.models import ModelInfo, model_list
from ztoapi.config.catalogue import Catalogue, first_day
from ztoapi.config.model import ClientKey, Config, ModelFacts, ModelRoute
from ztoapi.config.routes import CLAUDE_PREFIX
from ztoapi.dialects.lenient import decode_part
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.relay.control import control_call
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.exchange import Exchange
from ztoapi.wire.path import decoded

__all__ = ["ModelsHandler"]

_FRESH_SECONDS: Final = 300.0
"""Lifetime of an upstream's list: models appear a few times a year."""
_FAILED_SECONDS: Final = 15.0
"""Time until a failed list is requested again."""
_TIMEOUT_SECONDS: Final = 5.0
"""Listing models stays fast when an upstream is slow: the configured models are always listed."""

_NEVER_LISTED: Final = (-math.inf, ())

T = TypeVar("T")

_ANTHROPIC_VERSION: Final = b"anthropic-version"

_log = logging.getLogger(__name__)


class _Architecture(msgspec.Struct):
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...] = ("text",)


class _Pricing(msgspec.Struct):
    """US dollars per token, as decimal strings."""

    prompt: str | msgspec.UnsetType
    completion: str | msgspec.UnsetType
    input_cache_read: str | msgspec.UnsetType


class _Model(msgspec.Struct):
    """OpenAI's fields, then the known facts."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = ""
    context_length: int | msgspec.UnsetType = msgspec.UNSET
    max_output_tokens: int | msgspec.UnsetType = msgspec.UNSET
    architecture: _Architecture | msgspec.UnsetType = msgspec.UNSET
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    reasoning_efforts: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    structured_output: bool | msgspec.UnsetType = msgspec.UNSET
    pricing: _Pricing | msgspec.UnsetType = msgspec.UNSET


class _ModelList(msgspec.Struct):
    data: list[_Model]
    object: str = "list"


class _UpstreamModel(msgspec.Struct):
    id: str
    created: int | None = None
    owned_by: str | None = None


class _UpstreamModelList(msgspec.Struct):
    data: list[_UpstreamModel]


class _Loading:
    """A request for the list of an upstream, and the number of clients that wait for it. It is cancelled when the last
    one leaves."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.waiting = 0


_decode = msgspec.json.Decoder(_UpstreamModelList).decode
_encode = msgspec.json.Encoder().encode


class ModelsHandler:
    """``clock`` returns seconds, for the lifetime of lists. ``key_of`` returns the client's key, if any: only models
    that it may use are listed. ``find`` returns the route of a requested model."""

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        key_of: Callable[[Exchange], ClientKey | None],
        catalogue: Catalogue,
        find: Callable[[str], tuple[ModelRoute, Upstream]],
    ) -> None:
        self._find = find
        self._upstreams = upstreams
        self._client = client
        self._clock = clock
        self._key_of = key_of
        self._catalogue = catalogue
        self._configured = [
            _described(
                _Model(route.public, owned_by=route.platform),
                catalogue.find(route.upstream, upstreams[route.platform].platform.dialect),
            )
            for route in config.routes
        ]
        self._listed: dict[str, tuple[float, Sequence[_Model]]] = {}
        """The last list of each platform, and the time until which it is good."""
        self._loading: dict[str, _Loading] = {}

    def handle_list(self, exchange: Exchange) -> None:
        exchange.spawn(self._list(exchange, self._key_of(exchange)))

    def handle_one(self, exchange: Exchange) -> None:
        """Raises ApiError (400) for a broken percent-encoding."""
        assert exchange.route is not None
        try:
            model = decoded(exchange.route.parameter(exchange.request.path))
        except ValueError as error:
            raise ApiError(
                f"the model's name in the path is malformed: {error}", code="invalid_path", param="model"
            ) from error
        exchange.spawn(self._one(exchange, model, self._key_of(exchange)))

    async def _list(self, exchange: Exchange, key: ClientKey | None) -> None:
        models = await self._models(key)
        if _ANTHROPIC_VERSION not in exchange.request.headers:
            exchange.respond(200, _encode(_ModelList(models)))
            return
        infos = [_info(model, model.id) for model in models]
        aliases = [_info(model, _alias(model.id)) for model in models if self._has_alias(model)]
        exchange.respond(200, model_list(infos + aliases))

    async def _one(self, exchange: Exchange, model: str, key: ClientKey | None) -> None:
        names = [model.lower()]
        if names[0].startswith(CLAUDE_PREFIX):
            route, _ = self._find(model)
            names += [route.public.lower(), route.upstream.lower()]
        for entry in await self._models(key):
            if entry.id.lower() in names:
                anthropic = _ANTHROPIC_VERSION in exchange.request.headers
                exchange.respond(200, _encode(_info(entry, model).encoded() if anthropic else entry))
                return
        raise ApiError(
            f"the model {model!r} is not listed; GET /v1/models lists those that are",
            status=404,
            code="model_not_found",
            param="model",
        )

    def _has_alias(self, model: _Model) -> bool:
        """Returns whether the model is served under the alias too."""
        if model.id.startswith(CLAUDE_PREFIX):
            return False
        own = self._find(model.id)[0]
        alias = self._find(_alias(model.id))[0]
        return (own.platform, own.upstream.lower()) == (alias.platform, alias.upstream.lower())

    async def _models(self, key: ClientKey | None) -> list[_Model]:
        now = self._clock()
        stale = [
            upstream
            for name, upstream in self._upstreams.items()
            if upstream.platform.models_url is not None
            and upstream.platform.credentials
            and self._listed.get(name, _NEVER_LISTED)[0] <= now
        ]
        if stale:
            await asyncio.gather(*map(self._load_once, stale))
        models = {model.id.lower(): model for model in self._configured}
        for name in self._upstreams:
            for model in self._listed.get(name, _NEVER_LISTED)[1]:
                models.setdefault(model.id.lower(), model)
        return [model for model in models.values() if key is None or key.allows(model.id)]

    async def _load_once(self, upstream: Upstream) -> None:
        """Loads the list of an upstream, or waits for the request that is in flight."""
        name = upstream.platform.id
        loading = self._loading.get(name)
        if loading is None:
            loading = self._loading[name] = _Loading(asyncio.create_task(self._load(upstream)))
        loading.waiting += 1
        try:
            await asyncio.shield(loading.task)
        finally:
            loading.waiting -= 1
            if not loading.waiting:
                loading.task.cancel()
                del self._loading[name]

    async def _load(self, upstream: Upstream) -> None:
        """Requests the list of an upstream. If that fails, the last known list remains."""
        platform = upstream.platform
        assert platform.models_url is not None
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                response = await control_call(self._client, "GET", platform.models_url, upstream.spare_headers())
            if not response.is_success:
                raise UpstreamError(f"the status is {response.status}")
            listed = decode_part(_decode, response.body, "a list of models").data
        except (TimeoutError, UpstreamError) as error:
            reason = str(error) or f"no response within {_TIMEOUT_SECONDS:g} s"
            _log.warning("the model list of %s is unavailable: %s", platform.id, reason)
            _, models = self._listed.get(platform.id, _NEVER_LISTED)
            self._listed[platform.id] = (self._clock() + _FAILED_SECONDS, models)
            return
        models = [
            _described(
                _Model(model.id, created=model.created or 0, owned_by=model.owned_by or platform.id),
                self._catalogue.find(model.id, platform.dialect),
            )
            for model in listed
        ]
        self._listed[platform.id] = (self._clock() + _FRESH_SECONDS, models)


def _alias(model: str) -> str:
    return CLAUDE_PREFIX + model


def _info(model: _Model, id: str) -> ModelInfo:
    """Returns ``model`` for Anthropic's API, under the name ``id``."""
    return ModelInfo(
        id,
        model.created,
        model.context_length or None,
        model.max_output_tokens or None,
        model.architecture.input_modalities if model.architecture else None,
        model.reasoning_efforts or (),
        model.thinking or None,
        bool(model.structured_output),
    )


def _described(model: _Model, facts: ModelFacts | None) -> _Model:
    """Returns ``model`` with what is known about it."""
    if facts is None:
        return model
    if not model.created and facts.since is not None:
        model.created = _unix_seconds(facts.since)
    model.context_length = _set(facts.context_tokens)
    model.max_output_tokens = _set(facts.max_output_tokens)
    if facts.inputs is not None:
        model.architecture = _Architecture(facts.inputs)
    model.thinking = _set(facts.thinking)
    model.reasoning_efforts = _set(facts.reasoning_efforts)
    model.structured_output = _set(facts.structured_output)
    prices = [_per_token(price) for price in (facts.input_price, facts.output_price, facts.cached_input_price)]
    if any(price is not msgspec.UNSET for price in prices):
        model.pricing = _Pricing(*prices)
    return model


def _set(fact: T | None) -> T | msgspec.UnsetType:
    return msgspec.UNSET if fact is None else fact


def _unix_seconds(since: str) -> int:
    day = first_day(since)
    assert day is not None, "the configuration has been checked"
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp())


def _per_token(price: float | None) -> str | msgspec.UnsetType:
    """Returns the price of one token, given that of a million, without an exponent."""
    if price is None:
        return msgspec.UNSET
    return format((decimal.Decimal(str(price)) / 1_000_000).normalize(), "f")
