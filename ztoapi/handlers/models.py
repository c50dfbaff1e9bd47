"""GET /v1/models and /v1/models/{id}: what is configured, and what the upstreams list.

https://platform.openai.com/docs/api-reference/models
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

import httpx
import msgspec

from ztoapi.config.model import ClientKey, Config
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.exchange import Exchange
from ztoapi.wire.path import decoded

__all__ = ["ModelsHandler"]

_FRESH_SECONDS: Final = 300.0
"""How long an upstream's list is used: models appear a few times a year."""
_FAILED_SECONDS: Final = 15.0
"""How long a list that could not be had is not asked for again."""
_TIMEOUT_SECONDS: Final = 5.0
"""Listing models must stay quick when an upstream is not: the configured ones are known anyway."""

_log = logging.getLogger(__name__)


class _Model(msgspec.Struct):
    id: str
    object: str = "model"
    created: int | None = 0
    owned_by: str | None = None


class _ModelList(msgspec.Struct):
    data: list[_Model]
    object: str = "list"


_decode = msgspec.json.Decoder(_ModelList).decode
_encode = msgspec.json.Encoder().encode


class ModelsHandler:
    """``clock`` gives seconds; they only ever age the cache. ``key_of`` tells the client's key, if any: what it may
    not use is not listed for it."""

    def __init__(
        self,
        config: Config,
        upstreams: Mapping[str, Upstream],
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        key_of: Callable[[Exchange], ClientKey | None],
    ) -> None:
        self._upstreams = upstreams
        self._client = client
        self._clock = clock
        self._key_of = key_of
        self._configured = [_Model(route.public, owned_by=route.platform) for route in config.routes]
        self._listed: dict[str, tuple[float, list[_Model]]] = {}

    def handle_list(self, exchange: Exchange) -> None:
        exchange.spawn(self._list(exchange, self._key_of(exchange)))

    def handle_one(self, exchange: Exchange) -> None:
        """Raises ApiError (400) for a broken percent-encoding."""
        assert exchange.route is not None
        try:
            model = decoded(exchange.route.parameter(exchange.request.path))
        except ValueError as error:
            raise ApiError(f"the model's name in the path is malformed: {error}", param="model") from error
        exchange.spawn(self._one(exchange, model, self._key_of(exchange)))

    async def _list(self, exchange: Exchange, key: ClientKey | None) -> None:
        exchange.respond(200, _encode(_ModelList(await self._models(key))))

    async def _one(self, exchange: Exchange, model: str, key: ClientKey | None) -> None:
        for known in await self._models(key):
            if known.id.lower() == model.lower():
                exchange.respond(200, _encode(known))
                return
        raise ApiError(
            f"the model {model!r} is not listed; GET /v1/models lists those that are",
            status=404,
            code="model_not_found",
            param="model",
        )

    async def _models(self, key: ClientKey | None) -> list[_Model]:
        models = {model.id.lower(): model for model in self._configured}
        for upstream in self._upstreams.values():
            for model in await self._upstream_models(upstream):
                models.setdefault(model.id.lower(), model)
        return [model for model in models.values() if key is None or key.allows(model.id)]

    async def _upstream_models(self, upstream: Upstream) -> list[_Model]:
        platform = upstream.platform
        if platform.models_url is None or not platform.credentials:
            return []
        good_until, models = self._listed.get(platform.id, (0.0, []))
        if self._clock() < good_until:
            return models
        try:
            response = await self._client.get(
                platform.models_url, headers=upstream.spare_headers(), timeout=_TIMEOUT_SECONDS
            )
            response.raise_for_status()
            models = _decode(response.content).data
        except (httpx.HTTPError, UpstreamError, msgspec.DecodeError) as error:
            _log.warning("the model list of %s cannot be had: %s", platform.id, error)
            self._listed[platform.id] = (self._clock() + _FAILED_SECONDS, models)
            return models
        for model in models:
            model.created = model.created or 0
            model.owned_by = model.owned_by or platform.id
        self._listed[platform.id] = (self._clock() + _FRESH_SECONDS, models)
        return models
