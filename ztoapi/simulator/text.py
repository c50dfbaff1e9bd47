"""The text of the simulated model, which is the same for equal requests."""

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ztoapi.simulator.plan import ResponsePlan
from ztoapi.simulator.schema import sample

__all__ = ["answer_words", "framed", "json_words", "reasoning_words"]

_ANSWER: Final = (
    "Gateways that stream well do little: they take what has come, look only where they must, and pass it on. "
    "What they keep is bounded, what breaks is reported, and what waits has a deadline."
).split(" ")
_END: Final = ("and ", "so ", "on.")
_SHORTEST_SENTENCE: Final = 8
"""Tokens below which a text has no end of its own."""
_REASONING: Final = "The user wants an answer.\nKeep it short, and say it in plain words. ".split(" ")
_HUGE_BYTES: Final = 1_000_000
"""Default size of the huge event: larger than any read, smaller than any sensible limit."""

_encode = msgspec.json.Encoder().encode


def answer_words(plan: ResponsePlan, tokens: int, *, whole: bool) -> Iterator[str]:
    """Yields ``tokens`` pieces of text. A ``whole`` one ends with a full stop, one that a limit cuts does not."""
    words = _words(plan, _ANSWER, tokens)
    if whole and tokens >= _SHORTEST_SENTENCE and not (plan.stamp or plan.size):
        words = itertools.chain(itertools.islice(words, tokens - len(_END)), _END)
    if plan.fault == "huge" and tokens:
        yield from itertools.islice(words, tokens // 2)
        yield "h" * (plan.size or _HUGE_BYTES) + next(words)
    yield from words


def reasoning_words(plan: ResponsePlan, tokens: int) -> Iterator[str]:
    """Yields ``tokens`` pieces of reasoning, which contain line ends."""
    return _words(plan, _REASONING, tokens)


def _words(plan: ResponsePlan, text: list[str], tokens: int) -> Iterator[str]:
    if plan.stamp:
        # The time is taken when the event is sent.
        return (f"t={time.monotonic_ns()};".ljust(plan.size, "x") for _ in range(tokens))
    if plan.size:
        return itertools.repeat("x" * plan.size, tokens)
    return itertools.islice(itertools.cycle([word + " " for word in text]), tokens)


def json_words(plan: ResponsePlan, tokens: int, schema: dict[str, object] | None) -> Iterator[str]:
    """Returns the pieces of one JSON object, which fits ``schema`` if there is one."""
    value: object = {"answer": "".join(answer_words(plan, max(tokens - 2, 1), whole=True)).strip(), "ok": True}
    text = _encode(value if schema is None else sample(schema)).decode("utf-8")
    return (text[at : at + 8] for at in range(0, len(text), 8))


def framed(words: Iterable[str], before: bytes, after: bytes, *, repeated: bool) -> Iterator[bytes]:
    """Yields each word as the inside of a JSON string, between ``before`` and ``after``.

    ``repeated``: the same few words repeat, so each is encoded once. 50 MB of 5 KB words then take 1 ms instead of 17,
    and 250,000 short words 20 ms instead of 60.
    """
    cache: dict[str, bytes] = {}
    for word in words:
        event = cache.get(word)
        if event is None:
            event = b"%b%b%b" % (before, _encode(word)[1:-1], after)
            if repeated:
                cache[word] = event
        yield event
