"""Distributes reasoning and answer over the fields of a response, and tracks the text that the client has.

A :class:`Layout` receives reasoning and answer text in order and distributes them, depending on the mode, over two
:class:`Channel` texts: ``content`` and ``reasoning_content``. A channel only ever appends, because an OpenAI client
cannot remove text.
"""

from typing import Literal

__all__ = ["Channel", "Layout", "ThinkMode"]

ThinkMode = Literal["strip", "think", "raw", "reasoning"]

_OPEN = "<think>"
_CLOSE = "</think>"
_ROUNDS = "\n\n"
"""The separator of two rounds of reasoning."""

REASONING_HOLD_CHARS = 24
"""Held back during the reasoning, because the edit that ends it repeats its text and may change the last line. The
answer is not held back: no observed edit changes its end, and a hold would delay the first words."""


class Channel:
    """One text of the response: the part that is ready to be sent, and the part that has been sent.

    The client has a prefix of the text, except after an edit that removed sent text: then ``_ahead`` is the text that
    the client has beyond it, and text that repeats it is not sent twice.
    """

    __slots__ = ("_ahead", "_ahead_at", "_frozen", "_pending", "_seen", "rewrites")

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._pending: list[str] = []
        self._frozen: list[str] | None = None
        self._ahead = ""
        self._ahead_at = 0
        self.rewrites = 0

    def append(self, text: str) -> None:
        if self._frozen is not None:
            self._frozen.append(text)
            return
        if self._ahead:
            text = self._catch_up(text)
        if text:
            self._pending.append(text)

    def freeze(self) -> None:
        """Holds back all text that is appended from now on."""
        if self._frozen is None:
            self._frozen = []

    def thaw(self) -> None:
        frozen, self._frozen = self._frozen, None
        if frozen:
            self.append("".join(frozen))

    def take(self, hold: int = 0) -> str:
        """Returns the text that can be sent now, without the last ``hold`` characters."""
        if not self._pending:
            return ""
        text = "".join(self._pending)
        keep = max(len(text) - hold, 0)
        text, rest = text[:keep], text[keep:]
        self._pending = [rest] if rest else []
        if text:
            self._seen.append(text)
        return text

    def follow(self, before: "Channel") -> None:
        """Continue for the client of ``before``. This channel has the whole edited text, of which nothing was sent."""
        client = "".join(before._seen) + before._ahead[before._ahead_at :]
        text = "".join(self._pending)
        common = _common_prefix(client, text)
        self.rewrites = before.rewrites
        self._seen = [text[:common]]
        self._pending = []
        if common == len(text):
            self._ahead = client[common:]
            return
        if common < len(client):
            self.rewrites += 1
        self._pending.append(text[common:])

    def end(self) -> None:
        """Ends the text: any text that the client has beyond it is wrong."""
        if self._ahead:
            self._ahead = ""
            self.rewrites += 1

    def _catch_up(self, text: str) -> str:
        """Returns the part of ``text`` that the client does not have."""
        at = self._ahead_at
        common = _common_prefix(text, self._ahead[at : at + len(text)])
        self._seen.append(text[:common])
        self._ahead_at = at = at + common
        if common == len(text) and at < len(self._ahead):
            return ""
        if at < len(self._ahead):
            self.rewrites += 1
        self._ahead = ""
        self._ahead_at = 0
        return text[common:]


class Layout:
    """Distributes reasoning and answer text over ``content`` and ``reasoning``, depending on ``mode``."""

    __slots__ = ("_had_reasoning", "_in_reasoning", "_mode", "content", "reasoning")

    def __init__(self, mode: ThinkMode) -> None:
        self._mode = mode
        self._in_reasoning = False
        self._had_reasoning = False
        self.content = Channel()
        self.reasoning = Channel()

    @property
    def rewrites(self) -> int:
        return self.content.rewrites + self.reasoning.rewrites

    def think(self, text: str) -> None:
        """Adds reasoning."""
        if not self._in_reasoning:
            self._begin()
        if self._mode == "reasoning":
            self.reasoning.append(text)
        elif self._mode != "strip":
            self.content.append(text)

    def say(self, text: str) -> None:
        """Adds to the answer."""
        if self._in_reasoning:
            self.end_reasoning()
        self.content.append(text)

    def end_reasoning(self) -> None:
        if self._in_reasoning and self._mode == "think":
            self.content.append(_CLOSE)
        self._in_reasoning = False

    def take(self) -> tuple[str, str]:
        """Returns the text that can be sent now, as (reasoning_content, content)."""
        hold = REASONING_HOLD_CHARS if self._in_reasoning else 0
        return self.reasoning.take(hold), self.content.take(hold if self._mode == "think" else 0)

    def take_rest(self) -> tuple[str, str]:
        """Returns the text that was held back."""
        self.content.thaw()
        return self.reasoning.take(), self.content.take()

    def end(self) -> None:
        """Ends both texts."""
        self.end_reasoning()
        self.content.thaw()
        self.content.end()
        self.reasoning.end()

    def follow(self, before: "Layout") -> None:
        """Continue for the client of ``before``; this layout has the edited text."""
        self.content.follow(before.content)
        self.reasoning.follow(before.reasoning)

    def _begin(self) -> None:
        self._in_reasoning = True
        if self._mode == "think":
            self.content.append(_OPEN)
        elif self._mode == "reasoning" and self._had_reasoning:
            self.reasoning.append(_ROUNDS)
        self._had_reasoning = True


def _common_prefix(text: str, other: str) -> int:
    """Returns the length of the common prefix, by bisection: comparisons of slices run at memory speed."""
    high = min(len(text), len(other))
    if text[:high] == other[:high]:
        return high
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if text[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
