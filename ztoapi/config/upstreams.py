"""Platforms and model routes: which upstreams there are, where they are, whose tokens they have.

A platform's URL and tokens are its own: nothing of one is ever used for another. UPSTREAM_URL and UPSTREAM_TOKEN
belong to the default platform, which PLATFORM_ID names or the URL's host tells.
"""

import urllib.parse
from collections.abc import Mapping
from typing import Final, NamedTuple

from ztoapi.config.model import DialectName, ModelRoute, Platform, Secret
from ztoapi.config.sources import Found, Problems, Sources
from ztoapi.config.values import convert, read_json_object, split_list

__all__ = ["KEYS", "VARIABLES", "Upstreams", "read_upstreams"]


class _Kind(NamedTuple):
    """What is known of a platform without any configuration. Paths begin at the base URL."""

    dialect: DialectName
    origin: str
    base_path: str
    chat_path: str
    models_path: str | None
    model: str


_KINDS: Final[Mapping[str, _Kind]] = {
    # The official general endpoint; the coding endpoint has a policy of its own and is never a default.
    "zai": _Kind("zai", "https://api.z.ai", "/api/paas/v4", "/chat/completions", "/models", "glm-4.6"),
    "zai_web": _Kind("zai_web", "https://chat.z.ai", "", "/api/chat/completions", "/api/models", "0727-360B-API"),
    "zread": _Kind("zread", "https://zread.ai", "/api/v1", "/talk", None, "glm-4.5"),
    "openai": _Kind("openai", "", "/v1", "/chat/completions", "/models", "glm-4.6"),
}
_HOSTS: Final = {
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zai",
    "chat.z.ai": "zai_web",
    "zread.ai": "zread",
    "www.zread.ai": "zread",
}
_CODING_WARNING: Final = (
    "the coding endpoint is for the tools that Z.ai lists (https://docs.z.ai/devpack/usage-policy): other use may get "
    "the plan suspended"
)

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
    "allow_coding_endpoint",
    *(f"{platform}_{what}" for platform in _KINDS for what in ("token", "tokens", "upstream_url")),
)
VARIABLES: Final = (*(key.upper() for key in KEYS if key != "allow_coding_endpoint"), "ZTOAPI_ALLOW_CODING_ENDPOINT")


class Upstreams(NamedTuple):
    """The result: platforms, the default one's id, routes (MODEL_NAME's first), warnings."""

    platforms: tuple[Platform, ...]
    default_platform: str
    routes: tuple[ModelRoute, ...]
    model_name: str
    warnings: tuple[str, ...]


def read_upstreams(sources: Sources, problems: Problems) -> Upstreams:
    """Read everything that describes upstreams."""
    default = _default_platform(sources, problems)
    model_name = _text(sources, "model_name") or "glm-4.6"
    routes = _routes(sources, default, model_name, problems)
    tokens = {name: _tokens(sources, name, default, problems) for name in _KINDS}
    warnings: list[str] = []
    platforms: list[Platform] = []
    for name in [default, *(name for name in _KINDS if name != default)]:
        named = any(route.platform == name for route in routes)
        url = sources.find(f"{name}_upstream_url", f"{name.upper()}_UPSTREAM_URL")
        if url is None and name == default:
            url = sources.find("upstream_url", "UPSTREAM_URL")
        if name != default and not named and not tokens[name] and url is None:
            continue
        platform = _platform(name, url, tokens[name], sources, problems, warnings)
        if platform is not None:
            platforms.append(platform)
    return Upstreams(tuple(platforms), default, routes, model_name, tuple(warnings))


def _text(sources: Sources, key: str) -> str | None:
    found = sources.find(key, key.upper())
    return None if found is None else str(found.value).strip()


def _default_platform(sources: Sources, problems: Problems) -> str:
    found = sources.find("platform_id", "PLATFORM_ID")
    if found is not None:
        name = str(found.value).strip().lower()
        if name in _KINDS:
            return name
        problems.add(found.where, f"must be one of {', '.join(_KINDS)}")
    url = sources.find("upstream_url", "UPSTREAM_URL")
    if url is None:
        return "zai"
    return _HOSTS.get(urllib.parse.urlsplit(str(url.value).strip()).hostname or "", "openai")


def _platform(
    name: str,
    url: Found | None,
    tokens: tuple[Secret, ...],
    sources: Sources,
    problems: Problems,
    warnings: list[str],
) -> Platform | None:
    kind = _KINDS[name]
    if url is None and not kind.origin:
        problems.add(f"{name.upper()}_UPSTREAM_URL", "is needed for the platform openai: give the server's base URL")
        return None
    base = kind.origin + kind.base_path
    chat = base + kind.chat_path
    if url is not None:
        place = _place(url, kind, problems)
        if place is None:
            return None
        base, chat = place
        _check_coding(url, base, sources, problems, warnings)
        _check_clear_text(url, base, warnings)
    if not tokens and kind.dialect != "openai":
        warnings.append(f"there is no token for the platform {name}: set {name.upper()}_TOKEN")
    return Platform(
        id=name,
        dialect=kind.dialect,
        base_url=base,
        chat_url=chat,
        models_url=None if kind.models_path is None else base + kind.models_path,
        tokens=tokens,
        default_model=_text(sources, "upstream_model_id_default") or kind.model,
    )


