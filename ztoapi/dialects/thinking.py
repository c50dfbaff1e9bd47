"""How an answer's reasoning is shown, and what of a text the client has already seen.

A :class:`Layout` receives reasoning and answer text in their order and lays them out, by mode, on two
:class:`Channel` texts: ``content`` and ``reasoning_content``. A channel only ever hands out an append-only run,
because an OpenAI client cannot take text back.
"""

from typing import Literal

__all__ = ["Channel", "Layout", "ThinkMode"]

ThinkMode = Literal["strip", "think", "raw", "reasoning"]

_OPEN = "<think>"
_CLOSE = "</think>"
_ROUNDS = "\n\n"
"""Between two rounds of reasoning, which would otherwise run into each other."""

REASONING_HOLD_CHARS = 24
"""Kept back while reasoning runs: the edit that ends it replays its text and may change the last line. The answer is
not held: no edit has been seen to change its end, and holding it would delay the first words a user waits for."""


class Channel:
    """One text of the answer: what is ready to go out, and what went out already.

    The client's view is a prefix of the text, except after an edit took emitted text away: then ``_ahead`` is what the
    client has beyond it, and text that repeats it is not sent twice.
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
        """Keep back all that is appended from here on."""
        if self._frozen is None:
            self._frozen = []

    def thaw(self) -> None:
        frozen, self._frozen = self._frozen, None
        if frozen:
            self.append("".join(frozen))

    def take(self, hold: int = 0) -> str:
        """What can go out now, less the last ``hold`` characters."""
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
        """Take over the client of ``before``: this channel holds the whole text anew, nothing of it taken yet."""
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
        """No more text comes: what the client has beyond it is wrong."""
        if self._ahead:
            self._ahead = ""
            self.rewrites += 1

    def _catch_up(self, text: str) -> str:
        """The part of ``text`` that the client does not have yet."""
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
    """Lays reasoning and answer text out on ``content`` and ``reasoning`` as ``mode`` says."""

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
        """Add reasoning."""
        if not self._in_reasoning:
            self._begin()
        if self._mode == "reasoning":
            self.reasoning.append(text)
        elif self._mode != "strip":
            self.content.append(text)

    def say(self, text: str) -> None:
        """Add to the answer."""
        if self._in_reasoning:
            self.end_reasoning()
        self.content.append(text)

    def end_reasoning(self) -> None:
        if self._in_reasoning and self._mode == "think":
            self.content.append(_CLOSE)
        self._in_reasoning = False

    def take(self) -> tuple[str, str]:
        """What can go out now, as (reasoning_content, content)."""
        hold = REASONING_HOLD_CHARS if self._in_reasoning else 0
        return self.reasoning.take(hold), self.content.take(hold if self._mode == "think" else 0)

    def take_rest(self) -> tuple[str, str]:
        """What was held back because more might come."""
        self.content.thaw()
        return self.reasoning.take(), self.content.take()

    def end(self) -> None:
        """No more text comes."""
        self.end_reasoning()
        self.content.thaw()
        self.content.end()
        self.reasoning.end()

    def follow(self, before: "Layout") -> None:
        """Take over the client of ``before``, of whose text this layout holds the edited form."""
        self.content.follow(before.content)
        self.reasoning.follow(before.reasoning)

    def _begin(self) -> None:
        self._in_reasoning = True
        if self._mode == "think":
            self.content.append(_OPEN)
        elif self._mode == "reasoning" and self._had_reasoning:
            self.reasoning.append(_ROUNDS)
        self._had_reasoning = True


def _common_prefix(one: str, other: str) -> int:
    """Length of the common prefix, by halving: slices compare at memory speed."""
    high = min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
