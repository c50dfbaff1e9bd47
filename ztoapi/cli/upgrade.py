"""``ztoapi upgrade``: a running gateway becomes the installed version, without a refused or cut request."""

import argparse
import signal

from ztoapi.cli.reload import send

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Has the gateway on the configured port execute the installed version. Returns 0 once that is done, 1 if the new
    version cannot start: the old one then continues. Raises ConfigError."""
    return send(args, signal.SIGUSR2)
