"""Builds the messages of a chat request from the turns of another API.

GLM and strict servers accept one order only: behind an assistant message with tool calls comes one tool message for
each call, in the order of the calls, and only then other messages. An assistant message has text or calls. The order
depends on earlier turns alone, so that a longer conversation begins with the bytes of the shorter one, which the
upstream's prompt cache needs.

https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

__all__ = [
    "BLANK_LINE",
    "CallMessage",
    "FilePart",
    "ImagePart",
    "Part",
    "TextPart",
    "Transcript",
    "tool_call",
]

BLANK_LINE: Final = "\n\n"
"""Separates texts that become one."""
_NO_OUTPUT: Final = "(no output)"
"""Stands for an empty result, which GLM refuses (1213, 1214)."""
_NO_RESULT: Final = "(no result: the tool call was interrupted)"
"""Stands for the result of a call that the client left without one."""


class TextPart(msgspec.Struct, tag="text", frozen=True, gc=False):
    text: str


class Url(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, tag="image_url", frozen=True, gc=False):
    image_url: Url


class FilePart(msgspec.Struct, tag="file_url", frozen=True, gc=False):
    """Z.ai's part for a document by its URL."""

    file_url: Url


Part: TypeAlias = TextPart | ImagePart | FilePart


class CallFunction(msgspec.Struct, frozen=True, gc=False):
    name: str
    arguments: str


class CallMessage(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``tool_calls``."""

    id: str
    type: str
    function: CallFunction


class _System(msgspec.Struct, tag_field="role", tag="system", frozen=True, gc=False):
    content: str


class _User(msgspec.Struct, tag_field="role", tag="user", gc=False):
    content: str | list[Part]


class _ToolMessage(msgspec.Struct, tag_field="role", tag="tool", gc=False):
    tool_call_id: str
    content: str


class _Assistant(msgspec.Struct, tag_field="role", tag="assistant", omit_defaults=True, frozen=True, gc=False):
    content: str | None
    reasoning_content: str = ""
    tool_calls: list[CallMessage] = msgspec.field(default_factory=list)


_Message: TypeAlias = _System | _User | _ToolMessage | _Assistant


def tool_call(id: str, name: str, arguments: str) -> CallMessage:
    return CallMessage(id, "function", CallFunction(name, arguments))


class Transcript:
    """Receives the turns of a conversation in their order; ``messages`` then returns those of the chat request.

    Each turn takes constant time, however long the conversation is: a client may send tens of thousands.
    """

    __slots__ = (
        "_calls",
        "_leading",
        "_messages",
        "_open",
        "_reasoning",
        "_rest",
        "_results",
        "_texts",
        "has_input",
        "has_reasoning",
    )

    def __init__(self) -> None:
        self._leading: list[str] = []
        """System messages before the conversation."""
        self._messages: list[_Message] = []
        """Messages before the last one of the assistant."""
        self._texts: list[str] = []
        """The parts of the last assistant message."""
        self._reasoning: list[str] = []
        self._calls: list[CallMessage] = []
        self._open: set[str] = set()
        """Ids of its calls that have no result."""
        self._results: dict[str, _ToolMessage] = {}
        """Results of its calls, by id."""
        self._rest: list[_Message] = []
        """All other messages behind it."""
        self.has_input = False
        """Whether there is a message of a user or a tool, without which GLM refuses a request (1214)."""
        self.has_reasoning = False

    def system(self, text: str) -> None:
        """Adds a system message. Those before the conversation are joined to one."""
        if not text:
            return
        if self._messages or self._texts or self._calls or self._rest:
            self._rest.append(_System(text))
        else:
            self._leading.append(text)

    def user(self, parts: Sequence[Part]) -> None:
        """Adds a user message; text alone is sent as a string, which every model accepts."""
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        if len(texts) == len(parts):
            text = BLANK_LINE.join(filter(None, texts))
            if not text:
                return
            self._rest.append(_User(text))
        else:
            self._rest.append(_User([part for part in parts if not isinstance(part, TextPart) or part.text]))
        self.has_input = True

    def result(self, call_id: str, text: str) -> None:
        """Adds the result of a tool call. A result of an unknown call becomes a user message: a tool message without
        its call is refused."""
        self.has_input = True
        if call_id in self._open:
            self._open.remove(call_id)
            self._results[call_id] = _ToolMessage(call_id, text or _NO_OUTPUT)
        else:
            self._rest.append(_User(f"Result of the tool call {call_id}:{BLANK_LINE}{text or _NO_OUTPUT}"))

    def assistant(self, text: str = "", *, reasoning: str = "", calls: Sequence[CallMessage] = ()) -> None:
        """Adds an assistant message, or adds to the one before if nothing stands between. Reasoning alone is left out:
        a message with neither text nor calls is refused (1214)."""
        if not text and not calls:
            return
        if self._rest or self._results:
            self._end_turn()
        if text:
            self._texts.append(text)
        if reasoning:
            self.has_reasoning = True
            self._reasoning.append(reasoning)
        self._calls += calls
        self._open.update(call.id for call in calls)

    def messages(self) -> msgspec.Raw:
        """Returns the messages as JSON; call it once, at the end."""
        self._end_turn()
        leading = [_System(BLANK_LINE.join(self._leading))] if self._leading else []
        return msgspec.Raw(msgspec.json.encode([*leading, *self._messages]))

    def _end_turn(self) -> None:
        """Moves the last assistant message and those behind it to their places."""
        if self._texts or self._calls:
            content = BLANK_LINE.join(self._texts) if self._texts else None
            self._messages.append(_Assistant(content, BLANK_LINE.join(self._reasoning), self._calls))
        if self._rest or self._results:
            for call in self._calls:
                self._messages.append(self._results.get(call.id) or _ToolMessage(call.id, _NO_RESULT))
        self._messages += self._rest
        self._texts = []
        self._reasoning = []
        self._calls = []
        self._open = set()
        self._results = {}
        self._rest = []
