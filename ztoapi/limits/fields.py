"""What answers say of limits: OpenAI's x-ratelimit fields, those of the IETF, and words for people.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (revision 10)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ztoapi.limits.model import InFlightLimit, Limit, Quota, RateLimit
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["go_duration", "ietf_fields", "openai_fields", "openai_template", "said"]

_REMEMBERED_SECONDS: Final = 600
"""Durations that need not be written again, 0.2 KiB each: to write one takes four times as long as to remember it."""
_PERIODS: Final = {SECOND_NS: "second", 60 * SECOND_NS: "minute"}


def go_duration(nanoseconds: int) -> bytes:
    """A time as OpenAI's x-ratelimit-reset fields give it, rounded up, above a second to whole ones: ``6m0s``, ``2s``,
    ``17ms``. https://pkg.go.dev/time#Duration.String"""
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


def said(limit: Limit) -> str:
    if isinstance(limit, InFlightLimit):
        return f"{limit.most} requests at a time"
    return f"{limit.rate.limit} {limit.unit.value} a {_PERIODS[limit.rate.period_ns]}"


def openai_template(limit: RateLimit) -> bytes:
    """OpenAI's fields of a limit on requests or tokens, with ``%d`` for what remains and ``%b`` for the time until all
    of it does."""
    name = limit.unit.value.encode("ascii")
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        name, limit.rate.burst, name, name,
    )  # fmt: skip


def openai_fields(quotas: Sequence[Quota]) -> bytes:
    """OpenAI's fields of several limits, as far as it has some."""
    return b"".join(
        openai_template(quota.limit) % (quota.remaining, go_duration(quota.reset_ns))
        for quota in quotas
        if isinstance(quota.limit, RateLimit)
    )


def ietf_fields(quotas: Sequence[Quota]) -> bytes:
    """https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (revision 10)."""
    policies, states = [], []
    for quota in quotas:
        limit = quota.limit
        assert isinstance(limit, RateLimit)
        name = limit.name.partition("/")[0]
        policies.append(f'"{name}";q={limit.rate.limit};w={limit.rate.period_ns // SECOND_NS}')
        states.append(f'"{name}";r={quota.remaining};t={-(-quota.reset_ns // SECOND_NS)}')
    if not policies:
        return b""
    return f"ratelimit-policy: {', '.join(policies)}\r\nratelimit: {', '.join(states)}\r\n".encode("ascii")
