"""``ztoapi simulate``: a simulated upstream."""

import argparse
import asyncio

from ztoapi.cli.serve import set_up_logging
from ztoapi.server.workers import Duty, bind_all
from ztoapi.server.workers import run as run_workers
from ztoapi.simulator.app import Options, Simulator

__all__ = ["run"]

_BACKLOG = 2048
_DRAIN_SECONDS = 2.0


def run(args: argparse.Namespace) -> int:
    """Serve until stopped; returns the exit code. Raises OSError if it cannot listen."""
    set_up_logging(debug=False)
    options = Options(
        ttft_ms=args.ttft_ms,
        itl_ms=args.itl_ms,
        tokens=args.tokens,
        events_per_write=args.events_per_write,
        api_key=args.api_key,
    )

    def make(loop: asyncio.AbstractEventLoop) -> Simulator:
        return Simulator(options, loop)

    sockets = bind_all(args.host, args.port, args.workers, backlog=_BACKLOG)
    return run_workers(
        [Duty(sock, make) for sock in sockets],
        drain_seconds=_DRAIN_SECONDS,
        started=lambda: print(
            f"simulator on http://{args.host}:{sockets[0].getsockname()[1]}, {args.workers} worker(s)", flush=True
        ),
    )
