"""Writes a chat completion in the format of the Messages API: as a stream of events, or whole.

The whole response is folded from the events of the stream, so that the two cannot differ. A failure never has a stop
reason: ``message_delta`` and ``message_stop`` end complete responses only.

https://platform.claude.com/docs/en/api/messages
"""

from typing import Final

import msgspec

from ztoapi.apis.messages.blocks import DELTA_END, Blocks
from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.errors import describe_length, error_event
from ztoapi.apis.messages.fold import fold
from ztoapi.apis.plain_deltas import PlainDeltas
from ztoapi.apis.writing import UNBOUNDED, TokenCounts, check_kept, stopped_early, token_counts
from ztoapi.dialects.chunks import ABSENT, Chunk, ChunkChoice, number, read_chunks
from ztoapi.dialects.whole import completion_events
from ztoapi.errors import ApiError, UpstreamError

__all__ = ["MessageWriter"]

_encode = msgspec.json.Encoder().encode
_START: Final = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":%b,"type":"message","role":"assistant","model":%b,"content":[],'
    b'"stop_reason":null,"stop_sequence":null,"stop_details":null,"container":null,"usage":{"input_tokens":%d,'
    b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0,"cache_creation":null,'
    b'"output_tokens_details":null,"server_tool_use":null,"service_tier":null,"inference_geo":null}}}\n\n'
)
_END: Final = (
    b"event: message_delta\n"
    b'data: {"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":%b,"stop_details":null,'
    b'"container":null},"usage":%b}\n\n'
    b"event: message_stop\n"
    b'data: {"type":"message_stop"}\n\n'
)
_USAGE: Final = (
    b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"output_tokens":%d,'
    b'"output_tokens_details":%b,"server_tool_use":null}'
)
_UNKNOWN_USAGE: Final = (
    b'{"input_tokens":null,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,"output_tokens":%d,'
    b'"output_tokens_details":null,"server_tool_use":null}'
)
"""Clients replace the counts of message_start by each value that is not null."""
_CHARACTERS_PER_TOKEN: Final = 4
"""For a response whose usage the upstream does not report."""
_STOP_REASONS: Final = {
    "length": "max_tokens",
    "content_filter": "refusal",
    "sensitive": "refusal",
    "model_context_window_exceeded": "model_context_window_exceeded",
}


class MessageWriter:
    """An event writer (see ``apis/writing.py``) for one message.

    ``id`` is the message's, ``input_tokens`` the estimate for ``message_start``. ``context_tokens`` is the model's
    context, for the error of a prompt that is too long; None if it is unknown.
    """

    __slots__ = (
        "_blocks",
        "_characters",
        "_context",
        "_context_tokens",
        "_counts",
        "_finish",
        "_id",
        "_input_tokens",
        "_matched",
        "_max_characters",
        "_out",
        "_plain",
        "_refused",
        "_request_id",
        "_started",
        "done",
        "error",
    )

    def __init__(
        self,
        context: MessagesContext,
        id: str,
        input_tokens: int,
        request_id: str,
        context_tokens: int | None = None,
        max_characters: int = UNBOUNDED,
    ) -> None:
        self._max_characters = max_characters
        self._context = context
        self._context_tokens = context_tokens
        self._id = id
        self._input_tokens = input_tokens
        self._request_id = request_id
        self._out: list[bytes] = []
        self._plain = PlainDeltas()
        self._blocks = Blocks(self._out, f"toolu_{id}", thinking_omitted=context.thinking_omitted)
        self._started = False
        self._finish: str | None = None
        self._matched: object = None
        """The stop sequence that ended the response, where the upstream reports it."""
        self._refused = False
        self._counts: TokenCounts | None = None
        self._characters = 0
        self.done = False
        self.error: UpstreamError | None = None

    def keepalive(self) -> bytes:
        return b'event: ping\ndata: {"type":"ping"}\n\n'

    def start(self) -> bytes:
        self._started = True
        return _START % (_encode(self._id), _encode(self._context.model), self._input_tokens)

    def feed(self, block: bytes) -> bytes:
        if self.done:
            # Usage came before [DONE], and ended the message.
            return b""
        text = self._plain.text(block)
        if text is not None:
            head = self._blocks.text_head
            if head:
                self._characters += len(text)
                return head + _encode(text) + DELTA_END
        out = self._out
        if not self._started:
            out.append(self.start())
        try:
            chunks, ended = read_chunks(block)
        except UpstreamError as error:
            self.error = error
            return self._take()
        if len(chunks) == 1 and not ended:
            self._plain.learn(block, chunks[0])
        for chunk in chunks:
            self._add(chunk)
            if self.done or self.error is not None:
                return self._take()
        if ended:
            self._end()
        return self._take()

    def whole(self, completion: bytes) -> bytes:
        written = self.feed(completion_events(completion, include_usage=True))
        if self.error is not None:
            raise self.error
        return fold(written)

    def explain(self, error: ApiError) -> None:
        describe_length(error, self._input_tokens, self._context_tokens)

    def fail(self, error: ApiError) -> bytes:
        self.explain(error)
        return error_event(error, self._request_id)

    def _take(self) -> bytes:
        written = b"".join(self._out)
        self._out.clear()
        return written

    def _add(self, chunk: Chunk) -> None:
        choices = chunk.choices
        if choices:
            choice = choices[0]
            if choice.index == 0 or not number(choice.index):
                self._add_choice(choice)
        if chunk.usage is not ABSENT:
            counts = token_counts(chunk.usage)
            if counts is not None:
                self._counts = counts
                if self._finish is not None:
                    self._end()

    def _add_choice(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning:
                self._characters += len(reasoning)
                if self._context.thinking:
                    self._blocks.think(reasoning)
            if delta.content:
                self._characters += len(delta.content)
                self._blocks.write(delta.content)
            if delta.refusal:
                self._refused = True
                self._blocks.write(delta.refusal)
            if delta.tool_calls:
                for position, call in enumerate(delta.tool_calls):
                    self._blocks.call(call, position)
            self.error = check_kept(self._blocks.kept, self._max_characters)
        if isinstance(choice.finish_reason, str) and choice.finish_reason:
            self._finish = choice.finish_reason
            self._matched = choice.stop_reason

    def _end(self) -> None:
        self.error = stopped_early(self._finish)
        if self.error is not None:
            return
        self._blocks.end()
        reason, sequence = self._stop()
        self._out.append(_END % (_encode(reason), _encode(sequence), self._usage()))
        self.done = True

    def _stop(self) -> tuple[str, str | None]:
        reason = _STOP_REASONS.get(self._finish or "")
        if reason is not None:
            return reason, None
        if self._refused:
            return "refusal", None
        # Some servers finish a response with tool calls by "stop"; an agent then stops working unless it is corrected.
        if self._blocks.tools:
            return "tool_use", None
        if isinstance(self._matched, str) and self._matched in self._context.stop_sequences:
            return "stop_sequence", self._matched
        return "end_turn", None

    def _usage(self) -> bytes:
        counts = self._counts
        if counts is None:
            return _UNKNOWN_USAGE % -(-self._characters // _CHARACTERS_PER_TOKEN)
        thinking = b"null" if counts.reasoning is None else b'{"thinking_tokens":%d}' % counts.reasoning
        return _USAGE % (counts.prompt - counts.cached, counts.cached, counts.completion, thinking)
