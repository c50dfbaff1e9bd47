"""Processes: workers under a plain supervisor.

Each worker has its own listening sockets on the same port (:mod:`ztoapi.server.sockets`). The supervisor binds them
before it forks, and keeps them: the kernel distributes connections, and a worker that replaces another one takes over
its backlog.

SIGTERM, SIGINT and SIGQUIT drain; a second one stops at once. The supervisor counts them for its workers, because
Ctrl-C reaches all processes of a terminal. It restarts dead workers with a back-off, and gives up when none of them
stays up. Workers hold the read end of a pipe of which only the supervisor has the write end: if the supervisor ends for
any reason, they drain too.

A new configuration (SIGHUP) and an age or memory limit replace workers one by one: the successor starts, and when it
serves, its predecessor stops listening, finishes its requests and ends. SIGTTIN adds a worker and SIGTTOU retires one.
SIGUSR2 replaces the program itself (:mod:`ztoapi.server.upgrade`): the new supervisor has the process id, the sockets
and the workers of the old one, and replaces the workers in the same way.

The supervisor kills a worker whose event loop does not run, so that connections do not wait for it; the others, and
their streams, continue. It also kills workers that have not ended some seconds after the drain time. A service manager
with a watchdog (:mod:`ztoapi.server.notify`) gets its keepalives from the supervisor.
"""

import logging
import mmap
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from ztoapi.server.context import ServerContext
from ztoapi.server.listener import clock_time
from ztoapi.server.notify import CHECKS_PER_WATCHDOG, Notifier
from ztoapi.server.signals import HURRY, RETIRE, STOP, WATCHED, ControllingTerminal
from ztoapi.server.sockets import Sockets, close_others
from ztoapi.server.upgrade import Inherited, KeptWorker, replace_program
from ztoapi.server.worker import Assignment, MakeService, WorkerOrders, serve
from ztoapi.telemetry.processes import resident_bytes

__all__ = ["Duty", "FixedService", "Plan", "Reloaded", "Supervised", "run"]

_STOP_STEPS: Final = (signal.SIGTERM, HURRY, signal.SIGKILL)
"""The signals for workers at the first, second and third request to stop."""
_FIRST_BACKOFF_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 5.0
_MAX_DOUBLINGS: Final = 10
"""Doublings of the first back-off that pass the longest one; a float overflows at 1024."""
_STABLE_SECONDS: Final = 10.0
"""A worker that has run for this time has not failed to start."""
_MAX_QUICK_DEATHS: Final = 5
"""Consecutive quick deaths after which a worker counts as broken. When all workers do, the supervisor gives up."""
_START_SECONDS: Final = 30.0
"""Time in which a worker that replaces another one must serve: far more than an import on a busy machine takes."""
_HANG_SECONDS: Final = 10.0
"""Longest time that a worker's event loop may stand still, where no watchdog gives another one: several times the
longest stall that a busy machine causes, and less than most clients wait."""
_WATCH_SECONDS: Final = 0.5
"""Interval at which the service looks for changed files. A change is taken over at the second look."""
_EXIT_SECONDS: Final = 5.0
"""Time after the drain in which a worker closes its connections and files."""
_AGE_SPREAD: Final = 0.1
"""Workers end at an age of up to this share below or above the limit, so that they do not all start together."""
_FORCED_EXIT: Final = 1
_NEVER: Final = float("inf")

_log = logging.getLogger(__name__)


class Duty(NamedTuple):
    """The service of one worker, and its sockets."""

    sockets: Sockets
    make: MakeService


class Plan(NamedTuple):
    """One configuration: the duties of all workers, and the times and limits of their processes."""

    duties: list[Duty]
    drain_seconds: float
    delay_seconds: float = 0.0
    """Time between a signal to stop and the end of listening."""
    max_age_seconds: float = 0.0
    """Age at which a worker is replaced; 0: none."""
    max_memory_bytes: int = 0
    """Resident memory at which a worker is replaced; 0: none."""


class Reloaded(NamedTuple):
    """The effect of a reload. ``forward`` is the signal for the workers that run: they take over what needs no new
    worker. With ``roll`` there is a new plan, and all workers are to be replaced;
    otherwise ``outcome`` is the result, which is good if ``ok``."""

    forward: signal.Signals | None
    roll: bool = False
    outcome: str = ""
    ok: bool = True


