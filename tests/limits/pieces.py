"""Scopes as a deployment has them, and a clock that stands still until it is set."""

from ztoapi.limits.model import InFlightLimit, RateLimit, Scope, Unit
from ztoapi.structures.bucket import SECOND_NS, Rate

__all__ = ["START_NS", "StillClock", "requests", "streams", "tokens"]

START_NS = 86400 * SECOND_NS


class StillClock:
    """``now`` in nanoseconds."""

    def __init__(self) -> None:
        self.now = START_NS

    def __call__(self) -> int:
        return self.now


def requests(name: str, most: int, *, subjects: int = 8) -> Scope:
    """So many requests a second and subject."""
    return Scope(name, (RateLimit(f"{name}_requests", Unit.REQUESTS, Rate(most, SECOND_NS)),), subjects)


def tokens(name: str, most: int, *, subjects: int = 8) -> Scope:
    return Scope(name, (RateLimit(f"{name}_tokens", Unit.TOKENS, Rate(most, SECOND_NS)),), subjects)


def streams(name: str, most: int) -> Scope:
    """So many requests in flight."""
    return Scope(name, (InFlightLimit(f"{name}_streams", most),), 8)
