"""/debug/pprof/: what the worker that takes the request spends its time and memory on.

The paths are those of Go's pprof. Each worker has its own socket, and the kernel chooses which one gets a connection:
every answer names its worker, and ``?worker=N`` is served by that one only. Others say 421, for which another
connection is the remedy (RFC 9110 section 15.5.20).
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ztoapi.errors import ApiError
from ztoapi.profiling.cpu import CpuSampler, Profile
from ztoapi.profiling.formats import FlameGraph, collapsed, speedscope
from ztoapi.profiling.heap import Heap
from ztoapi.profiling.tasks import read_tasks
from ztoapi.server.exchange import Exchange
from ztoapi.server.query import read_query, whole_number

__all__ = ["ProfilingHandler"]

_PREFIX: Final = "/debug/pprof"
_DEFAULT_SECONDS: Final = 10
_LONGEST_SECONDS: Final = 60
"""Of a profile: long enough to see what is rare, and no more than 6,000 samples."""
_FORMATS: Final = ("flamegraph", "speedscope", "collapsed")
_LOOK_SECONDS: Final = 0.25
"""How often a profile looks whether the worker drains."""
_TRACE_SECONDS: Final = 600
_LONGEST_TRACE_SECONDS: Final = 3600
"""Tracing allocations is dear, and easily forgotten: it ends by itself."""
_TOP: Final = 30
_LONGEST_TOP: Final = 1000
_PLAIN: Final = b"text/plain; charset=utf-8"
_INDEX: Final = b"""\
GET  /debug/pprof/profile?seconds=10&format=flamegraph   CPU time; format: flamegraph (HTML), speedscope, collapsed
POST /debug/pprof/heap/start?seconds=600                 trace what Python allocates, at a cost, for so long
GET  /debug/pprof/heap?top=30                            what is held of that by now, by line, and what has grown
POST /debug/pprof/heap/stop                              trace no longer
GET  /debug/pprof/tasks                                  asyncio tasks, and what each awaits
GET  /debug/pprof/cmdline                                the command line, its arguments ended by NUL

