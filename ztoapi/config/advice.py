"""Warnings about settings that are valid, and probably not meant: the traps of an environment that was made for other
programs, or for another platform."""

import re
import urllib.parse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ztoapi.config.catalogue import Catalogue
from ztoapi.config.model import ClientKey, Config, KeyBudgets, Platform, UpstreamConfig
from ztoapi.config.platforms import Routing
from ztoapi.config.prices import price_of
from ztoapi.config.proxies import proxy_of

__all__ = ["PricedModels", "advice"]

_VERSION: Final = re.compile(r"/v[0-9]")
_OTHER_HOSTS: Final = "openai"
_NAMED: Final = 3
"""Keys or models that a warning lists."""


class PricedModels:
    """Finds models without a price, which a key with a budget in US dollars cannot use."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._catalogue = Catalogue(config.models)
        self._dialects = {platform.id: platform.dialect for platform in config.platforms}

    def advice(self, keys: Iterable[ClientKey]) -> Iterator[str]:
        """Yields the warnings about keys with a budget in US dollars that may use models without a price."""
        keys_of: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for key in keys:
            if not key.revoked and (_in_dollars(key.budgets) or _in_dollars(self._config.limits.budget)):
                keys_of[tuple(self._unpriced(key))].append(key.name)
        for unpriced, names in keys_of.items():
            if unpriced:
                yield (
                    f"{_some(names)}: with a budget in US dollars, requests for models without a price are refused "
                    f"(403 model_not_priced): {_some(unpriced)}. Set input_price and output_price in "
                    f'[models."{unpriced[0]}"]{" and so on" if unpriced[1:] else ""}'
                )

    def _unpriced(self, key: ClientKey) -> Iterator[str]:
        """Yields the upstreams' models without a price that are configured, or named by the key."""
        default = self._config.default_platform
        named = dict.fromkeys(model for model in key.models if "*" not in model)
        upstreams = {model: (model, default) for model in named}
        upstreams |= {
            route.public.lower(): (route.upstream, route.platform)
            for route in self._config.routes
            if key.allows(route.public)
        }
        for model, platform in dict.fromkeys(upstreams.values()):
            if price_of(self._catalogue.find(model, self._dialects[platform])) is None:
                yield model


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _in_dollars(budgets: KeyBudgets) -> bool:
    return budgets.usd_per_day is not None or budgets.usd_per_month is not None


def advice(
    routing: Routing, upstream: UpstreamConfig, origins: Mapping[str, str], environ: Mapping[str, str]
) -> Iterator[str]:
    """Yields the warnings. ``origins`` are the sources of values, by their paths."""
    for platform in routing.platforms:
        yield from _unused_tokens(platform, routing, origins)
        yield from _missing_version(platform, origins)
        proxy = proxy_of(platform.chat_url, environ)
        if upstream.transport == "native" and proxy is not None and not proxy.tunnels:
            yield (
                f"{proxy.variable} (environment): the native transport uses http:// proxies only, and connects to "
                f"{platform.base_url} directly: use --transport httpx for the proxy, or exclude the host with NO_PROXY"
            )


def _unused_tokens(platform: Platform, routing: Routing, origins: Mapping[str, str]) -> Iterator[str]:
    used = platform.passthrough_paths or any(route.platform == platform.id for route in routing.routes)
    where = origins.get(f"platforms.{platform.id}.credentials")
    if platform.id == routing.default_platform or used or where is None:
        return
    default = routing.default_platform
    yield (
        f"{where}: no request uses this token of the platform {platform.id}: the default platform is {default} "
        f"({origins.get('default_platform', 'default')}), and no model is mapped to {platform.id}. Set "
        f"{default.upper()}_TOKEN, PLATFORM_ID={platform.id} or MODEL_PLATFORM_MAP"
    )


def _missing_version(platform: Platform, origins: Mapping[str, str]) -> Iterator[str]:
    path = urllib.parse.urlsplit(platform.base_url).path
    if platform.id == _OTHER_HOSTS and not _VERSION.search(path):
        yield (
            f"{origins[f'platforms.{platform.id}.base_url']}: the path {path} has no version: most servers require a "
            f"base URL such as {platform.base_url}/v1; `ztoapi check --live` tests it"
        )
