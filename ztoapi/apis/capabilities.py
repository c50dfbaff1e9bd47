"""Facts about a model that a translated request depends on, as the caller's catalogue gives them."""

from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["UNKNOWN", "Capabilities", "Find", "Input", "ThinkingSwitch"]

Input: TypeAlias = Literal["image", "video", "file"]
"""A kind of input beside text. ``file`` is a document by URL, such as a PDF."""


class ThinkingSwitch(Enum):
    """How a model's thinking is controlled."""

    NONE = "none"
    """The model does not think."""
    TOGGLE = "toggle"
    """Thinking can be switched off."""
    ALWAYS = "always"
    """The model refuses a request that switches thinking off."""


class Capabilities(msgspec.Struct, frozen=True):
    """The capabilities of one model; None where the catalogue has no entry."""

    inputs: frozenset[Input] | None = None
    thinking: ThinkingSwitch | None = None
    efforts: tuple[str, ...] | None = None
    """Values of ``reasoning_effort`` that the model accepts, from the least; none for a model with a toggle only."""
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    tool_stream: bool = False
    """Whether the arguments of a tool call are streamed if the request has ``tool_stream``."""

    def accepts(self, kind: Input) -> bool:
        """Returns whether the model takes inputs of ``kind``; the upstream decides for an unknown model."""
        return self.inputs is None or kind in self.inputs


UNKNOWN: Final = Capabilities()
Find: TypeAlias = Callable[[str], Capabilities]
"""Finds the capabilities of a requested model name, which may be an alias."""
