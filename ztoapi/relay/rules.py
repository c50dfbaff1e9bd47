"""What the relays of a worker have in common, and how they read a wait."""

import re
from collections.abc import Awaitable, Callable
from email.utils import mktime_tz, parsedate_tz
from typing import Final

from ztoapi.dialects.reports import presentable
from ztoapi.errors import UpstreamError
from ztoapi.upstream.connection import Timeouts
from ztoapi.wire.buffer import Rings

__all__ = ["Otherwise", "RelayRules", "Steps", "coded", "no_body", "retry_after", "too_large"]

_MAX_RETRY_AFTER_SECONDS: Final = 366 * 86400.0
"""Longest time that a client is told. Anything longer is a mistake of the upstream."""
_NUMBER: Final = re.compile(rb"([0-9]+(?:\.[0-9]+)?)s?(?:,.*)?")
"""Seconds, perhaps with a unit; the first of several fields."""
_DAY_NAME: Final = re.compile(rb"\s*(?:mon|tue|wed|thu|fri|sat|sun)", re.IGNORECASE)

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


def retry_after(headers: dict[bytes, bytes], now: float) -> float | None:
    """Seconds until the upstream may be asked again, by retry-after-ms or Retry-After; ``now`` is in Unix seconds.

    A date (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7) in the past is 0, an unreadable field is ignored.
    Vendors' ``x-ratelimit-reset`` fields are not read: they are seconds, milliseconds, durations or dates.
    """
    milliseconds = _number(headers.get(b"retry-after-ms", b""))
    if milliseconds is not None:
        return min(milliseconds / 1000.0, _MAX_RETRY_AFTER_SECONDS)
    value = headers.get(b"retry-after", b"")
    seconds = _number(value)
    if seconds is None and _DAY_NAME.match(value):
        try:
            date = parsedate_tz(value.decode("latin-1"))
            seconds = None if date is None else max(mktime_tz(date) - now, 0.0)
        except (ValueError, OverflowError):
            return None
    return None if seconds is None else min(seconds, _MAX_RETRY_AFTER_SECONDS)


def _number(value: bytes) -> float | None:
    found = _NUMBER.fullmatch(value.strip())
    return None if found is None else float(found[1])


def too_large(what: str, most: int) -> UpstreamError:
    """The error of an upstream whose ``what`` has more than ``most`` octets."""
    return UpstreamError(f"the upstream's {what} is larger than {most} bytes", code=f"upstream_{what}_too_large")


def coded(coding: str) -> UpstreamError:
    """The error of a completion with a content coding: every request asks for none, since a compressed stream comes in
    bursts."""
    return UpstreamError(
        f"the upstream's response has the content encoding {presentable(coding)[:100]}, which was not asked for",
        code="upstream_content_encoding",
    )


def no_body(status: int) -> UpstreamError:
    """The error of a success without a body."""
    return UpstreamError(f"the upstream answered {status} without a body", code="upstream_empty", retryable=True)
