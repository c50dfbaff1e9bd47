"""What answers say of limits: OpenAI's x-ratelimit fields, those of the IETF, and words for people.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (revision 10)
"""

from collections.abc import Sequence
from typing import Final

from ztoapi.limits.model import InFlightLimit, Limit, Quota, RateLimit
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["go_duration", "ietf_fields", "openai_fields", "said"]

_PERIODS: Final = {SECOND_NS: "second", 60 * SECOND_NS: "minute"}


def go_duration(nanoseconds: int) -> str:
    """A time as OpenAI's x-ratelimit-reset fields give it, rounded up to milliseconds: ``6m0s``, ``1.2s``, ``17ms``.
    https://pkg.go.dev/time#Duration.String"""
    milliseconds = -(-nanoseconds // 1_000_000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def said(limit: Limit) -> str:
    if isinstance(limit, InFlightLimit):
        return f"{limit.most} requests at a time"
    return f"{limit.rate.limit} {limit.unit.value} a {_PERIODS[limit.rate.period_ns]}"


def openai_fields(name: bytes, quota: Quota) -> bytes:
    reset = go_duration(quota.reset_ns).encode("ascii")
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
        name, quota.most, name, quota.remaining, name, reset,
    )  # fmt: skip


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
