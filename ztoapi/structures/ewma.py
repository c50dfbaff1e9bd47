"""A moving average of latencies that rises at once and falls slowly.

Peak-sensitive EWMA, as used by Finagle for load balancing:
https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/
"""

from math import exp

__all__ = ["PeakEwma"]


class PeakEwma:
    """``value`` is in seconds; None before the first observation. ``decay`` is the time in seconds in which the weight
    of earlier values falls to 1/e."""

    __slots__ = ("_decay", "at", "value")

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self.value: float | None = None
        self.at = 0.0
        """Time of the last observation."""

    def observe(self, now: float, seconds: float) -> float:
        """Adds one latency and returns the new value."""
        value = self.value
        if value is None or seconds >= value:
            value = seconds
        else:
            past = exp((self.at - now) / self._decay)
            value = value * past + seconds * (1.0 - past)
        self.value, self.at = value, now
        return value
