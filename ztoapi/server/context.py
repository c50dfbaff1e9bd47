"""What the connections of one worker share: settings, the application's two entry points, clock and books."""

import asyncio
import enum
import itertools
import secrets
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from ztoapi.errors import ApiError
from ztoapi.server.buffers import BufferBudget
from ztoapi.server.connection_limits import ConnectionLimits
from ztoapi.server.exchange import Connection, Exchange, Tracer
from ztoapi.server.routes import Routes
from ztoapi.structures.deadlines import Deadlines
from ztoapi.telemetry.record import Recorder
from ztoapi.wire.address import Network
from ztoapi.wire.limits import Limits

__all__ = ["Admit", "Dispatch", "ServerContext", "Verdict"]

TICK_SECONDS: Final = 0.25
"""How often deadlines are looked at: timers are that much late at worst."""


class Verdict(enum.Enum):
    """What may be said of a request that is neither let in nor refused."""

    WAIT = enum.auto()
    """It is held, its body unread, until ``Exchange.proceed`` or ``Exchange.reject`` is called."""


Admit = Callable[[Exchange], ApiError | Verdict | None]
Dispatch = Callable[[Exchange], None]


def admit_all(_: Exchange) -> ApiError | None:
    """No gates."""
    return None


class ServerContext:
    """``admit`` is asked when a head has come, before any of the body is waited for; a refusal it returns is sent.
    An exchange that it says must wait is its to go on with.
    ``dispatch`` is called when the request is whole. ``deadlines`` may be shared with the upstream side."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatch: Dispatch,
        *,
        admit: Admit = admit_all,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
        deadlines: Deadlines | None = None,
        tracer: Tracer | None = None,
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self.loop = loop
        self.dispatch = dispatch
        self.admit = admit
        self.limits = limits or Limits()
        self.routes: Routes[Exchange] = Routes()
        self.buffers = BufferBudget(self.limits.max_buffered_bytes)
        self.recorder = recorder or Recorder()
        self.deadlines = deadlines or Deadlines()
        self.tracer = tracer
        self.trusted_proxies = trusted_proxies
        self.connections: set[Connection] = set()
        self.connection_limits = ConnectionLimits(self.limits, self.connections, loop.time)
        self.draining = False
        self.date = b""
        self._id_prefix = secrets.token_hex(8)
        self._counter = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None

    def next_id(self) -> str:
        """An id that is unique among all workers and restarts: 64 random bits of the worker, then a counter."""
        return f"{self._id_prefix}{next(self._counter):08x}"

    @staticmethod
    def wall_clock() -> float:
        """Unix seconds: for what people read, never for measuring."""
        return time.time()  # noqa: TID251 - the one place that asks the wall clock

    def start(self) -> None:
        """Begin to tick: the Date field and the deadlines."""
        self.date = formatdate(usegmt=True).encode("ascii")
        # The next tick first: whatever a deadline's owner does, the others are looked at again.
        self._timer = self.loop.call_later(TICK_SECONDS, self.start)
        self.deadlines.expire(self.loop.time())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
