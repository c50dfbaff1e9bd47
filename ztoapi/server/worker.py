"""One worker: the event loop of a child process, its signals and its end."""

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import uvloop

from ztoapi.server.allocator import tune_allocator
from ztoapi.server.context import ServerContext
from ztoapi.server.listener import Server
from ztoapi.server.signals import HURRY, RETIRE, STOP, UNUSED
from ztoapi.server.sockets import Sockets

__all__ = ["Assignment", "MakeService", "Service", "WorkerOrders", "serve"]

_FORCED_EXIT: Final = 1
_COLLECT_AFTER_OBJECTS: Final = 50000
"""New objects that start a collection of the youngest generation (default: 700, and 2,000 since Python 3.13): the
objects of 1,500 requests in flight."""


class Service(Protocol):
    """The service of a worker: the gateway or the simulator."""

    context: ServerContext

    async def start(self) -> None: ...

    async def close(self) -> None: ...


MakeService = Callable[[asyncio.AbstractEventLoop, int], Service]
"""Makes the service for an event loop and a slot."""


class WorkerOrders(Protocol):
    """Signals that a worker takes over from the supervisor."""

    def reload_in_place(self) -> None:
        """SIGHUP: takes over changes that need no new worker."""

    def reopen(self) -> bool:
        """SIGUSR1: opens log files anew. Returns whether there are any."""


class Assignment(NamedTuple):
    """The work of one worker."""

    sockets: Sockets
    make: MakeService
    slot: int
    parent: int
    """The pipe whose end shows that the supervisor has ended."""
    orders: WorkerOrders
    delay_seconds: float
    """Time between a signal to stop and the end of listening."""
    drain_seconds: float


class _Flags:
    """The requests of the supervisor."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.at_once = asyncio.Event()
        self.stopping = False
        """Whether the gateway ends; otherwise a successor listens."""

    def stop(self) -> None:
        self.stopping = True
        self.end.set()


def serve(assignment: Assignment, ready: Callable[[], None]) -> int:
    """Serves until the supervisor ends it; ``ready`` is called when it serves. Returns the exit code: 1 if requests
    were cut off."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(assignment, ready))


async def _serve(assignment: Assignment, ready: Callable[[], None]) -> int:
    loop = asyncio.get_running_loop()
    flags = _Flags()
    _handle_signals(loop, assignment.orders, flags)
    _watch_parent(loop, assignment.parent, flags.end)
    service = assignment.make(loop, assignment.slot)
    await service.start()
    server = Server(service.context, *assignment.sockets)
    await server.start()
    _tune_collector()
    tune_allocator()
    ready()
    await flags.end.wait()
    if flags.stopping:
        await server.announce_stop(assignment.delay_seconds, flags.at_once)
    clean = await server.drain(assignment.drain_seconds, flags.at_once)
    await server.close()
    await service.close()
    return 0 if clean else _FORCED_EXIT


def _handle_signals(loop: asyncio.AbstractEventLoop, orders: WorkerOrders, flags: _Flags) -> None:
    for number in STOP:
        loop.add_signal_handler(number, flags.stop)
    loop.add_signal_handler(RETIRE, flags.end.set)
    loop.add_signal_handler(HURRY, flags.at_once.set)
    loop.add_signal_handler(signal.SIGHUP, orders.reload_in_place)
    loop.add_signal_handler(signal.SIGUSR1, orders.reopen)
    for number in UNUSED:
        signal.signal(number, signal.SIG_IGN)
    # They were blocked until here, so that one during the start is neither lost nor fatal. SIGTTIN and SIGTTOU stay
    # blocked: unblocked, one write to a terminal in the background would send SIGTTOU to the supervisor too.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOP, RETIRE, HURRY, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD})


def _tune_collector() -> None:
    """Excludes the present objects from collections, and makes collections rare: the objects of requests are freed by
    their last reference. With the default thresholds the collector takes a tenth of a busy worker's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 20)


def _watch_parent(loop: asyncio.AbstractEventLoop, pipe: int, end: asyncio.Event) -> None:
    def parent_gone() -> None:
        loop.remove_reader(pipe)
        end.set()

    loop.add_reader(pipe, parent_gone)
