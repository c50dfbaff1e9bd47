"""chat.z.ai's web chat: details blocks for reasoning, and the edit event that closes them."""

import json
from collections.abc import Iterator
from typing import Any, Final

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.pacer import Pacer
from ztoapi.simulator.plan import Plan
from ztoapi.simulator.text import answer_words, reasoning_words

__all__ = ["WebChat"]

_OPEN: Final = '<details type="reasoning" done="false">\n<summary>Thinking…</summary>\n> '
_EDIT_INDEX: Final = len('<details type="reasoning"')
"""Counts UTF-16 units from the start of the message, all of them ASCII here."""


class WebChat:
    """One request."""

    def __init__(self, exchange: Exchange, body: dict[str, Any], plan: Plan) -> None:
        self._exchange = exchange
        self._plan = plan
        self._thinks = bool(body.get("features", {}).get("enable_thinking", True))

    def answer(self) -> None:
        """The web chat always streams."""
        if self._plan.fault == "error_mid":
            self._plan.tokens = 0
            last = _event(error={"code": 429, "detail": "too many requests"}, done=True)
        else:
            usage = {"prompt_tokens": 9, "completion_tokens": self._plan.tokens, "total_tokens": 9 + self._plan.tokens}
            last = _event(phase="other", delta_content="", usage=usage) + _event(phase="done", done=True)
        Pacer(self._exchange, self._plan, self._events(), last).start()

    def _events(self) -> Iterator[bytes]:
        words = answer_words(self._plan, self._plan.tokens, json_object=False)
        if self._thinks and self._plan.reasoning:
            reasoning = list(reasoning_words(self._plan))
            yield _event(phase="thinking", delta_content=_OPEN + reasoning[0])
            for word in reasoning[1:]:
                yield _event(phase="thinking", delta_content=word)
            closed = (
                ' done="true" duration="2">\n<summary>Thought for 2 seconds</summary>\n> '
                + "".join(reasoning)
                + "\n</details>\n"
            )
            yield _event(phase="answer", edit_index=_EDIT_INDEX, edit_content=closed + next(words, ""))
        for word in words:
            yield _event(phase="answer", delta_content=word)


def _event(**data: object) -> bytes:
    return b"data: %b\n\n" % json.dumps({"type": "chat:completion", "data": data}, separators=(",", ":")).encode()
