"""Routes of models: the platform and the upstream model id of each public model name."""

from collections.abc import Mapping
from typing import Final

from ztoapi.config.endpoints import KINDS
from ztoapi.config.model import Config, ModelRoute, RouteSettings
from ztoapi.config.sources import Problems, Setting, Sources
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.values import read_json_object
from ztoapi.dialects.registry import DIALECTS

__all__ = ["CLAUDE_PREFIX", "RouteTable", "read_routes"]

CLAUDE_PREFIX: Final = "claude-"
_LONG_CONTEXT: Final = "[1m]"
"""Claude Code's mark for a context of a million tokens, which it normally cuts off."""
_LIGHT_MODEL: Final = "glm-4.5-air"
"""Z.ai's own choice for Claude's haiku."""


class RouteTable:
    """Finds the route of a model; case is ignored."""

    def __init__(self, config: Config) -> None:
        # The first of equal names wins.
        self._routes = {route.public.lower(): route for route in reversed(config.routes)}
        self._default = next(platform for platform in config.platforms if platform.id == config.default_platform)
        self._tiers = _claude_tiers(config, glm=DIALECTS[self._default.dialect].glm)

    def find(self, model: str) -> ModelRoute:
        """Returns the route of ``model``. A name of Claude's without one has that of its tier. Another model without
        one goes to the default platform: under its own name where the upstream serves many models, otherwise as the
        platform's default model."""
        route = self._routes.get(model.lower())
        if route is not None:
            return route
        if model.lower().startswith(CLAUDE_PREFIX):
            model = self._of_claude(model)
            route = self._routes.get(model.lower())
            if route is not None:
                return route
        return self._unnamed(model)

    def _of_claude(self, model: str) -> str:
        """Returns the model for a name of Claude's. For ``claude-glm-5.3`` it is the rest of the name."""
        rest = model[len(CLAUDE_PREFIX) :].removesuffix(_LONG_CONTEXT)
        name = rest.lower()
        # No name of Claude's has a slash; those of open models usually do.
        if name in self._routes or name.startswith("glm-") or "/" in name:
            return rest
        return next((target for tier, target in self._tiers.items() if tier in name), model)

    def _unnamed(self, model: str) -> ModelRoute:
        upstream = model if DIALECTS[self._default.dialect].keeps_model_names else self._default.default_model
        return ModelRoute(public=model, platform=self._default.id, upstream=upstream)


def _claude_tiers(config: Config, *, glm: bool) -> Mapping[str, str]:
    """Returns the model of each of Claude's tiers. On a server that may have Claude's models itself (``glm`` is false),
    only the configured tiers count. The empty tier is that of all other names."""
    main = config.model_name
    claude = config.claude
    tiers = {"opus": claude.opus, "sonnet": claude.sonnet, "haiku": claude.haiku, "fable": claude.fable}
    configured = {tier: model for tier, model in tiers.items() if model is not None}
    return {**dict.fromkeys(tiers, main), "haiku": _LIGHT_MODEL, **configured, "": main} if glm else configured


class _Routes:
    """Routes by lower-case name; the first of equal names stays."""

    def __init__(self, sources: Sources, models: Mapping[str, str]) -> None:
        self._sources = sources
        self._models = models
        self.by_name: dict[str, ModelRoute] = {}

    def add(self, public: str, platform: str, upstream: str | None, setting: Setting | None) -> bool:
        """Adds a route; returns False if there is one. Without ``upstream`` it is that of an unknown name."""
        if public.lower() in self.by_name:
            return False
        keeps = DIALECTS[KINDS[platform].dialect].keeps_model_names
        model = upstream or (public if keeps else self._models[platform])
        self.by_name[public.lower()] = ModelRoute(public=public, platform=platform, upstream=model)
        self._sources.used(f"routes.{public}", setting)
        return True


def read_routes(
    sources: Sources,
    default: str,
    model_name: str,
    main_model: str | None,
    models: Mapping[str, str],
    problems: Problems,
) -> tuple[ModelRoute, ...]:
    """Returns all routes, that of ``model_name`` first, with ``main_model`` as its upstream id if that is set.

    ``models`` has the default model of each platform.
    """
    routes = _Routes(sources, models)
    _read_platform_map(sources, default, routes, problems)
    _read_id_map(sources, default, routes, problems)
    routes.add(model_name, default, main_model, sources.find("model_name"))
    first = routes.by_name.pop(model_name.lower())
    return (first, *routes.by_name.values())


def _read_platform_map(sources: Sources, default: str, routes: _Routes, problems: Problems) -> None:
    setting = sources.find("model_platform_map")
    if setting is None:
        return
    for public, value in read_json_object(setting, problems, example='{"glm-5.3": "zai"}').items():
        entry: object = {"platform": value} if isinstance(value, str) else value
        if not isinstance(entry, dict) or not entry.keys() <= {*RouteSettings.__struct_fields__}:
            problems.add(setting.where, f"{public!r} must be a platform, or an object of platform, upstream and alias")
            continue
        platform = str(entry.get("platform", default)).strip().lower()
        if platform not in KINDS:
            hint = did_you_mean(platform, KINDS)
            problems.add(setting.where, f"the platform of {public!r} must be one of {', '.join(KINDS)}{hint}")
            continue
        upstream, alias = entry.get("upstream"), entry.get("alias")
        names = [public, *(alias if isinstance(alias, list) else [] if alias is None else [alias])]
        if not all(_is_name(name) for name in names) or not (upstream is None or _is_name(upstream)):
            problems.add(setting.where, f"the names of {public!r} must be non-empty strings")
            continue
        for name in names:
            if not routes.add(name.strip(), platform, upstream, setting):
                problems.add(setting.where, f"{name!r} is a duplicate (case is ignored): remove one")


def _read_id_map(sources: Sources, default: str, routes: _Routes, problems: Problems) -> None:
    setting = sources.find("upstream_model_id_map")
    if setting is None:
        return
    for public, value in read_json_object(setting, problems, example='{"gpt-4o": "glm-5.3"}').items():
        if _is_name(public) and _is_name(value):
            routes.add(public.strip(), default, str(value), setting)
        else:
            problems.add(setting.where, f"{public!r} must be the model id of the upstream, a string")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()
