"""Workers that share a shared, as a program: forking is for processes without threads, which the tests' own is not.

Run with the name of an experiment; prints what came of it as JSON.
"""

import json
import mmap
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from tests.limits.pieces import StillClock
from ztoapi.limits.model import Descriptors, InFlightLimit, RateLimit, Scope, Unit
from ztoapi.limits.shared_limits import LocalReservation, SharedLimits
from ztoapi.structures.bucket import SECOND_NS, Rate

Json: TypeAlias = "int | list[int] | dict[str, int]"

WORKERS = 4
KILLS = 60
BURST = 3000
MOST_STREAMS = 50
GRANTS = 500


def scope(rate: Rate) -> Scope:
    limits = (
        RateLimit("requests", Unit.REQUESTS, rate),
        RateLimit("tokens", Unit.TOKENS, Rate(10**6, SECOND_NS, 10**9)),
        InFlightLimit("streams", MOST_STREAMS),
    )
    return Scope("key", limits, 8)


def fork(work: Callable[[], Json]) -> tuple[int, int]:
    """The process, and the pipe from which its result is read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.write(writing, json.dumps(work()).encode())
        os._exit(0)
    os.close(writing)
    return pid, reading


def gather(children: list[tuple[int, int]]) -> list[Json]:
    results: list[Json] = []
    for pid, reading in children:
        with os.fdopen(reading) as pipe:
            results.append(json.load(pipe))
        assert os.waitpid(pid, 0)[1] == 0
    return results


def counters(count: int) -> memoryview:
    return memoryview(mmap.mmap(-1, 8 * count)).cast("q")


def the_last_unit() -> dict[str, int]:
    """Everybody takes from one bucket until it is empty, while time stands still."""
    key = scope(Rate(1000, SECOND_NS, BURST))
    shared = SharedLimits([key], WORKERS, clock=StillClock())
    start = counters(1)

    def work(slot: int) -> int:
        limiter, granted, refused = shared.limiter(slot), 0, 0
        while not start[0]:
            pass
        while refused < 10:
            answer = limiter.reserve(((key, "alice"),), 1)
            if isinstance(answer, LocalReservation):
                granted += 1
                answer.finish(2)
            else:
                refused += answer.limit is key.limits[0]
        return granted

    children = [fork(partial(work, slot)) for slot in range(WORKERS)]
    start[0] = 1
    shares = [int(str(share)) for share in gather(children)]
    rejection = shared.limiter(0).reserve(((key, "alice"),), 10**9 + 1)
    assert not isinstance(rejection, LocalReservation)
    spent, streams = rejection.status(Unit.TOKENS), rejection.status(Unit.IN_FLIGHT)
    assert spent is not None and streams is not None
    return {
        "granted": sum(shares),
        "least": min(shares),
        "tokens": 10**9 - spent.remaining,
        "streams": MOST_STREAMS - streams.remaining,
    }


def the_last_stream() -> list[int]:
    """Everybody takes until no stream is left, and gives none back."""
    key = scope(Rate(10**6, SECOND_NS))
    shared = SharedLimits([key], WORKERS, clock=StillClock())
    ready, start = counters(WORKERS), counters(1)

    def work(slot: int) -> int:
        limiter, granted = shared.limiter(slot), 0
        ready[slot] = 1
        while not start[0]:
            pass
        while isinstance(limiter.reserve(((key, "alice"),)), LocalReservation):
            granted += 1
        return granted

    children = [fork(partial(work, slot)) for slot in range(WORKERS)]
    while sum(ready) < WORKERS:
        pass
    start[0] = 1
    return [int(str(share)) for share in gather(children)]


def the_real_clock() -> list[int]:
    """When each request was granted, by the clock that the machine's processes share. Several bursts are granted."""
    key = scope(Rate(3000, SECOND_NS, 20))
    shared = SharedLimits([key], WORKERS)
    ready, granted = counters(WORKERS), counters(WORKERS)

    def work(slot: int) -> list[int]:
        limiter = shared.limiter(slot)
        limiter.clock = clock = StillClock()
        moments: list[int] = []
        ready[slot] = 1
        while sum(ready) < WORKERS:
            pass
        while sum(granted) < GRANTS:
            clock.now = before = time.monotonic_ns()
            answer = limiter.reserve(((key, "alice"),))
            if isinstance(answer, LocalReservation):
                granted[slot] += 1
                moments.append(before)
                answer.finish()
        return moments

    children = [fork(partial(work, slot)) for slot in range(WORKERS)]
    return sorted(moment for moments in gather(children) if isinstance(moments, list) for moment in moments)


def killed_anywhere() -> dict[str, int]:
    """Workers are killed at any moment, and started again in the same slot."""
    key = scope(Rate(1000, SECOND_NS, 10**9))
    shared = SharedLimits([key], WORKERS, clock=StillClock())
    granted = counters(WORKERS)
    descriptors: Descriptors = ((key, "alice"),)

    def work(slot: int) -> Json:
        limiter = shared.limiter(slot)
        while True:
            answer = limiter.reserve(descriptors, 7)
            assert isinstance(answer, LocalReservation)
            granted[slot] += 1
            answer.finish(3)

    children = [fork(partial(work, slot)) for slot in range(WORKERS)]
    for _ in range(KILLS):
        slot = secrets.randbelow(WORKERS)
        target = granted[slot] + 1 + secrets.randbelow(20)
        while granted[slot] < target:
            os.sched_yield()
        end(children[slot])
        shared.reclaim(slot)
        children[slot] = fork(partial(work, slot))
    for slot, child in enumerate(children):
        end(child)
        shared.reclaim(slot)
    rejection = shared.limiter(0).reserve(descriptors, 10**9 + 1)
    assert not isinstance(rejection, LocalReservation)
    requests, streams = rejection.status(Unit.REQUESTS), rejection.status(Unit.IN_FLIGHT)
    assert requests is not None and streams is not None
    return {
        "counted": sum(granted),
        "charged": 10**9 - requests.remaining,
        "streams": MOST_STREAMS - streams.remaining,
    }


def killed_with_the_lock() -> dict[str, int]:
    """One worker is killed while it holds the lock, with a stream of its own and one of another open."""
    key = scope(Rate(1000, SECOND_NS))
    shared = SharedLimits([key], 2, clock=StillClock())
    descriptors: Descriptors = ((key, "alice"),)
    held = counters(1)
    # Once only: shared.limiter(0) declares the former worker 0 dead.
    limiter = shared.limiter(0)
    mine = limiter.reserve(descriptors)

    def work() -> Json:
        shared.limiter(1).reserve(descriptors)
        with shared.lock:
            held[0] = 1
            signal.pause()
        return 0

    child = fork(work)
    while not held[0]:
        os.sched_yield()
    end(child)
    assert isinstance(mine, LocalReservation)

    def open_streams() -> int:
        reservation = limiter.reserve(descriptors)
        assert isinstance(reservation, LocalReservation)
        status = reservation.status(Unit.IN_FLIGHT)
        reservation.finish()
        assert status is not None
        return MOST_STREAMS - status.remaining - 1

    before = open_streams()
    shared.reclaim(1)
    between = open_streams()
    mine.finish()
    return {"before": before, "reclaimed": between, "finished": open_streams()}


def end(child: tuple[int, int]) -> None:
    os.kill(child[0], signal.SIGKILL)
    os.waitpid(child[0], 0)
    os.close(child[1])


if __name__ == "__main__":
    experiment: Callable[[], Json] = globals()[sys.argv[1]]
    print(json.dumps(experiment()))
