"""Platforms and model routes: which upstreams there are, and where they are.

A platform's URL and tokens are its own: nothing of one is ever used for another. UPSTREAM_URL and UPSTREAM_TOKEN
belong to the default platform, which PLATFORM_ID names or the URL's host tells.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from ztoapi.config.credentials import Credentials
from ztoapi.config.endpoints import KINDS, Place, check_place, place_of, platform_of_host
from ztoapi.config.fallbacks import read_fallbacks
from ztoapi.config.model import Credential, ModelRoute, Platform
from ztoapi.config.routes import read_routes
from ztoapi.config.sources import Found, Problems, Sources, did_you_mean
from ztoapi.config.values import read_text

__all__ = ["KEYS", "TABLES", "VARIABLES", "Routing", "read_platforms"]

KEYS: Final = (
    "platform_id",
    "upstream_url",
    "upstream_token",
    "upstream_tokens",
    "platform_token_map",
    "model_name",
    "model_platform_map",
    "upstream_model_id_map",
    "upstream_model_id_default",
    *(f"{platform}_{what}" for platform in KINDS for what in ("token", "tokens", "upstream_url")),
)
VARIABLES: Final = (*(key.upper() for key in KEYS), "MODEL_FALLBACKS")
TABLES: Final = ("platforms", "fallbacks")
"""Tables in TOML that are one value each: credentials by platform, and fallbacks by model."""
_DEFAULT_MODEL: Final = "glm-4.6"


class Routing(NamedTuple):
    """The result: platforms, the default one's id, routes (MODEL_NAME's first), fallbacks by model, warnings."""

    platforms: tuple[Platform, ...]
    default_platform: str
    routes: tuple[ModelRoute, ...]
    fallbacks: Mapping[str, tuple[str, ...]]
    model_name: str
    warnings: tuple[str, ...]


def read_platforms(sources: Sources, problems: Problems, *, allow_coding: bool) -> Routing:
    """Read everything that describes upstreams."""
    default = _default_platform(sources, problems)
    model_name = _text(sources, "model_name", problems, path="model_name") or _DEFAULT_MODEL
    models = {name: kind.model for name, kind in KINDS.items()}
    main_model = _text(sources, "upstream_model_id_default", problems, path=f"platforms.{default}.default_model")
    if main_model is not None:
        models[default] = main_model
    routes = read_routes(sources, default, model_name, main_model, models, problems)
    credentials = Credentials(sources, problems)
    warnings: list[str] = []
    platforms: list[Platform] = []
    for name in [default, *(name for name in KINDS if name != default)]:
        pool = credentials.of_platform(name, default)
        url = _url(sources, name, default)
        named = any(route.platform == name for route in routes)
        if name != default and not named and not pool and url is None:
            continue
        place = _place(name, url, problems)
        if url is not None and place is not None:
            for field in ("base_url", "chat_url", "models_url"):
                sources.used(f"platforms.{name}.{field}", url)
            check_place(name, url, place, allow_coding=allow_coding, problems=problems, warnings=warnings)
        if not pool and name != "openai":
            warnings.append(f"there is no token for the platform {name}: set {name.upper()}_TOKEN")
        if place is not None:
            platforms.append(_platform(name, place, pool or credentials.without_token(name), models[name]))
    fallbacks = read_fallbacks(sources, routes, problems, any_model=KINDS[default].own_names)
    return Routing(tuple(platforms), default, routes, fallbacks, model_name, tuple(warnings))


def _platform(name: str, place: Place, credentials: tuple[Credential, ...], model: str) -> Platform:
    kind = KINDS[name]
    return Platform(
        id=name,
        dialect=kind.dialect,
        base_url=place.base,
        chat_url=place.chat,
        models_url=None if kind.models_path is None else place.base + kind.models_path,
        credentials=credentials,
        default_model=model,
    )


def _text(sources: Sources, key: str, problems: Problems, *, path: str) -> str | None:
    found = sources.find(key, key.upper())
    sources.used(path, found)
    return None if found is None else read_text(found, problems)


def _default_platform(sources: Sources, problems: Problems) -> str:
    found = sources.find("platform_id", "PLATFORM_ID")
    if found is not None:
        name = str(found.value).strip().lower()
        if name in KINDS:
            sources.used("default_platform", found)
            return name
        problems.add(found.where, f"must be one of {', '.join(KINDS)}{did_you_mean(name, KINDS)}")
    url = sources.find("upstream_url", "UPSTREAM_URL")
    if url is None:
        return "zai"
    sources.used("default_platform", url)
    return platform_of_host(str(url.value))


def _url(sources: Sources, name: str, default: str) -> Found | None:
    own = sources.find(f"{name}_upstream_url", f"{name.upper()}_UPSTREAM_URL")
    if own is None and name == default:
        return sources.find("upstream_url", "UPSTREAM_URL")
    return own


def _place(name: str, url: Found | None, problems: Problems) -> Place | None:
    kind = KINDS[name]
    if url is not None:
        return place_of(url, kind, problems)
    if kind.origin:
        base = kind.origin + kind.base_path
        return Place(base, base + kind.chat_path)
    problems.add(
        f"{name.upper()}_UPSTREAM_URL (not set)",
        f"the platform {name} is in use (by PLATFORM_ID, a model or a token) and has no address of its own: give its "
        "server's base URL, such as http://127.0.0.1:8000/v1",
    )
    return None
