"""The simulated model's words: the same for the same request."""

import json
import time
from collections.abc import Iterator

from ztoapi.simulator.plan import Plan

__all__ = ["answer_words", "reasoning_words"]

_ANSWER = (
    "Gateways that stream well do little: they take what has come, look only where they must, and pass it on. "
    "What they keep is bounded, what they drop is counted, and what breaks is said aloud. "
).split(" ")
_REASONING = "The user wants an answer. Keep it short, and say it in plain words. ".split(" ")


def answer_words(plan: Plan, tokens: int, *, json_object: bool) -> Iterator[str]:
    """``tokens`` pieces of text. With ``json_object`` they make one JSON object when joined."""
    if json_object:
        text = json.dumps({"answer": " ".join(_words(_ANSWER, max(tokens - 2, 1))).strip(), "ok": True})
        yield from (text[at : at + 8] for at in range(0, len(text), 8))
        return
    for number in range(tokens):
        if plan.stamp:
            yield f"t={time.monotonic_ns()};"
        elif plan.size:
            yield "x" * plan.size
        else:
            yield _ANSWER[number % len(_ANSWER)] + " "


def reasoning_words(plan: Plan) -> Iterator[str]:
    return (word + " " for word in _words(_REASONING, plan.reasoning))


def _words(words: list[str], count: int) -> Iterator[str]:
    return (words[number % len(words)] for number in range(count))