class Supervised(WorkerOrders, Protocol):
    """The service of the workers, as the supervisor sees it."""

    slots: int
    """Processes that can be alive at a time, retired ones included."""

    def plan(self) -> Plan:
        """Returns the plan in force."""

    def reload(self) -> Reloaded:
        """SIGHUP: reads the configuration again. An invalid one is reported and changes nothing."""

    def watch(self) -> bool:
        """Called at intervals: takes over changed files. Returns whether the workers are to do the same (SIGHUP)."""

    def roll_failed(self) -> None:
        """A worker of the new plan could not start: the previous plan is in force again, and the next reload replaces
        all workers."""

    def grow(self) -> Duty:
        """Returns the duty of one more worker. Raises OSError if it cannot listen."""

    def keep_only(self, duties: list[Duty]) -> None:
        """Closes the sockets of all duties but these."""

    def ended(self, slot: int, *, crashed: bool) -> None:
        """The worker of ``slot`` has ended: releases what it held in shared memory."""

    def beat(self, slot: int) -> float:
        """Returns a number that changes with each tick of the worker's loop."""

    def report(self, outcome: str, *, ok: bool = True) -> None:
        """Publishes the outcome of a start, reload or upgrade."""

    def kept(self) -> bytes:
        """Returns the state for the next program, and makes its descriptors inheritable. Empty if the service cannot be
        upgraded."""


def run(service: Supervised, *, started: Callable[[], None], inherited: Inherited | None = None) -> int:
    """Runs the workers until a signal stops them, and returns the exit code: 0 after a drain; 1 if a second signal or
    the end of the drain time cut off requests, or if workers kept dying.

    ``started`` is called when all sockets listen. ``inherited`` are the workers of the program that this one replaces.
    """
    return _Supervisor(service, inherited).run(started)


class FixedService:
    """A service whose plan does not change. ``ended`` gets the slot of a worker that has ended."""

    def __init__(self, plan: Plan, ended: Callable[[int], None] | None = None) -> None:
        self.slots = len(plan.duties)
        self._plan = plan
        self._ended = ended

    def plan(self) -> Plan:
        return self._plan

    def reload(self) -> Reloaded:
        _log.info("SIGHUP: nothing to do, because this command has no configuration")
        return Reloaded(None)

    def reload_in_place(self) -> None:
        """There is nothing to reload."""

    def watch(self) -> bool:
        return False

    def roll_failed(self) -> None:
        """There is one plan."""

    def reopen(self) -> bool:
        _log.info("SIGUSR1: nothing to do, because this command has no log file")
        return False

    def grow(self) -> Duty:
        raise OSError(0, "the number of workers is fixed")

    def keep_only(self, duties: list[Duty]) -> None:
        close_others([duty.sockets for duty in self._plan.duties], [duty.sockets for duty in duties])

    def ended(self, slot: int, *, crashed: bool) -> None:
        if crashed and self._ended is not None:
            self._ended(slot)

    def beat(self, slot: int) -> float:
        return time.monotonic()

    def report(self, outcome: str, *, ok: bool = True) -> None:
        """No command waits for it."""

    def kept(self) -> bytes:
        return b""


class _Worker:
    """One child process. ``watched`` is False if its beats cannot be read."""

    def __init__(self, pid: int, slot: int, plan: Plan, *, watched: bool = True) -> None:
        self.pid = pid
        self.slot = slot
        self.started = time.monotonic()
        self.drain_seconds = plan.drain_seconds
        self.kill_at = _NEVER
        age = plan.max_age_seconds * secrets.SystemRandom().uniform(1.0 - _AGE_SPREAD, 1.0 + _AGE_SPREAD)
        self.replace_at = self.started + age if plan.max_age_seconds else _NEVER
        self._watched = watched
        self._beat = 0.0
        self._still_checks = 0

    def is_stuck(self, beat: float) -> bool:
        """Whether several checks in a row saw the same beat. Its age does not count: after the machine was suspended,
        every beat is old."""
        self._still_checks = self._still_checks + 1 if beat == self._beat else 0
        self._beat = beat
        return self._watched and self._still_checks >= CHECKS_PER_WATCHDOG

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


