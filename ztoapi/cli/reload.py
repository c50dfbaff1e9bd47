"""``ztoapi reload``: a running gateway takes over the configuration, without a refused or cut request."""

import argparse
import os
import signal
import sys
import time
from typing import Final

from ztoapi.cli.options import load_config
from ztoapi.cli.status import Status, find_status
from ztoapi.config.listen import listen_addresses

__all__ = ["run", "send"]

_POLL_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 600.0
"""A roll may have to wait until the streams of earlier workers have finished."""


def run(args: argparse.Namespace) -> int:
    """Checks the configuration, and has the gateway on its port reload it. Returns 0 once that is done, 1 if it failed
    or if there is no gateway. Raises ConfigError with all problems; the running gateway is then left alone."""
    return send(args, signal.SIGHUP)


def send(args: argparse.Namespace, number: signal.Signals) -> int:
    """Sends a signal to the gateway on the configured port, waits for the outcome and prints it."""
    port = _port(args)
    path, before = find_status(port)
    if before is None:
        place = "it writes no status file without STATE_DIRECTORY, XDG_STATE_HOME or HOME" if path is None else path
        remedy = f"start it with `ztoapi serve`, name its port with --port, or send {number.name} to its process"
        print(f"ztoapi: no gateway of this user runs on port {port} ({place}): {remedy}", file=sys.stderr)
        print("`ztoapi demo` writes no status file: it cannot be reloaded or upgraded", file=sys.stderr)
        return 1
    os.kill(before.pid, number)
    status = _wait(port, before.number)
    if status is None:
        print(f"ztoapi: process {before.pid} has not finished; its log has the reason", file=sys.stderr)
        return 1
    print(status.outcome, file=sys.stdout if status.ok else sys.stderr)
    return 0 if status.ok else 1


def _port(args: argparse.Namespace) -> int:
    """Returns the port under which the gateway writes its status: that of ``--port``, of the first TCP address, or of
    ``server.port``. Raises ConfigError for an invalid configuration."""
    server = load_config(args).config.server
    if args.port is not None:
        return server.port
    return next((address.port for address in listen_addresses(server) if address.port), server.port)


def _wait(port: int, number: int) -> Status | None:
    """Returns the next report; None if there is none in time, or if the gateway has ended."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        _, status = find_status(port)
        if status is None or status.number > number:
            return status
        time.sleep(_POLL_SECONDS)
    return None
