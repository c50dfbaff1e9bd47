"""The consequence of each fault for a credential: the one table of passive health."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from ztoapi.errors import Fault

__all__ = ["COOLDOWNS", "Cooldown", "bounded_wait"]

_MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""Longest wait that an upstream can impose by a fault. Ending it early costs one request an hour."""
_MAX_DOUBLINGS: Final = 20


class Cooldown(NamedTuple):
    """The time for which a fault puts a credential out of use, in seconds.

    It concerns one ``model`` or the whole credential, and begins after so many ``failures`` in a row. The ``first``
    cooldown doubles with each further one in a row, up to ``longest``. An upstream that names a time sets it, up to
    ``longest_requested``."""

    model: bool
    failures: int
    first: float
    longest: float
    longest_requested: float = _MAX_RETRY_AFTER_SECONDS

    def seconds(self, trips: int, requested: float | None) -> float:
        """Returns the length after ``trips`` in a row. ``requested`` is the time that the upstream has named."""
        if requested is not None:
            return min(requested, self.longest_requested)
        return min(self.first * 2.0 ** min(trips, _MAX_DOUBLINGS), self.longest)


COOLDOWNS: Final[Mapping[Fault, Cooldown]] = {
    Fault.REFUSED: Cooldown(False, 1, 60.0, 3600.0),
    Fault.QUOTA: Cooldown(False, 1, 300.0, 3600.0, math.inf),
    Fault.EXCLUDED: Cooldown(True, 1, 600.0, 3600.0),
    Fault.THROTTLED: Cooldown(True, 1, 0.5, 30.0),
    Fault.OVERLOADED: Cooldown(True, 5, 1.0, 30.0),
    Fault.UPSTREAM: Cooldown(False, 5, 1.0, 60.0),
}
"""``Fault.REQUEST`` is absent: it never counts."""
_LASTING: Final = (Fault.REFUSED, Fault.QUOTA, Fault.EXCLUDED)
"""Faults that outlast a short Retry-After: some servers add the field to every error."""


def bounded_wait(fault: Fault, retry_after: float) -> float:
    """Returns the seconds of a Retry-After that count for ``fault``."""
    shortest = COOLDOWNS[fault].first if fault in _LASTING else 0.0
    return min(max(retry_after, shortest), _MAX_RETRY_AFTER_SECONDS)
