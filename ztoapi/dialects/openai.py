"""Upstreams that speak OpenAI's format: plain ones (vLLM, SGLang, any gateway) and Z.ai's official API.

Streams are passed on octet for octet, or, where the head of each chunk must change (the model alias, Z.ai's missing
``object``), with one ``replace`` for each block however many events it holds: all chunks of a stream begin with the
same octets up to ``"choices":``, and a raw quote cannot occur inside a JSON string, so the match is exact. Only events
that say more (a finish, usage, an error, [DONE]) and blocks that do not fit the pattern are decoded.
"""

from typing import Final, NamedTuple

import msgspec

from ztoapi.dialects.chunks import DONE
from ztoapi.dialects.contract import Usage
from ztoapi.dialects.events import events
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import Ending, UpstreamError

__all__ = ["OpenAIReader", "Rewrite", "build", "completion"]

Fields = dict[str, msgspec.Raw]

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(Fields).decode
_choices = msgspec.json.Decoder(list[Fields]).decode
_usage = msgspec.json.Decoder(Usage | None).decode
_string = msgspec.json.Decoder(str | None).decode
_NULL: Final = msgspec.Raw(b"null")
_FINISH_REASONS: Final = {
    "sensitive": msgspec.Raw(b'"content_filter"'),
    "model_context_window_exceeded": msgspec.Raw(b'"length"'),
}
_BARE_TAIL: Final = b"}}]"
"""The end of a choice that holds nothing behind its delta."""
_CHUNK: Final = b'"chat.completion.chunk"'
_COMPLETION: Final = b'"chat.completion"'


def build(request: ChatRequest, *, model: str, stream: bool) -> bytes | bytearray:
    """The body for a plain upstream: as it came, unless alias or stream differ, or usage must be asked for."""
    changed: Fields = {}
    if request.model != model:
        changed["model"] = msgspec.Raw(_encode(model))
    if bool(request.stream) != stream:
        changed["stream"] = msgspec.Raw(_encode(stream))
    if stream and not request.include_usage:
        options = request.fields.get("stream_options", _NULL)
        known = {} if options == _NULL else _fields(options)
        changed["stream_options"] = msgspec.Raw(_encode({**known, "include_usage": True}))
    return _encode({**request.fields, **changed}) if changed else request.body


class Rewrite:
    """What changes in every answer object: ``model`` replaces the upstream's name (None leaves it); ``normalise``
    makes Z.ai's objects what OpenAI's schema wants (``object``, an id with OpenAI's prefix, explicit nulls)."""

    __slots__ = ("id", "model", "normalise")

    def __init__(self, id: str, model: str | None, *, normalise: bool) -> None:
        self.id = msgspec.Raw(_encode(id))
        self.model = None if model is None else msgspec.Raw(_encode(model))
        self.normalise = normalise

    @property
    def empty(self) -> bool:
        return self.model is None and not self.normalise

    def header(self, fields: Fields, object: bytes) -> Fields:
        """All of ``fields`` but ``choices`` and ``usage``, rewritten."""
        header = {name: value for name, value in fields.items() if name not in ("choices", "usage")}
        if self.normalise:
            header["id"] = self.id
            header["object"] = msgspec.Raw(object)
        if self.model is not None:
            header["model"] = self.model
        return header


class _Form(NamedTuple):
    """The octets that all plain events of a stream share before and behind the delta, what becomes of them, and the
    keys that must not occur."""

    head: bytes
    new_head: bytes
    tail: bytes
    new_tail: bytes
    absent: tuple[bytes, ...]


