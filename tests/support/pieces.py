"""Ways to cut octets into the pieces in which a network may deliver them."""

import itertools
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

__all__ = ["bytewise", "cut", "cut_points", "whole_split_and_bytewise"]


def bytewise(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


def cut(octets: bytes, points: Sequence[int]) -> list[bytes]:
    """``octets`` cut at ``points`` (in any order, beyond the end is the end)."""
    places = [0, *sorted(min(point, len(octets)) for point in points), len(octets)]
    return [octets[start:stop] for start, stop in itertools.pairwise(places) if start != stop]


def whole_split_and_bytewise(octets: bytes) -> Iterator[list[bytes]]:
    """In one piece, in two pieces split at every place, and octet by octet."""
    yield [octets]
    for point in range(1, len(octets)):
        yield [octets[:point], octets[point:]]
    yield bytewise(octets)


def cut_points(longest: int = 4096) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, longest), max_size=12)