Each is of the worker that x-ztoapi-worker names; with ?worker=N others than N answer 421: connect again.
"""

_encode = msgspec.json.Encoder().encode
Handler = Callable[[Exchange], None]


class ProfilingHandler:
    """Of worker ``number``. ``static`` is the directory of the pages' files; ``draining`` ends a profile."""

    def __init__(
        self, number: int, static: Path, loop: asyncio.AbstractEventLoop, draining: Callable[[], bool]
    ) -> None:
        self._number = number
        self._loop = loop
        self._draining = draining
        self._sampler = CpuSampler()
        self._heap = Heap()
        self._heap_ends: asyncio.TimerHandle | None = None
        self._page = FlameGraph(static)
        self.routes: dict[str, dict[str, Handler]] = {
            _PREFIX: {"GET": self.handle_index},
            f"{_PREFIX}/profile": {"GET": self.handle_profile},
            f"{_PREFIX}/heap": {"GET": self.handle_heap},
            f"{_PREFIX}/heap/start": {"POST": self.handle_heap_start},
            f"{_PREFIX}/heap/stop": {"POST": self.handle_heap_stop},
            f"{_PREFIX}/tasks": {"GET": self.handle_tasks},
            f"{_PREFIX}/cmdline": {"GET": self.handle_cmdline},
        }
        """By path."""

    def handle_index(self, exchange: Exchange) -> None:
        self._respond(exchange, _INDEX, _PLAIN)

    def handle_cmdline(self, exchange: Exchange) -> None:
        self._query(exchange)
        self._respond(exchange, "".join(f"{word}\0" for word in sys.orig_argv).encode("utf-8", "replace"), _PLAIN)

    def handle_tasks(self, exchange: Exchange) -> None:
        self._query(exchange)
        self._respond(exchange, _pretty({"tasks": read_tasks(self._loop)}))

    def handle_profile(self, exchange: Exchange) -> None:
        """Raises ApiError for a question that makes no sense."""
        given = self._query(exchange)
        seconds = whole_number(given, "seconds", _DEFAULT_SECONDS, low=1, high=_LONGEST_SECONDS)
        form = given.get("format", _FORMATS[0])
        if form not in _FORMATS:
            raise ApiError(f"format must be one of {', '.join(_FORMATS)}", param="format")
        exchange.spawn(self._profile(exchange, seconds, form))

    async def _profile(self, exchange: Exchange, seconds: int, form: str) -> None:
        """Raises ApiError: 409 while another profile is taken."""
        if self._sampler.running:
            raise ApiError(
                f"worker {self._number} takes a profile already: try again when it is done, in {_LONGEST_SECONDS} s at "
                "most",
                status=409,
                code="profile_running",
            )
        # Not before this task runs: a client that leaves at once is never profiled for, and nobody would stop it.
        self._sampler.start()
        try:
            end = self._loop.time() + seconds
            # The end of the time and the drain are looked for, as by the scan of deadlines: neither is told.
            while (left := end - self._loop.time()) > 0.0 and not self._draining():  # noqa: ASYNC110
                await asyncio.sleep(min(left, _LOOK_SECONDS))
        finally:
            profile = self._sampler.stop()
        title = f"ztoapi worker {self._number} (pid {os.getpid()})"
        body, content_type, fields = await asyncio.to_thread(self._render, profile, form, title)
        self._respond(
            exchange,
            body,
            content_type,
            fields + f"x-ztoapi-samples: {profile.samples}\r\n"
            f"x-ztoapi-seconds: {profile.wall_seconds:.3f}\r\n"
            f"x-ztoapi-cpu-seconds: {profile.cpu_seconds:.3f}\r\n",
        )

    def _render(self, profile: Profile, form: str, title: str) -> tuple[bytes, bytes, str]:
        if form == "collapsed":
            return collapsed(profile), _PLAIN, ""
        if form == "speedscope":
            name = f"worker-{self._number}.speedscope.json"
            return (
                speedscope(profile, title),
                b"application/json",
                f'content-disposition: attachment; filename="{name}"\r\n',
            )
        policy = f"content-security-policy: {self._page.policy}; frame-ancestors 'none'\r\n"
        return self._page.render(profile, title), b"text/html; charset=utf-8", policy

    def handle_heap_start(self, exchange: Exchange) -> None:
        """Raises ApiError for a time that makes no sense. Where it traces already, it ends later."""
        given = self._query(exchange)
        seconds = whole_number(given, "seconds", _TRACE_SECONDS, low=1, high=_LONGEST_TRACE_SECONDS)
        self._heap.start()
        if self._heap_ends is not None:
            self._heap_ends.cancel()
        self._heap_ends = self._loop.call_later(seconds, self._heap.stop)
        self._respond(exchange, _encode({"tracing": True, "seconds": seconds}))

    def handle_heap_stop(self, exchange: Exchange) -> None:
        self._query(exchange)
        if self._heap_ends is not None:
            self._heap_ends.cancel()
        self._heap.stop()
        self._respond(exchange, _encode({"tracing": False}))

    def handle_heap(self, exchange: Exchange) -> None:
        """Raises ApiError for a question that makes no sense."""
        top = whole_number(self._query(exchange), "top", _TOP, low=1, high=_LONGEST_TOP)
        exchange.spawn(self._report(exchange, top))

    async def _report(self, exchange: Exchange, top: int) -> None:
        """Raises ApiError: 409 while nothing is traced."""
        report = await asyncio.to_thread(self._heap.report, top)
        if report is None:
            raise ApiError(
                f"worker {self._number} traces no allocations: POST {_PREFIX}/heap/start first",
                status=409,
                code="heap_not_traced",
            )
        self._respond(exchange, _pretty(report))

    def _query(self, exchange: Exchange) -> dict[str, str]:
        """The question, if it is for this worker. Raises ApiError."""
        given = read_query(exchange)
        exchange.extra_headers += b"x-ztoapi-worker: %d\r\nx-ztoapi-pid: %d\r\n" % (self._number, os.getpid())
        if whole_number(given, "worker", self._number, low=0, high=1_000_000) != self._number:
            exchange.close_after()
            raise ApiError(
                f"this connection is to worker {self._number}: ask again by another connection",
                status=421,
                code="other_worker",
            )
        return given

    def _respond(
        self, exchange: Exchange, body: bytes, content_type: bytes = b"application/json", fields: str = ""
    ) -> None:
        headers = b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n" + fields.encode("ascii")
        exchange.respond(200, body, content_type=content_type, headers=headers)


def _pretty(shown: object) -> bytes:
    """For people, who read it as it comes."""
    return msgspec.json.format(_encode(shown), indent=2) + b"\n"
