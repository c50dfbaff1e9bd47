"""The load generator of the comparison: raw sockets, every response checked completely.

``python -m bench.peers.load WORKLOAD PORT SECONDS [HEADERS]`` prints one JSON line: units done, errors, percentiles in
milliseconds of the latency, of the time to the first token and, for paced streams, of the delay of each delta, and the
share of a core that this program used. Near 1, the latencies are caused by this program. HEADERS is a JSON object of
header fields.

Each connection sends its next request after the response (closed loop), except in ``rate``: there the requests have
fixed times, from which the latencies are measured, also if a connection is late.

The workloads ``open1000`` and ``open10000`` hold as many streams. The program prints an empty line once each stream
has received a token. For a line of standard input it prints the results since then, and an empty line again; it ends
with standard input.
"""

import asyncio
import json
import math
import resource
import sys
import time
from collections.abc import Mapping
from typing import Final, cast

import msgspec
import uvloop

from bench.peers.mock import CHUNKS, GAP_SECONDS

__all__ = ["CONNECTIONS", "OPEN", "RATE", "UNITS", "WORKLOADS"]

_DESCRIPTORS: Final = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
"""The hard limit, which applies to all programs of a run."""
_MOST_STREAMS: Final = (_DESCRIPTORS * 7 // 8 - 100) // 2
"""A gateway needs two descriptors for a stream, and some of its own. ztoapi keeps one in eight free."""
CONNECTIONS: Final = {
    "unary": 64,
    "rate": 64,
    "burst": 64,
    "paced": 200,
    "prompt": 16,
    "prompt4mb": 4,
    "churn": 64,
    "single": 1,
    "single_stream": 1,
    "open1000": min(1000, _MOST_STREAMS),
    "open10000": min(10_000, _MOST_STREAMS),
}
WORKLOADS: Final = tuple(CONNECTIONS)
OPEN: Final = ("open1000", "open10000")
RATE: Final = 5000
"""Requests per second of the workload ``rate``."""
_STREAMS: Final = ("burst", "paced", "single_stream", *OPEN)
_MODELS: Final = {"paced": "paced", "open1000": "open-100", "open10000": "open-1000"}
"""The streams that are held have 10,000 chunks per second together."""
UNITS: Final = {
    "burst": "64-chunk stream",
    "paced": "chunk",
    "single_stream": "64-chunk stream",
    "open1000": "chunk",
    "open10000": "chunk",
}
"""Units of work by which CPU is divided; otherwise requests."""
_PROMPT: Final = {"prompt": "long context " * 23077, "prompt4mb": "long context " * 307_692}
"""About 300 KB and 4 MB."""


def request(workload: str, headers: Mapping[str, str]) -> bytes:
    """Returns the request of ``workload``, as sent by openai-python, with additional ``headers``."""
    stream = workload in _STREAMS
    body = msgspec.json.encode(
        {
            "messages": [{"role": "user", "content": _PROMPT.get(workload, "hello " * (10 if stream else 150))}],
            "model": _MODELS.get(workload, "glm-4.6"),
            "stream": stream,
        }
    )
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n"
        b"Connection: %b\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        b"User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
        b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        b"Authorization: Bearer key\r\nX-Stainless-Async: false\r\n%bContent-Length: %d\r\n\r\n%b"
    ) % (b"close" if workload == "churn" else b"keep-alive", more, len(body), body)


