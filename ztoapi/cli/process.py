"""The process of a server before it serves: its standard streams, and signals that arrive too early."""

import os
import signal
import sys
from typing import Final

__all__ = ["fill_standard_streams", "hold_signals", "silence_standard_output"]

_HELD: Final = frozenset((signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2))


def fill_standard_streams() -> None:
    """Opens /dev/null for each of the descriptors 0 to 2 that the parent has closed.

    Otherwise the next file or socket takes the number, gets what is written to the stream, and the event loop aborts
    when it closes one.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))


def silence_standard_output() -> None:
    """Sends standard output to /dev/null, where the interpreter can write the rest of it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def hold_signals() -> None:
    """Keeps signals that would end the process by default until the server handles them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
