"""Measures the latency that a running gateway adds to its upstream, for ``ztoapi bench``."""
