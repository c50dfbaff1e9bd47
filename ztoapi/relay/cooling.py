"""What each fault does to a credential: the one table of passive health."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from ztoapi.errors import Fault

__all__ = ["COOLING", "Cooling", "bounded_wait"]

_LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
"""An upstream that asks for more is asked again all the same; that costs one request an hour."""
_MAX_DOUBLINGS: Final = 20


class Cooling(NamedTuple):
    """What a fault does: it concerns the ``model`` only, or the whole credential; takes so many ``failures`` in a row;
    opens for ``first`` seconds, twice as long each time in a row, up to ``longest``; or for as long as the upstream
    asks for, up to ``longest_asked``."""

    model: bool
    failures: int
    first: float
    longest: float
    longest_asked: float = _LONGEST_RETRY_AFTER_SECONDS

    def seconds(self, trips: int, asked: float | None) -> float:
        """For how long to open after ``trips`` in a row; ``asked`` is what the upstream wants."""
        if asked is not None:
            return min(asked, self.longest_asked)
        return min(self.first * 2.0 ** min(trips, _MAX_DOUBLINGS), self.longest)


COOLING: Final[Mapping[Fault, Cooling]] = {
    Fault.REFUSED: Cooling(False, 1, 60.0, 3600.0),
    Fault.QUOTA: Cooling(False, 1, 300.0, 3600.0, math.inf),
    Fault.EXCLUDED: Cooling(True, 1, 600.0, 3600.0),
    Fault.THROTTLED: Cooling(True, 1, 0.5, 30.0),
    Fault.OVERLOADED: Cooling(True, 5, 1.0, 30.0),
    Fault.UPSTREAM: Cooling(False, 5, 1.0, 60.0),
}
"""``Fault.REQUEST`` is not here: it never counts."""
_LASTING: Final = (Fault.REFUSED, Fault.QUOTA, Fault.EXCLUDED)
"""Faults that a short Retry-After does not cure: servers add the field to every error."""


def bounded_wait(fault: Fault, retry_after: float) -> float:
    """The seconds of a Retry-After that count."""
    least = COOLING[fault].first if fault in _LASTING else 0.0
    return min(max(retry_after, least), _LONGEST_RETRY_AFTER_SECONDS)
