"""The signals of the supervisor and of its workers."""

import logging
import os
import signal
from typing import Final

__all__ = ["HURRY", "RETIRE", "STOP", "UNUSED", "WATCHED", "ControllingTerminal"]

STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Drain; a second one ends at once."""
WATCHED: Final = frozenset(
    (
        *STOP,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGCHLD,
    )
)
"""The signals that the supervisor waits for."""
UNUSED: Final = (signal.SIGUSR2,)
"""Signals without a function in workers."""
HURRY: Final = signal.SIGURG
"""From the supervisor to a worker: end at once. Without a handler it has no effect."""
RETIRE: Final = signal.SIGRTMIN
"""From the supervisor to a worker: a successor listens, so finish the requests in flight and end."""

_log = logging.getLogger(__name__)


class ControllingTerminal:
    """The terminal that the process was started from. Create it before any signal is handled."""

    def __init__(self) -> None:
        # nohup makes a process ignore the end of its terminal.
        self._present = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def is_gone(self) -> bool:
        """Whether the terminal has been closed: then SIGHUP stops the process."""
        if not self._present or _has_terminal():
            return False
        _log.warning("the terminal is gone: draining")
        return True


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal, or reads from one. Both fail once it has hung up."""
    if os.isatty(0):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
