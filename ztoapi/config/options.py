"""Derives keys, variables, flags and valid values of the options from the declarations in ``model.py``."""

import functools
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from ztoapi.config.model import Config, PlatformSettings
from ztoapi.option import TOKENS, Option, Range

__all__ = ["Declared", "config_options", "is_table", "literals", "options_of", "tables", "unwrap"]


class Declared(NamedTuple):
    """One option. ``table`` is its table in ``ztoapi.toml``, empty at the top level."""

    table: str
    name: str
    type: object
    """The type of the field without None and without annotations."""
    default: object
    """None where the option is unset."""
    option: Option
    range: Range | None

    @property
    def key(self) -> str:
        """The dotted key in ``ztoapi.toml``."""
        return f"{self.table}.{self.name}" if self.table else self.name

    @property
    def example(self) -> object:
        """A value for the example file; None for a table."""
        if self.default not in (None, ()):
            return self.default
        if self.option.example is not None or is_table(self.type):
            return self.option.example
        return ["..."] if self.default == () else "..."

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables; the first one that is set wins."""
        if not self.table:
            name = self.name.upper() if self.option.env is None else self.option.env
            return (name,) if name else ()
        # The names in these tables are too short to stand alone: enabled, redis, store, opus.
        scope = self.table if self.table in ("cache", "claude", "responses") else self.table.partition(".")[2]
        derived = f"ZTOAPI_{scope}_{self.name}".upper() if scope else f"ZTOAPI_{self.name.upper()}"
        return (derived,) if self.option.env is None else (derived, self.option.env)

    @property
    def flag(self) -> str | None:
        """The flag of commands."""
        return "--" + self.name.replace("_", "-") if self.option.flag is not None else None

    @property
    def values(self) -> str:
        """The valid values in words, as the completion of "must be"."""
        if self.option.form is not None:
            return f"a list; each must be {self.option.form}" if _is_list(self.type) else self.option.form
        if self.range is not None:
            kind = "a whole number" if self.type is int else "a number"
            low, high, _, exclusive = self.range
            limits = f"above {low:.0f}, up to {high:.0f}" if exclusive else f"from {low:.0f} to {high:.0f}"
            if self.range.unit == TOKENS:
                limits += ", also with k, M or B: 5k, 1.5M"
            return f"{kind} {limits}" + (f", or auto ({self.option.auto})" if self.option.auto else "")
        if choices := literals(self.type):
            return "one of " + ", ".join(choices)
        if self.type is bool:
            return "true or false"
        return "a list" if _is_list(self.type) else "a table" if is_table(self.type) else "a string"


@functools.cache
def config_options() -> tuple[Declared, ...]:
    """Returns all options, in the order of their declaration."""
    return (*options_of(PlatformSettings), *(option for table, kind in tables() for option in options_of(kind, table)))


def tables() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Yields the structs of options with the names of their tables in ``ztoapi.toml``, the top level first."""
    yield "", Config
    yield from _tables_of(Config, "")


def options_of(kind: type[msgspec.Struct], table: str = "") -> list[Declared]:
    """Returns the options that a struct declares, those of its base class last."""
    # typing.get_type_hints and msgspec.structs.fields give the same, and add 4 ms to each start.
    hints = {name: hint for base in kind.__mro__ for name, hint in inspect.get_annotations(base).items()}
    defaults = dict(zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False))
    options: list[Declared] = []
    for name, hint in hints.items():
        inner, extras = unwrap(hint)
        option = next((extra for extra in extras if isinstance(extra, Option)), None)
        if option is not None:
            limits = next((extra for extra in extras if isinstance(extra, Range)), None)
            default = defaults.get(name)
            plain = default if isinstance(default, str | int | float | tuple) else None
            options.append(Declared(table, name, inner, plain, option, limits))
    return options


def unwrap(hint: object) -> tuple[object, list[object]]:
    """Returns a type without None and annotations, and the annotations."""
    extras: list[object] = []
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            hint, *annotations = typing.get_args(hint)
            extras += annotations
            continue
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if origin not in (types.UnionType, typing.Union) or len(members) != 1:
            return hint, extras
        hint = members[0]


def literals(kind: object) -> list[str]:
    """Returns the values of a Literal; empty for any other type."""
    return [str(choice) for choice in typing.get_args(kind)] if typing.get_origin(kind) is typing.Literal else []


def is_table(kind: object) -> bool:
    """Whether the type is a mapping."""
    return typing.get_origin(kind) is Mapping


def _tables_of(kind: type[msgspec.Struct], table: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for field, name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        hint = kind.__annotations__.get(field)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            path = f"{table}.{name}" if table else name
            yield path, hint
            yield from _tables_of(hint, path)


def _is_list(kind: object) -> bool:
    return typing.get_origin(kind) is tuple
