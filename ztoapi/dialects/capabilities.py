"""The abilities of a model that decide how a request for it is built, as the caller's catalogue has them."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["EFFORTS", "UNKNOWN", "ModelCapabilities", "ThinkingKind"]

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
"""Values of ``reasoning_effort`` with which a model thinks, in ascending order."""

ThinkingKind: TypeAlias = Literal["always", "toggle", "none"]
"""Whether a model thinks: ``always`` cannot be disabled, ``toggle`` can."""


class ModelCapabilities(msgspec.Struct, frozen=True):
    """The abilities of one model; None is unknown."""

    max_output_tokens: int | None = None
    thinking: ThinkingKind | None = None
    efforts: tuple[str, ...] | None = None
    """Values of ``reasoning_effort`` in ascending order; empty if the model accepts none."""
    refused_inputs: Mapping[str, tuple[str, ...]] = {}
    """The kinds of input (``image``, ``video``, ``audio``, ``file``) that the model does not accept, each with models
    that do."""
    context_tokens: int | None = None
    tool_stream: bool = False
    """Whether the arguments of a tool call are streamed if the request has ``tool_stream``."""
    web_search: bool = False
    """Whether the upstream's own web search replaces that of the client's API."""


UNKNOWN: Final = ModelCapabilities()
