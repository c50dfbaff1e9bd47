"""Checks and times a streamed chat response, line by line.

The module uses neither locust nor sockets: its input is lines and times, so that all readers apply the same rules. A
stream ends in one of three ways: with ``data: [DONE]``; with an error event; or with neither. The last is a truncated
response, which a careless client takes for a complete one.
"""

import json
from typing import Final

import msgspec

from loadtests.questions import Question

__all__ = ["Stream", "ToolCall"]

_EXCERPT_BYTES: Final = 80
"""Bytes of an unexpected line that are part of the failure message. Failures are counted by message."""
_OTHER_FIELDS: Final = (b":", b"event:", b"id:", b"retry:")
"""Lines of an event stream without data: comments, and fields that OpenAI's streams do not use."""


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
    reasoning: str | None = None
    """The same in newer releases of vLLM."""
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Event).decode


class ToolCall(msgspec.Struct):
    """A tool call, assembled from its fragments."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Stream:
    """One streamed response. Times are seconds of a monotonic clock."""

    event_name = "a chat chunk"
    end_mark = "[DONE]"

    def __init__(self) -> None:
        self.deltas = 0
        """Events with text, reasoning or a fragment of a tool call; usually one token each."""
        self.first = self.last = 0.0
        """Times of the first and the latest delta; 0 before the first."""
        self.gaps: list[float] = []
        """Seconds between consecutive deltas."""
        self.text: list[str] = []
        self.calls: dict[int, ToolCall] = {}
        self.finish_reason: str | None = None
        self.done = False
        self.left = False
        """Whether the reader disconnected on purpose."""
        self.broken = ""
        """The error that ended the connection, or ""."""
        self.error = ""
        """Code and message of the error event, or ""."""
        self._malformed = ""

    def take(self, line: bytes, now: float) -> None:
        """Processes a line with its line end, received at ``now``."""
        if self._malformed or not line.endswith(b"\n"):
            return  # a truncated line has no meaning
        field, _, value = line.partition(b":")
        data = value.strip()
        if field == b"data" and data.startswith(b"{"):
            self._take_event(line, data, now)
        elif field == b"data" and data == b"[DONE]":
            self.done = True
        elif (field != b"data" or data) and line.strip() and not line.startswith(_OTHER_FIELDS):
            self._refuse("not a line of an event stream", line)

    def _take_event(self, line: bytes, data: bytes, now: float) -> None:
        if self.done or self.error:
            self._refuse("an event after the end", line)
            return
        try:
            self._read(data, now)
        except msgspec.DecodeError:
            self._refuse(f"not {self.event_name}", line)

    def _read(self, data: bytes, now: float) -> None:
        event = _decode(data)
        if event.error is not None:
            self.error = f"{event.error.code}: {event.error.message}"
        for choice in event.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            delta = choice.delta
            if delta is not None and (delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls):
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
        self._malformed = f"wrong body: {what}: {line[:_EXCERPT_BYTES].decode('utf-8', 'replace').strip()}"

    @property
    def truncated(self) -> bool:
        """Whether the stream ended with neither [DONE] nor an error event."""
        return not (self.done or self.error or self.left or self._malformed)

    @property
    def deltas_per_second(self) -> float | None:
        """Deltas per second from the first to the last; None if that takes no time."""
        return (self.deltas - 1) / (self.last - self.first) if self.last > self.first else None

    def fault(self, question: Question) -> str:
        """Returns the reason why the ended stream is a wrong response to ``question``, or ""."""
        if self._malformed:
            return self._malformed
        if self.error:
            return f"in-band error {self.error}"
        if self.truncated:
            how = self.broken or "the connection was closed normally"
            return f"truncated: no {self.end_mark} and no error event ({how})"
        if self.finish_reason is None:
            return "wrong body: no finish_reason"
        if question.deltas is not None and self.deltas != question.deltas:
            return f"wrong body: expected {question.deltas} deltas, received {self.deltas}"
        return self._fault_of_calls(question)

    def _fault_of_calls(self, question: Question) -> str:
        if question.must_call and not self.calls:
            return "wrong body: no tool call"
        for call in self.calls.values():
            if call.name not in question.tools:
                return f"wrong body: a call of {call.name!r}, which is not a tool of the request"
            try:
                json.loads(call.arguments)
            except ValueError:
                return f"wrong body: arguments of {call.name} are not JSON: {call.arguments[:_EXCERPT_BYTES]}"
        return ""
