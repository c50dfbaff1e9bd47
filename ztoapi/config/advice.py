"""Warnings about settings that are valid, and probably not meant: the traps of an environment that was made for other
programs, or for another platform."""

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Final

from ztoapi.config.model import Platform, UpstreamConfig
from ztoapi.config.platforms import Routing
from ztoapi.config.proxies import proxy_of

__all__ = ["advice"]

_VERSION: Final = re.compile(r"/v[0-9]")
_OTHER_HOSTS: Final = "openai"


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
