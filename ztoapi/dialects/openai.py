"""Upstreams that speak OpenAI's format: plain ones (vLLM, SGLang, any gateway) and Z.ai's official API.

Streams are passed on octet for octet, or, where the head of each chunk must change (the model alias, Z.ai's missing
``object``), with one split and join for each block however many events it holds (``forms.py``). Only events that say
more than a delta (a finish, usage, an error, [DONE]) and blocks of an unknown form are decoded.
"""

from typing import Final

import msgspec

from ztoapi.dialects.chunks import DONE
from ztoapi.dialects.contract import Usage
from ztoapi.dialects.events import events
from ztoapi.dialects.forms import DELTA, Form, learn
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import Ending, Fault, UpstreamError

__all__ = ["NO_REWRITE", "KnownForms", "OpenAIReader", "Rewrite", "build", "completion"]

Fields = dict[str, msgspec.Raw]
KnownForms = dict[tuple[bool, bool], Form]
"""The form that the last stream of an upstream had, by what was asked of the reader: the next one is likely to have it
too. At most four."""

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(Fields).decode
_choices = msgspec.json.Decoder(list[Fields]).decode
_usage = msgspec.json.Decoder(Usage | None).decode
_any = msgspec.json.Decoder().decode
_string = msgspec.json.Decoder(str | None).decode
_NULL: Final = msgspec.Raw(b"null")


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Answer(msgspec.Struct, gc=False):
    """What must be known of an event or a whole answer that is passed on as it is."""

    choices: list[_Choice] | None = None
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    error: msgspec.Raw = _NULL


_answer = msgspec.json.Decoder(_Answer).decode
_MAX_HELD_BYTES: Final = 65536
"""Chunks without choices that are held back at the start of a stream. Azure sends one of about 1 KB, with the result of
its content filter."""
_FINISH_REASONS: Final = {
    "sensitive": msgspec.Raw(b'"content_filter"'),
    "model_context_window_exceeded": msgspec.Raw(b'"length"'),
}
_USAGE_WANTED: Final = b',"stream_options":{"include_usage":true}}'
_CHUNK: Final = b'"chat.completion.chunk"'
_COMPLETION: Final = b'"chat.completion"'


def build(request: ChatRequest, *, model: str, stream: bool, count: bool = True) -> bytes | bytearray:
    """The body for a plain upstream: as it came, unless alias or stream differ, or usage must be asked for."""
    add_usage = count and stream and not request.include_usage
    if request.model == model and bool(request.stream) == stream:
        if not add_usage:
            return request.body
        if not request.has_stream_options:
            # The body is a JSON object with something in it: what is added goes before its last brace.
            return request.body[: request.body.rindex(b"}")] + _USAGE_WANTED
    changed: Fields = {}
    if request.model != model:
        changed["model"] = msgspec.Raw(_encode(model))
    if bool(request.stream) != stream:
        changed["stream"] = msgspec.Raw(_encode(stream))
    if add_usage:
        options = request.fields.get("stream_options", _NULL)
        known = {} if options == _NULL else _fields(options)
        changed["stream_options"] = msgspec.Raw(_encode({**known, "include_usage": True}))
    return _encode({**request.fields, **changed})


class Rewrite(msgspec.Struct, frozen=True, gc=False):
    """What changes in every answer object: ``model`` replaces the upstream's name (None leaves it); ``normalise``
    makes Z.ai's objects what OpenAI's schema wants (``object``, ``id`` with OpenAI's prefix, explicit nulls)."""

    id: str
    model: str | None
    normalise: bool
    empty: bool = False
    """Whether nothing changes: found out, not given."""

    def __post_init__(self) -> None:
        if self.model is None and not self.normalise:
            msgspec.structs.force_setattr(self, "empty", True)

    def header(self, fields: Fields, object: bytes) -> Fields:
        """All of ``fields`` but ``choices`` and ``usage``, rewritten."""
        header = {name: value for name, value in fields.items() if name not in ("choices", "usage")}
        if self.normalise:
            header["id"] = msgspec.Raw(_encode(self.id))
            header["object"] = msgspec.Raw(object)
        if self.model is not None:
            header["model"] = msgspec.Raw(_encode(self.model))
        return header