def _place(url: Found, kind: _Kind, problems: Problems) -> tuple[str, str] | None:
    """Base and chat URL, from either; None after a problem."""
    text = str(url.value).strip()
    parts = urllib.parse.urlsplit(text)
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        problems.add(url.where, "must be an http:// or https:// URL with a host")
        return None
    if parts.username is not None or parts.query or parts.fragment or not text.isascii():
        problems.add(url.where, "must not hold credentials, a query or a fragment; tokens have variables of their own")
        return None
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    if kind.dialect == "zai_web":
        # The web application has moved its chat path before: a whole chat URL is taken as it is.
        return origin, origin + (path if path.endswith("/chat/completions") else kind.chat_path)
    path = path.removesuffix(kind.chat_path) or kind.base_path
    return origin + path, origin + path + kind.chat_path


def _check_coding(url: Found, base: str, sources: Sources, problems: Problems, warnings: list[str]) -> None:
    if "/api/coding/" not in base:
        return
    allowed = sources.find("allow_coding_endpoint", "ZTOAPI_ALLOW_CODING_ENDPOINT")
    if allowed is not None and convert(allowed, "allow_coding_endpoint", bool, problems):
        warnings.append(_CODING_WARNING)
    else:
        problems.add(
            url.where,
            f"names the coding endpoint; {_CODING_WARNING}; to use it all the same set "
            "ZTOAPI_ALLOW_CODING_ENDPOINT=true, else use https://api.z.ai/api/paas/v4",
        )


def _check_clear_text(url: Found, base: str, warnings: list[str]) -> None:
    parts = urllib.parse.urlsplit(base)
    host = parts.hostname or ""
    if parts.scheme == "http" and host != "localhost" and not host.startswith("127.") and host != "::1":
        warnings.append(f"{url.where}: http:// sends tokens and conversations unencrypted")


def _tokens(sources: Sources, name: str, default: str, problems: Problems) -> tuple[Secret, ...]:
    """The pool of one platform: every place that names it, in the order of precedence, each token once."""
    found: list[Found | None] = []
    if name == default:
        found += [sources.find("upstream_token", "UPSTREAM_TOKEN"), sources.find("upstream_tokens", "UPSTREAM_TOKENS")]
    # ZAI_TOKEN meant the web platform in the project before this one; there it goes if that is the default.
    owner = "zai_web" if default == "zai_web" else "zai"
    for other in _KINDS:
        if (owner if other == "zai" else other) == name:
            found += [
                sources.find(f"{other}_{what}", f"{other.upper()}_{what.upper()}") for what in ("token", "tokens")
            ]
    values: list[str] = []
    for one in found:
        if one is not None:
            values += split_list("|".join(map(str, one.value)) if isinstance(one.value, list) else str(one.value))
    mapped = sources.find("platform_token_map", "PLATFORM_TOKEN_MAP")
    if mapped is not None:
        value = read_json_object(mapped, problems).get(name)
        if isinstance(value, list):
            values += [str(one) for one in value]
        elif isinstance(value, str):
            values += split_list(value)
        elif value is not None:
            problems.add(mapped.where, f"the entry of {name} must be a token or a list of tokens")
    if any(not value.isascii() or not value.isprintable() or " " in value for value in values):
        problems.add(f"a token of the platform {name}", "holds a character that no token has; was it copied whole?")
        return ()
    return tuple(Secret(value) for value in dict.fromkeys(values))


def _routes(sources: Sources, default: str, model_name: str, problems: Problems) -> tuple[ModelRoute, ...]:
    routes: dict[str, ModelRoute] = {}

    def add(public: str, platform: str, upstream: str | None) -> None:
        kind = _KINDS[platform]
        own_name = kind.dialect in ("openai", "zai")
        model = upstream or (public if own_name else kind.model)
        routes.setdefault(public.lower(), ModelRoute(public=public, platform=platform, upstream=model))

    mapped = sources.find("model_platform_map", "MODEL_PLATFORM_MAP")
    for public, value in (read_json_object(mapped, problems) if mapped is not None else {}).items():
        assert mapped is not None
        entry = {"platform": value} if isinstance(value, str) else value
        platform = str(entry.get("platform", default)) if isinstance(entry, dict) else ""
        if (
            not isinstance(entry, dict)
            or platform not in _KINDS
            or not entry.keys() <= {"platform", "upstream", "alias"}
        ):
            known = ", ".join(_KINDS)
            problems.add(mapped.where, f"{public}: must be a platform ({known}) or {{platform, upstream, alias}}")
            continue
        for name in (public, entry.get("alias")):
            if name:
                add(str(name), platform, str(entry["upstream"]) if entry.get("upstream") else None)
    legacy = sources.find("upstream_model_id_map", "UPSTREAM_MODEL_ID_MAP")
    for public, value in (read_json_object(legacy, problems) if legacy is not None else {}).items():
        if isinstance(value, str) and value:
            add(public, default, value)
        elif legacy is not None:
            problems.add(legacy.where, f"{public}: must be the upstream's id of the model")
    add(model_name, default, _text(sources, "upstream_model_id_default"))
    first = routes.pop(model_name.lower())
    return (first, *routes.values())
