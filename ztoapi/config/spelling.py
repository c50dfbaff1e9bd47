"""Names that are probably misspelt."""

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["did_you_mean", "misspelt"]

_DISTANCE: Final = 2
_SHORT: Final = 5
"""Names up to this length are near to too many others: PATH is two letters from PORT."""


def did_you_mean(name: str, candidates: Iterable[str], after: str = "") -> str:
    """Returns a hint at the candidate most similar to ``name``, or nothing; case and the prefix ``after`` are not
    compared."""
    rest = {candidate.removeprefix(after).lower(): candidate for candidate in sorted(candidates)}
    close = difflib.get_close_matches(name.removeprefix(after).lower(), rest, 1)
    return f"; did you mean {rest[close[0]]}?" if close else ""


def misspelt(name: str, candidates: Iterable[str]) -> str | None:
    """Returns the candidate that ``name`` misspells: by at most two letters, or one in a short name. A swap of
    neighbours counts as one."""
    near = {candidate: _distance(name.upper(), candidate) for candidate in sorted(candidates)}
    best = min(near, key=lambda candidate: near[candidate])
    return best if 0 < near[best] <= (1 if len(best) <= _SHORT else _DISTANCE) else None


def _distance(one: str, other: str) -> int:
    """Returns the number of insertions, deletions, replacements and swaps of neighbours (optimal string alignment)."""
    if abs(len(one) - len(other)) > _DISTANCE:
        return _DISTANCE + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]
