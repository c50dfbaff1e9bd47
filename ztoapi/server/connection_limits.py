"""Bounds on the client connections of one worker: in all, for one address, and by the free file descriptors.

The kernel gives a new socket the lowest free descriptor, so the number of an accepted socket shows how full the table
of the process is. Near its end the oldest idle connections are closed in favour of new ones, as nginx does. The event
loop would otherwise close each new connection at once, without a trace, and upstream connections would fail.
"""

import heapq
import logging
import resource
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import Final

from ztoapi.errors import ApiError, Ending
from ztoapi.server.exchange import Connection
from ztoapi.telemetry.samples import Sample
from ztoapi.wire.address import limited_part
from ztoapi.wire.limits import Limits

__all__ = ["ConnectionLimits"]

_MAX_EVICTED: Final = 16
_EVICTED_PART: Final = 8
"""The part of the connections that is closed at a time, at most ``_MAX_EVICTED``, so that a shortage does not cost a
search for each new connection. nginx has the same rule."""
_SPARE_DESCRIPTORS: Final = 16
"""Kept free for upstream connections and files; one in eight where that is more."""
_FRESH_SECONDS: Final = 1.0
"""A connection without a request is not idle so soon after it was made, unless all are like that."""
_SEARCH_SECONDS: Final = 0.25
"""After a search that found no idle connection, none follows for this time."""
_LOG_SECONDS: Final = 60.0
"""Interval of log lines about one shortage."""

_log = logging.getLogger(__name__)


class ConnectionLimits:
    """Decides whether a new connection is kept. ``connections`` are those of the worker; ``now`` is the loop's clock.

    ``descriptors`` is the limit on open files of the process; None for what RLIMIT_NOFILE is.
    """

    __slots__ = (
        "_addresses",
        "_connections",
        "_first_scarce",
        "_limits",
        "_now",
        "_quiet_until",
        "_search_after",
        "evicted",
        "refused",
    )

    def __init__(
        self,
        limits: Limits,
        connections: Collection[Connection],
        now: Callable[[], float],
        descriptors: int | None = None,
    ) -> None:
        self._limits = limits
        self._connections = connections
        self._now = now
        self._addresses: dict[str, int] = {}
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if descriptors is None else descriptors
        self._first_scarce = limit - max(_SPARE_DESCRIPTORS, limit // 8)
        self._search_after = self._quiet_until = 0.0
        self.evicted = 0
        self.refused = 0

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_client_connections", len(self._connections))
        yield Sample("ztoapi_client_connections_evicted", self.evicted)
        yield Sample("ztoapi_client_connections_refused", self.refused)

    def scarce(self, descriptor: int) -> bool:
        """Whether a socket with this number is one of the last that the process can open."""
        return 0 <= self._first_scarce <= descriptor

    def admit(self, address: str | None, descriptor: int) -> ApiError | None:
        """Counts a new connection; call :meth:`leave` at its end. Returns the error if it is not kept.

        ``address`` is None for peers that are not limited by address.
        """
        limits = self._limits
        if address is not None and limits.max_connections_per_address:
            part = limited_part(address)
            count = self._addresses[part] = self._addresses.get(part, 0) + 1
            if count > limits.max_connections_per_address:
                return self._refusal(429, "too many connections from this address")
        if self.scarce(descriptor):
            shortage = "the process has almost no free file descriptors (RLIMIT_NOFILE)"
        elif limits.max_connections and len(self._connections) >= limits.max_connections:
            shortage = "max_connections is reached"
        else:
            return None
        evicted = self._evict()
        self._warn(shortage, evicted)
        return None if evicted else self._refusal(503, "the gateway cannot take more connections")

    def leave(self, address: str | None) -> None:
        """A connection that was counted has ended."""
        if address is not None and self._addresses:
            part = limited_part(address)
            left = self._addresses.get(part, 0) - 1
            if left > 0:
                self._addresses[part] = left
            else:
                self._addresses.pop(part, None)

    def _evict(self) -> int:
        """Closes the connections that have been idle for longest. Returns their number."""
        now = self._now()
        if now < self._search_after:
            return 0
        idle = [connection for connection in self._connections if connection.idle]
        fresh = now + self._limits.head_timeout_seconds - _FRESH_SECONDS
        old = [candidate for candidate in idle if not fresh < candidate.deadline <= fresh + _FRESH_SECONDS] or idle
        if not old:
            self._search_after = now + _SEARCH_SECONDS
            return 0
        count = max(1, min(_MAX_EVICTED, len(self._connections) // _EVICTED_PART))
        closed = sum(connection.close_idle() for connection in heapq.nsmallest(count, old, attrgetter("deadline")))
        self.evicted += closed
        return closed

    def _warn(self, shortage: str, evicted: int) -> None:
        now = self._now()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_SECONDS
            consequence = "closing idle connections for new ones" if evicted else "refusing new connections"
            _log.warning("%s: %s (%d connections of clients)", shortage, consequence, len(self._connections))

    def _refusal(self, status: int, message: str) -> ApiError:
        self.refused += 1
        return ApiError(
            f"{message}: try again later",
            status=status,
            type="server_error" if status == 503 else "rate_limit_error",
            code="too_many_connections",
            retry_after=1.0,
            ending=Ending.REJECTED,
        )
