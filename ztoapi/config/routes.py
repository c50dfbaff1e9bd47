"""Which public model names there are, and where each of them goes."""

from collections.abc import Mapping

from ztoapi.config.endpoints import KINDS
from ztoapi.config.model import ModelRoute
from ztoapi.config.sources import Found, Problems, Sources, did_you_mean
from ztoapi.config.values import read_json_object

__all__ = ["read_routes"]

_FIELDS = frozenset(("platform", "upstream", "alias"))


class _Routes:
    """Routes by name without regard to case: where a name is given twice the first stays."""

    def __init__(self, sources: Sources, models: Mapping[str, str]) -> None:
        self._sources = sources
        self._models = models
        self.by_name: dict[str, ModelRoute] = {}

    def add(self, public: str, platform: str, upstream: str | None, found: Found | None) -> bool:
        """Add a route unless there is one; without ``upstream`` the platform's way with unknown names decides."""
        if public.lower() in self.by_name:
            return False
        model = upstream or (public if KINDS[platform].own_names else self._models[platform])
        self.by_name[public.lower()] = ModelRoute(public=public, platform=platform, upstream=model)
        self._sources.used(f"routes.{public}", found)
        return True


def read_routes(
    sources: Sources,
    default: str,
    model_name: str,
    main_model: str | None,
    models: Mapping[str, str],
    problems: Problems,
) -> tuple[ModelRoute, ...]:
    """All routes, that of ``model_name`` first, whose upstream id is ``main_model`` if that is given.

    ``models`` has each platform's default model.
    """
    routes = _Routes(sources, models)
    _read_platform_map(sources, default, routes, problems)
    _read_legacy_map(sources, default, routes, problems)
    routes.add(model_name, default, main_model, sources.find("model_name", "MODEL_NAME"))
    first = routes.by_name.pop(model_name.lower())
    return (first, *routes.by_name.values())


def _read_platform_map(sources: Sources, default: str, routes: _Routes, problems: Problems) -> None:
    found = sources.find("model_platform_map", "MODEL_PLATFORM_MAP")
    if found is None:
        return
    for public, value in read_json_object(found, problems, example='{"glm-4.6": "zai"}').items():
        entry: object = {"platform": value} if isinstance(value, str) else value
        if not isinstance(entry, dict) or not entry.keys() <= _FIELDS:
            problems.add(found.where, f"{public!r} must be a platform, or an object of platform, upstream and alias")
            continue
        platform = str(entry.get("platform", default)).strip().lower()
        if platform not in KINDS:
            hint = did_you_mean(platform, KINDS)
            problems.add(found.where, f"the platform of {public!r} must be one of {', '.join(KINDS)}{hint}")
            continue
        upstream, alias = entry.get("upstream"), entry.get("alias")
        names = [public, *(alias if isinstance(alias, list) else [] if alias is None else [alias])]
        if not all(_is_name(name) for name in names) or not (upstream is None or _is_name(upstream)):
            problems.add(found.where, f"the names of {public!r} must be strings that are not empty")
            continue
        for name in names:
            if not routes.add(name.strip(), platform, upstream, found):
                problems.add(found.where, f"{name!r} is there twice (case does not count): take one away")


def _read_legacy_map(sources: Sources, default: str, routes: _Routes, problems: Problems) -> None:
    found = sources.find("upstream_model_id_map", "UPSTREAM_MODEL_ID_MAP")
    if found is None:
        return
    for public, value in read_json_object(found, problems, example='{"gpt-4o": "glm-4.6"}').items():
        if _is_name(public) and _is_name(value):
            routes.add(public.strip(), default, str(value), found)
        else:
            problems.add(found.where, f"{public!r} must be the upstream's id of the model, a string")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()
