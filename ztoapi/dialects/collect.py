"""Joins a stream of OpenAI chunks into the one ``chat.completion`` of a client that does not stream.

It reads the events that a streaming client would receive, so both responses have the same content. A field that the
upstream did not send, usage above all, is left out rather than set to zero.
"""

import contextlib

import msgspec

from ztoapi.dialects.chunks import ABSENT, Chunk, ChunkChoice, ToolCallDelta, ToolCallIndexes, number, read_chunks
from ztoapi.dialects.lenient import is_empty

__all__ = ["Collector"]


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw]


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _WholeCall(msgspec.Struct):
    id: str
    type: str
    function: _Function


class _WholeMessage(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_WholeCall] | None = None


class _WholeChoice(msgspec.Struct):
    index: int
    message: _WholeMessage
    logprobs: _Logprobs | None
    finish_reason: str | None


class _Completion(msgspec.Struct):
    id: msgspec.Raw
    object: str
    created: msgspec.Raw
    model: msgspec.Raw
    choices: list[_WholeChoice]
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    service_tier: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode
_encode = msgspec.json.Encoder().encode


class _ToolCallParts:
    """The parts of one tool call."""

    __slots__ = ("arguments", "id", "name", "type")

    def __init__(self) -> None:
        self.id = ""
        self.type = "function"
        self.name = ""
        self.arguments: list[str] = []

    def add(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.call_id
        if isinstance(delta.type, str):
            self.type = delta.type or self.type
        if delta.function is not None:
            self.name = self.name or delta.function.name or ""
            self.arguments.append(delta.function.arguments or "")

    def call(self) -> _WholeCall:
        return _WholeCall(self.id, self.type, _Function(self.name, "".join(self.arguments)))


class _ChoiceParts:
    """The parts of one choice: texts as lists, joined once."""

    __slots__ = (
        "_calls",
        "_content",
        "_finish_reason",
        "_indexes",
        "_logprobs",
        "_other_reasoning",
        "_reasoning",
        "_refusal",
    )

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._other_reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _ToolCallParts] = {}
        self._indexes = ToolCallIndexes()
        self._logprobs: list[msgspec.Raw] = []
        self._finish_reason: str | None = None

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if delta is not None:
            self._content.append(delta.content or "")
            self._reasoning.append(delta.reasoning_content or "")
            self._other_reasoning.append(delta.reasoning or "")
            self._refusal.append(delta.refusal or "")
            for position, call in enumerate(delta.tool_calls or ()):
                index = self._indexes.find(call, position)
                self._calls.setdefault(index, _ToolCallParts()).add(call)
        if choice.logprobs is not ABSENT:
            self._add_logprobs(choice.logprobs)
        if isinstance(choice.finish_reason, str):
            self._finish_reason = choice.finish_reason or self._finish_reason

    def _add_logprobs(self, logprobs: msgspec.Raw) -> None:
        # Log probabilities of an unexpected shape, null among them, are left out.
        with contextlib.suppress(msgspec.ValidationError):
            self._logprobs.extend(_decode_logprobs(logprobs).content)

    def choice(self, index: int) -> _WholeChoice:
        calls = [self._calls[index].call() for index in sorted(self._calls)]
        content = "".join(self._content)
        message = _WholeMessage(
            role="assistant",
            content=None if calls and not content else content,
            refusal="".join(self._refusal) or None,
            reasoning_content="".join(self._reasoning) or None,
            reasoning="".join(self._other_reasoning) or None,
            tool_calls=calls or None,
        )
        logprobs = _Logprobs(self._logprobs) if self._logprobs else None
        return _WholeChoice(index, message, logprobs, self._finish_reason)


class Collector:
    """Collects one stream: ``feed`` takes its blocks until ``done`` is True (``[DONE]`` read), then ``body`` returns
    the completion."""

    __slots__ = ("_choices", "_head", "_usage", "done")

    def __init__(self) -> None:
        self._head = Chunk()
        self._choices: dict[int, _ChoiceParts] = {}
        self._usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
        self.done = False

    def feed(self, block: bytes) -> None:
        """Adds ``block``: whole events. Raises UpstreamError for a chunk that cannot be read."""
        chunks, self.done = read_chunks(block)
        for chunk in chunks:
            self._add(chunk)

    def body(self) -> bytes:
        """The ``chat.completion`` object."""
        head = self._head
        return _encode(
            _Completion(
                id=_value(head.id, b'""'),
                object="chat.completion",
                created=_value(head.created, b"0"),
                model=_value(head.model, b'""'),
                choices=[self._choices[index].choice(index) for index in sorted(self._choices)],
                usage=self._usage,
                system_fingerprint=_optional(head.system_fingerprint),
                service_tier=_optional(head.service_tier),
            )
        )

    def _add(self, chunk: Chunk) -> None:
        self._complete_head(chunk)
        for position, choice in enumerate(chunk.choices or ()):
            index = number(choice.index)
            self._choices.setdefault(position if index is None else index, _ChoiceParts()).add(choice)
        usage = bytes(chunk.usage)
        if usage not in (b"", b"null"):
            # A copy: the field is a view that would keep the whole block alive.
            self._usage = msgspec.Raw(usage)

    def _complete_head(self, chunk: Chunk) -> None:
        head = self._head
        head.id = _first(head.id, chunk.id)
        head.created = _first(head.created, chunk.created)
        head.model = _first(head.model, chunk.model)
        head.system_fingerprint = _first(head.system_fingerprint, chunk.system_fingerprint)
        head.service_tier = _first(head.service_tier, chunk.service_tier)


def _first(present: msgspec.Raw, value: msgspec.Raw) -> msgspec.Raw:
    """Returns the value of a head field that is kept: the first one that is not empty."""
    if present is not ABSENT or value is ABSENT or is_empty(value):
        return present
    # A copy: the field is a view that would keep the whole block alive.
    return value.copy()


def _value(raw: msgspec.Raw, default: bytes) -> msgspec.Raw:
    return msgspec.Raw(default) if raw is ABSENT else raw


def _optional(raw: msgspec.Raw) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if raw is ABSENT else raw