NO_REWRITE: Final = Rewrite("", None, normalise=False)


class OpenAIReader:
    """Reader (see ``contract.py``) for OpenAI's format; ``include_usage`` says whether the client asked for usage.
    ``known`` is shared by all readers of an upstream."""

    __slots__ = (
        "_finished",
        "_held",
        "_include_usage",
        "_known",
        "_rewrite",
        "_started",
        "done",
        "error",
        "form",
        "usage",
    )

    def __init__(self, rewrite: Rewrite, known: KnownForms, *, include_usage: bool) -> None:
        self._rewrite = rewrite
        self._known = known
        self._include_usage = include_usage
        self.form: Form | None = None
        """What the plain events of the stream have in common; None before the first."""
        self._started = False
        self._held = b""
        """Chunks without choices that came before the first one with choices, which they are sent with."""
        self._finished = False
        self.usage: Usage | None = None
        self.done = False
        self.error: UpstreamError | None = None

    def feed(self, block: bytes) -> bytes:
        out = self._feed(block)
        if self._held or not self._started:
            out = self._held + out
            if not self._started and len(out) <= _MAX_HELD_BYTES:
                self._held = out
                return b""
            self._started, self._held = True, b""
        return out

    def _feed(self, block: bytes) -> bytes:
        # The last events are read one by one, and the first one of an unknown form; those between go the quick way.
        form = self.form or self._guess_form(block)
        if form is None:
            return self._feed_first(block)
        out = form.apply(block)
        if out is not None:
            self._started = True
            return out
        start = _last_events(block)
        if start:
            out = form.apply(block[:start])
            if out is not None:
                self._started = True
                return out + self._feed_slowly(block[start:])
        return self._feed_slowly(block)

    def _guess_form(self, block: bytes) -> Form | None:
        """The form that this stream has if it is like the one before it."""
        form = self._known.get((self._rewrite.empty, self._include_usage))
        if form is not None and form.needs_head:
            at = block.find(DELTA)
            prefix = block[6:at]
            if at < 0 or not block.startswith(b"data: {") or b"\n" in prefix or b'"usage"' in prefix:
                return None
            try:
                form = form.with_head(*self._heads(prefix, DELTA))
            except msgspec.DecodeError:
                return None
        self.form = form
        return form

    def _heads(self, prefix: bytes, mark: bytes) -> tuple[bytes, bytes]:
        """The octets up to and with ``mark``, as they come and as the rewrite wants them."""
        head = b"data: %b%b" % (prefix, mark)
        if self._rewrite.empty:
            return head, head
        before = _fields(prefix.rstrip().rstrip(b",") + b"}")
        header = _encode(self._rewrite.header(before, _CHUNK))
        return head, b"data: %b,%b" % (header[:-1], mark)

    def _feed_first(self, block: bytes) -> bytes:
        """Event by event until the form of the stream is learnt, then the rest."""
        out: list[bytes] = []
        start = 0
        while start < len(block) and not self.done and self.error is None:
            if self._has_learnt():
                out.append(self._feed(block[start:]))
                break
            stop = block.find(b"\n\n", start) + 2
            if stop < 2:
                stop = len(block)
            out.append(self._feed_slowly(block[start:stop]))
            start = stop
        return b"".join(out)

    def _has_learnt(self) -> bool:
        return self.form is not None

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
        # Comments and the like only go out together with events of an answer.
        return block if same and self._started and self.error is None else b"".join(out)

    def _event(self, data: bytes) -> bytes | None:
        """What ``data`` becomes; None if it stays as it is. Sets ``error`` if it reports one."""
        if self.form is not None and self._rewrite.empty and self._passes(data):
            return None
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
        self._started = self._started or bool(choices)
        ours = "usage" in fields and usage == _NULL and not self._include_usage
        out = None if self._rewrite.empty and not mapped and not ours else self._write(fields, choices)
        if choices and not mapped and usage == _NULL and not self._finished:
            event = b"data: %b\n\n" % data
            if self.form is None or not self.form.fits(event):
                self._learn(event, out or event, removed=ours, nulls=self._rewrite.normalise and len(choices) == 1)
        return out

    def _passes(self, data: bytes) -> bool:
        """Whether ``data`` is a last event that stays as it is; what it says is noted then."""
        event = _answer(data)
        usage = event.usage
        if event.error != _NULL or event.choices is None or not (event.choices or self._include_usage):
            return False
        finished = any(choice.finish_reason is not None for choice in event.choices)
        if _must_change(event.choices) or (usage is None and not self._include_usage):
            return False
        if not finished and not isinstance(usage, Usage):
            return False
        if isinstance(usage, Usage):
            self.usage = usage
        self._finished = self._finished or finished
        self._started = self._started or bool(event.choices)
        return True

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

    def _learn(self, event: bytes, out: bytes, *, removed: bool, nulls: bool) -> None:
        """Learn from a plain event, which becomes ``out``, what the following ones have in common with it. A form that
        would make something else of it is not kept."""
        data = event[6:-2]
        mark = DELTA if DELTA in data else b'"choices":'
        head, new_head = self._heads(data[: data.index(mark)], mark)
        form = learn(data, head, new_head, nulls=nulls, usage_removed=removed)
        applied = form.apply(event)
        try:
            if applied is None or _any(applied[6:]) != _any(out[6:]):
                return
        except msgspec.DecodeError:
            # A form that makes no JSON: this event has a key's name as its text, or its keys in an unusual order.
            return
        self.form = self._known[self._rewrite.empty, self._include_usage] = form


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
        if rewrite.empty:
            answer = _answer(body)
            if answer.choices is not None and answer.error == _NULL and not _must_change(answer.choices):
                return body, answer.usage if isinstance(answer.usage, Usage) else None
        fields = _fields(body)
        raw_choices = fields.get("choices", _NULL)
        if fields.get("error", _NULL) != _NULL or raw_choices == _NULL:
            raise read_error(body, 200)
        usage = _usage(fields.get("usage", _NULL))
        choices = _choices(raw_choices)
        _map_whole_finish(choices)
        if rewrite.normalise:
            for choice in choices:
                _normalise_message(choice)
        rewritten: dict[str, object] = {**rewrite.header(fields, _COMPLETION), "choices": choices}
        if "usage" in fields:
            rewritten["usage"] = fields["usage"]
        return _encode(rewritten), usage
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamError("the upstream's answer is no JSON completion") from error


def _must_change(choices: list[_Choice]) -> bool:
    """Whether a finish_reason is not one of OpenAI's."""
    return any(choice.finish_reason in _FINISH_REASONS or choice.finish_reason == "network_error" for choice in choices)


def _map_whole_finish(choices: list[Fields]) -> None:
    for choice in choices:
        reason = _string(choice.get("finish_reason", _NULL))
        if reason == "network_error":
            raise _network_error()
        if reason in _FINISH_REASONS:
            choice["finish_reason"] = _FINISH_REASONS[reason]


def _normalise_message(choice: Fields) -> None:
    choice.setdefault("logprobs", _NULL)
    message = _fields(choice.get("message", msgspec.Raw(b"{}")))
    message.setdefault("role", msgspec.Raw(b'"assistant"'))
    message.setdefault("content", _NULL)
    message.setdefault("refusal", _NULL)
    message.setdefault("annotations", msgspec.Raw(b"[]"))
    choice["message"] = msgspec.Raw(_encode(message))


def _network_error() -> UpstreamError:
    return UpstreamError(
        "the upstream lost its connection to the model",
        retryable=True,
        upstream_code="network_error",
        fault=Fault.UPSTREAM,
    )
