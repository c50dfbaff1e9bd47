"""Limits in responses: OpenAI's ``x-ratelimit-*`` fields, the fields of the IETF draft, and text for messages.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (revision 10)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ztoapi.limits.model import InFlightLimit, Limit, LimitStatus, RateLimit
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["describe", "go_duration", "ietf_fields", "openai_fields", "openai_template"]

_REMEMBERED_SECONDS: Final = 600
"""Cached durations, 0.2 KiB each: formatting one takes four times as long as a look-up."""
_PERIODS: Final = {SECOND_NS: "second", 60 * SECOND_NS: "minute"}


def go_duration(nanoseconds: int) -> bytes:
    """Formats a duration as in OpenAI's x-ratelimit-reset fields: ``6m0s``, ``2s``, ``17ms``. Rounds up, above a second
    to whole seconds. https://pkg.go.dev/time#Duration.String"""
    milliseconds = -(-nanoseconds // 1_000_000)
    return _milliseconds(milliseconds) if milliseconds < 1000 else _seconds(-(-milliseconds // 1000))


@lru_cache(1000)
def _milliseconds(milliseconds: int) -> bytes:
    return b"%dms" % milliseconds if milliseconds else b"0s"


@lru_cache(_REMEMBERED_SECONDS)
def _seconds(seconds: int) -> bytes:
    if seconds < 60:
        return b"%ds" % seconds
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, seconds) if hours else b"%dm%ds" % (minutes, seconds)


def describe(limit: Limit) -> str:
    """Returns the limit in words, such as "60 requests a minute"."""
    if isinstance(limit, InFlightLimit):
        return f"{limit.max_requests} requests at a time"
    return f"{limit.rate.limit} {limit.unit.value} a {_PERIODS[limit.rate.period_ns]}"


def openai_template(limit: RateLimit) -> bytes:
    """Returns OpenAI's header lines of a limit on requests or tokens, with ``%d`` for the remaining units and ``%b``
    for the reset time."""
    name = limit.unit.value.encode("ascii")
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        name, limit.rate.burst, name, name,
    )  # fmt: skip


def openai_fields(statuses: Sequence[LimitStatus]) -> bytes:
    """Returns OpenAI's header lines of several limits; in-flight limits have none."""
    return b"".join(
        openai_template(status.limit) % (status.remaining, go_duration(status.reset_ns))
        for status in statuses
        if isinstance(status.limit, RateLimit)
    )


def ietf_fields(statuses: Sequence[LimitStatus]) -> bytes:
    """Returns the ``ratelimit-policy`` and ``ratelimit`` header lines of several rate limits."""
    policies, states = [], []
    for status in statuses:
        limit = status.limit
        assert isinstance(limit, RateLimit)
        name = limit.name.partition("/")[0]
        policies.append(f'"{name}";q={limit.rate.limit};w={limit.rate.period_ns // SECOND_NS}')
        states.append(f'"{name}";r={status.remaining};t={-(-status.reset_ns // SECOND_NS)}')
    if not policies:
        return b""
    return f"ratelimit-policy: {', '.join(policies)}\r\nratelimit: {', '.join(states)}\r\n".encode("ascii")
