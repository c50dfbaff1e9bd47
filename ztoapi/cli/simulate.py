"""``ztoapi simulate``: a simulated upstream."""

import argparse
import asyncio
import logging
import os
from functools import partial

from ztoapi.cli.logs import set_up_logging
from ztoapi.cli.options import listen
from ztoapi.server.workers import Duty, FixedService, Plan
from ztoapi.server.workers import run as run_workers
from ztoapi.simulator.app import Options, Simulator
from ztoapi.simulator.shared_counts import SharedCounts
from ztoapi.simulator.stats import SimulatorStats
from ztoapi.telemetry.terminal_text import counted
from ztoapi.wire.address import authority

__all__ = ["run"]

_log = logging.getLogger(__name__)
_BACKLOG = 2048
_DRAIN_SECONDS = 2.0


def run(args: argparse.Namespace) -> int:
    """Serves until stopped; returns the exit code. Raises OSError if it cannot listen, ConfigError for a bad option."""
    set_up_logging(logging.INFO, "console" if os.isatty(1) else "json", 1)
    options = _options(args)
    # Created before the fork, because all workers share it.
    board = SharedCounts(args.workers)
    sockets = listen(
        args.host,
        args.port,
        args.workers,
        backlog=_BACKLOG,
        host_option="--host",
        port_option="--port",
        remedy="--port N",
    )
    make = partial(_make, options, board)
    origin = f"http://{authority(args.host, sockets[0][0].getsockname()[1])}"
    return run_workers(
        FixedService(Plan([Duty(listeners, make) for listeners in sockets], _DRAIN_SECONDS)),
        started=lambda: _log.info("%s", f"simulator on {origin}, {counted(args.workers, 'worker')}"),
    )


def _make(options: Options, board: SharedCounts, loop: asyncio.AbstractEventLoop, row: int) -> Simulator:
    return Simulator(options, loop, SimulatorStats(board, row))


def _options(args: argparse.Namespace) -> Options:
    return Options(
        ttft_ms=args.ttft_ms,
        itl_ms=args.itl_ms,
        tokens=args.tokens,
        events_per_write=args.events_per_write,
        api_key=args.api_key,
    )
