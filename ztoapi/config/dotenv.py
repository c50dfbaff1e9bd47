"""Reads ``.env`` files: ``KEY=VALUE`` lines, comments, an optional ``export``, quotes around a value taken off."""

import re
from typing import NamedTuple

__all__ = ["Entry", "parse"]

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
# The first quote that nothing but a comment follows ends the value: JSON in quotes may hold quotes.
_QUOTED = re.compile(r"""(["'])(.*?)\1(?:\s*|\s+#.*)""")
_COMMENT = re.compile(r"\s#.*")


class Entry(NamedTuple):
    """One variable and the number of its line, counted from 1."""

    value: str
    line: int


def parse(text: str) -> tuple[dict[str, Entry], dict[int, str]]:
    """The variables of ``text``, the last of a name wins, and for each line that cannot be read what is wrong."""
    entries: dict[str, Entry] = {}
    broken: dict[int, str] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            broken[number] = "this is no KEY=VALUE line; comments begin with #"
            continue
        value = match[2].strip()
        if value.startswith(('"', "'")):
            quoted = _QUOTED.fullmatch(value)
            if quoted is None:
                broken[number] = (
                    f"the value of {match[1]} begins with a quote that does not end it: close it, or drop it"
                )
                continue
            value = quoted[2]
        else:
            value = _COMMENT.sub("", match[2]).strip()
        entries[match[1]] = Entry(value, number)
    return entries, broken
