"""Platforms and model routes: which upstreams there are, where they are, whose tokens they have.

A platform's URL and tokens are its own: nothing of one is ever used for another. UPSTREAM_URL and UPSTREAM_TOKEN
belong to the default platform, which PLATFORM_ID names or the URL's host tells.
"""

from typing import Final, NamedTuple

from ztoapi.config.endpoints import KINDS, Place, check_place, place_of, platform_of_host
from ztoapi.config.model import ModelRoute, Platform, Secret
from ztoapi.config.routes import read_routes
from ztoapi.config.sources import Found, Problems, Sources, did_you_mean
from ztoapi.config.values import read_json_object, read_list, read_text

__all__ = ["KEYS", "VARIABLES", "Upstreams", "read_upstreams"]

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
VARIABLES: Final = tuple(key.upper() for key in KEYS)
_DEFAULT_MODEL: Final = "glm-4.6"


class Upstreams(NamedTuple):
    """The result: platforms, the default one's id, routes (MODEL_NAME's first), warnings."""

    platforms: tuple[Platform, ...]
    default_platform: str
    routes: tuple[ModelRoute, ...]
    model_name: str
    warnings: tuple[str, ...]


def read_upstreams(sources: Sources, problems: Problems, *, allow_coding: bool) -> Upstreams:
    """Read everything that describes upstreams."""
    default = _default_platform(sources, problems)
    model_name = _text(sources, "model_name", problems, path="model_name") or _DEFAULT_MODEL
    models = {name: kind.model for name, kind in KINDS.items()}
    main_model = _text(sources, "upstream_model_id_default", problems, path=f"platforms.{default}.default_model")
    if main_model is not None:
        models[default] = main_model
    routes = read_routes(sources, default, model_name, main_model, models, problems)
    mapped = _token_map(sources, problems)
    warnings: list[str] = []
    platforms: list[Platform] = []
    for name in [default, *(name for name in KINDS if name != default)]:
        tokens = _tokens(sources, name, default, mapped.get(name, []), problems)
        url = _url(sources, name, default)
        named = any(route.platform == name for route in routes)
        if name != default and not named and not tokens and url is None:
            continue
        place = _place(name, url, problems)
        if url is not None and place is not None:
            for field in ("base_url", "chat_url", "models_url"):
                sources.used(f"platforms.{name}.{field}", url)
            check_place(name, url, place, allow_coding=allow_coding, problems=problems, warnings=warnings)
        if not tokens and name != "openai":
            warnings.append(f"there is no token for the platform {name}: set {name.upper()}_TOKEN")
        if place is not None:
            platforms.append(_platform(name, place, tokens, models[name]))
    return Upstreams(tuple(platforms), default, routes, model_name, tuple(warnings))


def _platform(name: str, place: Place, tokens: tuple[Secret, ...], model: str) -> Platform:
    kind = KINDS[name]
    return Platform(
        id=name,
        dialect=kind.dialect,
        base_url=place.base,
        chat_url=place.chat,
        models_url=None if kind.models_path is None else place.base + kind.models_path,
        tokens=tokens,
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


def _tokens(sources: Sources, name: str, default: str, mapped: list[Found], problems: Problems) -> tuple[Secret, ...]:
    """The pool of one platform: every place that names it, in the order of precedence, each token once."""
    found: list[Found | None] = []
    if name == default:
        found += [sources.find("upstream_token", "UPSTREAM_TOKEN"), sources.find("upstream_tokens", "UPSTREAM_TOKENS")]
    # ZAI_TOKEN meant the web platform in the project before this one; there it goes if that is the default.
    owner = "zai_web" if default == "zai_web" else "zai"
    for other in KINDS:
        if (owner if other == "zai" else other) == name:
            found += [
                sources.find(f"{other}_{what}", f"{other.upper()}_{what.upper()}") for what in ("token", "tokens")
            ]
    values: list[str] = []
    for one in [*found, *mapped]:
        if one is None:
            continue
        tokens = read_list(one, problems)
        if any(not token.isascii() or not token.isprintable() or " " in token for token in tokens):
            problems.add(one.where, "a token holds a character that no token has; copy it again, whole")
        sources.used(f"platforms.{name}.tokens", one)
        values += tokens
    return tuple(Secret(value) for value in dict.fromkeys(values))


def _token_map(sources: Sources, problems: Problems) -> dict[str, list[Found]]:
    """PLATFORM_TOKEN_MAP by platform. Its keys are never shown: who mixes up the two sides has tokens there."""
    found = sources.find("platform_token_map", "PLATFORM_TOKEN_MAP")
    if found is None:
        return {}
    mapped: dict[str, list[Found]] = {}
    entries = read_json_object(found, problems, example='{"zai": ["TOKEN", "TOKEN"]}')
    for number, (key, value) in enumerate(entries.items(), 1):
        name = key.strip().lower()
        if name in KINDS:
            mapped.setdefault(name, []).append(found._replace(value=value))
        else:
            hint = did_you_mean(name, KINDS)
            problems.add(found.where, f"the key of entry {number} must be one of {', '.join(KINDS)}{hint}")
    return mapped