class OpenAIReader:
    """Reader (see ``contract.py``) for OpenAI's format; ``include_usage`` says whether the client asked for usage."""

    __slots__ = ("_finished", "_form", "_include_usage", "_rewrite", "_started", "done", "error", "usage")

    def __init__(self, rewrite: Rewrite, *, include_usage: bool) -> None:
        self._rewrite = rewrite
        self._include_usage = include_usage
        self._form: _Form | None = None
        """What the plain events of the stream have in common; None before the first."""
        self._started = False
        self._finished = False
        self.usage: Usage | None = None
        self.done = False
        self.error: UpstreamError | None = None

    def feed(self, block: bytes) -> bytes:
        # The first event, and the last ones, are read one by one; those between go the quick way.
        if self._form is None:
            return self._feed_first(block)
        if not block.endswith(DONE):
            out = self._feed_alike(block)
            if out is not None:
                return out
        start = _last_events(block)
        out = self._feed_alike(block[:start]) if start else None
        return self._feed_slowly(block) if out is None else out + self._feed_slowly(block[start:])

    def _feed_first(self, block: bytes) -> bytes:
        """Event by event until the form of the stream is learnt, then the rest."""
        out: list[bytes] = []
        start = 0
        while start < len(block) and not self.done and self.error is None:
            if self._has_learnt():
                out.append(self.feed(block[start:]))
                break
            stop = block.find(b"\n\n", start) + 2
            if stop < 2:
                stop = len(block)
            out.append(self._feed_slowly(block[start:stop]))
            start = stop
        return b"".join(out)

    def _has_learnt(self) -> bool:
        return self._form is not None

    def _feed_alike(self, block: bytes) -> bytes | None:
        """A block of events that all have the learnt form; None if they do not.

        Each search costs about a nanosecond an octet, more than all the rest of a large block: there are as few as can
        be. Head and tail leave only the delta open, so what says more than a delta does not pass as one.
        """
        form = self._form
        if form is None:
            return None
        parts = block.split(form.head)
        count = len(parts) - 1
        if parts[0] or block.count(b"\n") != 2 * count:
            return None
        out = block if form.new_head == form.head else form.new_head.join(parts)
        parts = out.split(form.tail)
        if parts[-1] or len(parts) != count + 1:
            return None
        for key in form.absent:
            if key in block:
                return None
        return out if form.new_tail == form.tail else form.new_tail.join(parts)

    def eof(self) -> bytes:
        if self._finished:
            # Some servers leave [DONE] out; the finish_reason has said that the answer is whole.
            self.done = True
            return DONE
        empty = not self._started
        self.error = UpstreamError(
            "the upstream's stream is empty" if empty else "the upstream's stream ended in the middle of the answer",
            code="upstream_empty" if empty else "upstream_truncated",
            ending=Ending.TRUNCATED,
            retryable=empty,
        )
        return b""

    def _feed_slowly(self, block: bytes) -> bytes:
        out: list[bytes] = []
        same = True
        for _, data in events(block):
            if data == b"[DONE]":
                if not self._started:
                    self.eof()
                else:
                    self.done = True
                    out.append(DONE)
                break
            try:
                event = self._event(data)
            except (msgspec.DecodeError, RecursionError) as error:
                self.error = UpstreamError("the upstream's stream holds an event that is no JSON chunk")
                self.error.__cause__ = error
                break
            if self.error is not None:
                break
            if event is None:
                out.append(b"data: %b\n\n" % data)
            else:
                same = False
                out.append(event)
        return block if same and self.error is None else b"".join(out)

    def _event(self, data: bytes) -> bytes | None:
        """What ``data`` becomes; None if it stays as it is. Sets ``error`` if it reports one."""
        fields = _fields(data)
        raw_choices = fields.get("choices", _NULL)
        if fields.get("error", _NULL) != _NULL or raw_choices == _NULL:
            self.error = read_error(data, 200)
            return None
        choices = _choices(raw_choices)
        mapped = self._finish(choices)
        usage = fields.get("usage", _NULL)
        if usage != _NULL:
            self.usage = _usage(usage)
            if not choices and not self._include_usage:
                return b""
        self._started = True
        if not mapped and usage == _NULL and not self._finished:
            form = self._form
            if form is None or not data.startswith(form.head[6:]):
                self._learn(data, fields, choices)
        ours = "usage" in fields and usage == _NULL and not self._include_usage
        return None if self._rewrite.empty and not mapped and not ours else self._write(fields, choices)

    def _write(self, fields: Fields, choices: list[Fields]) -> bytes:
        """The event anew, as the rewrite wants it."""
        header = self._rewrite.header(fields, _CHUNK)
        if self._rewrite.normalise:
            for choice in choices:
                choice.setdefault("logprobs", _NULL)
                choice.setdefault("finish_reason", _NULL)
        usage = fields.get("usage", _NULL)
        event: dict[str, object] = {**header, "choices": choices}
        if usage != _NULL and choices and self._include_usage and self._rewrite.normalise:
            # Usage in a chunk of its own, once: clients add up what they find.
            return b"data: %b\n\ndata: %b\n\n" % (_encode(event), _encode({**header, "choices": [], "usage": usage}))
        if usage != _NULL:
            event["usage"] = usage
        return b"data: %b\n\n" % _encode(event)

    def _finish(self, choices: list[Fields]) -> bool:
        """Note a finish_reason and map it; True if a choice was changed."""
        changed = False
        for choice in choices:
            raw = choice.get("finish_reason", _NULL)
            if raw == _NULL:
                continue
            reason = _string(raw)
            if reason == "network_error":
                self.error = _network_error()
                return False
            self._finished = True
            mapped = _FINISH_REASONS.get(reason or "")
            if mapped is not None:
                choice["finish_reason"] = mapped
                changed = True
        return changed

    def _learn(self, data: bytes, fields: Fields, choices: list[Fields]) -> None:
        """Learn from a plain event what the following ones have in common with it."""
        prefix, mark, _ = data.partition(b'"choices":')
        head = new_head = b"data: %b%b" % (prefix, mark)
        if not self._rewrite.empty:
            before = _fields(prefix.rstrip().rstrip(b",") + b"}")
            header = _encode(self._rewrite.header(before, _CHUNK))
            new_head = b'data: %b,"choices":' % header[:-1]
        tail, absent = _tail(data)
        new_tail = tail
        if self._rewrite.normalise and len(choices) == 1 and tail.startswith(_BARE_TAIL):
            new_tail = b'},"logprobs":null,"finish_reason":null}]' + tail[len(_BARE_TAIL) :]
        if "usage" in fields and not self._include_usage:
            new_tail = new_tail.replace(b',"usage":null}', b"}")
        self._form = _Form(head, new_head, tail, new_tail, absent)


