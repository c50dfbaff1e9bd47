"""Keep-alive connections by origin. Acquire and release are O(1); surplus connections are closed at the next scan.

The newest idle connection is used first, so that the oldest ones expire. Idle connections keep reading: one that the
upstream has closed leaves the pool in the loop turn in which the close arrives, before a request can take it.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from ztoapi.structures.deadlines import NEVER, Deadlines
from ztoapi.structures.turns import in_turns
from ztoapi.telemetry.samples import Sample
from ztoapi.upstream.connection import CHECK_SECONDS, CHECKS_PER_SECOND, UpstreamConnection

__all__ = ["Origin", "Pool", "PoolStatistics"]

_GOLDEN_RATIO: Final = 0.618
"""Its multiples are spread evenly between the integers, however many there are."""
_SPREAD: Final = 0.8
_CHECKS_PER_TURN: Final = 100
"""Busy connections that are checked in one turn of the event loop: 0.1 to 0.2 ms."""
_SCAN_TIMES: Final = int(CHECK_SECONDS * CHECKS_PER_SECOND) + 2
"""Scans whose times are kept: those since the last check of any connection."""


class Origin(NamedTuple):
    """The destination of a connection. ``host`` is without brackets."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the Host field, with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class PoolStatistics(NamedTuple):
    """Counts now, and since the start."""

    busy: int
    idle: int
    opened: int


class Pool:
    """See the module docstring. ``max_idle`` in all, ``max_idle_per_origin``, and ``idle_timeout`` in seconds."""

    def __init__(self, deadlines: Deadlines, *, max_idle: int, max_idle_per_origin: int, idle_timeout: float) -> None:
        self._deadlines = deadlines
        self._max_idle = max_idle
        self._max_idle_per_origin = max_idle_per_origin
        self._idle_timeout = idle_timeout
        self._idle: dict[Origin, deque[UpstreamConnection]] = defaultdict(deque)
        self._origins: dict[UpstreamConnection, Origin] = {}
        """Of the connections that are idle or busy."""
        self._closing: set[UpstreamConnection] = set()
        """Those that are being closed: a TLS connection, until its peer has closed it too."""
        self._opened = 0
        self._watched: dict[float, list[UpstreamConnection]] = {}
        """Busy connections by the quarter of a second in which they are to be checked. One that has been moved to an
        earlier quarter is ignored in the later one."""
        self._scan_times: deque[float] = deque(maxlen=_SCAN_TIMES)
        self.scans = 0
        self.deadline = 0.0
        deadlines.add(self)

    def __repr__(self) -> str:
        return f"<Pool {self.statistics()}>"

    def statistics(self) -> PoolStatistics:
        # An aborted connection counts as busy until the next turn of the loop.
        idle = sum(map(len, self._idle.values()))
        return PoolStatistics(len(self._origins) - idle, idle, self._opened)

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        statistics = self.statistics()
        yield Sample("ztoapi_upstream_connections", statistics.busy, "busy")
        yield Sample("ztoapi_upstream_connections", statistics.idle, "idle")
        yield Sample("ztoapi_upstream_connections_opened", statistics.opened)

    def acquire(self, origin: Origin) -> UpstreamConnection | None:
        """Takes an idle, open connection; returns None if there is none."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def opened(self, origin: Origin, connection: UpstreamConnection) -> None:
        """Adds a new connection, which is in use."""
        self._opened += 1
        self._origins[connection] = origin
        connection.first_check = 1.0 - _SPREAD * (self._opened * _GOLDEN_RATIO % 1.0)

    def connection_released(self, connection: UpstreamConnection) -> None:
        """The response is complete: the connection becomes idle."""
        connection.idle_since = connection.loop.time()
        self._idle[self._origins[connection]].append(connection)

    def close_connection(self, connection: UpstreamConnection) -> None:
        """Closes a connection that is neither idle nor busy any more."""
        if self._origins.pop(connection, None) is not None:
            self._closing.add(connection)
        connection.transport.close()

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """The connection has closed, idle or busy."""
        self._closing.discard(connection)
        origin = self._origins.pop(connection, None)
        if origin is None:
            return
        idle = self._idle.get(origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def watch(self, connection: UpstreamConnection) -> None:
        """Calls ``on_deadline`` of a busy connection at the first scan from its deadline on."""
        quarter = connection.watched_for = connection.deadline * CHECKS_PER_SECOND // 1.0
        watched = self._watched.get(quarter)
        if watched is None:
            self._watched[quarter] = [connection]
        else:
            watched.append(connection)

    def scanned_at(self, number: int) -> float:
        """Returns the time of the scan with this number, or of the oldest known one. For a read between two turns of a
        scan, which no scan has followed, it is the time of that scan."""
        times = self._scan_times
        back = max(self.scans - number, 0) + 1
        return times[-back] if back <= len(times) else times[0]

    def on_deadline(self, now: float) -> None:
        self.scans += 1
        self._scan_times.append(now)
        self._check_busy(now)
        self._close_idle(now)

    def _check_busy(self, now: float) -> None:
        """Checks the connections that are due: of those with a steady stream, a twentieth at each scan."""
        this_quarter = now * CHECKS_PER_SECOND
        for quarter in [quarter for quarter in self._watched if quarter <= this_quarter]:
            check = partial(self._check, quarter, now)
            in_turns(self._deadlines.call_soon, check, self._watched.pop(quarter), _CHECKS_PER_TURN)

    def _check(self, quarter: float, now: float, watched: list[UpstreamConnection]) -> None:
        for connection in watched:
            if connection.watched_for != quarter:
                continue
            if connection.sink is not None and connection.deadline <= now:
                connection.on_deadline(now)
            if connection.sink is not None:
                self.watch(connection)
            else:
                connection.watched_for = NEVER

    def _close_idle(self, now: float) -> None:
        """Closes connections that have been idle for too long, and surplus ones, oldest first."""
        expired = now - self._idle_timeout
        total = 0
        for origin, idle in list(self._idle.items()):
            while idle and (len(idle) > self._max_idle_per_origin or idle[0].idle_since <= expired):
                self.close_connection(idle.popleft())
            total += len(idle)
            if not idle:
                del self._idle[origin]
        while total > self._max_idle:
            oldest = min((idle for idle in self._idle.values() if idle), key=lambda idle: idle[0].idle_since)
            self.close_connection(oldest.popleft())
            total -= 1

    def close(self) -> None:
        """Closes every connection, idle or busy."""
        self._deadlines.discard(self)
        for connection in [*self._origins, *self._closing]:
            connection.transport.abort()
