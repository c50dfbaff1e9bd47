"""Processes: one worker in this process, or several under a plain supervisor.

Each worker has its own listening sockets on the same port (:mod:`ztoapi.server.sockets`). The supervisor binds them
before it forks, so that the kernel distributes connections, and a restarted worker takes over the backlog of its
predecessor.

SIGTERM, SIGINT and SIGQUIT drain; a second one stops at once. The supervisor counts them for its workers, because
Ctrl-C reaches all processes of a terminal. It restarts dead workers with a back-off, and gives up when none of them
stays up. Workers hold the read end of a pipe of which only the supervisor has the write end: if the supervisor ends for
any reason, they drain too.

SIGHUP reloads and SIGUSR1 reopens log files (:mod:`ztoapi.server.signals`). The supervisor does so first: workers do
not get a configuration that it cannot use, and workers that it starts later inherit the one in force.

The supervisor kills a worker whose event loop does not run, so that connections do not wait for it; the others, and
their streams, continue. It also kills workers that have not ended some seconds after the drain time. A service manager
with a watchdog (:mod:`ztoapi.server.notify`) gets its keepalives from the supervisor, or from the event loop of a
single worker.
"""

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import uvloop

from ztoapi.server.allocator import tune_allocator
from ztoapi.server.context import ServerContext
from ztoapi.server.listener import Server, clock_time
from ztoapi.server.notify import CHECKS_PER_WATCHDOG, Notifier
from ztoapi.server.signals import HANDLED, ORDERS, STOP, Orders, Reload
from ztoapi.server.sockets import Sockets

__all__ = ["Duty", "Service", "run"]

_HURRY: Final = signal.SIGURG
"""Sent by the supervisor only. Without a handler it has no effect."""
_STOP_STEPS: Final = (signal.SIGTERM, _HURRY, signal.SIGKILL)
"""The signals for workers at the first, second and third request to stop."""
_WATCHED: Final = frozenset((*HANDLED, signal.SIGCHLD))
_FIRST_BACKOFF_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 5.0
_MAX_DOUBLINGS: Final = 10
"""Doublings of the first back-off that pass the longest one; a float overflows at 1024."""
_STABLE_SECONDS: Final = 10.0
"""A worker that has run for this time has not failed to start."""
_MAX_QUICK_DEATHS: Final = 5
"""Consecutive quick deaths after which a worker counts as broken. When all workers do, the supervisor gives up."""
_HANG_SECONDS: Final = 10.0
"""Longest time that a worker's event loop may stand still, where no watchdog gives another one: several times the
longest stall that a busy machine causes, and less than most clients wait."""
_EXIT_SECONDS: Final = 5.0
"""Time after the drain in which a worker closes its connections and files."""
_FORCED_EXIT: Final = 1
_NEVER: Final = float("inf")
_COLLECT_AFTER_OBJECTS: Final = 50000
"""New objects that start a collection of the youngest generation (default: 700): the objects of 1,500 requests in
flight."""

_log = logging.getLogger(__name__)


class Service(Protocol):
    """The service of a worker: the gateway or the simulator."""

    context: ServerContext

    async def start(self) -> None: ...

    async def close(self) -> None: ...


MakeService = Callable[[asyncio.AbstractEventLoop], Service]


class Duty(NamedTuple):
    """The service of one worker, and its sockets."""

    sockets: Sockets
    make: MakeService
    died: Callable[[], None] | None = None
    """Called in the supervisor when the worker has died and others continue."""
    beat: Callable[[], float] | None = None
    """Returns a number that changes with each tick of the worker's loop; called in the supervisor."""


def run(
    duties: list[Duty],
    *,
    drain_seconds: float,
    started: Callable[[], None],
    reload: Reload | None = None,
    reopen: Reload | None = None,
) -> int:
    """Runs a worker for each of ``duties`` until a signal stops it, and returns the exit code. ``reload`` is called for
    SIGHUP, ``reopen`` for SIGUSR1.

    0 after a drain; 1 if a second signal or the end of the drain time cut off requests, or if workers kept dying.
    ``started`` is called when all sockets listen.
    """
    orders = Orders(reload, reopen)
    if len(duties) == 1:
        return _serve(duties[0], drain_seconds, _Alone(Notifier(os.environ), started), orders)
    return _Supervisor(duties, drain_seconds, orders).run(started)


