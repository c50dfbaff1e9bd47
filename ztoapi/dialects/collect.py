"""Folds a stream of OpenAI chunks into the one ``chat.completion`` that a client without ``stream`` asked for.

It reads the very events that a streaming client would get, so the two answers cannot differ. A field that the
upstream did not give (usage above all) is left out rather than filled with zeros.
"""

import contextlib

import msgspec

from ztoapi.dialects.events import events
from ztoapi.dialects.lenient import is_empty, replace_halves
from ztoapi.errors import UpstreamError

__all__ = ["Collector"]

_END = b"[DONE]"
_ABSENT = msgspec.Raw()


class _FunctionPart(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPart(msgspec.Struct):
    index: object = None
    id: object = None
    type: object = None
    function: _FunctionPart | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallPart] | None = None


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw]


class _ChoicePart(msgspec.Struct):
    index: object = None
    delta: _Delta | None = None
    finish_reason: object = None
    logprobs: msgspec.Raw = _ABSENT


class _Chunk(msgspec.Struct):
    id: msgspec.Raw = _ABSENT
    created: msgspec.Raw = _ABSENT
    model: msgspec.Raw = _ABSENT
    choices: list[_ChoicePart] | None = None
    usage: msgspec.Raw = _ABSENT
    system_fingerprint: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT


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
    id: msgspec.Raw
    object: str
    created: msgspec.Raw
    model: msgspec.Raw
    choices: list[_Choice]
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    service_tier: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode
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
        self.id = self.id or _text(part.id)
        self.type = _text(part.type) or self.type
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
        if part.logprobs is not _ABSENT:
            self._add_logprobs(part.logprobs)
        if isinstance(part.finish_reason, str):
            self._finish_reason = part.finish_reason or self._finish_reason

    def _add_logprobs(self, logprobs: msgspec.Raw) -> None:
        # Log probabilities of an unexpected shape, null among them, are left out.
        with contextlib.suppress(msgspec.ValidationError):
            self._logprobs.extend(_decode_logprobs(logprobs).content)

    def _call(self, part: _CallPart, at: int) -> _CallParts:
        """The call that a part belongs to: by its number; without one by its id, then by its place."""
        call_id = _text(part.id)
        index = _number(part.index)
        if index is None:
            known = (number for number, call in self._calls.items() if call_id and call.id == call_id)
            index = next(known, len(self._calls) if call_id else at)
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
            if payload.strip() == _END:
                self.done = True
            else:
                self._add(payload)

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

    def _add(self, payload: bytes) -> None:
        try:
            chunk = _decode_chunk(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UpstreamError(
                f"The upstream sent a chunk that cannot be read: {error}", code="upstream_malformed"
            ) from error
        self._complete_head(chunk)
        for place, part in enumerate(chunk.choices or ()):
            index = _number(part.index)
            self._choices.setdefault(place if index is None else index, _Parts()).add(part)
        usage = bytes(chunk.usage)
        if usage not in (b"", b"null"):
            # A copy: the field is a view that would keep the whole block alive.
            self._usage = msgspec.Raw(usage)

    def _complete_head(self, chunk: _Chunk) -> None:
        head = self._head
        head.id = _first(head.id, chunk.id)
        head.created = _first(head.created, chunk.created)
        head.model = _first(head.model, chunk.model)
        head.system_fingerprint = _first(head.system_fingerprint, chunk.system_fingerprint)
        head.service_tier = _first(head.service_tier, chunk.service_tier)


def _decode_chunk(payload: bytes) -> _Chunk:
    try:
        return _decode(payload)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _decode(replace_halves(payload))


def _number(index: object) -> int | None:
    """An index, which some servers write as a float or a string."""
    if isinstance(index, str) and index.isascii() and index.isdigit():
        return int(index)
    return int(index) if isinstance(index, int | float) else None


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _first(known: msgspec.Raw, value: msgspec.Raw) -> msgspec.Raw:
    """The first value of a head field that holds something."""
    if known is not _ABSENT or value is _ABSENT or is_empty(value):
        return known
    # A copy: the field is a view that would keep the whole block alive.
    return value.copy()


def _value(raw: msgspec.Raw, default: bytes) -> msgspec.Raw:
    return msgspec.Raw(default) if raw is _ABSENT else raw


def _optional(raw: msgspec.Raw) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if raw is _ABSENT else raw
