"""Ways to split bytes into the pieces in which a network may deliver them."""

import itertools
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

__all__ = ["bytewise", "cut", "cut_points", "whole_split_and_bytewise"]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, points: Sequence[int]) -> list[bytes]:
    """Splits ``data`` at ``points``, in any order. Points beyond the end are ignored."""
    places = [0, *sorted(min(point, len(data)) for point in points), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(places) if start != stop]


def whole_split_and_bytewise(data: bytes) -> Iterator[list[bytes]]:
    """Yields ``data`` in one piece, in two pieces for every split, and byte by byte."""
    yield [data]
    for point in range(1, len(data)):
        yield [data[:point], data[point:]]
    yield bytewise(data)


def cut_points(longest: int = 4096) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, longest), max_size=12)
