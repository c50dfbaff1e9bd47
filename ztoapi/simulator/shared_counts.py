"""Counts of all the simulator's workers in one piece of shared memory.

It is made before the workers are forked. Each has a row that it alone writes while it serves; any of them reads all,
so that ``/sim/stats`` says the same whoever answers. A cell is an aligned 64-bit integer, written in one store. Only a
reset writes others' rows: it is meant for the quiet between two tests, and a count made at that moment may be lost.
"""

import enum
import mmap
from typing import Final

__all__ = ["Cell", "SharedCounts"]

_MODELS: Final = 1000
"""Model strings that a worker counts by name; later ones count as :data:`_OTHER`."""
_OTHER: Final = b"other"
_NAME_BYTES: Final = 248
"""A longer model string is cut: names that differ only behind it count as one."""
_LAST_BYTES: Final = 262144
"""Room for the account of the last request."""
_CELLS: Final = 16
_ENTRY_BYTES: Final = _NAME_BYTES + 8
_ROW_BYTES: Final = _CELLS * 8 + _MODELS * _ENTRY_BYTES + _LAST_BYTES
_EPOCH_BYTES: Final = 8
_READS: Final = 10
"""Times a torn read of the last request is tried again."""


class Cell(enum.IntEnum):
    """Which cell of a row counts what."""

    REQUESTS = 0
    CANCELS = 1
    OPEN = 2
    PEAK = 3
    CONNECTIONS = 4
    MODELS = 5
    LAST_BYTES = 6
    LAST_STAMP = 7


class SharedCounts:
    """``workers`` rows. Memory that is never touched costs nothing."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, _EPOCH_BYTES + workers * _ROW_BYTES)
        self._cells = memoryview(self._memory).cast("q")

    @property
    def epoch(self) -> int:
        """Rises with every reset."""
        return self._cells[0]

    def add(self, row: int, cell: Cell, amount: int = 1) -> None:
        self._cells[self._at(row, cell)] += amount

    def set(self, row: int, cell: Cell, value: int) -> None:
        self._cells[self._at(row, cell)] = value

    def get(self, row: int, cell: Cell) -> int:
        return self._cells[self._at(row, cell)]

    def values(self, cell: Cell) -> list[int]:
        """The cell of every row."""
        return [self.get(row, cell) for row in range(self.workers)]

    def total(self, cell: Cell) -> int:
        return sum(self.values(cell))

    def _at(self, row: int, cell: Cell) -> int:
        return (_EPOCH_BYTES + row * _ROW_BYTES) // 8 + cell

    def _entry(self, row: int, number: int) -> int:
        return _EPOCH_BYTES + row * _ROW_BYTES + _CELLS * 8 + number * _ENTRY_BYTES

    def names(self, row: int) -> list[bytes]:
        """The model strings that the row has, in their order."""
        names = []
        for number in range(self.get(row, Cell.MODELS)):
            at = self._entry(row, number) + 8
            names.append(self._memory[at : at + _NAME_BYTES].rstrip(b"\0"))
        return names

    def count_model(self, row: int, index: dict[bytes, int], model: bytes) -> None:
        """Count ``model``; ``index`` is the row's own memory of where its names stand."""
        name = model[:_NAME_BYTES]
        if name not in index and len(index) >= _MODELS - 1:
            name = _OTHER
        number = index.get(name)
        if number is None:
            number = index[name] = len(index)
            at = self._entry(row, number)
            self._memory[at : at + _ENTRY_BYTES] = bytes(8) + name.ljust(_NAME_BYTES, b"\0")
            self.set(row, Cell.MODELS, len(index))
        self._cells[self._entry(row, number) // 8] += 1

    def models(self) -> dict[bytes, int]:
        """Requests by model string."""
        counts: dict[bytes, int] = {}
        for row in range(self.workers):
            for number, name in enumerate(self.names(row)):
                counts[name] = counts.get(name, 0) + self._cells[self._entry(row, number) // 8]
        return counts

    def model_count(self, model: bytes) -> int:
        """Requests for one model string."""
        return self.models().get(model[:_NAME_BYTES], 0)

    def set_last(self, row: int, account: bytes, stamp: int) -> None:
        """Keep the row's last request; ``stamp`` (nanoseconds) tells which row's is the last of all."""
        if len(account) > _LAST_BYTES:
            account = b"{}"
        self.set(row, Cell.LAST_BYTES, 0)
        at = self._entry(row, _MODELS)
        self._memory[at : at + len(account)] = account
        self.set(row, Cell.LAST_STAMP, stamp)
        self.set(row, Cell.LAST_BYTES, len(account))

    def last(self) -> bytes:
        """The last request's account; ``{}`` if there was none, or none that stood still."""
        for _ in range(_READS):
            row = max(range(self.workers), key=lambda row: self.get(row, Cell.LAST_STAMP))
            stamp, size = self.get(row, Cell.LAST_STAMP), self.get(row, Cell.LAST_BYTES)
            at = self._entry(row, _MODELS)
            account = self._memory[at : at + size]
            if size and (stamp, size) == (self.get(row, Cell.LAST_STAMP), self.get(row, Cell.LAST_BYTES)):
                return account
            if not stamp:
                break
        return b"{}"

    def reset(self) -> None:
        """Begin anew. What is open stays open, and is the first peak."""
        for row in range(self.workers):
            for cell in Cell:
                if cell is not Cell.OPEN:
                    self.set(row, cell, 0)
        self.set(0, Cell.PEAK, self.total(Cell.OPEN))
        self._cells[0] += 1
