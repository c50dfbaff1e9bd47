"""Measures what a running gateway adds to its upstream; ``ztoapi bench`` is its face."""
