"""Errors that make the gate exit with 2."""

__all__ = ["CannotLoadError", "GateError"]


class GateError(Exception):
    """The gate cannot run. The message gives the reason and the remedy."""


class CannotLoadError(GateError):
    """A tree lacks a module that the scenarios import. For base this means that the scenarios are new."""
