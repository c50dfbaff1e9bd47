"""Folds a stream of OpenAI chunks into the one ``chat.completion`` that a client without ``stream`` asked for.

It reads the very events that a streaming client would get, so the two answers cannot differ. A field that the
upstream did not give (usage above all) is left out rather than filled with zeros.
"""

import msgspec

from ztoapi.dialects.events import events
from ztoapi.errors import UpstreamError

__all__ = ["Collector"]

_END = b"[DONE]"


class _FunctionPart(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPart(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _FunctionPart | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallPart] | None = None


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


class _ChoicePart(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[_ChoicePart] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    system_fingerprint: str | None = None
    service_tier: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    type: str
    function: _Function


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int
    message: _Message
    logprobs: _Logprobs | None
    finish_reason: str | None


class _Completion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: str | msgspec.UnsetType = msgspec.UNSET
    service_tier: str | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode


class _CallParts:
    """One tool call in the making."""

    __slots__ = ("arguments", "id", "name", "type")

    def __init__(self) -> None:
        self.id = ""
        self.type = "function"
        self.name = ""
        self.arguments: list[str] = []

    def add(self, part: _CallPart) -> None:
        self.id = self.id or part.id or ""
        self.type = part.type or self.type
        if part.function is not None:
            self.name = self.name or part.function.name or ""
            self.arguments.append(part.function.arguments or "")

    def call(self) -> _Call:
        return _Call(self.id, self.type, _Function(self.name, "".join(self.arguments)))


class _Parts:
    """One choice in the making: texts as lists, joined once."""

    __slots__ = ("_calls", "_content", "_finish_reason", "_logprobs", "_other_reasoning", "_reasoning", "_refusal")

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._other_reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _CallParts] = {}
        self._logprobs: list[msgspec.Raw] = []
        self._finish_reason: str | None = None

    def add(self, part: _ChoicePart) -> None:
        delta = part.delta
        if delta is not None:
            self._content.append(delta.content or "")
            self._reasoning.append(delta.reasoning_content or "")
            self._other_reasoning.append(delta.reasoning or "")
            self._refusal.append(delta.refusal or "")
            for at, call in enumerate(delta.tool_calls or ()):
                self._call(call, at).add(call)
        if part.logprobs is not None:
            self._logprobs.extend(part.logprobs.content or ())
        self._finish_reason = part.finish_reason or self._finish_reason

    def _call(self, part: _CallPart, at: int) -> _CallParts:
        """The call that a part belongs to: by its number; without one by its id, then by its place."""
        index = part.index
        if index is None:
            known = (number for number, call in self._calls.items() if part.id and call.id == part.id)
            index = next(known, len(self._calls) if part.id else at)
        return self._calls.setdefault(index, _CallParts())

    def choice(self, index: int) -> _Choice:
        calls = [self._calls[number].call() for number in sorted(self._calls)]
        content = "".join(self._content)
        message = _Message(
            role="assistant",
            content=None if calls and not content else content,
            refusal="".join(self._refusal) or None,
            reasoning_content="".join(self._reasoning) or None,
            reasoning="".join(self._other_reasoning) or None,
            tool_calls=calls or None,
        )
        logprobs = _Logprobs(self._logprobs) if self._logprobs else None
        return _Choice(index, message, logprobs, self._finish_reason)


class Collector:
    """Collects one answer: ``feed`` its blocks, then take the ``body`` once ``done`` says that ``[DONE]`` was read."""

    __slots__ = ("_choices", "_head", "_usage", "done")

    def __init__(self) -> None:
        self._head = _Chunk()
        self._choices: dict[int, _Parts] = {}
        self._usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
        self.done = False

    def feed(self, block: bytes) -> None:
        """Add ``block``: whole events. Raises UpstreamError for a chunk that cannot be read."""
        for _, payload in events(block):
            if payload == _END:
                self.done = True
            else:
                self._add(payload)

    def body(self) -> bytes:
        """The ``chat.completion`` object."""
        head = self._head
        return _encode(
            _Completion(
                id=head.id or "",
                object="chat.completion",
                created=head.created or 0,
                model=head.model or "",
                choices=[self._choices[index].choice(index) for index in sorted(self._choices)],
                usage=self._usage,
                system_fingerprint=head.system_fingerprint or msgspec.UNSET,
                service_tier=head.service_tier or msgspec.UNSET,
            )
        )

    def _add(self, payload: bytes) -> None:
        try:
            chunk = _decode(payload)
        except msgspec.DecodeError as error:
            raise UpstreamError(
                f"The upstream sent a chunk that cannot be read: {error}", code="upstream_malformed"
            ) from error
        self._complete_head(chunk)
        for part in chunk.choices or ():
            self._choices.setdefault(part.index, _Parts()).add(part)
        usage = bytes(chunk.usage)
        if usage not in (b"", b"null"):
            # A copy: the field is a view that would keep the whole block alive.
            self._usage = msgspec.Raw(usage)

    def _complete_head(self, chunk: _Chunk) -> None:
        head = self._head
        head.id = head.id or chunk.id
        head.created = head.created or chunk.created
        head.model = head.model or chunk.model
        head.system_fingerprint = head.system_fingerprint or chunk.system_fingerprint
        head.service_tier = head.service_tier or chunk.service_tier
