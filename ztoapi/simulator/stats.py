"""Statistics of the simulator, shown by ``/sim/stats`` and read by tests and load tests."""

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.shared_counts import CountCell, SharedCounts

if TYPE_CHECKING:
    from ztoapi.server.exchange import Connection

__all__ = ["Connections", "SimulatorStats", "Visit"]

_BODY_BYTES: Final = 65536
"""A longer body is left out of the last request."""

_encode = msgspec.json.Encoder().encode


class Visit(NamedTuple):
    """The ordinal of a chat request: ``number`` among all, ``times`` among those for its model string."""

    number: int
    times: int


class SimulatorStats:
    """The counts of every worker; this worker writes ``row``."""

    def __init__(self, counts: SharedCounts | None = None, row: int = 0) -> None:
        self._counts = counts or SharedCounts()
        self._row = row
        self._index = {name: number for number, name in enumerate(self._counts.names(row))}
        self._epoch = self._counts.epoch
        # Streams of an earlier worker of this row ended when it died.
        self._counts.set(row, CountCell.OPEN, 0)

    @property
    def requests(self) -> int:
        return self._counts.total(CountCell.REQUESTS)

    @property
    def cancels(self) -> int:
        return self._counts.total(CountCell.CANCELS)

    @property
    def open_streams(self) -> int:
        return self._counts.total(CountCell.OPEN)

    @property
    def connections(self) -> int:
        return self._counts.total(CountCell.CONNECTIONS)

    def reset(self) -> None:
        self._counts.reset()

    def count_connection(self) -> None:
        self._counts.add(self._row, CountCell.CONNECTIONS)

    def begin(self, exchange: Exchange, model: str, *, decodable: bool = True) -> Visit:
        """Counts a chat request, and later its end. ``decodable``: its body is JSON."""
        counts = self._counts
        row = self._row
        if self._epoch != counts.epoch:
            self._epoch = counts.epoch
            self._index.clear()
        counts.add(row, CountCell.REQUESTS)
        counts.add(row, CountCell.OPEN)
        counts.set(row, CountCell.PEAK, max(counts.get(row, CountCell.PEAK), self.open_streams))
        name = model.encode("utf-8", "replace")
        counts.count_model(row, self._index, name)
        exchange.on_finish(self._count_end)
        counts.set_last(row, _encode(_describe(exchange, decodable)), time.monotonic_ns())
        number = (counts.get(row, CountCell.REQUESTS) - 1) * counts.workers + row + 1
        return Visit(number, counts.model_count(name) if b"fault_times" in name else 1)

    def _count_end(self, exchange: Exchange) -> None:
        self._counts.add(self._row, CountCell.CANCELS, int(exchange.gone))
        self._counts.add(self._row, CountCell.OPEN, -1)

    def figures(self) -> dict[str, object]:
        return {
            "requests": self.requests,
            "by_model": {name.decode("utf-8", "replace"): count for name, count in self._counts.models().items()},
            "cancels": self.cancels,
            "open_streams": self.open_streams,
            "peak_concurrency": max(self._counts.values(CountCell.PEAK)),
            "connections": self.connections,
            "last_request": msgspec.Raw(self._counts.last()),
        }


class Connections(set["Connection"]):
    """The server's set of open connections, which counts each new one."""

    def __init__(self, stats: SimulatorStats) -> None:
        super().__init__()
        self._stats = stats

    def add(self, connection: "Connection") -> None:
        super().add(connection)
        self._stats.count_connection()


def _describe(exchange: Exchange, decodable: bool) -> dict[str, object]:
    request = exchange.request
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
    if "authorization" in headers:
        headers["authorization"] = "..." + headers["authorization"][-4:]
    body = exchange.request_body
    complete = decodable and len(body) <= _BODY_BYTES
    return {
        "path": request.path,
        "headers": headers,
        "body_bytes": len(body),
        "body": msgspec.Raw(bytes(body)) if complete else None,
    }
