"""Hash table of rows of 64-bit integers, in memory that processes can share.

A row is a key and its values. A new key takes an idle row, because an idle row carries no more information than a new
one; so rows are never deleted. A search looks only at a window of rows after the hash position, so its cost does not
depend on how full the table is. A key whose window is full uses the last row, which has no key and is shared by all
such keys.

The caller of a search holds the lock. A row is idle before its key changes, and its values are written before the key,
so a process killed between two writes leaves a usable table. Positions found earlier stay valid while the word
:data:`CHANGES` is unchanged; it counts the rows that were given to another key.
"""

from collections.abc import Callable
from typing import Final

from ztoapi.limits.buckets import Words

__all__ = ["CHANGES", "NO_KEY", "RowTable"]

CHANGES: Final = 0
"""Index of the word that counts key changes in all tables of the memory."""
NO_KEY: Final = 0
"""The content of memory that was never written."""
_WINDOW_ROWS: Final = 64
"""With half of the rows in use, a full window is practically impossible."""
_ROWS_PER_NAME: Final = 2


class RowTable:
    """Room for ``names`` rows of ``values`` integers, from index ``start`` of ``words`` up to ``end``."""

    __slots__ = ("_first", "_rows", "_stride", "_window", "_words", "end", "shared")

    def __init__(self, words: Words, start: int, names: int, values: int) -> None:
        self._words = words
        self._first = start
        self._stride = 1 + values
        self._rows = _rows(names)
        self._window = min(self._rows, _WINDOW_ROWS)
        self.shared = start + self._rows * self._stride
        """Index of the row without a key."""
        self.end = self.shared + self._stride

    @staticmethod
    def size(names: int, values: int) -> int:
        """Returns the number of words that such a table takes."""
        return (_rows(names) + 1) * (1 + values)

    def find(self, key: int, idle: Callable[[int], bool]) -> int:
        """Returns the index of the row of ``key``, which may be new. ``idle`` returns whether a row may be reused."""
        words = self._words
        free = self.shared
        for step in range(self._window):
            at = self._first + (key + step) % self._rows * self._stride
            row_key = words[at]
            if row_key == key:
                return at
            if row_key == NO_KEY:
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

    def column(self, value: int) -> list[int]:
        """Returns value number ``value`` of every row."""
        return list(self._words[self._first + 1 + value : self.end : self._stride])

    def clear(self, value: int) -> None:
        """Sets value number ``value`` to 0 in every row."""
        for at in range(self._first + 1 + value, self.end, self._stride):
            self._words[at] = 0


def _rows(names: int) -> int:
    return names * _ROWS_PER_NAME