class Meter:
    """Results of all connections."""

    def __init__(self) -> None:
        self.streams = 0
        """Streams that have received a token or an error."""
        self.errors: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Drops all figures so far. Errors stay."""
        self.units = 0
        self.latencies: list[float] = []
        self.first: list[float] = []
        self.delays: list[float] = []

    def fail(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1

    def shown(self) -> dict[str, object]:
        return {
            "units": self.units,
            "errors": self.errors,
            "latency_ms": _percentiles(self.latencies),
            "ttft_ms": _percentiles(self.first),
            "delay_ms": _percentiles(self.delays),
        }


def _percentiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    values.sort()
    return {
        name: round(values[min(int(len(values) * share), len(values) - 1)] * 1000, 3)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


class Client(asyncio.Protocol):
    """One connection, which sends the next request when it has a response and, with an ``interval``, not before its
    time."""

    transport: asyncio.Transport

    def __init__(
        self, workload: str, request_bytes: bytes, meter: Meter, deadline: float, interval: float = 0.0
    ) -> None:
        self._workload = workload
        self._interval = interval
        self._stream = workload in _STREAMS
        self._request = request_bytes
        self._meter = meter
        self._deadline = deadline
        self._parts: list[bytes] = []
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._sent = time.perf_counter()
        self._ask()

    def _ask(self) -> None:
        self._parts = []
        self.transport.write(self._request)

    def _ask_next(self) -> None:
        now = time.perf_counter()
        self._sent = self._sent + self._interval if self._interval else now
        if self._sent > now:
            asyncio.get_running_loop().call_later(self._sent - now, self._ask)
        else:
            self._ask()

    def data_received(self, data: bytes) -> None:
        meter = self._meter
        if not self._parts and self._stream:
            meter.first.append(time.perf_counter() - self._sent)
            meter.streams += 1
        if self._workload in OPEN:
            if not self._parts and not data.startswith(b"HTTP/1.1 200"):
                meter.fail(data[:16].decode("latin-1"))
            self._parts = [data]
            meter.units += self._note_delays(data)
            return
        self._parts.append(data)
        if self._workload == "paced":
            self._note_delays(data)
        if self._complete(data):
            self._finish()

    def _note_delays(self, data: bytes) -> int:
        """Returns the number of deltas in ``data``."""
        now = time.monotonic_ns()
        count = 0
        for part in data.split(b"t=")[1:]:
            stamp, mark, _ = part.partition(b";")
            if mark and stamp.isdigit():
                self._meter.delays.append((now - int(stamp)) / 1e9)
                count += 1
        return count

    def _complete(self, data: bytes) -> bool:
        if self._stream and self._parts[0].startswith(b"HTTP/1.1 200"):
            return data.endswith(b"0\r\n\r\n") or (len(data) < 5 and b"".join(self._parts[-3:]).endswith(b"0\r\n\r\n"))
        response = data if len(self._parts) == 1 else b"".join(self._parts)
        head, mark, body = response.partition(b"\r\n\r\n")
        if not mark:
            return False
        at = head.lower().find(b"content-length:")
        if at < 0:
            return response.endswith(b"0\r\n\r\n")
        return len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])

    def _finish(self) -> None:
        response = b"".join(self._parts)
        meter = self._meter
        meter.latencies.append(time.perf_counter() - self._sent)
        if not response.startswith(b"HTTP/1.1 200"):
            meter.fail(response[:16].decode("latin-1"))
        elif self._stream:
            chunks = response.count(b'"content":"') - response.count(b'"content":""')
            if chunks != CHUNKS or b"data: [DONE]" not in response:
                meter.fail(f"{chunks} chunks")
            meter.units += chunks if self._workload == "paced" else 1
        elif b"xxxxxxxx" not in response:
            meter.fail("wrong body")
        else:
            meter.units += 1
        if time.perf_counter() >= self._deadline:
            self.transport.close()
        elif self._workload != "churn":
            self._ask_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def run(workload: str, port: int, seconds: float, headers: Mapping[str, str]) -> dict[str, object]:
    """Loads ``port`` for ``seconds``, and lets requests in flight finish."""
    meter = Meter()
    request_bytes = request(workload, headers)
    loop = asyncio.get_running_loop()
    count = CONNECTIONS[workload]
    interval = count / RATE if workload == "rate" else 0.0
    # Streams that begin together end together, and begin together again. Requests at a fixed rate are spread, too.
    period = CHUNKS * GAP_SECONDS if workload == "paced" else interval
    started, used = time.perf_counter(), time.process_time()
    deadline = started + max(seconds, period)

    async def one(number: int) -> None:
        await asyncio.sleep(period * number / count)
        while time.perf_counter() < deadline:
            try:
                _, client = await loop.create_connection(
                    lambda: Client(workload, request_bytes, meter, deadline, interval), "127.0.0.1", port
                )
            except OSError as error:
                meter.fail(f"connect: {error.strerror}")
                return
            await client.done
            if workload != "churn" and time.perf_counter() < deadline:
                meter.fail("connection closed")

    await asyncio.gather(*map(one, range(count)))
    elapsed = time.perf_counter() - started
    busy = (time.process_time() - used) / elapsed
    return {**meter.shown(), "per_second": round(meter.units / elapsed), "load_busy": round(busy, 2)}


async def hold(workload: str, port: int, headers: Mapping[str, str]) -> None:
    """Holds open streams."""
    meter, request_bytes, loop = Meter(), request(workload, headers), asyncio.get_running_loop()

    def client() -> Client:
        return Client(workload, request_bytes, meter, math.inf)

    for _ in range(CONNECTIONS[workload]):
        await loop.create_connection(client, "127.0.0.1", port)
    while meter.streams < CONNECTIONS[workload]:  # noqa: ASYNC110 - an event would need a counter in each stream
        await asyncio.sleep(0.05)
    while True:
        started, used = time.perf_counter(), time.process_time()
        meter.clear()
        print(flush=True)
        if not await loop.run_in_executor(None, sys.stdin.readline):
            return
        elapsed = time.perf_counter() - started
        busy = (time.process_time() - used) / elapsed
        print(json.dumps({**meter.shown(), "load_busy": round(busy, 2)}), flush=True)


def main() -> None:
    workload, port, seconds, *rest = sys.argv[1:]
    headers: dict[str, str] = json.loads(rest[0]) if rest else {}
    if workload in OPEN:
        uvloop.run(hold(workload, int(port), headers))
    else:
        print(json.dumps(uvloop.run(run(workload, int(port), float(seconds), headers))))


if __name__ == "__main__":
    main()
