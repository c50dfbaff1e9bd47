"""The abilities of a model that decide how a request for it is built."""

from typing import Literal

__all__ = ["ThinkingKind"]

ThinkingKind = Literal["always", "toggle", "none"]
"""Whether a model thinks: ``always`` cannot be disabled, ``toggle`` can."""
