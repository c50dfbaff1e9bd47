"""Fallbacks: the models that replace an unavailable model."""

from collections.abc import Mapping, Sequence

from ztoapi.config.model import ModelRoute
from ztoapi.config.sources import Problems, Setting, Sources
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.values import read_json_object

__all__ = ["read_fallbacks"]

_EXAMPLE = '{"glm-5.3": ["glm-5.2", "glm-5.3-flash"]}'


def read_fallbacks(
    sources: Sources, routes: Sequence[ModelRoute], problems: Problems, *, any_model: bool
) -> Mapping[str, tuple[str, ...]]:
    """Returns the fallbacks by model, in lower case.

    ``any_model``: the default platform serves models under their own names, so a model without a route may exist.
    """
    setting = sources.find("fallbacks")
    if setting is None:
        return {}
    names = {route.public.lower(): route.public for route in routes}
    fallbacks: dict[str, tuple[str, ...]] = {}
    for model, value in read_json_object(setting, problems, example=_EXAMPLE).items():
        where = _where(setting, model)
        others = [value] if isinstance(value, str) else value
        if not isinstance(others, list) or not others or not all(isinstance(name, str) and name for name in others):
            problems.add(where, "must be a list of models, such as " + _EXAMPLE)
            continue
        for name in (model, *others):
            if not any_model and name.lower() not in names:
                problems.add(where, f"unknown model {name!r}: map it to a platform{did_you_mean(name, names)}")
        if len({name.lower() for name in others}) < len(others) or model.lower() in fallbacks:
            problems.add(where, "a model is listed twice (case is ignored): remove one")
        fallbacks[model.lower()] = tuple(others)
        sources.used(f"fallbacks.{model.lower()}", setting)
    for model in fallbacks:
        cycle = _cycle(model, fallbacks)
        if cycle is not None:
            problems.add(_where(setting, model), f"the fallbacks form a cycle ({' -> '.join(cycle)}): break it")
            break
    return fallbacks


def _where(setting: Setting, model: str) -> str:
    return setting.part(f"fallbacks.{model}").where if setting.name == "fallbacks" else f"{setting.where}, {model}"


def _cycle(start: str, fallbacks: Mapping[str, tuple[str, ...]]) -> list[str] | None:
    """Returns a path from ``start`` back to itself."""
    paths = [[start]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for other in fallbacks.get(path[-1], ()):
            name = other.lower()
            if name == start:
                return [*path, start]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None
