"""The sampler of CPU time, and what its profiles are written as."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Coroutine
from typing import cast

import pytest
import uvloop

from ztoapi.handlers.static import STATIC
from ztoapi.profiling.cpu import HERTZ, CpuSampler, Frame, Profile
from ztoapi.profiling.formats import collapsed, speedscope
from ztoapi.profiling.handler import ProfilingHandler
from ztoapi.server.exchange import Exchange
from ztoapi.wire.request import RequestHead

PROFILE = Profile(
    frames=[Frame("event loop", "", 0), Frame("one.f", "/one.py", 3), Frame("two.g;h", "/two.py", 9)],
    stacks=[((0, 1), 2), ((0, 1, 2), 1), ((0, 1), 1), ((0,), 5)],
    wall_seconds=1.0,
    cpu_seconds=0.09,
)


def burn(seconds: float) -> int:
    """Use so much CPU time of this thread."""
    turns = 0
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        turns += 1
    return turns


def names(profile: Profile) -> dict[str, int]:
    """Samples by the name of the innermost function."""
    found: dict[str, int] = {}
    for stack, count in profile.stacks:
        name = profile.frames[stack[-1]].name
        found[name] = found.get(name, 0) + count
    return found


def test_the_function_that_takes_the_time_is_named() -> None:
    sampler = CpuSampler()
    sampler.start()
    burn(0.3)
    profile = sampler.stop()
    by_name = names(profile)
    name = f"{__name__}.burn"
    assert by_name[name] >= 0.8 * profile.samples
    (frame,) = [frame for frame in profile.frames if frame.name == name]
    assert (frame.file, frame.line) == (__file__, burn.__code__.co_firstlineno)
    assert 0.5 * HERTZ * profile.cpu_seconds <= profile.samples <= HERTZ * profile.cpu_seconds + 1


def test_one_long_call_of_c_code_counts_in_full() -> None:
    """No Python runs during it, so all its signals come as one."""
    sampler = CpuSampler()
    sampler.start()
    sum(range(20_000_000))
    profile = sampler.stop()
    assert len(profile.stacks) <= 4
    assert profile.samples >= 0.5 * HERTZ * profile.cpu_seconds


def test_waiting_is_not_sampled() -> None:
    sampler = CpuSampler()
    sampler.start()
    threading.Event().wait(0.2)
    assert sampler.stop().samples <= 3


def test_time_of_other_threads_is_separate() -> None:
    async def wait_for_a_thread() -> Profile:
        sampler = CpuSampler()
        sampler.start()
        await asyncio.to_thread(burn, 0.3)
        return sampler.stop()

    # A worker's loop: signals wake it, whichever thread has got them.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        profile = runner.run(wait_for_a_thread())
    of_others = [(stack, count) for stack, count in profile.stacks if profile.frames[stack[0]].name == "other threads"]
    assert sum(count for _, count in of_others) >= 0.5 * profile.samples
    assert any(profile.frames[number].name == f"{__name__}.burn" for stack, _ in of_others for number in stack)


def test_time_of_the_loop_itself_is_not_that_of_what_it_calls_next() -> None:
    """A signal that comes while uvloop works has to wait for the next callback's first instruction."""
    called = 0

    async def call_often() -> Profile:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def call() -> None:
            nonlocal called
            called += 1
            if called == 500_000:
                done.set()
            else:
                loop.call_soon(call)

        sampler = CpuSampler()
        sampler.start()
        loop.call_soon(call)
        await done.wait()
        return sampler.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        profile = runner.run(call_often())
    assert profile.samples > 5
    assert names(profile).get("event loop", 0) > 0.45 * profile.samples


def test_a_deep_stack_is_cut() -> None:
    def deep(left: int) -> int:
        return deep(left - 1) if left else burn(0.1)

    def sampled() -> Profile:
        sampler = CpuSampler()
        sampler.start()
        deep(300)
        return sampler.stop()

    # A busy machine may take no sample, or all of them of another thread.
    profiles = (sampled() for _ in range(50))
    profile = next(profile for profile in profiles if f"{__name__}.burn" in names(profile))
    assert max(len(stack) for stack, _ in profile.stacks) == 128


def test_folded_stacks() -> None:
    assert collapsed(PROFILE).decode() == "event loop 5\nevent loop;one.f 3\nevent loop;one.f;two.g:h 1\n"


def test_speedscope_keeps_the_order_of_time() -> None:
    shown = json.loads(speedscope(PROFILE, "title"))
    assert shown["shared"]["frames"] == [
        {"name": "event loop"},
        {"name": "one.f", "file": "/one.py", "line": 3},
        {"name": "two.g;h", "file": "/two.py", "line": 9},
    ]
    (profile,) = shown["profiles"]
    assert profile["samples"] == [[0, 1], [0, 1, 2], [0, 1], [0]]
    assert profile["weights"] == [0.02, 0.01, 0.01, 0.05]
    assert (profile["startValue"], profile["endValue"]) == (0, pytest.approx(0.09))


class Asker:
    """The part of an exchange that a handler needs; ``task`` is the spawned task."""

    def __init__(self, query: bytes) -> None:
        self.request = RequestHead("GET", "/debug/pprof/profile", query, {}, True)
        self.extra_headers = b""
        self.task: asyncio.Task[None] | None = None

    def spawn(self, handler: Coroutine[object, object, None]) -> None:
        self.task = asyncio.get_running_loop().create_task(handler)


def test_nothing_is_sampled_for_a_client_that_leaves_at_once() -> None:
    async def leave() -> None:
        loop = asyncio.get_running_loop()
        handler = ProfilingHandler(0, STATIC, loop, lambda: False)
        leaving, staying = Asker(b"seconds=1"), Asker(b"seconds=1")
        handler.handle_profile(cast("Exchange", leaving))
        assert leaving.task is not None
        leaving.task.cancel()
        await asyncio.wait([leaving.task])
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
        # No other request is refused because of it.
        handler.handle_profile(cast("Exchange", staying))
        assert staying.task is not None
        await asyncio.wait([staying.task], timeout=0)
        assert signal.getitimer(signal.ITIMER_PROF)[1] > 0.0
        staying.task.cancel()
        await asyncio.wait([staying.task])
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)

    asyncio.run(leave())