class _Alone(NamedTuple):
    """The supervisor's duties towards the service manager, for a single worker."""

    notifier: Notifier
    started: Callable[[], None]

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self.started()
        self.notifier.send("READY=1")
        if self.notifier.check_seconds is not None:
            self._live(loop, self.notifier.check_seconds)

    def _live(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.notifier.send("WATCHDOG=1")
        loop.call_later(seconds, self._live, loop, seconds)


def _serve(duty: Duty, drain_seconds: float, parent: _Alone | int, orders: Orders) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve_on_loop(duty, drain_seconds, parent, orders))


async def _serve_on_loop(duty: Duty, drain_seconds: float, parent: _Alone | int, orders: Orders) -> int:
    """``parent`` is the pipe of the supervisor, if there is one."""
    loop = asyncio.get_running_loop()
    stop, at_once = asyncio.Event(), asyncio.Event()
    _handle_signals(loop, parent, orders, stop, at_once)
    if isinstance(parent, int):
        _watch_parent(loop, parent, stop)
    service = duty.make(loop)
    await service.start()
    server = Server(service.context, *duty.sockets)
    await server.start()
    if isinstance(parent, _Alone):
        parent.begin(loop)
    _tune_collector()
    tune_allocator()
    await stop.wait()
    clean = await server.drain(drain_seconds, at_once)
    await server.close()
    await service.close()
    return 0 if clean else _FORCED_EXIT


def _handle_signals(
    loop: asyncio.AbstractEventLoop, parent: _Alone | int, orders: Orders, stop: asyncio.Event, at_once: asyncio.Event
) -> None:
    def stop_or_hurry() -> None:
        if isinstance(parent, _Alone):
            if stop.is_set():
                at_once.set()
            else:
                parent.notifier.send("STOPPING=1")
        stop.set()

    def obey(number: int) -> None:
        if orders.ends(number):
            stop_or_hurry()
        else:
            orders.obey(number)

    for number in STOP:
        loop.add_signal_handler(number, stop_or_hurry)
    for number in ORDERS:
        loop.add_signal_handler(number, obey, number)
    if isinstance(parent, int):
        loop.add_signal_handler(_HURRY, at_once.set)
    # They were blocked until here, so that one during the start is neither lost nor fatal.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_WATCHED, _HURRY})


