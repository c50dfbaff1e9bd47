"""The state that the connections of one worker share: settings, gates, routes, clock and counters."""

import asyncio
import enum
import itertools
import secrets
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from ztoapi.config.certificates import ServerTLS
from ztoapi.errors import ApiError
from ztoapi.server.buffers import BufferBudget
from ztoapi.server.connection_limits import ConnectionLimits
from ztoapi.server.exchange import Connection, Exchange, Tracer
from ztoapi.server.plain_http import PlainHTTP
from ztoapi.server.routes import Routes
from ztoapi.structures.cork import Cork
from ztoapi.structures.deadlines import Deadlines
from ztoapi.structures.turn_limit import TurnLimit
from ztoapi.telemetry.record import Recorder
from ztoapi.wire.address import Network
from ztoapi.wire.head_memory import HeadMemory
from ztoapi.wire.limits import TURN_FIRST_REQUESTS, Limits

__all__ = ["Admit", "ServerContext", "Verdict", "admit_all"]

TICK_SECONDS: Final = 0.25
"""The interval of the deadline scan, which is the largest delay of a timeout."""


class Verdict(enum.Enum):
    """The result of ``admit`` for a request that is neither admitted nor refused."""

    WAIT = enum.auto()
    """It is held, with its body unread, until ``Exchange.proceed`` or ``Exchange.reject`` is called."""


Admit = Callable[[Exchange], ApiError | Verdict | None]


def admit_all(handler: Callable[[Exchange], None]) -> Admit:
    """Returns an ``admit`` without gates, for a server with a single handler."""

    def admit(exchange: Exchange) -> None:
        exchange.handler = handler

    return admit


class ServerContext:
    """The state that the connections of one worker share.

    ``admit`` is called when a head has arrived, before the body is read: it admits a request and sets its handler, or
    returns the error, or lets it wait.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        admit: Admit,
        *,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
        tracer: Tracer | None = None,
        trusted_proxies: tuple[Network, ...] = (),
        forwarded_header: str = "x-forwarded-for",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.loop = loop
        self.admit = admit
        self.limits = limits or Limits()
        self.routes: Routes[Exchange] = Routes()
        self.buffers = BufferBudget(self.limits.max_buffered_bytes)
        self.recorder = recorder or Recorder()
        self.deadlines = Deadlines(loop.call_soon)
        self.cork = Cork(loop.call_soon)
        self.first_requests = TurnLimit(loop.call_soon, TURN_FIRST_REQUESTS)
        """For the first requests of connections."""
        self.heads = HeadMemory(self.limits, self.routes.is_streamed)
        self.tracer = tracer
        self.trusted_proxies = trusted_proxies
        self.forwarded_header = forwarded_header.encode("ascii")
        self.tls = tls
        """For the addresses that use TLS."""
        self.plain_http = PlainHTTP(loop.time)
        if isinstance(tls, ServerTLS):
            tls.on_plain_http = self.plain_http.note
        self.connections: set[Connection] = set()
        self.connection_limits = ConnectionLimits(self.limits, self.connections, loop.time)
        self.draining = False
        """Whether connections are closed after their next response."""
        self.stopping = False
        """Whether the gateway ends, and no successor of this worker takes over."""
        self.date = b""
        self.next_id: Callable[[], str] = map(f"{secrets.token_hex(8)}%08x".__mod__, itertools.count(1)).__next__
        """Returns an id that is unique among all workers and restarts: 64 random bits of the worker, then a counter.
        C functions only, because every request needs one."""
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def wall_clock() -> float:
        """Returns Unix seconds, for people to read; never for measuring."""
        return time.time()  # noqa: TID251 - the only reading of the wall clock

    def start(self) -> None:
        """Starts the ticks, which update the Date field and check the deadlines."""
        self.date = formatdate(usegmt=True).encode("ascii")
        # Scheduled first, so that an exception of a deadline does not end the ticks.
        self._timer = self.loop.call_later(TICK_SECONDS, self.start)
        now = self.loop.time()
        self.heads.expire(now)
        self.deadlines.expire(now)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
