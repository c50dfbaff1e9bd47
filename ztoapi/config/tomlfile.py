"""Reads ``ztoapi.toml``: options by their dotted keys, each with the line it stands on."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["TABLES", "Option", "line_numbers", "parse"]

TABLES = ("server", "upstream", "limits", "limits.global", "limits.key", "limits.model", "limits.address", "cache")
"""Tables whose entries are options; any other table is the value of one."""

_HEADER = re.compile(r"\s*\[(\[)?([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_NO_PART_OF_A_NAME = re.compile(r"""[\s"']""")


class Option(NamedTuple):
    """A value and the number of its line; None where a look at the lines does not find it."""

    value: object
    line: int | None


def parse(text: str) -> dict[str, Option]:
    """The options of a document. Raises tomllib.TOMLDecodeError."""
    lines = line_numbers(text)
    options: dict[str, Option] = {}
    _flatten(tomllib.loads(text), "", lines, options)
    return options


def _flatten(table: Mapping[str, object], prefix: str, lines: Mapping[str, int], options: dict[str, Option]) -> None:
    for name, value in table.items():
        path = prefix + name
        if path in TABLES and isinstance(value, Mapping):
            _flatten(value, f"{path}.", lines, options)
        else:
            options[path] = Option(value, lines.get(path, lines.get(path.rpartition(".")[0])))


def line_numbers(text: str) -> dict[str, int]:
    """Where each key first stands; tables in a list are called ``x[1]``, ``x[2]``. tomllib does not tell; text in a
    multi-line string that looks like a key may mislead this, which costs a wrong number in a message, nothing else."""
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
    return _NO_PART_OF_A_NAME.sub("", key)
