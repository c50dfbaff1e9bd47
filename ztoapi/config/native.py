"""The upstreams' own endpoints of the Messages and the Responses API: the options of ``[platforms.NAME]``."""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Final

from ztoapi.config.endpoints import KINDS, read_url, warn_unencrypted
from ztoapi.config.model import PlatformTable
from ztoapi.config.options import Declared, options_of
from ztoapi.config.sources import Problems, Sources
from ztoapi.config.values import convert
from ztoapi.dialects.registry import DIALECTS

__all__ = ["native_urls"]

_ZAI_BASE: Final = re.compile(r"/api(?:/coding)?/paas/v[0-9]+$")
"""The end of Z.ai's base URLs. Its endpoints of other APIs are beside it."""
_ZAI_PATHS: Final = {"messages": "/api/anthropic/v1/messages", "responses": "/api/v1/responses"}
_PATHS: Final = {"messages": "/messages", "responses": "/responses"}


def native_urls(
    sources: Sources, platform: str, base: str, problems: Problems, warnings: list[str]
) -> Mapping[str, str]:
    """Returns the URL of each API whose requests ``platform``, with the base URL ``base``, receives untranslated. The
    keys are fields of ``Platform``."""
    setting = sources.find("platforms")
    tables = None if setting is None else setting.value
    table = tables.get(platform) if isinstance(tables, dict) else None
    urls: dict[str, str] = {}
    if setting is None or not isinstance(table, dict):
        # credentials.py reports values of another type.
        return urls
    options: dict[str, Declared] = {option.name: option for option in options_of(PlatformTable)}
    for api in _PATHS:
        path = f"platforms.{platform}.{api}"
        mode = setting.part(path, table.get(api, "translate"))
        if convert(mode, options[api], problems) != "native":
            continue
        if not DIALECTS[KINDS[platform].dialect].openai_format:
            problems.add(mode.where, f"the platform {platform} has no such endpoint: remove it, or use translate")
            continue
        sources.used(path, mode)
        own = setting.part(f"{path}_url", table.get(f"{api}_url"))
        if own.value is None:
            urls[f"{api}_url"] = _url_below(base, api, zai=DIALECTS[KINDS[platform].dialect].glm)
        elif (parts := read_url(own, problems)) is not None:
            warn_unencrypted(own, parts, warnings)
            sources.used(f"{path}_url", own)
            urls[f"{api}_url"] = urllib.parse.urlunsplit(parts).rstrip("/")
    return urls


def _url_below(base: str, api: str, *, zai: bool) -> str:
    if not zai:
        return base + _PATHS[api]
    if _ZAI_BASE.search(base):
        return _ZAI_BASE.sub("", base) + _ZAI_PATHS[api]
    parts = urllib.parse.urlsplit(base)
    return f"{parts.scheme}://{parts.netloc}{_ZAI_PATHS[api]}"
