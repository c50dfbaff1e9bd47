"""Separates the reasoning from the answer in the message of a chat.z.ai response.

The upstream sends changes to one message text. Most append to it, some cut it at an index and continue from there, some
replace it. :class:`Snapshot` applies them to the text. The text contains the reasoning in blocks of quoted lines::

    <details type="reasoning" done="true" duration="2">
    <summary>Thought for 2 seconds</summary>
    > Add them.
    > Easy.
    </details>
    Four.

:class:`Splitter` reads the text in order and separates the blocks. It keeps only its state and the beginning of an
unfinished marker between two pieces, so an append costs its own length. After an edit a new splitter reads the edited
text from its start, and the layout finds the part that the client does not have (``thinking.py``).

Ambiguities are resolved as follows. A closing tag inside a quoted line is text, unless a line break follows and then
anything but a quotation. A block that is open when the deltas change from the thinking phase to the answer phase is
closed. Text of the thinking phase outside a block is reasoning.
"""

import enum
from collections.abc import Callable

from ztoapi.dialects.thinking import Layout, ThinkMode

__all__ = ["Snapshot", "Splitter", "TextSource"]

_OPEN = "<details"
_CLOSE = "</details>"
_SUMMARY = "<summary"
_SUMMARY_END = "</summary>"
_TOOL = "<glm_block"
_TOOL_END = "</glm_block>"
_LEFTOVERS = ("</thinking>", "<Full>")
_REASONING = 'type="reasoning"'
_UNFINISHED = 'done="false"'

_OUTSIDE = (_OPEN, _TOOL, *_LEFTOVERS)
_LINE_START = (_CLOSE, _SUMMARY, _TOOL)
_OUTSIDE_SECOND = frozenset(marker[1] for marker in _OUTSIDE)
_MARKER_CHARS = max(len(marker) for marker in (*_OUTSIDE, *_LINE_START))

OPEN_TAG_CHARS = 512
"""Longest opening tag; observed ones have about 60 characters. A longer one is text of the answer."""


class TextSource(enum.Enum):
    """The origin of a piece of the message: a delta of one phase, or an edit, which may span several phases."""

    ANSWER = enum.auto()
    THINKING = enum.auto()
    HIDDEN = enum.auto()
    EDIT = enum.auto()


# Functions rather than bound methods: a bound method stored on its own object is a reference cycle in every stream.
_State = Callable[["Splitter", str, int], int]


