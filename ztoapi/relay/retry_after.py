"""The wait that an upstream requests, by retry-after-ms or Retry-After."""

import re
from email.utils import mktime_tz, parsedate_tz
from typing import Final

__all__ = ["retry_after"]

_MAX_SECONDS: Final = 366 * 86400.0
"""Longest wait that is passed on. Anything longer is a mistake of the upstream."""
_NUMBER: Final = re.compile(rb"([0-9]+(?:\.[0-9]+)?)s?(?:,.*)?")
"""Seconds, perhaps with a unit; the first of several fields."""
_DAY_NAME: Final = re.compile(rb"\s*(?:mon|tue|wed|thu|fri|sat|sun)", re.IGNORECASE)


def retry_after(headers: dict[bytes, bytes], now: float) -> float | None:
    """Returns the seconds until the next request may be sent, None without such a field. ``now`` is in Unix seconds.

    A date (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7) in the past is 0, an unreadable field is ignored.
    Vendors' ``x-ratelimit-reset`` fields are not read: they are seconds, milliseconds, durations or dates.
    """
    milliseconds = _number(headers.get(b"retry-after-ms", b""))
    if milliseconds is not None:
        return min(milliseconds / 1000.0, _MAX_SECONDS)
    value = headers.get(b"retry-after", b"")
    seconds = _number(value)
    if seconds is None and _DAY_NAME.match(value):
        try:
            date = parsedate_tz(value.decode("latin-1"))
            seconds = None if date is None else max(mktime_tz(date) - now, 0.0)
        except (ValueError, OverflowError):
            return None
    return None if seconds is None else min(seconds, _MAX_SECONDS)


def _number(value: bytes) -> float | None:
    match = _NUMBER.fullmatch(value.strip())
    return None if match is None else float(match[1])
