"""Settings that all relays of a worker share, and the types of a relay's callbacks."""

from collections.abc import Awaitable, Callable

from ztoapi.errors import UpstreamError
from ztoapi.upstream.connection import Timeouts
from ztoapi.wire.buffer import Rings

__all__ = ["OnFailure", "Prepare", "RelayOptions"]

Prepare = Callable[[dict[str, str]], Awaitable[tuple[str, bytes]]]
"""Makes the calls that precede a request, with the header fields of its credential, and returns its path and body.
Raises UpstreamError."""
OnFailure = Callable[[UpstreamError], bool]
"""Called with the error of the last attempt if no part of a response has been sent. Returns True if it has taken over
the downstream."""


class RelayOptions:
    """Times are in seconds. ``keepalive`` is the interval of keepalive comments, 0 for none; with ``keepalive_early``
    they may precede the response. ``rings`` hold the beginnings of cut events."""

    __slots__ = (
        "keepalive",
        "keepalive_early",
        "max_attempts",
        "max_event_bytes",
        "max_response_bytes",
        "rings",
        "timeouts",
    )

    def __init__(
        self,
        *,
        max_attempts: int,
        max_event_bytes: int,
        max_response_bytes: int,
        keepalive: float,
        keepalive_early: bool,
        timeouts: Timeouts,
    ) -> None:
        self.max_attempts = max_attempts
        self.timeouts = timeouts
        self.max_event_bytes = max_event_bytes
        self.max_response_bytes = max_response_bytes
        self.rings = Rings(max_event_bytes)
        self.keepalive = keepalive
        self.keepalive_early = keepalive_early