class Splitter:
    """Separates reasoning and answer, piece by piece, and passes them to a layout.

    A state is a method that reads ``text`` from an offset and returns the next offset, or ``~offset`` if the meaning of
    the text at that offset depends on text that follows.
    """

    __slots__ = (
        "_blanks",
        "_fresh",
        "_held",
        "_keep_details",
        "_layout",
        "_quoted",
        "_resume",
        "_source",
        "_state",
        "_until",
    )

    def __init__(self, layout: Layout, *, keep_details: bool) -> None:
        self._layout = layout
        self._keep_details = keep_details
        self._state: _State = Splitter._outside
        self._resume: _State = Splitter._outside
        self._until = ""
        self._held = ""
        self._source = TextSource.ANSWER
        self._fresh = False
        self._quoted = False
        self._blanks = 0

    def feed(self, text: str, source: TextSource) -> None:
        """Reads the next piece; ``text`` is not empty."""
        if source is not self._source:
            self._change_source(source)
        if self._held:
            text = self._held + text
            self._held = ""
        at = 0
        while at < len(text):
            at = self._state(self, text, at)
            if at < 0:
                self._held = text[~at:]
                return

    def end(self) -> None:
        """The message is complete."""
        self._settle()
        self._layout.end()

    def _change_source(self, source: TextSource) -> None:
        inside = self._state is Splitter._line or self._state is Splitter._text
        if inside and self._source is TextSource.THINKING and source is TextSource.ANSWER:
            self._settle()
            self._layout.end_reasoning()
            self._state = Splitter._late_close
        self._source = source

    def _settle(self) -> None:
        """Decide about the held text although no text follows."""
        held, self._held = self._held, ""
        if self._state is Splitter._outside:
            if not held.startswith((_OPEN, _TOOL)) and held:
                self._visible(held)
        elif self._state is Splitter._text:
            if not held.startswith(_CLOSE) and held:
                self._layout.think(held)
        elif self._state is Splitter._line and held.startswith("<"):
            self._begin_line(quoted=False)
            self._layout.think(held)
        elif self._state is Splitter._kept and held:
            self._layout.say(held)

    def _visible(self, text: str) -> None:
        """Passes on text outside the blocks: its phase decides whether it is reasoning."""
        if self._source is TextSource.THINKING:
            self._layout.think(text)
        elif self._source is not TextSource.HIDDEN:
            self._layout.say(text)

    def _outside(self, text: str, at: int) -> int:
        position = text.find("<", at)
        if position != at:
            self._visible(text[at:] if position < 0 else text[at:position])
            return len(text) if position < 0 else position
        if at + 1 < len(text) and text[at + 1] not in _OUTSIDE_SECOND:
            self._visible("<")
            return at + 1
        for marker in _OUTSIDE:
            if text.startswith(marker, at):
                return self._marker(marker, text, at)
        if _may_become(text, at, _OUTSIDE):
            return ~at
        self._visible("<")
        return at + 1

    def _marker(self, marker: str, text: str, at: int) -> int:
        if marker == _OPEN:
            return self._open(text, at)
        if marker == _TOOL:
            return self._skip_to(_TOOL_END, Splitter._outside, at + len(marker))
        return at + len(marker)

    def _open(self, text: str, at: int) -> int:
        """Reads an opening tag; an answer may contain ``details`` elements other than reasoning."""
        end = text.find(">", at, at + OPEN_TAG_CHARS) + 1
        if not end:
            if len(text) - at < OPEN_TAG_CHARS:
                return ~at
            end = at + len(_OPEN)
        tag = text[at:end]
        if _REASONING not in tag:
            self._visible(tag)
        elif self._keep_details:
            self._open_kept(tag)
        else:
            self._layout.end_reasoning()
            self._fresh = True
            self._blanks = 0
            self._state = Splitter._line
        return end

    def _open_kept(self, tag: str) -> None:
        """Keeps the markup. An unfinished block is held until the edit that rewrites its opening tag."""
        if _UNFINISHED in tag:
            self._layout.content.freeze()
            self._state = Splitter._kept
        self._layout.say(tag)

    def _kept(self, text: str, at: int) -> int:
        position = text.find(_CLOSE, at)
        if position >= 0:
            end = position + len(_CLOSE)
            self._layout.say(text[at:end])
            self._layout.content.thaw()
            self._state = Splitter._outside
            return end
        keep = _partial(text, at, _CLOSE)
        if keep > at:
            self._layout.say(text[at:keep])
        return ~keep if keep < len(text) else keep

    def _line(self, text: str, at: int) -> int:
        """Reads the start of a line in a block."""
        first = text[at]
        if first == "\n":
            if not self._fresh:
                self._blanks += 1
            return at + 1
        if first == "<":
            if text.startswith(_CLOSE, at):
                return self._close(at + len(_CLOSE))
            if self._fresh and text.startswith(_SUMMARY, at):
                return self._skip_to(_SUMMARY_END, Splitter._line, at + len(_SUMMARY))
            if text.startswith(_TOOL, at):
                return self._skip_to(_TOOL_END, Splitter._line, at + len(_TOOL))
            if _may_become(text, at, _LINE_START):
                return ~at
        elif first == ">":
            if at + 1 == len(text):
                return ~at
            self._begin_line(quoted=True)
            return at + 2 if text[at + 1] == " " else at + 1
        self._begin_line(quoted=False)
        return at

    def _begin_line(self, *, quoted: bool) -> None:
        if self._blanks:
            self._layout.think("\n" * self._blanks)
            self._blanks = 0
        self._fresh = False
        self._quoted = quoted
        self._state = Splitter._text

    def _text(self, text: str, at: int) -> int:
        """Reads within a line of a block. A line break is held, because the one before the closing tag is markup."""
        line_end = text.find("\n", at)
        stop = line_end if line_end >= 0 else len(text)
        close = text.find(_CLOSE, at, stop)
        if close >= 0:
            self._think(text[at:close])
            return self._close_in_line(text, close)
        if line_end >= 0:
            self._think(text[at:line_end])
            self._blanks = 1
            self._state = Splitter._line
            return line_end + 1
        keep = _partial(text, at, _CLOSE)
        self._think(text[at:keep])
        return ~keep if keep < stop else keep

    def _think(self, text: str) -> None:
        if text:
            self._layout.think(text)

    def _close_in_line(self, text: str, at: int) -> int:
        end = at + len(_CLOSE)
        if not self._quoted:
            return self._close(end)
        next_close = "\n" + _CLOSE
        after = text[end : end + len(next_close)]
        if len(after) < len(next_close) and next_close.startswith(after):
            return ~at
        if after[0] == "\n" and after[1] != ">" and after != next_close:
            return self._close(end)
        self._layout.think(_CLOSE)
        return end

    def _close(self, end: int) -> int:
        self._layout.end_reasoning()
        self._state = Splitter._after_close
        return end

    def _after_close(self, text: str, at: int) -> int:
        self._state = Splitter._outside
        return at + 1 if text[at] == "\n" else at

    def _late_close(self, text: str, at: int) -> int:
        """Reads after the answer phase began inside a block: the closing tag may still follow."""
        mark = at
        while mark < len(text) and text[mark] == "\n":
            mark += 1
        if text.startswith(_CLOSE, mark):
            return self._close(mark + len(_CLOSE))
        if mark == len(text) or _may_become(text, mark, (_CLOSE,)):
            return ~at
        self._state = Splitter._outside
        return at

    def _skip_to(self, until: str, resume: _State, at: int) -> int:
        self._until = until
        self._resume = resume
        self._state = Splitter._skip
        return at

    def _skip(self, text: str, at: int) -> int:
        position = text.find(self._until, at)
        if position >= 0:
            self._state = self._resume
            return position + len(self._until)
        keep = _partial(text, at, self._until)
        return ~keep if keep < len(text) else keep


