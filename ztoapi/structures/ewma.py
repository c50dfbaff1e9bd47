"""A moving average of latencies that believes bad news at once and good news slowly.

Peak-sensitive EWMA, as Finagle balances its load by: https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/
"""

from math import exp

__all__ = ["PeakEwma"]


class PeakEwma:
    """``value`` in seconds; None until something was observed. ``decay`` is the time (seconds) in which the weight of
    the past falls to 1/e."""

    __slots__ = ("_decay", "at", "value")

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self.value: float | None = None
        self.at = 0.0
        """When it was last observed."""

    def observe(self, now: float, seconds: float) -> float:
        """Take up one latency; returns the new value."""
        value = self.value
        if value is None or seconds >= value:
            value = seconds
        else:
            past = exp((self.at - now) / self._decay)
            value = value * past + seconds * (1.0 - past)
        self.value, self.at = value, now
        return value
