"""Statistics of measured times: seconds in, milliseconds out."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["Comparison", "Spread", "compare", "percentile", "spread"]

_MEDIAN_ERROR_PER_MAD: Final = 1.2533 * 1.4826
"""Standard error of a median, times the square root of the count, for normally distributed times: 1.2533 standard
deviations. The median absolute deviation, times 1.4826, estimates the standard deviation without regard to outliers."""
_CONFIDENCE: Final = 2.0
"""Standard errors within which a difference may be chance: about 95 %."""


class Spread(NamedTuple):
    """Percentiles of one arm's times, in milliseconds."""

    p50: float
    p90: float
    p99: float


class Comparison(NamedTuple):
    """Times of direct calls and of calls through the gateway, and their difference, in milliseconds. A difference of
    the medians up to ``noise_ms`` may be chance."""

    direct_ms: Spread
    gateway_ms: Spread
    added_ms: Spread
    noise_ms: float

    @property
    def significant(self) -> bool:
        """Whether the difference of the medians exceeds the noise."""
        return abs(self.added_ms.p50) > self.noise_ms


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest of ``values`` that at least ``share`` of them do not exceed (nearest rank). There must be at
    least one value."""
    return sorted(values)[max(math.ceil(len(values) * share) - 1, 0)]


def spread(seconds: Sequence[float]) -> Spread:
    """Returns percentiles of ``seconds``, in milliseconds. There must be at least one value."""
    return Spread(*(percentile(seconds, share) * 1000 for share in (0.5, 0.9, 0.99)))


def compare(direct: Sequence[float], gateway: Sequence[float]) -> Comparison | None:
    """Compares the times of both arms, in seconds. Returns None if one has none."""
    if not direct or not gateway:
        return None
    near, far = spread(direct), spread(gateway)
    added = Spread(*(there - here for here, there in zip(near, far, strict=True)))
    return Comparison(near, far, added, _CONFIDENCE * math.hypot(_error_ms(direct), _error_ms(gateway)))


def _error_ms(seconds: Sequence[float]) -> float:
    middle = statistics.median(seconds)
    deviation = statistics.median(abs(value - middle) for value in seconds)
    return _MEDIAN_ERROR_PER_MAD * deviation / math.sqrt(len(seconds)) * 1000
