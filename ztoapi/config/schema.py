"""The JSON Schema of ``ztoapi.toml``, derived from the declarations in ``model.py``.

Draft 4, which editors use for TOML (Taplo, Even Better TOML). The schema describes the native TOML type of each option.
``load.py`` accepts more: numbers and booleans in quotes, words in any case, and empty strings as unset. It also checks
what a schema cannot express, such as options that need each other and files that must exist.
"""

import typing

import msgspec

from ztoapi.config.model import Secret
from ztoapi.config.options import Declared, config_options, is_table, literals, options_of, tables, unwrap
from ztoapi.option import AMOUNT_PATTERN, TOKENS, Range

__all__ = ["make_schema"]

Schema = dict[str, object]


def make_schema() -> Schema:
    """Returns the schema of the whole file."""
    options = config_options()
    root: Schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "ztoapi.toml",
        "description": "Configuration of the ztoapi gateway.",
        **_object({option.name: _of_option(option) for option in options if not option.table}),
    }
    for table, kind in tables():
        if table:
            parent = root
            *path, name = table.split(".")
            for part in path:
                parent = _properties(parent)[part]
            description = (kind.__doc__ or "").partition("\n")[0].replace("``", "`")
            properties = {option.name: _of_option(option) for option in options if option.table == table}
            _properties(parent)[name] = {"description": description, **_object(properties)}
    return root


def _properties(schema: Schema) -> dict[str, Schema]:
    return typing.cast(dict[str, Schema], schema["properties"])


def _object(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _of_option(option: Declared) -> Schema:
    schema = _of_type(option.type, option.range)
    if option.option.pattern is not None:
        part = f"(?:{option.option.pattern})"
        if schema.get("type") == "string":
            schema["pattern"] = f"^{part}$"
        else:
            parts = rf"^\s*{part}?\s*(?:{option.option.separator}\s*{part}?\s*)*$"
            array = {"type": "array", "items": {"type": "string", "pattern": rf"^\s*{part}?\s*$"}}
            schema = {"anyOf": [{"type": "string", "pattern": parts}, array]}
    if option.option.auto is not None:
        schema = {"anyOf": [schema, {"enum": ["auto"]}]}
    schema["description"] = option.option.help
    default = option.default
    if isinstance(default, str | int | float) or (isinstance(default, tuple) and default):
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def _of_type(kind: object, limits: Range | None) -> Schema:
    if choices := literals(kind):
        return {"enum": choices}
    if kind is bool:
        return {"type": "boolean"}
    if kind in (int, float):
        assert limits is not None
        schema: Schema = {"type": "integer" if kind is int else "number"}
        schema |= {"minimum": _plain(limits.minimum), "maximum": _plain(limits.maximum)}
        schema |= {"exclusiveMinimum": True} if limits.exclusive else {}
        if limits.unit == TOKENS:
            return {"anyOf": [schema, {"type": "string", "pattern": f"^{AMOUNT_PATTERN}$"}]}
        return schema
    if kind in (str, Secret):
        return {"type": "string"}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        options = options_of(kind)
        return _object(
            {option.name: _of_option(option) for option in options},
            [option.name for option in options if option.option.required],
        )
    return _of_generic(kind)


def _of_generic(kind: object) -> Schema:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        items = _of_hint(arguments[0])
        array: Schema = {"type": "array", "items": items}
        # A list of strings may be written as one string with separators.
        return {"anyOf": [{"type": "string"}, array]} if items == {"type": "string"} else array
    if is_table(kind):
        names = literals(arguments[0])
        values = _of_hint(arguments[1])
        if names:
            return _object(dict.fromkeys(names, values))
        return {"type": "object", "additionalProperties": values}
    return {"anyOf": [_of_hint(argument) for argument in arguments]}


def _of_hint(hint: object) -> Schema:
    kind, extras = unwrap(hint)
    return _of_type(kind, next((extra for extra in extras if isinstance(extra, Range)), None))


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number
