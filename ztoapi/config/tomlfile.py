"""Parses ``ztoapi.toml``: values by their dotted keys, with line numbers."""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

__all__ = ["Value", "line_numbers", "parse"]

_HEADER = re.compile(r"\s*\[(\[)?([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_BLANK_OR_QUOTE = re.compile(r"""[\s"']""")


class Value(NamedTuple):
    """A value and the number of its line; None if the line was not found."""

    value: object
    line: int | None


def parse(text: str, tables: Collection[str]) -> dict[str, Value]:
    """Returns the values of a document; the entries of ``tables`` are values, any other table is one value.

    Raises tomllib.TOMLDecodeError.
    """
    lines = line_numbers(text)
    return {
        path: Value(value, lines.get(path, lines.get(path.rpartition(".")[0])))
        for path, value in _flatten(tomllib.loads(text), "", tables)
    }


def _flatten(table: Mapping[str, object], prefix: str, tables: Collection[str]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        path = prefix + name
        if path in tables and isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.", tables)
        else:
            yield path, value


def line_numbers(text: str) -> dict[str, int]:
    """Returns the line of the first occurrence of each key; the tables of a list are named ``x[1]``, ``x[2]``.

    tomllib has no line numbers. Text in a multi-line string that looks like a key may give a wrong number in a message.
    """
    lines: dict[str, int] = {}
    table = ""
    entries: Counter[str] = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _plain(header[2])
            if header[1]:
                entries[table] += 1
                lines.setdefault(table, number)
                table += f"[{entries[table]}]"
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = _plain(key[1])
            lines.setdefault(f"{table}.{path}" if table else path, number)
    for path, number in list(lines.items()):
        lines.setdefault(path.partition(".")[0], number)
    return lines


def _plain(key: str) -> str:
    return _BLANK_OR_QUOTE.sub("", key)
