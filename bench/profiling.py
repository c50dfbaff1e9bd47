"""Measures the cost of a running profile: ``python -m bench.profiling``.

A gateway runs under a steady load, in slices of a second. One slice of each pair is profiled, in alternating order. The
output is the CPU time per request in both, as accounted by the kernel, and the median of the differences.
``docs/profiling.md`` has results.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import httpx

from bench.peers.measure import Process, free_port
from bench.peers.targets import Start

__all__ = ["main"]

ROOT: Final = Path(__file__).resolve().parents[1]
_WARM_UP_SECONDS: Final = 3
_SLICE_SECONDS: Final = 1
_ADMIN: Final = "admin"
_HEADERS: Final = {"authorization": f"Bearer {_ADMIN}"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profiling")
    parser.add_argument("--workload", default="unary", choices=("unary", "burst"))
    parser.add_argument("--pairs", type=int, default=30)
    args = parser.parse_args()
    port, upstream = free_port(), free_port()
    environment = {
        "PYTHONPATH": str(ROOT),
        "UPSTREAM_URL": f"http://127.0.0.1:{upstream}/v1",
        "UPSTREAM_TOKEN": "token",
        "DEFAULT_KEY": "key",
        "ADMIN_KEY": _ADMIN,
    }
    mock = Start([sys.executable, "-m", "bench.peers.mock", str(upstream)], {"PYTHONPATH": str(ROOT)})
    serve = Start([sys.executable, "-m", "ztoapi", "serve", "--port", str(port)], environment)
    changes: list[float] = []
    plain: list[float] = []
    length = _WARM_UP_SECONDS + 2 * args.pairs * (_SLICE_SECONDS + 1)
    command = [sys.executable, "-m", "bench.peers.load", args.workload, str(port), str(length)]
    with (
        Process(mock, upstream),
        Process(serve, port) as gateway,
        httpx.Client(headers=_HEADERS, timeout=30.0) as client,
    ):
        load = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        time.sleep(_WARM_UP_SECONDS)
        for pair in range(args.pairs):
            costs = {on: _slice(gateway, client, on) for on in (pair % 2 == 1, pair % 2 == 0)}
            plain.append(costs[False])
            changes.append(costs[True] / costs[False] - 1.0)
        load.kill()
        load.wait()
    spread = statistics.stdev(changes) / len(changes) ** 0.5
    print(
        f"CPU a request: {statistics.median(plain):.1f} us; while profiled {statistics.median(changes):+.1%} (median)"
    )
    print(f"mean {statistics.fmean(changes):+.1%}, standard error {spread:.1%}, {args.pairs} pairs")
    return 0


def _slice(gateway: Process, client: httpx.Client, profiled: bool) -> float:
    """Returns the CPU time per request, in microseconds, over a second."""
    origin = f"http://127.0.0.1:{gateway.port}"
    before, done = gateway.cpu_seconds(), _requests(client, origin)
    if profiled:
        client.get(f"{origin}/debug/pprof/profile?format=collapsed&seconds={_SLICE_SECONDS}").raise_for_status()
    else:
        time.sleep(_SLICE_SECONDS)
    return (gateway.cpu_seconds() - before) / (_requests(client, origin) - done) * 1e6


def _requests(client: httpx.Client, origin: str) -> int:
    total: int = client.get(f"{origin}/dashboard/stats").json()["requests"]["total"]
    return total


if __name__ == "__main__":
    sys.exit(main())
