"""Profiles the CPU time of a worker by Python function.

The kernel's timer for CPU time (ITIMER_PROF) sends SIGPROF each time the process has used a fixed amount of CPU. Python
runs the handler in the main thread, which runs the event loop, as soon as the current function makes or ends a call.
The handler records the stack. Without a running profile there is no timer and no thread.

The usual alternative, a thread that reads ``sys._current_frames()``, does not work here: it gets the interpreter's lock
when uvloop releases it between two callbacks, and therefore never sees a callback. ``docs/decisions/0028-profiler.md``
has measurements.

Only CPU time is sampled: the profile of a worker that waits is empty.
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
"""Samples per second of CPU time: the rate of Go's profiler, and the highest that Linux ticks allow on most
machines."""
_PERIOD_SECONDS: Final = 1.0 / HERTZ
_MAX_FRAMES: Final = 128
"""Innermost frames of a stack that are kept; a runaway recursion has a thousand."""
_LOOP: Final = asyncio.Runner.run.__code__
_RESUME: Final = dis.opmap["RESUME"]
"""The first instruction of a function."""


class Frame(NamedTuple):
    """A function: module and qualified name, its file and first line."""

    name: str
    file: str
    line: int


class Profile(NamedTuple):
    """``stacks`` are in chronological order. Each is a list of indexes of ``frames``, outermost first, and the number
    of samples with this stack."""

    frames: list[Frame]
    stacks: list[tuple[tuple[int, ...], int]]
    wall_seconds: float
    cpu_seconds: float

    @property
    def samples(self) -> int:
        return sum(count for _, count in self.stacks)


class CpuSampler:
    """Samples the process from ``start`` to ``stop``. Call both in the main thread, which alone handles signals."""

    def __init__(self) -> None:
        self.running = False

    def start(self) -> None:
        """Starts a profile; none may be running. Raises ValueError outside the main thread."""
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
        """Stops the profile and returns it."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        # A last signal may be pending, and the default action would end the process.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        self.running = False
        return Profile(
            self._frames, self._stacks, time.monotonic() - self._began, time.process_time() - self._cpu_began
        )

    def _sample(self, _: int, frame: FrameType | None) -> None:
        cpu, own = time.process_time(), time.thread_time()
        spent, spent_here = cpu - self._cpu, own - self._own
        self._cpu, self._own = cpu, own
        # Several signals that arrive during a long C call are delivered as one.
        count = round((cpu - self._cpu_began) / _PERIOD_SECONDS) - self._taken
        if count <= 0:
            return
        self._taken += count
        # The timer counts the CPU time of all threads; the signal is always handled here.
        elsewhere = self._other_thread() if spent_here * 2 < spent else None
        if elsewhere is not None:
            self._stacks.append(((self._mark("other threads"), *self._stack(elsewhere)), count))
        elif frame is not None:
            self._stacks.append((self._stack(frame), count))

    def _other_thread(self) -> FrameType | None:
        """Returns the frame of another thread that is not idle."""
        here = threading.get_ident()
        for thread, frame in sys._current_frames().items():
            # An idle thread of an executor is in its first function, waiting in C code.
            if thread != here and frame.f_code.co_name != "_worker":
                return frame
        return None

    def _stack(self, frame: FrameType) -> tuple[int, ...]:
        outer = frame.f_back
        if outer is not None and outer.f_code is _LOOP and frame.f_code.co_code[frame.f_lasti] == _RESUME:
            # The callback has only just started. The time was spent in uvloop, reading or polling sockets in C, where
            # the signal had to wait.
            frame = outer
        indexes: list[int] = []
        at: FrameType | None = frame
        while at is not None and len(indexes) < _MAX_FRAMES:
            if at.f_code is _LOOP:
                indexes.append(self._mark("event loop"))
                break
            indexes.append(self._number(at))
            at = at.f_back
        return tuple(reversed(indexes))

    def _number(self, frame: FrameType) -> int:
        code = frame.f_code
        index = self._numbers.get(id(code))
        if index is not None:
            return index
        # Keeps the object alive, so that its id stays unique.
        self._codes.append(code)
        module = str(frame.f_globals.get("__name__", "?"))
        self._frames.append(Frame(f"{module}.{code.co_qualname}", code.co_filename, code.co_firstlineno))
        index = self._numbers[id(code)] = len(self._frames) - 1
        return index

    def _mark(self, name: str) -> int:
        """Returns the index of a frame that stands for no function. Its key is negative, so it is not an id."""
        key = -1 if name == "event loop" else -2
        if key not in self._numbers:
            self._frames.append(Frame(name, "", 0))
            self._numbers[key] = len(self._frames) - 1
        return self._numbers[key]
