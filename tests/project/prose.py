"""Counts idioms of the project's former English in docstrings, comments and pages, and class names used twice.

CONTRIBUTING.md has the writing rules. Each pattern here stands for a habit that a reader from outside stumbles over.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["BOUNDS", "REPLACED", "Bound", "count", "page_texts", "replaced_words", "shared_class_names", "texts"]


class Bound(NamedTuple):
    """At most ``per_1000`` matches of ``pattern`` per 1,000 words, or one match in a short text."""

    pattern: re.Pattern[str]
    per_1000: float

    def allows(self, matches: int, words: int) -> bool:
        return matches <= max(1.0, self.per_1000 * words / 1000)


BOUNDS = {
    # A person as the subject of software. The actor is a client, a worker, an operator. h11, trio and Caddy: 0 to 0.1.
    "who": Bound(re.compile(r"\b(who|whoever|whom)\b", re.IGNORECASE), 0.5),
    # "Nobody waits" hides the actor: "no request waits". Eight comparable projects: 0.
    "nobody": Bound(re.compile(r"\b(nobody|somebody|anybody|everybody)\b", re.IGNORECASE), 0.3),
    # Code returns, raises, counts and logs; users and prompts may ask. Comparable projects: 0 to 1.6.
    "tell": Bound(re.compile(r"\b(says?|said|tells?|told|asks?|asked|hears?|heard|speaks?)\b", re.IGNORECASE), 2.0),
    # "What a worker holds" as the name of a thing: the thing has a noun. Comparable projects: 0 to 0.3.
    "what": Bound(re.compile(r"(?:^|(?<=[.!?:]\s))What\b(?![^.:]*\?)", re.MULTILINE), 0.5),
}

REPLACED = {
    "octet": "byte",
    "octets": "bytes",
    "dearer": "more expensive",
    "in hand": "in flight",
    "let go of": "release",
    "no use to": "left out of",
    "meets with": "receives",
    "is there again": "is reachable again",
    "the slip of a pen": "a typing error",
    "slip of the pen": "typing error",
    "with a word": "with a notice",
}
"""Words and idioms with the field's term for them."""

_REPLACED = re.compile(r"\b(" + "|".join(sorted(REPLACED, key=len, reverse=True)) + r")\b", re.IGNORECASE)
# The module tokenize takes ten times as long.
_STRING_OR_COMMENT = re.compile(
    r"""\"{3}(?:[^"\\]|\\.|"(?!""))*\"{3}|'{3}(?:[^'\\]|\\.|'(?!''))*'{3}"""
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|(?P<comment>\#[^\n]*)""",
    re.DOTALL,
)
_PRAGMA = re.compile(r"#\s*(type:|noqa|pragma|fmt:|ruff:|!)")
_CODE = re.compile(r"```.*?```|<!--.*?-->|`[^`\n]*`|\]\([^)]*\)", re.DOTALL)


def statements(source: str) -> Iterator[ast.AST]:
    """Yields the module and its statements at any depth, without the expressions, which are nine tenths of the tree."""
    found: list[ast.AST] = [ast.parse(source)]
    for node in found:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, None)
            found += inner if isinstance(inner, list) else ()


def texts(source: str) -> Iterator[str]:
    """Yields the docstrings, including those of attributes, and the comments of a module."""
    for node in statements(source):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring
            for before, after in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(before, ast.Assign | ast.AnnAssign)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                    and isinstance(after.value.value, str)
                ):
                    yield after.value.value
    for match in _STRING_OR_COMMENT.finditer(source):
        comment = match["comment"]
        if comment and not _PRAGMA.match(comment):
            yield comment.lstrip("# ")


def page_texts(page: str) -> Iterator[str]:
    """Yields the prose of a Markdown page: without code, addresses of links, and tables."""
    for line in _CODE.sub(" ", page).splitlines():
        if not line.startswith("|"):
            yield line


def count(texts: Iterable[str]) -> tuple[int, dict[str, int]]:
    """Returns the number of words, and the matches of each pattern of :data:`BOUNDS`."""
    words, matches = 0, dict.fromkeys(BOUNDS, 0)
    for text in texts:
        words += len(text.split())
        for name, bound in BOUNDS.items():
            matches[name] += len(bound.pattern.findall(text))
    return words, matches


def replaced_words(texts: Iterable[str]) -> list[str]:
    """Returns the words of :data:`REPLACED` that occur."""
    return [match.lower() for text in texts for match in _REPLACED.findall(text)]


def shared_class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the class names that several modules define, private ones included, with these modules."""
    modules: dict[str, set[str]] = defaultdict(set)
    for path, source in sources.items():
        for node in statements(source):
            if isinstance(node, ast.ClassDef):
                modules[node.name].add(path)
    return {name: sorted(paths) for name, paths in modules.items() if len(paths) > 1}
