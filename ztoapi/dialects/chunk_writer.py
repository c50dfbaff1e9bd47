"""Writes OpenAI's streaming chunks, for dialects with another format.

The head of the events is encoded once for each stream. An event then costs the encoding of one JSON string, and a join.
Format: https://platform.openai.com/docs/api-reference/chat-streaming
"""

import msgspec

from ztoapi.dialects.reader import Usage

__all__ = ["DONE", "ChunkWriter"]

DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


class ChunkWriter:
    """The events of one stream: all have the same ``id``, ``created`` (Unix seconds) and ``model``."""

    __slots__ = ("_content", "_head", "_reasoning", "_tail_usage")

    def __init__(self, id: str, created: int, model: str, *, include_usage: bool) -> None:
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            _encode(id),
            created,
            _encode(model),
        )
        self._content = self._head + b'{"index":0,"delta":{"content":'
        self._reasoning = self._head + b'{"index":0,"delta":{"reasoning_content":'
        # With include_usage, every chunk before the last has "usage": null.
        self._tail_usage = b',"usage":null}\n\n' if include_usage else b"}\n\n"

    def role(self) -> bytes:
        """Returns the first event, which has the role."""
        return self.delta(b'{"role":"assistant","content":""}')

    def content(self, text: str) -> bytes:
        return b'%b%b},"logprobs":null,"finish_reason":null}]%b' % (self._content, _encode(text), self._tail_usage)

    def reasoning(self, text: str) -> bytes:
        return b'%b%b},"logprobs":null,"finish_reason":null}]%b' % (self._reasoning, _encode(text), self._tail_usage)

    def delta(self, delta: bytes, finish_reason: str | None = None) -> bytes:
        """Returns an event with ``delta``, which is encoded JSON."""
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._head,
            delta,
            _encode(finish_reason),
            self._tail_usage,
        )

    def finish(self, reason: str) -> bytes:
        return self.delta(b"{}", reason)

    def usage(self, usage: Usage) -> bytes:
        """Returns the extra last event of ``stream_options.include_usage``: no choices, only counts."""
        return b'%b],"usage":%b}\n\n' % (self._head, _encode(usage))
