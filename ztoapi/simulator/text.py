"""The simulated model's words: the same for the same request."""

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ztoapi.simulator.plan import Plan

__all__ = ["answer_words", "framed", "json_words", "reasoning_words", "sample"]

_ANSWER: Final = (
    "Gateways that stream well do little: they take what has come, look only where they must, and pass it on. "
    "What they keep is bounded, what they drop is counted, and what breaks is said aloud. "
).split(" ")
_REASONING: Final = "The user wants an answer.\nKeep it short, and say it in plain words. ".split(" ")
_HUGE_BYTES: Final = 1_000_000
"""Size of the huge event where the plan gives none: larger than any read, smaller than any sensible limit."""
_MAX_DEPTH: Final = 8
"""Levels of a schema that are followed: one that refers to itself has no end."""
_SAMPLES: Final[dict[str, object]] = {
    "string": "sample", "integer": 2, "number": 2.5, "boolean": True, "null": None,
}  # fmt: skip

_encode = msgspec.json.Encoder().encode


def answer_words(plan: Plan, tokens: int) -> Iterator[str]:
    """``tokens`` pieces of text."""
    words = _words(plan, _ANSWER, tokens)
    if plan.fault == "huge" and tokens:
        yield from itertools.islice(words, tokens // 2)
        yield "h" * (plan.size or _HUGE_BYTES) + next(words)
    yield from words


def reasoning_words(plan: Plan, tokens: int) -> Iterator[str]:
    """The same of the thinking; there are line ends within."""
    return _words(plan, _REASONING, tokens)


def _words(plan: Plan, text: list[str], tokens: int) -> Iterator[str]:
    if plan.stamp:
        # Made when the event is taken, which is when it is sent.
        return (f"t={time.monotonic_ns()};".ljust(plan.size, "x") for _ in range(tokens))
    if plan.size:
        return itertools.repeat("x" * plan.size, tokens)
    return itertools.islice(itertools.cycle([word + " " for word in text]), tokens)


def json_words(plan: Plan, tokens: int, schema: dict[str, object] | None) -> Iterator[str]:
    """Pieces that make one JSON object when joined: one that fits ``schema`` if there is one."""
    value: object = {"answer": "".join(answer_words(plan, max(tokens - 2, 1))).strip(), "ok": True}
    text = _encode(value if schema is None else sample(schema)).decode("utf-8")
    return (text[at : at + 8] for at in range(0, len(text), 8))


def framed(words: Iterable[str], before: bytes, after: bytes, *, repeated: bool) -> Iterator[bytes]:
    """``words`` as JSON strings' insides between ``before`` and ``after``.

    ``repeated``: there are few different ones, and each is encoded once. 50 MB of 5 KB words take 1 ms so, 17 ms
    otherwise; 250,000 short ones 20 ms and 60 ms.
    """
    known: dict[str, bytes] = {}
    for word in words:
        event = known.get(word)
        if event is None:
            event = b"%b%b%b" % (before, _encode(word)[1:-1], after)
            if repeated:
                known[word] = event
        yield event


def sample(schema: dict[str, object], depth: int = 0) -> object:
    """A value that fits a JSON Schema of the plain kind."""
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[0]
    if "const" in schema:
        return schema["const"]
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(choices := schema.get(name), list) and choices and depth < _MAX_DEPTH:
            return sample(_object(choices[0]), depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    properties = _object(schema.get("properties"))
    if kind == "object" or properties:
        wanted = properties if depth < _MAX_DEPTH else {}
        return {name: sample(_object(one), depth + 1) for name, one in wanted.items()}
    if kind == "array":
        least = schema.get("minItems")
        count = min(least, 100) if isinstance(least, int) and depth < _MAX_DEPTH else 0
        return [sample(_object(schema.get("items")), depth + 1) for _ in range(count)]
    return _SAMPLES.get(str(kind), "sample")


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
