"""JSON that is nested too deeply."""

__all__ = ["TOO_DEEP"]

TOO_DEEP = 500_000
"""Levels that no interpreter reads on a stack of 8 MB: Python 3.11 reads 954, 3.13 9,986, and 3.14 260,000."""
