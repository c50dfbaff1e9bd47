"""Parses ``ztoapi.toml``: values by their dotted keys, with line numbers."""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

__all__ = ["Value", "line_numbers", "parse", "syntax_error"]

_HEADER = re.compile(r"\s*\[(\[)?([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_BLANK_OR_QUOTE = re.compile(r"""[\s"']""")
_OPTION = re.compile(r"\s*([a-z_.]+)\s*=")
"""Other names may be secrets, which a message does not repeat."""
_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")
_UNCLOSED = re.compile(r"""(Unterminated string|Unclosed array|Expected ["']['"]+) \(at end of document\)""")
_QUOTES: Final = ": text needs quotes at both ends"
_REMEDIES: Final = {
    "Illegal character '\\n'": _QUOTES,
    "Invalid value": _QUOTES,
    "Expected newline": _QUOTES,
    "Cannot overwrite a value": ", which is set twice: remove one of the lines",
}
"""By the beginning of tomllib's message."""


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


def syntax_error(text: str, error: Exception) -> str:
    """Returns the message of an error of ``parse``, with the option in whose value it is and the remedy, if known."""
    message = f"not valid TOML: {error}"
    if position := _POSITION.search(message):
        option = _OPTION.match(text.split("\n")[int(position[1]) - 1])
        if option and option.end() < int(position[2]):
            remedies = (remedy for start, remedy in _REMEDIES.items() if str(error).startswith(start))
            return f"{message}, in the value of {option[1]}{next(remedies, '')}"
    elif _UNCLOSED.match(str(error)):
        return f"{message}: close each quote and bracket"
    return message


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
