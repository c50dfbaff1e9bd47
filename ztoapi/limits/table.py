"""Rows of 64-bit integers in memory that processes may share, found by the hash of a name.

A row is its key and its values. A new key takes a row that is idle, for an idle row says no more than a new one; so
nothing is ever deleted. It is looked for in a window of rows after the place its hash says, no further, so a search
costs the same however full the table is. A key that finds the window taken gets the last row, which has no key and is
shared by all such.

Whoever searches holds the lock. A row is idle before it changes its key, and its values are written before that: a
process killed between two writes leaves a table that can be used. Who has found rows need not look at their keys again
while the word :data:`CHANGES` says the same: it counts the rows that went from one key to another.
"""

from collections.abc import Callable
from typing import Final

from ztoapi.structures.buckets import Words

__all__ = ["CHANGES", "NO_KEY", "Table"]

CHANGES: Final = 0
"""Where in the memory the tables count changes of keys, all in one word."""
NO_KEY: Final = 0
"""What memory that was never touched says."""
_WINDOW_ROWS: Final = 64
"""With half of the rows taken a full window is as good as impossible."""
_ROWS_PER_NAME: Final = 2


class Table:
    """Room for ``names`` rows of ``values`` integers, from index ``start`` of ``words``; ends at ``end``."""

    __slots__ = ("_first", "_rows", "_stride", "_window", "_words", "end", "shared")

    def __init__(self, words: Words, start: int, names: int, values: int) -> None:
        self._words = words
        self._first = start
        self._stride = 1 + values
        self._rows = _rows(names)
        self._window = min(self._rows, _WINDOW_ROWS)
        self.shared = start + self._rows * self._stride
        """Where the row lies that has no key."""
        self.end = self.shared + self._stride

    @staticmethod
    def size(names: int, values: int) -> int:
        """How many words such a table takes."""
        return (_rows(names) + 1) * (1 + values)

    def find(self, key: int, idle: Callable[[int], bool]) -> int:
        """Where the row of ``key`` lies, which is a new one if it had none; ``idle`` says whether a row may go."""
        words, free = self._words, self.shared
        for step in range(self._window):
            at = self._first + (key + step) % self._rows * self._stride
            found = words[at]
            if found == key:
                return at
            if found == NO_KEY:
                if free == self.shared:
                    free = at
                break
            if free == self.shared and idle(at):
                free = at
        if free != self.shared:
            if words[free] != NO_KEY:
                words[CHANGES] += 1
            for value in range(free + 1, free + self._stride):
                words[value] = 0
            words[free] = key
        return free

    def clear(self, value: int) -> None:
        """Set the value with this number to 0 in every row."""
        for at in range(self._first + 1 + value, self.end, self._stride):
            self._words[at] = 0


def _rows(names: int) -> int:
    return names * _ROWS_PER_NAME
