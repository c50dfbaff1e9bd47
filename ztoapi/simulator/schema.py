"""Values that fit a JSON Schema."""

import math
from typing import Final

__all__ = ["sample"]

_MAX_DEPTH: Final = 8
"""Levels of a schema that are followed; a recursive schema has no end."""
_MAX_ITEMS: Final = 100
_FORMATS: Final[dict[str, str]] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1H",
    "email": "sample@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
Schema = dict[str, object]


def sample(schema: Schema) -> object:
    """Returns a value that fits a JSON Schema with common keywords; ``pattern`` is not among them."""
    return _sample(schema, schema, 0)


def _sample(schema: Schema, root: Schema, depth: int) -> object:
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[0]
    if isinstance(parts := schema.get("allOf"), list) and parts and depth < _MAX_DEPTH:
        return _sample(_joined(schema, parts, root), root, depth + 1)
    for name in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(name), list) and choices and depth < _MAX_DEPTH:
            return _sample(_object(choices[0]), root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    properties = _object(schema.get("properties"))
    if kind == "object" or properties:
        followed = properties if depth < _MAX_DEPTH else {}
        return {name: _sample(_object(value), root, depth + 1) for name, value in followed.items()}
    if kind == "array":
        count = min(_count(schema, "minItems"), _MAX_ITEMS) if depth < _MAX_DEPTH else 0
        return [_sample(_object(schema.get("items")), root, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return {"boolean": True, "null": None}.get(str(kind), _string(schema))


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follows a reference within the document, such as ``#/$defs/Step``."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#"):
        return schema
    target: object = root
    for part in reference[1:].split("/")[1:]:
        target = _object(target).get(part.replace("~1", "/").replace("~0", "~"))
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    return {**_object(target), **rest}


def _joined(schema: Schema, parts: list[object], root: Schema) -> Schema:
    joined: Schema = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        resolved = _resolved(_object(part), root)
        properties = {**_object(joined.get("properties")), **_object(resolved.get("properties"))}
        joined = {**joined, **resolved, **({"properties": properties} if properties else {})}
    return joined


def _number(schema: Schema, *, whole: bool) -> float:
    value = 2 if whole else 2.5
    step = 1 if whole else 0.5
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(low, int | float):
        value = max(value, math.ceil(low) if whole else low)
    if isinstance(above, int | float) and value <= above:
        value = (math.floor(above) if whole else above) + step
    if isinstance(high, int | float):
        value = min(value, math.floor(high) if whole else high)
    if isinstance(below, int | float) and value >= below:
        value = (math.ceil(below) if whole else below) - step
    return value


def _string(schema: Schema) -> str:
    text = _FORMATS.get(str(schema.get("format")), "sample")
    longest = schema.get("maxLength")
    text = text.ljust(_count(schema, "minLength"), "x")
    return text[:longest] if isinstance(longest, int) else text


def _count(schema: Schema, name: str) -> int:
    value = schema.get(name)
    return value if isinstance(value, int) else 0


def _object(value: object) -> Schema:
    return value if isinstance(value, dict) else {}
