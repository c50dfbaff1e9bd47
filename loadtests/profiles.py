"""How many users there are at which moment of a run, as shares of both.

A profile is a line through points ``(share of the time, share of the users)``, in the order of time.
"""

import itertools
from typing import Final

__all__ = ["RAMP", "SOAK", "SPIKE", "Profile", "users_at"]

Profile = tuple[tuple[float, float], ...]

RAMP: Final[Profile] = ((0.0, 0.0), (0.8, 1.0), (1.0, 1.0))
"""Up in a straight line, then held: where does it bend?"""
SPIKE: Final[Profile] = ((0.0, 0.1), (0.4, 0.1), (0.4, 1.0), (0.6, 1.0), (0.6, 0.1), (1.0, 0.1))
"""Ten times the usual load for a fifth of the time, from one moment to the next: does it recover?"""
SOAK: Final[Profile] = ((0.0, 0.0), (0.05, 1.0), (0.95, 1.0), (1.0, 0.0))
"""Held for as long as you have: what grows?"""


def users_at(profile: Profile, share_of_time: float, peak: int) -> int | None:
    """Users at that moment, at least one; None once the time is over. Of two points at one moment the later counts."""
    if share_of_time >= 1.0:
        return None
    for (begin, low), (end, high) in itertools.pairwise(profile):
        if begin <= share_of_time < end:
            share = low + (high - low) * (share_of_time - begin) / (end - begin)
            return max(round(peak * share), 1)
    return max(round(peak * profile[-1][1]), 1)
