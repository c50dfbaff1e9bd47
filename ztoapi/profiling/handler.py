"""/debug/pprof/: CPU profiles, memory and tasks of the worker that gets the request.

The paths are those of Go's pprof. Each worker has its own socket, and the kernel chooses the worker of a connection, so
every response names its worker. With ``?worker=N`` the other workers return 421, after which a client retries on
another connection (RFC 9110 section 15.5.20).
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
from ztoapi.profiling.heap import HeapTracer
from ztoapi.profiling.tasks import read_tasks
from ztoapi.server.exchange import Exchange
from ztoapi.server.query import read_query, whole_number

__all__ = ["ProfilingHandler"]

_PREFIX: Final = "/debug/pprof"
_DEFAULT_SECONDS: Final = 10
_MAX_SECONDS: Final = 60
"""The longest profile: enough to see rare functions, with at most 6,000 samples."""
_FORMATS: Final = ("flamegraph", "speedscope", "collapsed")
_POLL_SECONDS: Final = 0.25
"""The interval at which a profile checks whether the worker drains."""
_TRACE_SECONDS: Final = 600
_MAX_TRACE_SECONDS: Final = 3600
"""Tracing allocations is expensive and easily forgotten, so it is limited."""
_TOP: Final = 30
_MAX_TOP: Final = 1000
_PLAIN: Final = b"text/plain; charset=utf-8"
_INDEX: Final = b"""\
GET  /debug/pprof/profile?seconds=10&format=flamegraph   CPU time; format: flamegraph (HTML), speedscope, collapsed
POST /debug/pprof/heap/start?seconds=600                 trace Python allocations for this time; expensive
GET  /debug/pprof/heap?top=30                            memory in use and its growth, by source line
POST /debug/pprof/heap/stop                              stop tracing
GET  /debug/pprof/tasks                                  asyncio tasks and their awaits
GET  /debug/pprof/cmdline                                the command line, each argument followed by NUL

x-ztoapi-worker names the worker. With ?worker=N other workers return 421; reconnect to try again.
"""

_encode = msgspec.json.Encoder().encode
Handler = Callable[[Exchange], None]


class ProfilingHandler:
    """The routes of worker ``number``. ``static`` is the directory of static files; ``draining`` ends a profile."""

    def __init__(
        self, number: int, static: Path, loop: asyncio.AbstractEventLoop, draining: Callable[[], bool]
    ) -> None:
        self._number = number
        self._loop = loop
        self._draining = draining
        self._sampler = CpuSampler()
        self._heap = HeapTracer()
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
        """Handlers by path and method."""

    def handle_index(self, exchange: Exchange) -> None:
        self._respond(exchange, _INDEX, _PLAIN)

    def handle_cmdline(self, exchange: Exchange) -> None:
        self._query(exchange)
        self._respond(exchange, "".join(f"{word}\0" for word in sys.orig_argv).encode("utf-8", "replace"), _PLAIN)

    def handle_tasks(self, exchange: Exchange) -> None:
        self._query(exchange)
        self._respond(exchange, _pretty({"tasks": read_tasks(self._loop)}))

    def handle_profile(self, exchange: Exchange) -> None:
        """Raises ApiError for an invalid query."""
        query = self._query(exchange)
        seconds = whole_number(query, "seconds", _DEFAULT_SECONDS, low=1, high=_MAX_SECONDS)
        form = query.get("format", _FORMATS[0])
        if form not in _FORMATS:
            raise ApiError(f"format must be one of {', '.join(_FORMATS)}", code="invalid_value", param="format")
        exchange.spawn(self._profile(exchange, seconds, form))

    async def _profile(self, exchange: Exchange, seconds: int, form: str) -> None:
        """Raises ApiError with 409 while another profile runs."""
        if self._sampler.running:
            raise ApiError(
                f"worker {self._number} is already being profiled; retry in at most {_MAX_SECONDS} s",
                status=409,
                code="profile_running",
            )
        # Started inside the task: if the client disconnects at once, the task never runs and could not stop it.
        self._sampler.start()
        try:
            end = self._loop.time() + seconds
            # Neither the end of the time nor the drain is an event to wait for.
            while (remaining := end - self._loop.time()) > 0.0 and not self._draining():  # noqa: ASYNC110
                await asyncio.sleep(min(remaining, _POLL_SECONDS))
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
        """Starts tracing, or extends it. Raises ApiError for an invalid time."""
        query = self._query(exchange)
        seconds = whole_number(query, "seconds", _TRACE_SECONDS, low=1, high=_MAX_TRACE_SECONDS)
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
        """Raises ApiError for an invalid query."""
        top = whole_number(self._query(exchange), "top", _TOP, low=1, high=_MAX_TOP)
        exchange.spawn(self._report(exchange, top))

    async def _report(self, exchange: Exchange, top: int) -> None:
        """Raises ApiError with 409 while nothing is traced."""
        report = await asyncio.to_thread(self._heap.report, top)
        if report is None:
            raise ApiError(
                f"worker {self._number} is not tracing allocations; POST {_PREFIX}/heap/start first",
                status=409,
                code="heap_not_traced",
            )
        self._respond(exchange, _pretty(report))

    def _query(self, exchange: Exchange) -> dict[str, str]:
        """Returns the query if it is for this worker. Raises ApiError."""
        query = read_query(exchange)
        exchange.extra_headers += b"x-ztoapi-worker: %d\r\nx-ztoapi-pid: %d\r\n" % (self._number, os.getpid())
        if whole_number(query, "worker", self._number, low=0, high=1_000_000) != self._number:
            exchange.close_after()
            raise ApiError(
                f"this connection belongs to worker {self._number}; retry on another connection",
                status=421,
                code="other_worker",
            )
        return query

    def _respond(
        self, exchange: Exchange, body: bytes, content_type: bytes = b"application/json", fields: str = ""
    ) -> None:
        headers = b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n" + fields.encode("ascii")
        exchange.respond(200, body, content_type=content_type, headers=headers)


def _pretty(value: object) -> bytes:
    """Returns indented JSON."""
    return msgspec.json.format(_encode(value), indent=2) + b"\n"
