"""A profile of a worker's CPU time, in Python's terms.

The kernel's timer for CPU time (ITIMER_PROF) sends SIGPROF whenever the process has used so much of it. Python runs the
handler in the main thread, which is the event loop's, as soon as the function that runs makes or ends a call; it notes
the stack. No timer runs, and no thread exists, while nobody profiles.

A thread that looks at ``sys._current_frames()`` is the usual way, and is blind here: it gets the interpreter's lock
when uvloop lets go of it, between two callbacks, and sees no callback. ``docs/decisions/0028-profiler.md`` has numbers.

Time that a process does not use is not sampled: a worker that waits has an empty profile.
"""

import asyncio
import dis
import signal
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Final, NamedTuple

__all__ = ["HERTZ", "CpuSampler", "Frame", "Profile"]

HERTZ: Final = 100
"""Samples for each second of CPU time: what Go's profiler takes, and what Linux's own ticks allow on most machines."""
_PERIOD_SECONDS: Final = 1.0 / HERTZ
_DEEPEST: Final = 128
"""Frames of a stack that are kept, the innermost: a runaway recursion has a thousand."""
_LOOP: Final = asyncio.Runner.run.__code__
_RESUME: Final = dis.opmap["RESUME"]
"""What a function begins with."""


class Frame(NamedTuple):
    """A function: module and qualified name, its file and first line."""

    name: str
    file: str
    line: int


class Profile(NamedTuple):
    """``stacks`` are in the order of time: numbers of ``frames``, outermost first, and the samples that they stand
    for."""

    frames: list[Frame]
    stacks: list[tuple[tuple[int, ...], int]]
    wall_seconds: float
    cpu_seconds: float

    @property
    def samples(self) -> int:
        return sum(count for _, count in self.stacks)


class CpuSampler:
    """Samples the process from ``start`` to ``stop``. Both are for the main thread: only that may handle signals."""

    def __init__(self) -> None:
        self.running = False

    def start(self) -> None:
        """Begin; not while one runs already. Raises ValueError outside the main thread."""
        self._frames: list[Frame] = []
        self._numbers: dict[int, int] = {}
        self._codes: list[CodeType] = []
        self._stacks: list[tuple[tuple[int, ...], int]] = []
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        self.running = True
        self._began = time.monotonic()
        self._taken = 0
        self._cpu_began = self._cpu = time.process_time()
        self._own = time.thread_time()
        signal.setitimer(signal.ITIMER_PROF, _PERIOD_SECONDS, _PERIOD_SECONDS)

    def stop(self) -> Profile:
        """End it; returns what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        # Not the default, which ends the process: a last signal may be on its way.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        self.running = False
        return Profile(
            self._frames, self._stacks, time.monotonic() - self._began, time.process_time() - self._cpu_began
        )

    def _sample(self, _: int, frame: FrameType | None) -> None:
        cpu, own = time.process_time(), time.thread_time()
        spent, spent_here = cpu - self._cpu, own - self._own
        self._cpu, self._own = cpu, own
        # During one long call of C code several signals come, and are one in the end.
        count = round((cpu - self._cpu_began) / _PERIOD_SECONDS) - self._taken
        if count <= 0:
            return
        self._taken += count
        # The timer counts all threads, and the signal comes here whichever it was.
        elsewhere = self._other_thread() if spent_here * 2 < spent else None
        if elsewhere is not None:
            self._stacks.append(((self._mark("other threads"), *self._stack(elsewhere)), count))
        elif frame is not None:
            self._stacks.append((self._stack(frame), count))

    def _other_thread(self) -> FrameType | None:
        """Where another thread is that does something."""
        here = threading.get_ident()
        for thread, frame in sys._current_frames().items():
            # An executor's thread that has nothing to do stands in its first function, in a call of C code.
            if thread != here and frame.f_code.co_name != "_worker":
                return frame
        return None

    def _stack(self, frame: FrameType) -> tuple[int, ...]:
        outer = frame.f_back
        if outer is not None and outer.f_code is _LOOP and frame.f_code.co_code[frame.f_lasti] == _RESUME:
            # It has only just been called. What took the time was uvloop, reading from sockets or watching them, where
            # no Python runs, so that the signal had to wait.
            frame = outer
        found: list[int] = []
        at: FrameType | None = frame
        while at is not None and len(found) < _DEEPEST:
            if at.f_code is _LOOP:
                found.append(self._mark("event loop"))
                break
            found.append(self._number(at))
            at = at.f_back
        return tuple(reversed(found))

    def _number(self, frame: FrameType) -> int:
        code = frame.f_code
        known = self._numbers.get(id(code))
        if known is not None:
            return known
        # It is kept, so that no other gets its id.
        self._codes.append(code)
        module = str(frame.f_globals.get("__name__", "?"))
        self._frames.append(Frame(f"{module}.{code.co_qualname}", code.co_filename, code.co_firstlineno))
        number = self._numbers[id(code)] = len(self._frames) - 1
        return number

    def _mark(self, name: str) -> int:
        """A frame that is no function. Its key is no id: those are positive."""
        key = -1 if name == "event loop" else -2
        if key not in self._numbers:
            self._frames.append(Frame(name, "", 0))
            self._numbers[key] = len(self._frames) - 1
        return self._numbers[key]
