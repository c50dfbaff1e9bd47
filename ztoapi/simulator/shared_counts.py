"""The counts of all workers of the simulator, in one piece of shared memory.

The memory is allocated before the workers are forked. Each worker has a row that it alone writes while it serves, and
every worker reads all rows, so ``/sim/stats`` returns the same on each. A cell is an aligned 64-bit integer, written in
one store. Only a reset writes the rows of other workers. It belongs between two tests: counts made during a reset may
be lost.
"""

import enum
import mmap
from typing import Final

__all__ = ["CountCell", "SharedCounts"]

_MODELS: Final = 1000
"""Model strings that a worker counts by name; others count as :data:`_OTHER`."""
_OTHER: Final = b"other"
_NAME_BYTES: Final = 248
"""Longer model strings are cut, and count as one if they agree so far."""
_LAST_BYTES: Final = 262144
"""Maximum size of the description of the last request."""
_CELLS: Final = 16
_ENTRY_BYTES: Final = _NAME_BYTES + 8
_ROW_BYTES: Final = _CELLS * 8 + _MODELS * _ENTRY_BYTES + _LAST_BYTES
_EPOCH_BYTES: Final = 8
_MAX_READS: Final = 10
"""Attempts to read the last request while it is being written."""


class CountCell(enum.IntEnum):
    """The cells of a row."""

    REQUESTS = 0
    CANCELS = 1
    OPEN = 2
    PEAK = 3
    CONNECTIONS = 4
    MODELS = 5
    LAST_BYTES = 6
    LAST_STAMP = 7


class SharedCounts:
    """The rows of ``workers`` workers. Pages that are never touched take no memory."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, _EPOCH_BYTES + workers * _ROW_BYTES)
        self._cells = memoryview(self._memory).cast("q")

    @property
    def epoch(self) -> int:
        """The number of resets."""
        return self._cells[0]

    def add(self, row: int, cell: CountCell, amount: int = 1) -> None:
        self._cells[self._at(row, cell)] += amount

    def set(self, row: int, cell: CountCell, value: int) -> None:
        self._cells[self._at(row, cell)] = value

    def get(self, row: int, cell: CountCell) -> int:
        return self._cells[self._at(row, cell)]

    def values(self, cell: CountCell) -> list[int]:
        """Returns the cell of every row."""
        return [self.get(row, cell) for row in range(self.workers)]

    def total(self, cell: CountCell) -> int:
        return sum(self.values(cell))

    def _at(self, row: int, cell: CountCell) -> int:
        return (_EPOCH_BYTES + row * _ROW_BYTES) // 8 + cell

    def _entry(self, row: int, number: int) -> int:
        return _EPOCH_BYTES + row * _ROW_BYTES + _CELLS * 8 + number * _ENTRY_BYTES

    def names(self, row: int) -> list[bytes]:
        """Returns the model strings of the row, in order."""
        names = []
        for number in range(self.get(row, CountCell.MODELS)):
            at = self._entry(row, number) + 8
            names.append(self._memory[at : at + _NAME_BYTES].rstrip(b"\0"))
        return names

    def count_model(self, row: int, index: dict[bytes, int], model: bytes) -> None:
        """Counts ``model``. ``index`` holds the positions of the row's names, and is updated."""
        name = model[:_NAME_BYTES]
        if name not in index and len(index) >= _MODELS - 1:
            name = _OTHER
        number = index.get(name)
        if number is None:
            number = index[name] = len(index)
            at = self._entry(row, number)
            self._memory[at : at + _ENTRY_BYTES] = bytes(8) + name.ljust(_NAME_BYTES, b"\0")
            self.set(row, CountCell.MODELS, len(index))
        self._cells[self._entry(row, number) // 8] += 1

    def models(self) -> dict[bytes, int]:
        """Returns the number of requests by model string."""
        counts: dict[bytes, int] = {}
        for row in range(self.workers):
            for number, name in enumerate(self.names(row)):
                counts[name] = counts.get(name, 0) + self._cells[self._entry(row, number) // 8]
        return counts

    def model_count(self, model: bytes) -> int:
        """Returns the number of requests for one model string."""
        return self.models().get(model[:_NAME_BYTES], 0)

    def set_last(self, row: int, description: bytes, stamp: int) -> None:
        """Stores the row's last request. The row with the highest ``stamp`` (nanoseconds) has the last request of
        all."""
        if len(description) > _LAST_BYTES:
            description = b"{}"
        self.set(row, CountCell.LAST_BYTES, 0)
        at = self._entry(row, _MODELS)
        self._memory[at : at + len(description)] = description
        self.set(row, CountCell.LAST_STAMP, stamp)
        self.set(row, CountCell.LAST_BYTES, len(description))

    def last(self) -> bytes:
        """Returns the description of the last request; ``{}`` if there is none, or if it changes all the time."""
        for _ in range(_MAX_READS):
            row = max(range(self.workers), key=lambda row: self.get(row, CountCell.LAST_STAMP))
            stamp, size = self.get(row, CountCell.LAST_STAMP), self.get(row, CountCell.LAST_BYTES)
            at = self._entry(row, _MODELS)
            description = self._memory[at : at + size]
            if size and (stamp, size) == (self.get(row, CountCell.LAST_STAMP), self.get(row, CountCell.LAST_BYTES)):
                return description
            if not stamp:
                break
        return b"{}"

    def reset(self) -> None:
        """Sets all counts to 0. Open streams stay counted, and become the peak."""
        for row in range(self.workers):
            for cell in CountCell:
                if cell is not CountCell.OPEN:
                    self.set(row, cell, 0)
        self.set(0, CountCell.PEAK, self.total(CountCell.OPEN))
        self._cells[0] += 1
