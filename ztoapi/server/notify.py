"""Notifications to the service manager: sd_notify, datagrams to the socket in NOTIFY_SOCKET.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html and sd_watchdog_enabled.html.
"""

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

__all__ = ["CHECKS_PER_WATCHDOG", "Notifier"]

CHECKS_PER_WATCHDOG: Final = 4
"""Keepalives per watchdog timeout: twice as many as systemd recommends, so that a late one on a busy machine does no
harm."""
_MICROSECONDS: Final = 1_000_000

_log = logging.getLogger(__name__)


class Notifier:
    """Notifies the service manager that ``environ``, the environment of the main process, names; if there is one.

    ``check_seconds`` is the interval for sending ``WATCHDOG=1``; None without a watchdog.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        allowed = environ.get("WATCHDOG_USEC", "")
        # Another process id means that the variables are for a parent of this process.
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.check_seconds: float | None = None
        if self._address and ours and allowed.isascii() and allowed.isdigit() and int(allowed):
            self.check_seconds = int(allowed) / _MICROSECONDS / CHECKS_PER_WATCHDOG

    def send(self, state: str) -> None:
        """Sends ``state``, for example ``READY=1``. A failure is logged; the service continues."""
        if not self._address:
            return
        # A name that begins with @ is abstract: its first byte is 0.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode("ascii"), address)
        except OSError as error:
            _log.warning("cannot send %s to %s: %s", state, self._address, error)
