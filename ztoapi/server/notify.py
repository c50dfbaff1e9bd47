"""What the service manager is told of this process: sd_notify, a datagram to the socket named by NOTIFY_SOCKET.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html and sd_watchdog_enabled.html.
"""

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

__all__ = ["CHECKS_PER_WATCHDOG", "Notifier"]

CHECKS_PER_WATCHDOG: Final = 4
"""Signs of life in the time that the watchdog allows: twice as many as systemd asks for, so that one that is late on a
busy machine does no harm."""
_MICROSECONDS: Final = 1_000_000

_log = logging.getLogger(__name__)


class Notifier:
    """For the main process of the service, in its environment ``environ``. Without a service manager it says nothing.

    ``check_seconds`` is how often it wants to hear ``WATCHDOG=1``; None if it does not.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        allowed = environ.get("WATCHDOG_USEC", "")
        # Set where the variables are for another process, one that has started us.
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.check_seconds: float | None = None
        if self._address and ours and allowed.isascii() and allowed.isdigit() and int(allowed):
            self.check_seconds = int(allowed) / _MICROSECONDS / CHECKS_PER_WATCHDOG

    def send(self, state: str) -> None:
        """Tell ``state``, e.g. ``READY=1``. What cannot be told is logged; it is no reason to stop serving."""
        if not self._address:
            return
        # A name that begins with @ is an abstract one, whose first octet is 0.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode("ascii"), address)
        except OSError as error:
            _log.warning("cannot tell %s to %s: %s", state, self._address, error)
