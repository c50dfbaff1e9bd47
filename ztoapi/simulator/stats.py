"""What the simulator has seen; ``/sim/stats`` shows it, tests and load tests read it."""

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.shared_counts import Cell, SharedCounts

if TYPE_CHECKING:
    from ztoapi.server.protocol import HTTPProtocol

__all__ = ["Connections", "Stats", "Visit"]

_BODY_BYTES: Final = 65536
"""A longer last body is left out of the statistics."""

_encode = msgspec.json.Encoder().encode


class Visit(NamedTuple):
    """A chat request as counted: ``number`` among all, ``times`` among those for its model string."""

    number: int
    times: int


class Stats:
    """The counts of every worker on ``board``; this one writes ``row``."""

    def __init__(self, board: SharedCounts | None = None, row: int = 0) -> None:
        self._board = board or SharedCounts()
        self._row = row
        self._index = {name: number for number, name in enumerate(self._board.names(row))}
        self._epoch = self._board.epoch
        # A worker that died had streams open; they are gone with it.
        self._board.set(row, Cell.OPEN, 0)

    @property
    def requests(self) -> int:
        return self._board.total(Cell.REQUESTS)

    @property
    def cancels(self) -> int:
        return self._board.total(Cell.CANCELS)

    @property
    def open_streams(self) -> int:
        return self._board.total(Cell.OPEN)

    @property
    def connections(self) -> int:
        return self._board.total(Cell.CONNECTIONS)

    def reset(self) -> None:
        self._board.reset()

    def count_connection(self) -> None:
        self._board.add(self._row, Cell.CONNECTIONS)

    def begin(self, exchange: Exchange, model: str, *, decodable: bool = True) -> Visit:
        """A chat request has come; its ending is counted by itself. ``decodable``: its body is JSON."""
        board, row = self._board, self._row
        if self._epoch != board.epoch:
            self._epoch = board.epoch
            self._index.clear()
        board.add(row, Cell.REQUESTS)
        board.add(row, Cell.OPEN)
        board.set(row, Cell.PEAK, max(board.get(row, Cell.PEAK), self.open_streams))
        name = model.encode("utf-8", "replace")
        board.count_model(row, self._index, name)
        exchange.on_gone = self._count_cancel
        exchange.on_finish = self._count_end
        board.set_last(row, _encode(_account(exchange, decodable)), time.monotonic_ns())
        number = (board.get(row, Cell.REQUESTS) - 1) * board.workers + row + 1
        return Visit(number, board.model_count(name) if b"fault_times" in name else 1)

    def _count_cancel(self) -> None:
        self._board.add(self._row, Cell.CANCELS)

    def _count_end(self, _: Exchange) -> None:
        self._board.add(self._row, Cell.OPEN, -1)

    def shown(self) -> dict[str, object]:
        return {
            "requests": self.requests,
            "by_model": {name.decode("utf-8", "replace"): count for name, count in self._board.models().items()},
            "cancels": self.cancels,
            "open_streams": self.open_streams,
            "peak_concurrency": max(self._board.values(Cell.PEAK)),
            "connections": self.connections,
            "last_request": msgspec.Raw(self._board.last()),
        }


class Connections(set["HTTPProtocol"]):
    """The server's set of open connections; it tells of each that comes."""

    def __init__(self, stats: Stats) -> None:
        super().__init__()
        self._stats = stats

    def add(self, connection: "HTTPProtocol") -> None:
        super().add(connection)
        self._stats.count_connection()


def _account(exchange: Exchange, decodable: bool) -> dict[str, object]:
    request = exchange.request
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
    if "authorization" in headers:
        headers["authorization"] = "..." + headers["authorization"][-4:]
    shown = decodable and len(request.body) <= _BODY_BYTES
    return {
        "path": request.path,
        "headers": headers,
        "body_bytes": len(request.body),
        "body": msgspec.Raw(bytes(request.body)) if shown else None,
    }
