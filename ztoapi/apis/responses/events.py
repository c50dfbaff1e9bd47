"""Writes one response as the events of the Responses API, from the chunks of a chat completion.

Rules, which hold for any chunks:

- ``response.created`` comes first and once, ``sequence_number`` counts from 0, and one of ``response.completed``,
  ``response.incomplete`` and ``response.failed`` comes last and once.
- An item is announced once, at the next ``output_index``, and each event of its content comes after that.
- Each announced item is in the ``output`` of the last event, in order, and equals the item of its
  ``response.output_item.done``.
- A response that was cut is never ``completed``.

At most one item of text is open. Tool calls stay open until the end, because their pieces may alternate. The last event
waits for the usage, which some servers send in a chunk of its own.
Format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from ztoapi.apis.plain_deltas import PlainDeltas
from ztoapi.apis.responses.errors import failure
from ztoapi.apis.responses.output_items import CallItem, EventNumbers, ItemStatus, TextItem, TextKind
from ztoapi.apis.responses.request import ResponseContext
from ztoapi.apis.responses.response_object import ResponseTemplate, Status, usage_json
from ztoapi.apis.responses.tools import CalledTool
from ztoapi.apis.writing import UNBOUNDED, check_kept, stopped_early, token_counts
from ztoapi.dialects.chunks import ABSENT, Chunk, Delta, ToolCallDelta, ToolCallIndexes, number, read_chunks
from ztoapi.dialects.whole import completion_events
from ztoapi.errors import ApiError, UpstreamError

__all__ = ["ResponseWriter"]

_INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
}
"""``incomplete_details.reason`` by the finish reason of a chat."""


class _State(Enum):
    NEW = auto()
    STARTED = auto()
    ENDED = auto()


class _StreamedCall:
    """A tool call of the stream; its item is announced once its name is known."""

    __slots__ = ("arguments", "call_id", "item", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments = ""
        """Pieces before the announcement."""
        self.item: CallItem | None = None


class ResponseWriter:
    """Writes one response. ``unique`` is the part of its ids that no other response has; ``clock`` returns Unix
    seconds. Implements :class:`ztoapi.apis.writing.EventWriter`. A stream with more than ``max_characters`` fails.

    ``response`` is the Response object of the last event, once ``done`` is true. The ``keepalive`` is an event, since
    clients such as Codex count events only; it may follow ``start``. Each one has the next number.
    """

    __slots__ = (
        "_calls", "_clock", "_context", "_finish", "_indexes", "_kept", "_last", "_max_characters", "_numbers",
        "_output", "_plain", "_state", "_template", "_text", "_unique", "_usage", "done", "error", "response",
    )  # fmt: skip

    def __init__(
        self,
        context: ResponseContext,
        unique: str,
        clock: Callable[[], float],
        max_characters: int = UNBOUNDED,
    ) -> None:
        self._max_characters = max_characters
        self._kept = 0
        """Characters of all items, which the last event repeats."""
        self.done = False
        self.error: UpstreamError | None = None
        self.response = b""
        self._context = context
        self._unique = unique
        self._clock = clock
        self._template = ResponseTemplate(f"resp_{unique}", context.model, int(clock()), context.echo)
        self._numbers = EventNumbers()
        self._plain = PlainDeltas()
        self._state = _State.NEW
        self._output: list[bytes | TextItem | CallItem] = []
        """Items by their index: the finished ones encoded."""
        self._text: TextItem | None = None
        """The open item of text."""
        self._calls: dict[int, _StreamedCall] = {}
        self._indexes = ToolCallIndexes()
        self._last: TextItem | CallItem | None = None
        """The item of the last delta, which a cut leaves incomplete."""
        self._finish: str | None = None
        self._usage = b"null"

    def keepalive(self) -> bytes:
        return b'event: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n' % self._numbers.next()

    def start(self) -> bytes:
        """Returns the first two events."""
        if self._state is not _State.NEW:
            return b""
        self._state = _State.STARTED
        members = b'"response":%b' % self._template.fill("in_progress")
        return self._numbers.event(b"response.created", members) + self._numbers.event(b"response.in_progress", members)

    def feed(self, block: bytes) -> bytes:
        text = self._plain.text(block)
        if text is not None:
            item = self._text
            if item is not None and item.kind is TextKind.MESSAGE and self._state is _State.STARTED and not self.error:
                self._last = item
                self._kept += len(text)
                if self._kept > self._max_characters:
                    self.error = check_kept(self._kept, self._max_characters)
                return item.delta(text)
        out = [self.start()] if self._state is _State.NEW else []
        try:
            chunks = read_chunks(block)
            if len(chunks.chunks) == 1 and not chunks.done:
                self._plain.learn(block, chunks.chunks[0])
            for chunk in chunks.chunks:
                self._chunk(chunk, out)
            if chunks.done:
                self._end(out)
        except UpstreamError as error:
            self.error = error
        return b"".join(out)

    def whole(self, completion: bytes) -> bytes:
        self.feed(completion_events(completion, include_usage=True))
        if self.error is not None:
            raise self.error
        return self.response

    def explain(self, error: ApiError) -> None:
        pass

    def fail(self, error: ApiError) -> bytes:
        """Returns ``response.failed``. Unfinished items get no event of their own: a client would execute the call."""
        if self._state is _State.ENDED:
            return b""
        out = [self.start()]
        output = [item if isinstance(item, bytes) else item.item(ItemStatus.INCOMPLETE) for item in self._output]
        self._last_event("failed", output, out, error=failure(error))
        return b"".join(out)

    def _chunk(self, chunk: Chunk, out: list[bytes]) -> None:
        if self._state is _State.ENDED or self.error is not None:
            return
        for choice in chunk.choices or ():
            if number(choice.index):
                continue
            if choice.delta is not None:
                self._delta(choice.delta, out)
                self.error = check_kept(self._kept, self._max_characters)
            if choice.finish_reason and isinstance(choice.finish_reason, str):
                self._finish = choice.finish_reason
        if chunk.usage is not ABSENT and (counts := token_counts(chunk.usage)) is not None:
            self._usage = usage_json(counts)
            if self._finish is not None:
                self._end(out)

    def _delta(self, delta: Delta, out: list[bytes]) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning and self._context.shows_reasoning:
            self._add_text(self._context.reasoning_kind, reasoning, out)
        if delta.content:
            self._add_text(TextKind.MESSAGE, delta.content, out)
        if delta.refusal:
            self._add_text(TextKind.REFUSAL, delta.refusal, out)
        if delta.tool_calls:
            for place, part in enumerate(delta.tool_calls):
                self._add_call(part, place, out)

    def _add_text(self, kind: TextKind, text: str, out: list[bytes]) -> None:
        item = self._text
        if item is None or item.kind is not kind:
            self._close_text(ItemStatus.COMPLETED, out)
            item = self._text = TextItem(kind, self._unique, len(self._output), self._numbers)
            self._output.append(item)
            out.append(item.added())
        self._last = item
        self._kept += len(text)
        out.append(item.delta(text))

    def _add_call(self, part: ToolCallDelta, place: int, out: list[bytes]) -> None:
        call = self._calls.setdefault(self._indexes.find(part, place), _StreamedCall())
        call.call_id = call.call_id or part.call_id
        function = part.function
        arguments = ""
        if function is not None:
            call.name = call.name or function.name or ""
            arguments = function.arguments or ""
            self._kept += len(arguments)
        if call.item is not None:
            if arguments:
                self._last = call.item
                out.append(call.item.delta(arguments))
            return
        call.arguments += arguments
        if call.name:
            self._announce(call, out)

    def _announce(self, call: _StreamedCall, out: list[bytes]) -> None:
        self._close_text(ItemStatus.COMPLETED, out)
        index = len(self._output)
        tool = self._context.called.get(call.name) or CalledTool(call.name, None, False)
        call.call_id = call.call_id or f"call_{self._unique}_{index}"
        item = call.item = CallItem(tool, call.call_id, self._unique, index, self._numbers)
        self._output.append(item)
        self._last = item
        out.append(item.added())
        if call.arguments:
            out.append(item.delta(call.arguments))

    def _close_text(self, status: ItemStatus, out: list[bytes]) -> None:
        if self._text is not None:
            self._close(self._text, status, out)
            self._text = None

    def _close(self, item: TextItem | CallItem, status: ItemStatus, out: list[bytes]) -> None:
        encoded = item.item(status)
        out.append(item.done(encoded))
        self._output[item.index] = encoded

    def _end(self, out: list[bytes]) -> None:
        if self._state is _State.ENDED or self.error is not None:
            return
        self.error = stopped_early(self._finish)
        if self.error is not None or self._finish is None:
            return
        for call in self._calls.values():
            # A call without a name cannot be executed, but the client should see that there was one.
            if call.item is None and (call.call_id or call.arguments):
                self._announce(call, out)
        incomplete = _INCOMPLETE.get(self._finish)
        output: list[bytes] = []
        for item in self._output:
            if not isinstance(item, bytes):
                cut = incomplete is not None and item is self._last
                self._close(item, ItemStatus.INCOMPLETE if cut else ItemStatus.COMPLETED, out)
        output = [item for item in self._output if isinstance(item, bytes)]
        self._last_event("incomplete" if incomplete else "completed", output, out, incomplete=incomplete)

    def _last_event(
        self,
        status: Status,
        output: list[bytes],
        out: list[bytes],
        *,
        incomplete: str | None = None,
        error: dict[str, str] | None = None,
    ) -> None:
        self._state = _State.ENDED
        self.done = error is None
        completed_at = int(self._clock()) if status == "completed" else None
        self.response = self._template.fill(
            status, completed_at=completed_at, output=output, usage=self._usage, incomplete=incomplete, error=error
        )
        out.append(self._numbers.event(b"response." + status.encode(), b'"response":%b' % self.response))