def _tune_collector() -> None:
    """Excludes the present objects from collections, and makes collections rare: the objects of requests are freed by
    their last reference. With the default thresholds the collector takes a tenth of a busy worker's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 20)


def _watch_parent(loop: asyncio.AbstractEventLoop, pipe: int, stop: asyncio.Event) -> None:
    def parent_gone() -> None:
        loop.remove_reader(pipe)
        stop.set()

    loop.add_reader(pipe, parent_gone)


class _Worker:
    """One child process."""

    def __init__(self, number: int, duty: Duty) -> None:
        self.number = number
        self.duty = duty
        self.pid = 0
        self.started = 0.0
        self.quick_deaths = 0
        self.start_at: float | None = None
        self.beat = 0.0
        self.still_checks = 0

    def is_stuck(self) -> bool:
        """Whether several checks in a row saw the same beat. Its age does not count: after the machine was suspended,
        every beat is old."""
        if not self.pid or self.duty.beat is None:
            return False
        beat = self.duty.beat()
        self.still_checks = self.still_checks + 1 if beat == self.beat else 0
        self.beat = beat
        return self.still_checks >= CHECKS_PER_WATCHDOG

    def is_broken(self) -> bool:
        """Whether it has died quickly again and again, and has not run for long since."""
        runs = self.pid and time.monotonic() - self.started >= _STABLE_SECONDS
        return self.quick_deaths >= _MAX_QUICK_DEATHS and not runs


class _Supervisor:
    """Forks, watches, stops."""

    def __init__(self, duties: list[Duty], drain_seconds: float, orders: Orders) -> None:
        self._workers = [_Worker(number, duty) for number, duty in enumerate(duties)]
        self._drain_seconds = drain_seconds
        self._orders = orders
        self._stopping = 0
        self._exit_code = 0
        self._pipe_read, self._pipe_write = os.pipe()
        self._notifier = Notifier(os.environ)
        self._check_seconds = self._notifier.check_seconds or _HANG_SECONDS / CHECKS_PER_WATCHDOG
        self._check_at = time.monotonic()
        self._kill_at = _NEVER

    def run(self, started: Callable[[], None]) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_WATCHED, _HURRY})
        for worker in self._workers:
            self._fork(worker)
        started()
        self._notifier.send("READY=1")
        while any(worker.pid for worker in self._workers) or not self._stopping:
            self._wait()
        if self._exit_code:
            _log.warning("all workers have ended, and not all of them cleanly: exit code %d", self._exit_code)
        else:
            _log.info("all workers have ended, and all requests have finished")
        return self._exit_code

    def _wait(self) -> None:
        number = self._next_signal()
        if number in STOP or (number is not None and self._orders.ends(number)):
            self._stop()
        elif number in ORDERS and self._orders.obey(number):
            self._signal_workers(number)
        self._reap()
        for worker in self._workers:
            if worker.start_at is not None and not self._stopping and worker.start_at <= time.monotonic():
                self._fork(worker)
        if self._check_at <= time.monotonic():
            self._check()
        if self._kill_at <= time.monotonic():
            self._kill_at = _NEVER
            _log.error("workers have not ended %g s after the drain time: killing them", _EXIT_SECONDS)
            self._signal_workers(signal.SIGKILL)

    def _next_signal(self) -> int | None:
        """Returns the next signal; None when something else is due."""
        starts = [worker.start_at for worker in self._workers if worker.start_at is not None]
        due = min(self._check_at, self._kill_at, *starts)
        info = signal.sigtimedwait(_WATCHED, max(due - time.monotonic(), 0.0))
        return None if info is None else info.si_signo

    def _check(self) -> None:
        if self._notifier.check_seconds is not None:
            self._notifier.send("WATCHDOG=1")
        self._check_at = time.monotonic() + self._check_seconds
        for worker in self._workers:
            if not self._stopping and worker.is_stuck():
                _log.error("worker %d is stuck: killing it", worker.number)
                os.kill(worker.pid, signal.SIGKILL)

    def _fork(self, worker: _Worker) -> None:
        worker.start_at = None
        worker.started = time.monotonic()
        worker.still_checks = 0
        worker.pid = os.fork()
        if worker.pid == 0:
            self._run_child(worker)

    def _run_child(self, worker: _Worker) -> None:
        code = _FORCED_EXIT
        try:
            os.close(self._pipe_write)
            for other in self._workers:
                if other is not worker:
                    for sock in other.duty.sockets:
                        sock.close()
            code = _serve(worker.duty, self._drain_seconds, self._pipe_read, self._orders)
        except BaseException:  # noqa: BLE001 - the last frame of a process; the log is the only trace of it
            _log.exception("worker %d failed", worker.number)
        finally:
            logging.shutdown()
            os._exit(code)

    def _stop(self) -> None:
        self._stopping += 1
        if self._stopping == 1:
            self._kill_at = time.monotonic() + self._drain_seconds + _EXIT_SECONDS
            until = clock_time(ServerContext.wall_clock() + self._drain_seconds)
            _log.info("stopping %d workers: requests in flight may finish until %s", len(self._workers), until)
        self._notifier.send("STOPPING=1")
        for worker in self._workers:
            worker.start_at = None
        self._signal_workers(_STOP_STEPS[min(self._stopping, len(_STOP_STEPS)) - 1])

    def _signal_workers(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _reap(self) -> None:
        workers = {worker.pid: worker for worker in self._workers if worker.pid}
        while workers:
            # Any child: process 1 of a container inherits the orphans of others.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            worker = workers.pop(pid, None)
            if worker is not None:
                worker.pid = 0
                self._died(worker, os.waitstatus_to_exitcode(status))

    def _died(self, worker: _Worker, code: int) -> None:
        if self._stopping:
            self._exit_code = self._exit_code or (_FORCED_EXIT if code else 0)
            return
        if worker.duty.died is not None:
            worker.duty.died()
        lived = time.monotonic() - worker.started
        worker.quick_deaths = worker.quick_deaths + 1 if lived < _STABLE_SECONDS else 1
        if all(worker.is_broken() for worker in self._workers):
            _log.error("every worker ended %d times within %g s: giving up", _MAX_QUICK_DEATHS, _STABLE_SECONDS)
            self._exit_code = _FORCED_EXIT
            self._stop()
            return
        doublings = min(worker.quick_deaths - 1, _MAX_DOUBLINGS)
        wait = min(_FIRST_BACKOFF_SECONDS * 2.0**doublings, _LONGEST_BACKOFF_SECONDS)
        _log.warning("worker %d ended (%d); restarting it in %g s", worker.number, code, wait)
        worker.start_at = time.monotonic() + wait