class Snapshot:
    """The whole message so far, and the part of it that can be sent. ``reparses`` counts how often it was reread."""

    __slots__ = ("_layout", "_mode", "_pieces", "_splitter", "chars", "reparses")

    def __init__(self, mode: ThinkMode) -> None:
        self._mode: ThinkMode = mode
        self._pieces: list[tuple[str, TextSource]] = []
        self._begin()
        self.chars = 0
        self.reparses = 0

    @property
    def rewrites(self) -> int:
        """The number of edits that changed text which had been sent."""
        return self._layout.rewrites

    def append(self, text: str, source: TextSource) -> None:
        if text:
            self._pieces.append((text, source))
            self.chars += len(text)
            self._splitter.feed(text, source)

    def edit(self, index: int, text: str) -> None:
        """Cuts the message at ``index``, in UTF-16 code units, and appends ``text``."""
        self._pieces = _cut(self._pieces, index)
        self._restart(text)

    def replace(self, text: str) -> None:
        """Replaces the whole message."""
        self._pieces = []
        self._restart(text)

    def take(self) -> tuple[str, str]:
        """Returns the text that can be sent now, as (reasoning_content, content)."""
        return self._layout.take()

    def take_rest(self) -> tuple[str, str]:
        """Returns the text that was held back, after a failure of the upstream."""
        return self._layout.take_rest()

    def end(self) -> tuple[str, str]:
        """Ends the message; returns all text that has not been sent."""
        self._splitter.end()
        return self._layout.take_rest()

    def _begin(self) -> None:
        self._layout = Layout(self._mode)
        self._splitter = Splitter(self._layout, keep_details=self._mode == "raw")

    def _restart(self, text: str) -> None:
        if text:
            self._pieces.append((text, TextSource.EDIT))
        before = self._layout
        self._begin()
        for piece, source in self._pieces:
            self._splitter.feed(piece, source)
        self._layout.follow(before)
        self.chars = sum(len(piece) for piece, _ in self._pieces)
        self.reparses += 1


def _may_become(text: str, at: int, markers: tuple[str, ...]) -> bool:
    """Whether ``text`` from ``at`` on is a proper prefix of a marker."""
    rest = text[at : at + _MARKER_CHARS]
    return at + len(rest) == len(text) and any(marker.startswith(rest) for marker in markers)


def _partial(text: str, at: int, marker: str) -> int:
    """Returns where ``text`` ends in a prefix of ``marker``; its length if it does not."""
    start = max(at, len(text) - len(marker) + 1)
    while True:
        start = text.find("<", start)
        if start < 0:
            return len(text)
        if marker.startswith(text[start:]):
            return start
        start += 1


def _cut(pieces: list[tuple[str, TextSource]], index: int) -> list[tuple[str, TextSource]]:
    """Returns the pieces before ``index``, without a surrogate pair that it would split."""
    kept: list[tuple[str, TextSource]] = []
    for text, source in pieces:
        units = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
        if units > index:
            head = text.encode("utf-16-le")[: 2 * index].decode("utf-16-le", "ignore")
            if head:
                kept.append((head, source))
            break
        kept.append((text, source))
        index -= units
    return kept
