"""Which models stand in for one that cannot be had."""

from collections.abc import Mapping, Sequence

from ztoapi.config.model import ModelRoute
from ztoapi.config.sources import Problems, Sources, did_you_mean
from ztoapi.config.values import read_json_object

__all__ = ["read_fallbacks"]

_EXAMPLE = '{"glm-4.6": ["glm-4.5", "glm-4.5-air"]}'


def read_fallbacks(
    sources: Sources, routes: Sequence[ModelRoute], problems: Problems, *, any_model: bool
) -> Mapping[str, tuple[str, ...]]:
    """By model, in lower case. ``any_model`` says that the default platform takes models by their own names, so that
    one without a route is none that does not exist."""
    found = sources.find("fallbacks", "MODEL_FALLBACKS")
    if found is None:
        return {}
    known = {route.public.lower(): route.public for route in routes}
    fallbacks: dict[str, tuple[str, ...]] = {}
    for model, value in read_json_object(found, problems, example=_EXAMPLE).items():
        where = found.within(f"fallbacks.{model}") if found.name == "fallbacks" else f"{found.where}, {model}"
        others = [value] if isinstance(value, str) else value
        if not isinstance(others, list) or not others or not all(isinstance(one, str) and one for one in others):
            problems.add(where, "must be a list of models, such as " + _EXAMPLE)
            continue
        for name in (model, *others):
            if not any_model and name.lower() not in known:
                problems.add(where, f"there is no model {name!r}: map it to a platform{did_you_mean(name, known)}")
        if len({name.lower() for name in others}) < len(others) or model.lower() in fallbacks:
            problems.add(where, "a model is there twice (case does not count): take one away")
        fallbacks[model.lower()] = tuple(others)
        sources.used(f"fallbacks.{model.lower()}", found)
    for model in fallbacks:
        circle = _circle(model, fallbacks)
        if circle is not None:
            where = found.within(f"fallbacks.{model}") if found.name == "fallbacks" else f"{found.where}, {model}"
            problems.add(where, f"goes in a circle ({' -> '.join(circle)}): an overload would go round in it")
            break
    return fallbacks


def _circle(start: str, fallbacks: Mapping[str, tuple[str, ...]]) -> list[str] | None:
    """A way from ``start`` back to itself."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for other in fallbacks.get(way[-1], ()):
            name = other.lower()
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None
