"""Thinking and its effort, for GLM.

GLM thinks unless a request disables it; models of other APIs think only on request. Some models always think: the
dialect then requests the lowest effort and hides the reasoning.

Parameters: https://docs.z.ai/api-reference/llm/chat-completion
"""

from collections.abc import Mapping
from typing import Final

from ztoapi.dialects.capabilities import ModelCapabilities

__all__ = ["chat_effort", "thinking_fields"]

_RANKS: Final = {"minimal": 0, "low": 0, "medium": 1, "high": 2, "xhigh": 3, "max": 3}
"""Order of the efforts of all APIs. Equal ranks mean the same to GLM."""
_GLM: Final = ("low", "high", "high", "max")
"""GLM's value by rank: it has no medium."""
_COMMON: Final = ("low", "medium", "high", "high")
"""The value by rank for an unknown model: OpenAI's values that every server with this field accepts."""


def thinking_fields(
    enabled: bool, effort: str | None, model: ModelCapabilities, *, replayed: bool
) -> dict[str, object]:
    """Returns the fields of a chat request for a client that has thinking ``enabled``, with ``effort``.

    Every dialect of Z.ai reads ``enable_thinking``, vLLM and SGLang read ``chat_template_kwargs``. ``replayed`` is true
    if a message has ``reasoning_content``, which GLM ignores unless ``clear_thinking`` is false.
    """
    if model.thinking == "none":
        return {}
    fields: dict[str, object] = {
        "enable_thinking": enabled,
        "chat_template_kwargs": {"enable_thinking": enabled},
    }
    thinking: dict[str, object] = {"type": "enabled" if enabled else "disabled"}
    if replayed:
        thinking["clear_thinking"] = False
    fields["thinking"] = thinking
    if effort is not None and enabled:
        value = chat_effort(effort, model)
        if value is not None:
            fields["reasoning_effort"] = value
    return fields


def chat_effort(effort: str, model: ModelCapabilities) -> str | None:
    """Returns the value of ``reasoning_effort`` for ``effort``; None for a model or a value without one.

    A model that lacks the value gets its next higher one, or its highest.
    """
    rank = _RANKS.get(effort)
    if rank is None or model.efforts == ():
        return None
    if model.efforts is None:
        return _COMMON[rank]
    ranks = _by_rank(model.efforts)
    minimum = _RANKS[_GLM[rank]]
    return next((value for value, own in ranks.items() if own >= minimum), model.efforts[-1])


def _by_rank(efforts: tuple[str, ...]) -> Mapping[str, int]:
    return {value: _RANKS[value] for value in efforts if value in _RANKS}
