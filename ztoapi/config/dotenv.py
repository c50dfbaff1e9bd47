"""Parses ``.env`` files: ``KEY=VALUE`` lines with comments, an optional ``export`` and optional quotes."""

import re
from typing import NamedTuple

__all__ = ["Variable", "parse"]

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
# The value ends at the first quote before a comment or the end of the line, because quoted JSON contains quotes.
_QUOTED = re.compile(r"""(["'])(.*?)\1(?:\s*|\s+#.*)""")
_COMMENT = re.compile(r"\s#.*")


class Variable(NamedTuple):
    """The value of a variable and the number of its line, counted from 1."""

    value: str
    line: int


def parse(text: str) -> tuple[dict[str, Variable], dict[int, str]]:
    """Returns the variables of ``text``, where the last of a name wins, and the errors by line."""
    entries: dict[str, Variable] = {}
    broken: dict[int, str] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            broken[number] = "not a KEY=VALUE line; comments start with #"
            continue
        value = match[2].strip()
        if value.startswith(('"', "'")):
            quoted = _QUOTED.fullmatch(value)
            if quoted is None:
                broken[number] = (
                    f"the value of {match[1]} has an opening quote without a closing one: close it or remove it"
                )
                continue
            value = quoted[2]
        else:
            value = _COMMENT.sub("", match[2]).strip()
        entries[match[1]] = Variable(value, number)
    return entries, broken
