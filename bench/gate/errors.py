"""Why the gate may refuse: exit code 2."""

__all__ = ["CannotLoadError", "GateError"]


class GateError(Exception):
    """The gate cannot do what it was asked to; the message says why and what helps."""


class CannotLoadError(GateError):
    """A tree does not have what the scenarios import. For a base that means that they are new."""