class _Place:
    """The place of one worker, and during a replacement that of its successor."""

    def __init__(self, number: int, duty: Duty) -> None:
        self.number = number
        self.duty = duty
        self.worker: _Worker | None = None
        self.successor: _Worker | None = None
        self.next_duty = duty
        """The duty of the successor."""
        self.is_new = False
        """Whether no worker has served in it yet. A place whose first worker fails is removed."""
        self.quick_deaths = 0
        self.start_at = _NEVER

    def is_broken(self) -> bool:
        """Whether its workers have died quickly again and again, and none has run for long since."""
        worker = self.worker
        runs = worker is not None and time.monotonic() - worker.started >= _STABLE_SECONDS
        return self.quick_deaths >= _MAX_QUICK_DEATHS and not runs

    def back_off_seconds(self) -> float:
        """Counts one more death, and returns the time before the next start."""
        assert self.worker is not None
        lived = time.monotonic() - self.worker.started
        self.quick_deaths = self.quick_deaths + 1 if lived < _STABLE_SECONDS else 1
        doublings = min(self.quick_deaths - 1, _MAX_DOUBLINGS)
        return min(_FIRST_BACKOFF_SECONDS * 2.0**doublings, _LONGEST_BACKOFF_SECONDS)


# Over 250 lines: every signal, death and deadline of a worker is decided where its other states are known.
class _Supervisor:
    """Forks, watches, replaces, stops."""

    def __init__(self, service: Supervised, inherited: Inherited | None) -> None:
        self._service = service
        self._plan = plan = service.plan()
        self._places = [_Place(number, duty) for number, duty in enumerate(plan.duties)]
        self._retired: list[_Worker] = []
        self._queue: deque[_Place] = deque()
        """Places whose worker is to be replaced, in order; the first one may have a successor that starts."""
        self._surplus: list[_Place] = []
        """Places that a new plan does not have. They serve until the workers of the others have been replaced."""
        self._purpose = ""
        """The reason of the replacements in progress, for the report."""
        self._ready = mmap.mmap(-1, service.slots)
        """By slot: 1 once the worker serves."""
        self._terminal = ControllingTerminal()
        self._stopping = 0
        self._exit_code = 0
        self._pipe_read, self._pipe_write = os.pipe() if inherited is None else inherited.pipe
        self._notifier = Notifier(os.environ)
        self._check_seconds = self._notifier.check_seconds or _HANG_SECONDS / CHECKS_PER_WATCHDOG
        self._check_at = self._watch_at = time.monotonic()
        self._kill_at = _NEVER
        self._adopt([] if inherited is None else inherited.workers)

    def _adopt(self, kept: list[KeptWorker]) -> None:
        """Takes over the workers of the previous program, and replaces them."""
        active = [worker for worker in kept if not worker.retired]
        for place, inherited in zip(self._places, active, strict=False):
            place.worker = _Worker(inherited.pid, inherited.slot, self._plan, watched=False)
            self._queue.append(place)
        self._retired = [_Worker(inherited.pid, inherited.slot, self._plan) for inherited in kept if inherited.retired]
        for inherited in active[len(self._places) :]:
            self._retire(_Worker(inherited.pid, inherited.slot, self._plan))
        for worker in self._retired:
            worker.kill_at = time.monotonic() + worker.drain_seconds + _EXIT_SECONDS
        if kept:
            self._purpose = "upgrade"
            self._close_unused()

    def run(self, started: Callable[[], None]) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, {*WATCHED, HURRY, RETIRE})
        for place in self._places:
            if place.worker is None:
                place.worker = self._fork(place, place.duty)
        if not self._purpose:
            # Before the announcement: `ztoapi reload` works from then on.
            self._service.report("started")
        started()
        if not self._purpose:
            self._notifier.send("READY=1")
        while self._pids() or not self._stopping:
            self._wait()
        if self._exit_code:
            _log.warning("all workers have ended, and not all of them cleanly: exit code %d", self._exit_code)
        else:
            _log.info("all workers have ended, and all requests have finished")
        return self._exit_code

    # -- events -----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        number = self._next_signal()
        if number in STOP or (number == signal.SIGHUP and self._terminal.is_gone()):
            self._stop()
        elif number is not None and not self._stopping:
            self._obey(number)
        self._reap()
        if not self._stopping:
            self._start_again()
            self._replace()
            self._watch()
        if self._check_at <= time.monotonic():
            self._check()
        self._kill_the_late()

    def _next_signal(self) -> int | None:
        """Returns the next signal; None when something else is due."""
        times = [place.start_at for place in self._places]
        times += [worker.kill_at for worker in self._workers()]
        watch_at = _NEVER if self._stopping else self._watch_at
        due = min(self._check_at, self._kill_at, watch_at, *times)
        info = signal.sigtimedwait(WATCHED, max(due - time.monotonic(), 0.0))
        return None if info is None else info.si_signo

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR1:
            if self._service.reopen():
                self._signal_workers(number)
        elif number == signal.SIGUSR2:
            self._upgrade()
        elif number == signal.SIGTTIN:
            self._grow()
        elif number == signal.SIGTTOU:
            self._shrink()

    def _workers(self) -> Iterator[_Worker]:
        """All processes that are alive."""
        for place in self._places:
            yield from (worker for worker in (place.worker, place.successor) if worker is not None)
        yield from self._retired

    def _pids(self) -> dict[int, _Worker]:
        return {worker.pid: worker for worker in self._workers()}

    def _signal_workers(self, number: int) -> None:
        for worker in self._workers():
            worker.signal(number)

    # -- starting ---------------------------------------------------------------------------------------------------

    def _fork(self, place: _Place, duty: Duty) -> _Worker:
        slot = self._free_slot()
        assert slot is not None, "there are slots for all places"
        self._ready[slot] = 0
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._run_child(place, duty, slot, parent)
        return _Worker(pid, slot, self._plan)

    def _free_slot(self) -> int | None:
        used = {worker.slot for worker in self._workers()}
        return next((slot for slot in range(self._service.slots) if slot not in used), None)

    def _run_child(self, place: _Place, duty: Duty, slot: int, parent: int) -> None:
        code = _FORCED_EXIT

        def ready() -> None:
            self._ready[slot] = 1
            if os.getppid() == parent:
                # Wakes the supervisor; other processes ignore this signal.
                os.kill(parent, signal.SIGCHLD)

        try:
            os.close(self._pipe_write)
            self._service.keep_only([duty])
            times = self._plan.delay_seconds, self._plan.drain_seconds
            code = serve(Assignment(*duty, slot, self._pipe_read, self._service, *times), ready)
        except BaseException:  # noqa: BLE001 - the last frame of a process; the log is the only trace of it
            _log.exception("worker %d failed", place.number)
        finally:
            logging.shutdown()
            os._exit(code)

    def _start_again(self) -> None:
        for place in self._places:
            if place.start_at > time.monotonic():
                continue
            if self._free_slot() is None:
                # A retired worker has to end first.
                place.start_at = time.monotonic() + _FIRST_BACKOFF_SECONDS
            else:
                place.start_at = _NEVER
                place.worker = self._fork(place, place.duty)

    # -- replacing --------------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        # `Type=notify-reload` of systemd waits for both notifications.
        self._notify_reloading()
        reloaded = self._service.reload()
        if reloaded.forward is not None:
            self._signal_workers(reloaded.forward)
        if reloaded.roll:
            self._roll(self._service.plan())
            return
        # While workers are being replaced, the end of that is the outcome of this reload too.
        if reloaded.outcome and not (reloaded.ok and self._queue):
            self._service.report(reloaded.outcome, ok=reloaded.ok)
        if not self._queue:
            self._notifier.send("READY=1")

    def _watch(self) -> None:
        if self._watch_at <= time.monotonic():
            self._watch_at = time.monotonic() + _WATCH_SECONDS
            if self._service.watch():
                self._signal_workers(signal.SIGHUP)

    def _notify_reloading(self) -> None:
        self._notifier.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def _roll(self, plan: Plan) -> None:
        """Replaces all workers."""
        self._plan = plan
        self._abandon()
        self._purpose = "reload"
        self._surplus = self._places[len(plan.duties) :]
        for place, duty in zip(self._places, plan.duties, strict=False):
            self._enqueue(place, duty)
        for duty in plan.duties[len(self._places) :]:
            self._add_place(duty)

    def _add_place(self, duty: Duty) -> None:
        """Adds a place, whose first worker starts after the replacements in progress."""
        place = _Place(len(self._places), duty)
        place.is_new = True
        self._places.append(place)
        self._enqueue(place, duty)

    def _enqueue(self, place: _Place, duty: Duty) -> None:
        place.next_duty = duty
        self._queue.append(place)

    def _replace(self) -> None:
        """Takes the next steps of the replacements, one worker at a time."""
        while self._queue:
            place = self._queue[0]
            successor = place.successor
            if successor is None:
                if self._free_slot() is None:
                    # A retired worker has to end first.
                    return
                place.start_at = _NEVER
                place.successor = self._fork(place, place.next_duty)
                place.successor.kill_at = time.monotonic() + _START_SECONDS
                return
            if not self._ready[successor.slot]:
                return
            self._queue.popleft()
            self._succeed(place, successor)
        surplus, self._surplus = self._surplus, []
        for place in surplus:
            self._leave(place)
        if self._purpose:
            count = len(self._places)
            replaced = "the worker has" if count == 1 else f"all {count} workers have"
            self._finish(f"{self._purpose}: {replaced} been replaced")

    def _succeed(self, place: _Place, successor: _Worker) -> None:
        if place.worker is not None:
            self._retire(place.worker)
        successor.kill_at = _NEVER
        place.worker, place.successor = successor, None
        place.duty = place.next_duty
        place.quick_deaths = 0
        place.is_new = False
        self._close_unused()

    def _close_unused(self) -> None:
        """Closes sockets on which no worker will accept again: connections to them would wait in vain."""
        self._service.keep_only([duty for place in self._places for duty in (place.duty, place.next_duty)])

    def _retire(self, worker: _Worker) -> None:
        worker.signal(RETIRE)
        worker.kill_at = time.monotonic() + worker.drain_seconds + _EXIT_SECONDS
        self._retired.append(worker)

    def _abandon(self) -> None:
        """Ends the replacements in progress: workers that have not been replaced stay."""
        self._queue.clear()
        self._surplus = []
        for place in self._places:
            if place.successor is not None:
                self._retire(place.successor)
                place.successor = None
            if place.worker is None and place.start_at == _NEVER:
                place.start_at = time.monotonic()
            place.next_duty = place.duty
        self._places = [place for place in self._places if not place.is_new]

    def _finish(self, outcome: str, *, ok: bool = True) -> None:
        self._purpose = ""
        self._close_unused()
        _log.log(logging.INFO if ok else logging.ERROR, "%s", outcome)
        self._service.report(outcome, ok=ok)
        self._notifier.send("READY=1")

    def _grow(self) -> None:
        if self._free_slot() is None or len(self._places) >= self._service.slots // 2:
            _log.error("SIGTTIN: %d workers are the most; for more, change server.workers", len(self._places))
            return
        try:
            duty = self._service.grow()
        except OSError as error:
            _log.error("SIGTTIN: %s", error.strerror)
            return
        self._add_place(duty)
        _log.info("SIGTTIN: %d workers", len(self._places))

    def _shrink(self) -> None:
        if len(self._places) == 1:
            _log.error("SIGTTOU: the last worker stays")
            return
        self._leave(self._places[-1])
        self._close_unused()
        _log.info("SIGTTOU: %d workers", len(self._places))

    def _leave(self, place: _Place) -> None:
        """Retires the workers of a place, and removes it."""
        for worker in (place.worker, place.successor):
            if worker is not None:
                self._retire(worker)
        self._places.remove(place)
        for places in (self._queue, self._surplus):
            if place in places:
                places.remove(place)

    def _upgrade(self) -> None:
        if self._queue:
            refusal = "workers are being replaced; try again when that is done"
            _log.error("SIGUSR2: %s", refusal)
            self._service.report(f"upgrade refused: {refusal}", ok=False)
            return
        kept = self._service.kept()
        if not kept:
            _log.info("SIGUSR2: nothing to do, because this command cannot be upgraded while it runs")
            return
        workers = [KeptWorker(worker.pid, worker.slot, retired=worker in self._retired) for worker in self._workers()]
        self._notify_reloading()
        fault = replace_program(Inherited(kept, workers, (self._pipe_read, self._pipe_write)))
        self._service.report(f"upgrade failed: {fault}", ok=False)
        _log.error("SIGUSR2: the new version cannot start, and this one continues: %s", fault)
        self._notifier.send("READY=1")

    # -- watching ---------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._notifier.check_seconds is not None:
            self._notifier.send("WATCHDOG=1")
        now = time.monotonic()
        self._check_at = now + self._check_seconds
        if self._stopping:
            return
        for place in self._places:
            worker = place.worker
            if worker is None:
                continue
            if worker.is_stuck(self._service.beat(worker.slot)):
                _log.error("worker %d is stuck: killing it", place.number)
                worker.signal(signal.SIGKILL)
            elif place not in self._queue and self._is_worn(worker, now):
                self._enqueue(place, place.duty)

    def _is_worn(self, worker: _Worker, now: float) -> bool:
        """Whether the worker has reached its age or its memory limit."""
        if worker.replace_at <= now:
            worker.replace_at = _NEVER
            _log.info("process %d has reached its age: replacing it", worker.pid)
            return True
        limit = self._plan.max_memory_bytes
        if not limit or (memory := resident_bytes(worker.pid) or 0) <= limit:
            return False
        _log.info("process %d uses %d bytes of memory (limit: %d): replacing it", worker.pid, memory, limit)
        return True

    def _kill_the_late(self) -> None:
        now = time.monotonic()
        if self._kill_at <= now:
            self._kill_at = _NEVER
            _log.error("workers have not ended %g s after the drain time: killing them", _EXIT_SECONDS)
            self._signal_workers(signal.SIGKILL)
        for worker in self._workers():
            if worker.kill_at <= now:
                worker.kill_at = _NEVER
                _log.error("process %d has not started or ended in time: killing it", worker.pid)
                worker.signal(signal.SIGKILL)

    # -- ending -----------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._stopping += 1
        if self._stopping == 1:
            seconds = self._plan.delay_seconds + max((worker.drain_seconds for worker in self._workers()), default=0.0)
            self._kill_at = time.monotonic() + seconds + _EXIT_SECONDS
            until = clock_time(ServerContext.wall_clock() + seconds)
            workers = len(self._pids())
            stopped = "the worker" if workers == 1 else f"{workers} workers"
            _log.info("stopping %s: requests in flight may finish until %s", stopped, until)
            self._notifier.send("STOPPING=1")
            # A socket listens until its last copy is closed, and without a worker its connections would wait.
            self._service.keep_only([])
        self._signal_workers(_STOP_STEPS[min(self._stopping, len(_STOP_STEPS)) - 1])

    def _reap(self) -> None:
        while workers := self._pids():
            # Any child: process 1 of a container inherits the orphans of others.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if (worker := workers.get(pid)) is not None:
                self._died(worker, os.waitstatus_to_exitcode(status))

    def _died(self, worker: _Worker, code: int) -> None:
        retired = worker in self._retired
        expected = retired or self._stopping > 0
        self._service.ended(worker.slot, crashed=not expected)
        if self._stopping:
            self._exit_code = self._exit_code or (_FORCED_EXIT if code else 0)
        if retired:
            self._retired.remove(worker)
            return
        place = next(place for place in self._places if worker in (place.worker, place.successor))
        if worker is place.successor:
            place.successor = None
            self._failed_to_replace(code)
            return
        wait = place.back_off_seconds()
        place.worker = None
        if self._stopping or place.successor is not None:
            return
        if all(each.is_broken() for each in self._places):
            _log.error("every worker ended %d times within %g s: giving up", _MAX_QUICK_DEATHS, _STABLE_SECONDS)
            self._exit_code = _FORCED_EXIT
            self._stop()
            return
        _log.warning("worker %d ended (%d); restarting it in %g s", place.number, code, wait)
        place.start_at = time.monotonic() + wait

    def _failed_to_replace(self, code: int) -> None:
        """A successor has ended before it served."""
        if self._stopping:
            return
        self._abandon()
        if self._purpose == "reload":
            self._service.roll_failed()
            self._plan = self._service.plan()
        purpose = self._purpose or "replacement"
        self._finish(f"{purpose} failed: a new worker ended ({code}) before it served; the others continue", ok=False)
