"""A streamed chat answer, line by line: what came when, and whether it is whole.

No locust and no socket in here: lines and the time go in, so that all readers judge by the same rules. A stream ends in
one of three ways: with ``data: [DONE]``; with an error event, which says that the answer is not whole; or with neither,
which is a truncated answer that looks like a whole one to a careless client.
"""

import json
from typing import Final

import msgspec

from loadtests.questions import Question

__all__ = ["Stream", "ToolCall"]

_SHOWN_BYTES: Final = 80
"""How much of an unexpected line goes into a failure's message: failures are counted by their message."""
_OTHER_FIELDS: Final = (b":", b"event:", b"id:", b"retry:")
"""Lines of an event stream that carry no data: comments, and the fields that OpenAI's streams do not use."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Event).decode


class ToolCall(msgspec.Struct):
    """A call put together from its fragments."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Stream:
    """One answer as it comes. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.deltas = 0
        """Events that brought text, reasoning or a piece of a tool call: as a rule one token each."""
        self.first = self.last = 0.0
        """When the first and the latest of them came; 0 before there is one."""
        self.gaps: list[float] = []
        """Seconds between one and the next."""
        self.text: list[str] = []
        self.calls: dict[int, ToolCall] = {}
        self.finish_reason: str | None = None
        self.done = False
        self.left = False
        """The reader went away on purpose."""
        self.broken = ""
        """What the connection had to say about its end."""
        self.error = ""
        """The error event's code and message."""
        self._malformed = ""

    def take(self, line: bytes, now: float) -> None:
        """A line with its line end, and when it came."""
        if self._malformed or not line.endswith(b"\n"):
            return  # a line that was cut off says nothing
        if line.startswith(b"data: {"):
            self._take_event(line, now)
        elif line.startswith(b"data: [DONE]"):
            self.done = True
        elif line.strip() and not line.startswith(_OTHER_FIELDS):
            self._refuse("not a line of an event stream", line)

    def _take_event(self, line: bytes, now: float) -> None:
        if self.done or self.error:
            self._refuse("an event after the end", line)
            return
        try:
            event = _decode(line[6:])
        except msgspec.DecodeError:
            self._refuse("not a chat chunk", line)
            return
        if event.error is not None:
            self.error = f"{event.error.code}: {event.error.message}"
        for choice in event.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            delta = choice.delta
            if delta.content or delta.reasoning_content or delta.tool_calls:
                self._note(now)
                self.text.append(delta.content or "")
                for fragment in delta.tool_calls or ():
                    self._join(fragment)

    def _note(self, now: float) -> None:
        self.deltas += 1
        if self.deltas == 1:
            self.first = now
        else:
            self.gaps.append(now - self.last)
        self.last = now

    def _join(self, fragment: _ToolCall) -> None:
        call = self.calls.setdefault(fragment.index, ToolCall())
        call.id = fragment.id or call.id
        if fragment.function is not None:
            call.name += fragment.function.name or ""
            call.arguments += fragment.function.arguments or ""

    def _refuse(self, what: str, line: bytes) -> None:
        self._malformed = f"wrong body: {what}: {line[:_SHOWN_BYTES].decode('utf-8', 'replace').strip()}"

    @property
    def truncated(self) -> bool:
        """Whether it ended without saying that it is whole, or that it is not."""
        return not (self.done or self.error or self.left or self._malformed)

    @property
    def deltas_per_second(self) -> float | None:
        """From the first delta to the last; None where that is no time at all."""
        return (self.deltas - 1) / (self.last - self.first) if self.last > self.first else None

    def fault(self, question: Question) -> str:
        """Why it is no good answer to ``question``, now that it has ended; empty if it is one."""
        if self._malformed:
            return self._malformed
        if self.error:
            return f"in-band error {self.error}"
        if self.truncated:
            return f"truncated: no [DONE] and no error event ({self.broken or 'the connection ended in good order'})"
        if self.finish_reason is None:
            return "wrong body: no finish_reason"
        if question.deltas is not None and self.deltas != question.deltas:
            return f"wrong body: {question.deltas} deltas were asked for, {self.deltas} came"
        return self._fault_of_calls(question)

    def _fault_of_calls(self, question: Question) -> str:
        if question.must_call and not self.calls:
            return "wrong body: no tool call"
        for call in self.calls.values():
            if call.name not in question.tools:
                return f"wrong body: a call of {call.name!r}, which is no tool of the request"
            try:
                json.loads(call.arguments)
            except ValueError:
                return f"wrong body: arguments of {call.name} are no JSON: {call.arguments[:_SHOWN_BYTES]}"
        return ""
