"""The number of users over the time of a run, as shares of both.

A profile is a line through points ``(share of the time, share of the users)``, in chronological order.
"""

import itertools
from typing import Final

__all__ = ["RAMP", "SOAK", "SPIKE", "Profile", "users_at"]

Profile = tuple[tuple[float, float], ...]

RAMP: Final[Profile] = ((0.0, 0.0), (0.8, 1.0), (1.0, 1.0))
"""A linear increase, then constant: shows where throughput stops rising."""
SPIKE: Final[Profile] = ((0.0, 0.1), (0.4, 0.1), (0.4, 1.0), (0.6, 1.0), (0.6, 0.1), (1.0, 0.1))
"""A sudden increase to ten times the load for a fifth of the time: shows the recovery."""
SOAK: Final[Profile] = ((0.0, 0.0), (0.05, 1.0), (0.95, 1.0), (1.0, 0.0))
"""A constant load for a long time: shows resources that grow."""


def users_at(profile: Profile, share_of_time: float, peak: int) -> int | None:
    """Returns the number of users at a time, at least one; None after the end. Of two points at the same time the later
    one applies."""
    if share_of_time >= 1.0:
        return None
    for (begin, low), (end, high) in itertools.pairwise(profile):
        if begin <= share_of_time < end:
            share = low + (high - low) * (share_of_time - begin) / (end - begin)
            return max(round(peak * share), 1)
    return max(round(peak * profile[-1][1]), 1)
