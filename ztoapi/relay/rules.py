"""What the relays of a worker have in common, and how they read a wait."""

from collections.abc import Awaitable, Callable

from ztoapi.errors import UpstreamError
from ztoapi.upstream.connection import Timeouts
from ztoapi.wire.buffer import Rings

__all__ = ["Otherwise", "RelayRules", "Steps", "retry_after", "too_large"]

Steps = Callable[[dict[str, str]], Awaitable[tuple[str, bytes]]]
"""Given a credential's header fields, what must be done before the request itself: its path and its body."""
Otherwise = Callable[[UpstreamError], bool]
"""Told why no try has helped, before any answer; True if it has taken over the exchange."""


class RelayRules:
    """What all relays of a worker share: what the configuration says (seconds and octets), and the rings."""

    __slots__ = (
        "keepalive",
        "keepalive_early",
        "max_event_bytes",
        "max_response_bytes",
        "max_tries",
        "rings",
        "timeouts",
    )

    def __init__(
        self,
        *,
        max_tries: int,
        max_event_bytes: int,
        max_response_bytes: int,
        keepalive: float,
        keepalive_early: bool,
        timeouts: Timeouts,
    ) -> None:
        self.max_tries = max_tries
        self.timeouts = timeouts
        self.max_event_bytes = max_event_bytes
        self.max_response_bytes = max_response_bytes
        self.rings = Rings(max_event_bytes)
        self.keepalive = keepalive
        self.keepalive_early = keepalive_early


def retry_after(headers: dict[bytes, bytes]) -> float | None:
    """Retry-After in seconds; the HTTP-date form is not used by upstreams of ours and is ignored."""
    value = headers.get(b"retry-after", b"")
    return float(value) if value.isdigit() and len(value) < 7 else None


def too_large(what: str, most: int) -> UpstreamError:
    """The error of an upstream whose ``what`` has more than ``most`` octets."""
    return UpstreamError(f"the upstream's {what} is larger than {most} bytes", code=f"upstream_{what}_too_large")
