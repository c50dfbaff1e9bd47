"""Signals other than those that stop the process, in workers and in the supervisor."""

import logging
import os
import signal
from collections.abc import Callable
from typing import Final

__all__ = ["HANDLED", "ORDERS", "STOP", "Orders", "Reload"]

STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
ORDERS: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
HANDLED: Final = frozenset((*STOP, *ORDERS))

Reload = Callable[[], bool]
"""Loads a new configuration, or returns False and keeps the current one. Called in every process."""

_REASONS: Final = {
    signal.SIGHUP: "there is no key file to reload and no access log file to reopen; other options need a restart",
    signal.SIGUSR1: "the access log is not a file",
    signal.SIGUSR2: "the signal has no function",
}
"""Reasons for which a signal has no effect."""

_log = logging.getLogger(__name__)


class Orders:
    """``reload`` is called for SIGHUP, ``reopen`` for SIGUSR1; None to ignore the signal. Created before any signal is
    handled."""

    def __init__(self, reload: Reload | None, reopen: Reload | None) -> None:
        self._steps = {signal.SIGHUP: reload, signal.SIGUSR1: reopen, signal.SIGUSR2: None}
        # nohup makes a process ignore the end of its terminal.
        self._terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def ends(self, number: int) -> bool:
        """Whether the signal stops the process: SIGHUP does if the terminal has been closed."""
        if number != signal.SIGHUP or not self._terminal or _has_terminal():
            return False
        _log.warning("the terminal is gone: draining")
        return True

    def obey(self, number: int) -> bool:
        """Performs the action of the signal. Returns whether anything has changed."""
        received = signal.Signals(number)
        step = self._steps[received]
        if step is None:
            _log.info("%s: nothing to do, because %s", received.name, _REASONS[received])
            return False
        return step()


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal, or reads from one. Both fail once it has hung up."""
    if os.isatty(0):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
