"""Clients that send HTTP without TLS to an address with TLS: the count and the log message. The TLS context sends the
response (``config/certificates.py``)."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from ztoapi.telemetry.samples import Sample

__all__ = ["PlainHTTP"]

_LOG_SECONDS: Final = 60.0
"""Shortest time between two messages."""

_log = logging.getLogger(__name__)


class PlainHTTP:
    """Counts the clients; ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quiet_until = float("-inf")
        self._count = 0

    def samples(self) -> Iterator[Sample]:
        """Yields the metric."""
        yield Sample("ztoapi_client_plain_http", self._count)

    def note(self) -> None:
        """Counts one client."""
        self._count += 1
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_SECONDS
            _log.warning(
                "%d connections so far with plain HTTP to an address with TLS got 400: the base URL of a client "
                "must begin with https://",
                self._count,
            )
