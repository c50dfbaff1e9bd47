"""The load generator of the comparison: closed loop, raw sockets, every response checked completely.

``python -m bench.peers.load WORKLOAD PORT SECONDS [HEADERS]`` prints one JSON line: units done, errors, percentiles in
milliseconds of the latency, of the time to the first token and, for paced streams, of the delay of each delta, and the
share of a core that this program used. Near 1, the latencies are caused by this program. HEADERS is a JSON object of
header fields.

The workload ``open`` opens 1,000 streams, prints ``open`` once each has received a token, and holds them until standard
input is closed.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Final, cast

import msgspec
import uvloop

from bench.peers.mock import CHUNKS

__all__ = ["CONNECTIONS", "UNITS", "WORKLOADS"]

CONNECTIONS: Final = {
    "unary": 64,
    "burst": 64,
    "paced": 200,
    "prompt": 16,
    "churn": 64,
    "single": 1,
    "single_stream": 1,
    "open": 1000,
}
WORKLOADS: Final = tuple(workload for workload in CONNECTIONS if workload != "open")
_STREAMS: Final = ("burst", "paced", "single_stream", "open")
_MODELS: Final = {"paced": "paced", "open": "slow"}
UNITS: Final = {"burst": "64-chunk stream", "paced": "chunk", "single_stream": "64-chunk stream"}
"""Units of work by which CPU is divided; otherwise requests."""
_PROMPT: Final = {"prompt": "long context " * 23077}
"""About 300 KB."""


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
        self.units = 0
        self.errors: dict[str, int] = {}
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
    """One connection that sends the next request as soon as it has a response."""

    transport: asyncio.Transport

    def __init__(self, workload: str, request_bytes: bytes, meter: Meter, deadline: float) -> None:
        self._workload = workload
        self._stream = workload in _STREAMS
        self._request = request_bytes
        self._meter = meter
        self._deadline = deadline
        self._parts: list[bytes] = []
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._parts = []
        self._sent = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._parts and self._stream:
            self._meter.first.append(time.perf_counter() - self._sent)
        self._parts.append(data)
        if self._workload == "paced":
            self._note_delays(data)
        if self._complete(data):
            self._finish()

    def _note_delays(self, data: bytes) -> None:
        now = time.monotonic_ns()
        for part in data.split(b"t=")[1:]:
            stamp, mark, _ = part.partition(b";")
            if mark and stamp.isdigit():
                self._meter.delays.append((now - int(stamp)) / 1e9)

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
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def run(workload: str, port: int, seconds: float, headers: Mapping[str, str]) -> dict[str, object]:
    """Loads ``port`` for ``seconds``, and lets requests in flight finish."""
    meter = Meter()
    request_bytes = request(workload, headers)
    started, used = time.perf_counter(), time.process_time()
    loop = asyncio.get_running_loop()
    deadline = time.perf_counter() + seconds

    async def one() -> None:
        while time.perf_counter() < deadline:
            try:
                _, client = await loop.create_connection(
                    lambda: Client(workload, request_bytes, meter, deadline), "127.0.0.1", port
                )
            except OSError as error:
                meter.fail(f"connect: {error.strerror}")
                return
            await client.done
            if workload != "churn" and time.perf_counter() < deadline:
                meter.fail("connection closed")

    await asyncio.gather(*(one() for _ in range(CONNECTIONS[workload])))
    busy = (time.process_time() - used) / (time.perf_counter() - started)
    return {**meter.shown(), "load_busy": round(busy, 2)}


async def hold(port: int, headers: Mapping[str, str]) -> None:
    """Holds the streams of the workload ``open``."""
    meter, request_bytes, loop = Meter(), request("open", headers), asyncio.get_running_loop()
    for _ in range(CONNECTIONS["open"]):
        await loop.create_connection(lambda: Client("open", request_bytes, meter, math.inf), "127.0.0.1", port)
    while len(meter.first) < CONNECTIONS["open"]:  # noqa: ASYNC110 - an event would need a counter in each of 1,000 streams
        await asyncio.sleep(0.05)
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    workload, port, seconds, *rest = sys.argv[1:]
    headers: dict[str, str] = json.loads(rest[0]) if rest else {}
    if workload == "open":
        uvloop.run(hold(int(port), headers))
    else:
        print(json.dumps(uvloop.run(run(workload, int(port), float(seconds), headers))))


if __name__ == "__main__":
    main()
