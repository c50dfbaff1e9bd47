"""Reads ``.env`` files: ``KEY=VALUE`` lines, comments, an optional ``export``, quotes around a value taken off."""

import re
from typing import NamedTuple

__all__ = ["Entry", "parse"]

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(["'])(.*)\1\s*(?:#.*)?""")


class Entry(NamedTuple):
    """One variable and the number of its line, counted from 1."""

    value: str
    line: int


def parse(text: str) -> tuple[dict[str, Entry], list[int]]:
    """The variables of ``text``, the last of a name wins, and the numbers of lines that cannot be read."""
    entries: dict[str, Entry] = {}
    broken: list[int] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            broken.append(number)
            continue
        value = match[2]
        quoted = _QUOTED.fullmatch(value)
        entries[match[1]] = Entry(quoted[2] if quoted else re.sub(r"\s+#.*", "", value), number)
    return entries, broken