def _tail(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """The octets behind the delta, which the following events share, and the keys that must not occur in those."""
    at = data.rfind(b'"finish_reason":')
    if at >= 0:
        return data[at:] + b"\n\n", ()
    for tail in (_BARE_TAIL, _BARE_TAIL + b',"usage":null'):
        if data.endswith(tail + b"}"):
            return tail + b"}\n\n", (b'"finish_reason"',)
    return b"}\n\n", (b'"finish_reason"', b'"usage"')


def _last_events(block: bytes) -> int:
    """Where the last three events begin: a finish, usage, [DONE]; 0 if there are no more."""
    at = len(block) - 2
    for _ in range(3):
        at = block.rfind(b"\n\n", 0, at)
        if at < 0:
            return 0
    return at + 2


def completion(body: bytes, rewrite: Rewrite) -> tuple[bytes, Usage | None]:
    """A whole answer, rewritten, and its usage. Raises UpstreamError if it is none, or reports an error."""
    try:
        fields = _fields(body)
        raw_choices = fields.get("choices", _NULL)
        if fields.get("error", _NULL) != _NULL or raw_choices == _NULL:
            raise read_error(body, 200)
        usage = _usage(fields.get("usage", _NULL))
        choices = _choices(raw_choices)
        changed = _map_whole_finish(choices)
        if rewrite.empty and not changed:
            return body, usage
        if rewrite.normalise:
            for choice in choices:
                _normalise_message(choice)
        answer: dict[str, object] = {**rewrite.header(fields, _COMPLETION), "choices": choices}
        if "usage" in fields:
            answer["usage"] = fields["usage"]
        return _encode(answer), usage
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamError("the upstream's answer is no JSON completion") from error


def _map_whole_finish(choices: list[Fields]) -> bool:
    changed = False
    for choice in choices:
        reason = _string(choice.get("finish_reason", _NULL))
        if reason == "network_error":
            raise _network_error()
        if reason in _FINISH_REASONS:
            choice["finish_reason"] = _FINISH_REASONS[reason]
            changed = True
    return changed


def _normalise_message(choice: Fields) -> None:
    choice.setdefault("logprobs", _NULL)
    message = _fields(choice.get("message", msgspec.Raw(b"{}")))
    message.setdefault("role", msgspec.Raw(b'"assistant"'))
    message.setdefault("content", _NULL)
    message.setdefault("refusal", _NULL)
    message.setdefault("annotations", msgspec.Raw(b"[]"))
    choice["message"] = msgspec.Raw(_encode(message))


def _network_error() -> UpstreamError:
    return UpstreamError("the upstream lost its connection to the model", retryable=True, upstream_code="network_error")
