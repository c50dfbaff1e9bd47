"""Resolves the settings of platforms and models: which platforms are in use, their URLs, credentials and routes.

The URL and the tokens of one platform are never used for another. UPSTREAM_URL and UPSTREAM_TOKEN belong to the default
platform, which is PLATFORM_ID or follows from the host of the URL.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ztoapi.config.credentials import Credentials
from ztoapi.config.endpoints import KINDS, Place, check_place, place_of, platform_of_host
from ztoapi.config.fallbacks import read_fallbacks
from ztoapi.config.model import Config, Credential, ModelRoute, Platform
from ztoapi.config.native import native_urls
from ztoapi.config.passthrough import PassthroughPaths
from ztoapi.config.routes import read_routes
from ztoapi.config.sources import Problems, Setting, Sources
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.values import read_text
from ztoapi.dialects.registry import DIALECTS

__all__ = ["Routing", "read_platforms"]


class Routing(NamedTuple):
    """The platforms in use, the id of the default one, the routes (of ``model_name`` first) and the fallbacks."""

    platforms: tuple[Platform, ...]
    default_platform: str
    routes: tuple[ModelRoute, ...]
    fallbacks: Mapping[str, tuple[str, ...]]
    model_name: str
    warnings: tuple[str, ...]


def read_platforms(sources: Sources, problems: Problems, *, allow_coding: bool) -> Routing:
    """Resolves the platforms in use: the default one, and those with a URL, a token or a model."""
    default = _default_platform(sources, problems)
    model_name = _text(sources, "model_name", problems, path="model_name") or Config().model_name
    models = {name: kind.model for name, kind in KINDS.items()}
    main_model = _text(sources, "upstream_model_id_default", problems, path=f"platforms.{default}.default_model")
    if main_model is not None:
        models[default] = main_model
    routes = read_routes(sources, default, model_name, main_model, models, problems)
    credentials = Credentials(sources, problems)
    passthrough = PassthroughPaths(sources, problems)
    warnings: list[str] = []
    platforms: list[Platform] = []
    for name in [default, *(name for name in KINDS if name != default)]:
        pool = credentials.of_platform(name, default)
        url = _url(sources, name, default)
        is_routed = any(route.platform == name for route in routes)
        if name != default and not is_routed and not pool and url is None:
            continue
        place = _place(name, url, problems)
        if url is not None and place is not None:
            for field in ("base_url", "chat_url", "models_url"):
                sources.used(f"platforms.{name}.{field}", url)
            check_place(name, url, place, allow_coding=allow_coding, problems=problems, warnings=warnings)
        if not pool and not DIALECTS[KINDS[name].dialect].token_optional:
            warnings.append(f"no token for the platform {name}: set {name.upper()}_TOKEN")
        if place is not None:
            native = native_urls(sources, name, place.base, problems, warnings)
            own_credentials = pool or credentials.without_token(name)
            paths = passthrough.of_platform(name)
            platforms.append(_platform(name, place, own_credentials, models[name], native, paths))
    any_model = DIALECTS[KINDS[default].dialect].keeps_model_names
    fallbacks = read_fallbacks(sources, routes, problems, any_model=any_model)
    return Routing(tuple(platforms), default, routes, fallbacks, model_name, tuple(warnings))


def _platform(
    name: str,
    place: Place,
    credentials: tuple[Credential, ...],
    model: str,
    native: Mapping[str, str],
    passthrough_paths: tuple[str, ...],
) -> Platform:
    kind = KINDS[name]
    return Platform(
        id=name,
        dialect=kind.dialect,
        base_url=place.base,
        chat_url=place.chat,
        models_url=None if kind.models_path is None else place.base + kind.models_path,
        credentials=credentials,
        default_model=model,
        messages_url=native.get("messages_url"),
        responses_url=native.get("responses_url"),
        embeddings_url=f"{place.base}/embeddings" if DIALECTS[kind.dialect].openai_format else None,
        passthrough_paths=passthrough_paths,
    )


def _text(sources: Sources, key: str, problems: Problems, *, path: str) -> str | None:
    setting = sources.find(key)
    sources.used(path, setting)
    return None if setting is None else read_text(setting, problems)


def _default_platform(sources: Sources, problems: Problems) -> str:
    setting = sources.find("platform_id")
    if setting is not None:
        name = str(setting.value).strip().lower()
        if name in KINDS:
            sources.used("default_platform", setting)
            return name
        problems.add(setting.where, f"must be one of {', '.join(KINDS)}{did_you_mean(name, KINDS)}")
    url = sources.find("upstream_url")
    if url is None:
        return "zai"
    sources.used("default_platform", url)
    return platform_of_host(str(url.value))


def _url(sources: Sources, name: str, default: str) -> Setting | None:
    own = sources.find(f"{name}_upstream_url")
    return sources.find("upstream_url") if own is None and name == default else own


def _place(name: str, url: Setting | None, problems: Problems) -> Place | None:
    kind = KINDS[name]
    if url is not None:
        return place_of(url, kind, problems)
    if kind.origin:
        base = kind.origin + kind.base_path
        return Place(base, base + kind.chat_path)
    problems.add(
        f"{name.upper()}_UPSTREAM_URL (not set)",
        f"required for the platform {name}, which is in use (by PLATFORM_ID, a model or a token): set the base URL of "
        "the server, such as http://127.0.0.1:8000/v1",
    )
    return None
