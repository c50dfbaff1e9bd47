"""Upstreams with OpenAI's format: plain ones (vLLM, SGLang, any gateway) and Z.ai's official API.

Streams are forwarded byte for byte. If the head of each chunk has to change (the model alias, Z.ai's missing
``object``), a block takes one split and one join, however many events it holds (``wire/delta_template.py``). Only
events that carry more than a delta (a finish reason, usage, an error, [DONE]) and blocks without a known template are
decoded.

An event without an error and without a list of choices is dropped, as it has nothing for the client. So are events
with empty data, and the ``id`` and ``retry`` lines of other events (see ``events.read_part``).
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from ztoapi.dialects.chunk_writer import DONE
from ztoapi.dialects.delta_template import DELTA, learn
from ztoapi.dialects.embedded_errors import reports_error
from ztoapi.dialects.events import parts, read_part
from ztoapi.dialects.lenient import hide_halves, read_objects, read_usage, restore_halves
from ztoapi.dialects.reader import Usage
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import Failure, UpstreamError, empty_response, malformed, unfinished
from ztoapi.wire.delta_template import DeltaTemplate
from ztoapi.wire.sse import BYTE_ORDER_MARK

__all__ = ["NO_REWRITE", "KnownTemplates", "OpenAIReader", "Rewrite", "build", "completion"]

Fields = dict[str, msgspec.Raw]
KnownTemplates = dict[tuple[bool, bool], DeltaTemplate]
"""The template of an upstream's last stream, by (rewrite is empty, usage included): at most four. The next stream
probably has the same template."""

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(Fields).decode
_choices = msgspec.json.Decoder(list[Fields]).decode
_any = msgspec.json.Decoder().decode
_NULL: Final = msgspec.Raw(b"null")
_ABSENT: Final = msgspec.Raw()
_ZERO: Final = msgspec.Raw(b"0")


_MESSAGE: Final = {
    "role": msgspec.Raw(b'"assistant"'),
    "content": _NULL,
    "refusal": _NULL,
    "annotations": msgspec.Raw(b"[]"),
}
"""The fields of every message of OpenAI's, with the values of absent ones."""


class _ChoiceEnd(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    index: msgspec.Raw = _NULL


_Reason = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]
"""A finish_reason that stays as it is."""


class _Finish(msgspec.Struct, gc=False):
    """The only choice of an event."""

    finish_reason: _Reason | None = None
    index: Literal[0] = 0


class _Last(msgspec.Struct, gc=False):
    """The fields of an ordinary event at the end of a stream. Others are read in the long way."""

    choices: Annotated[list[_Finish], msgspec.Meta(max_length=1)]
    usage: msgspec.Raw = _ABSENT
    error: None = None


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class _RewrittenFinish(msgspec.Struct, gc=False):
    """The only choice of an event that finishes, of a stream that is rewritten."""

    finish_reason: _Reason
    index: Literal[0]
    delta: _Object
    logprobs: msgspec.Raw = _ABSENT


class _RewrittenLast(msgspec.Struct, gc=False):
    """The same fields of an event whose choices are written again."""

    choices: msgspec.Raw
    usage: msgspec.Raw = _ABSENT
    error: None = None


class _Whole(msgspec.Struct, gc=False):
    """The fields of an ordinary whole response that decide whether it is forwarded unchanged."""

    choices: list[_ChoiceEnd]
    usage: Usage | None = None
    error: None = None


_Optional: TypeAlias = msgspec.Raw | msgspec.UnsetType
_Replaced: TypeAlias = object
"""Any value: it is replaced."""


class _PlainMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message of GLM's, with the fields of ``_MESSAGE``."""

    role: msgspec.Raw = _MESSAGE["role"]
    content: msgspec.Raw = _NULL
    refusal: msgspec.Raw = _NULL
    annotations: msgspec.Raw = _MESSAGE["annotations"]
    reasoning_content: _Optional = msgspec.UNSET
    tool_calls: _Optional = msgspec.UNSET


class _PlainChoice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    message: _PlainMessage
    finish_reason: _Reason
    index: _Optional = msgspec.UNSET
    logprobs: msgspec.Raw = _NULL


class _PlainWhole(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    """An ordinary whole response of Z.ai's. One with any other field is read in the long way."""

    id: _Replaced = None
    kind: _Replaced = msgspec.field(default=None, name="object")
    created: _Optional = msgspec.UNSET
    model: _Replaced = None
    request_id: _Optional = msgspec.UNSET
    choices: Annotated[list[_PlainChoice], msgspec.Meta(min_length=1)]
    usage: _Optional = msgspec.UNSET


_last = msgspec.json.Decoder(_Last).decode
_rewritten_last = msgspec.json.Decoder(_RewrittenLast).decode
_finishes = msgspec.json.Decoder(Annotated[list[_RewrittenFinish], msgspec.Meta(max_length=1)]).decode
_whole = msgspec.json.Decoder(_Whole).decode
_plain_whole = msgspec.json.Decoder(_PlainWhole).decode
_MAX_HELD_BYTES: Final = 65536
"""Size of the chunks without choices that are held back at the start of a stream. Azure sends one of about 1 KB, with
the result of its content filter."""
_NETWORK_ERROR: Final = b'"network_error"'
_FINISH_REASONS: Final = {
    b'"sensitive"': msgspec.Raw(b'"content_filter"'),
    b'"model_context_window_exceeded"': msgspec.Raw(b'"length"'),
}
_FOREIGN: Final = frozenset(_any(reason) for reason in (*_FINISH_REASONS, _NETWORK_ERROR))
_END: Final = b"[DONE]"
_DONE_PART: Final = b"data: [DONE]"
"""The usual spelling."""
_END_OF_STREAM: Final = b"\n\n" + DONE
_END_BYTES: Final = len(_END_OF_STREAM)
_DELTA_BYTES: Final = len(DELTA)
_CR: Final = 13
_LF: Final = 10
"""As a number, which Python finds several times faster in bytes than a byte string."""
_OWN_NAMES: Final = frozenset(("", "message", "error"))
"""Names of events that contain chunks or errors."""
_EMPTY_OBJECT: Final = msgspec.Raw(b"{}")
_USAGE_WANTED: Final = b',"stream_options":{"include_usage":true}}'
_CHUNK: Final = b'"chat.completion.chunk"'
_COMPLETION: Final = b'"chat.completion"'


def build(request: ChatRequest, *, model: str, stream: bool, count: bool = True) -> bytes | bytearray:
    """Returns the body for a plain upstream: unchanged, unless the model name or ``stream`` differs or usage has to be
    requested."""
    add_usage = count and stream and not request.include_usage
    if request.model == model and bool(request.stream) == stream:
        if not add_usage:
            return request.body
        if "stream_options" not in request.names:
            # The body is a JSON object that is not empty, so the option is added before its last brace.
            return request.body[: request.body.rindex(b"}")] + _USAGE_WANTED
    changed: Fields = {}
    if request.model != model:
        changed["model"] = msgspec.Raw(_encode(model))
    if bool(request.stream) != stream:
        changed["stream"] = msgspec.Raw(_encode(stream))
    if add_usage:
        options = request.fields.get("stream_options", _NULL)
        present = {} if options == _NULL else _fields(options)
        changed["stream_options"] = msgspec.Raw(_encode({**present, "include_usage": True}))
    return _encode({**request.fields, **changed})


class Rewrite(msgspec.Struct, frozen=True, gc=False):
    """The changes of every response object: ``model`` replaces the upstream's name (None keeps it), and ``normalise``
    adapts Z.ai's objects to OpenAI's schema (``object``, ``id`` with OpenAI's prefix, explicit nulls)."""

    id: str
    model: str | None
    normalise: bool
    empty: bool = False
    """Whether nothing changes; computed."""

    def __post_init__(self) -> None:
        if self.model is None and not self.normalise:
            msgspec.structs.force_setattr(self, "empty", True)

    def header(self, fields: Fields, object: bytes) -> Fields:
        """Returns ``fields`` rewritten, without ``choices``, ``usage`` and an empty ``error``."""
        header = fields.copy()
        header.pop("choices", None)
        header.pop("usage", None)
        header.pop("error", None)
        if self.normalise:
            header["id"] = msgspec.Raw(_encode(self.id))
            header["object"] = msgspec.Raw(object)
        if self.model is not None:
            header["model"] = msgspec.Raw(_encode(self.model))
        return header


NO_REWRITE: Final = Rewrite("", None, normalise=False)


# Over 250 lines: the kinds of events share the state of one stream, and are checked in one order.
class OpenAIReader(msgspec.Struct, eq=False):
    """Reader (see ``reader.py``) for OpenAI's format. The client requested ``choices`` choices, and usage in its stream
    if ``include_usage``. All readers of an upstream share ``templates``. A Struct, which C code fills."""

    rewrite: Rewrite
    templates: KnownTemplates
    include_usage: bool
    choices: int = 1
    template: DeltaTemplate | None = None
    """The template of the stream's plain events; None before the first one, and if there are several choices."""
    usage: Usage | None = None
    done: bool = False
    error: UpstreamError | None = None
    _started: bool = False
    _held: bytes = b""
    """Chunks without choices before the first one with choices, with which they are sent."""
    _finished: dict[bytes, bool] = {}
    """Whether a choice has finished, by its index. The first choice has an entry only once it finishes."""
    _usage_event: bytes = b""
    """The usage of a rewritten stream as an event of its own, sent once at the end."""

    def begin(self) -> None:
        self._started = True

    def feed(self, block: bytes) -> bytes:
        if self._started:
            template = self.template
            if template is None:
                return self._feed(block)
            ends = block[-_END_BYTES:] == _END_OF_STREAM or block == DONE
            read = (None if ends else template.apply(block)) or self._feed_last(template, block, ends)
            return self._feed(block) if read is None else read
        out = self._held + self._feed(block)
        if not self._started and len(out) <= _MAX_HELD_BYTES:
            self._held = out
            return b""
        self._started = True
        self._held = b""
        return out

    def _feed(self, block: bytes) -> bytes:
        # The first event of an unknown template and the last events are decoded; the template handles those between.
        template = self.template or self.expect(block)
        if template is None:
            return self._feed_first(block)
        out = template.apply(block)
        if out is not None:
            self._started = True
            return out
        start = _last_events(block)
        if start:
            out = template.apply(block[:start])
            if out is not None:
                self._started = True
                return out + self._feed_slowly(block[start:])
        return self._feed_slowly(block)

    def _feed_last(self, template: DeltaTemplate, block: bytes, ends: bool) -> bytes | None:
        """Reads the usual events at the end of a stream: a finish, usage, and [DONE] if it ``ends``. With it an end in
        one block takes 230 opcodes instead of 370, and 290 instead of 660 if the stream is rewritten. Returns None for
        any other block, to which the long way does the same once more."""
        out = b""
        if block != DONE:
            events = block[6 : -_END_BYTES if ends else -2].split(b"\n\ndata: ")
            if len(events) > 2 or block[:6] != b"data: " or _CR in block:
                return None
            rewrites = not self.rewrite.empty
            for data in events:
                if _LF in data:
                    return None
                event = self._rewrite_last(template, data) if rewrites else self._last_event(data)
                if event is None:
                    return None
                out += b"data: %b\n\n" % data if event is data else event
        if not ends:
            return out
        self.done = True
        return out + self._usage_event + DONE

    def expect(self, start: bytes) -> DeltaTemplate | None:
        rewrite = self.rewrite
        template = self.templates.get((rewrite.empty, self.include_usage))
        at = start.find(DELTA)
        if template is None or at < 0 or self.choices != 1:
            return None
        head = start[: at + _DELTA_BYTES]
        if head[:5] != b"data:" or _LF in head or _CR in head:
            return None
        if head.find(b'"usage"') >= 0 or head.find(b'"error"') >= 0:
            return None
        if not rewrite.empty:
            if start.find(b'"index"', len(head), start.find(b"\n\n", at)) >= 0:
                # Of several choices, only the last would get what the tail adds.
                return None
            lead = 6 if head[:7] == b"data: {" else 5
            try:
                template = template.with_head(*self._heads(head[:lead], head[lead:at], DELTA))
            except (msgspec.DecodeError, RecursionError):
                return None
        elif head != template.head:
            template = template.with_head(head, head)
        self.template = template
        return template

    def _heads(self, lead: bytes, prefix: bytes, mark: bytes) -> tuple[bytes, bytes]:
        """Returns the bytes up to and including ``mark``, as received and as rewritten."""
        head = lead + prefix + mark
        if self.rewrite.empty:
            return head, head
        before = _fields(prefix.rstrip().rstrip(b",") + b"}")
        header = _encode(self.rewrite.header(before, _CHUNK))
        return head, b"data: %b,%b" % (header[:-1], mark)

    def _feed_first(self, block: bytes) -> bytes:
        """Reads event by event until the template of the stream is known, then the rest."""
        out: list[bytes] = []
        start = 0
        while start < len(block) and not self.done and self.error is None:
            if self._has_learnt():
                out.append(self._feed(block[start:]))
                break
            # Comments belong to the event after them.
            stop = block.find(b"\n\n", max(block.find(b"data:", start), start)) + 2
            if stop < 2:
                stop = len(block)
            out.append(self._feed_slowly(block[start:stop]))
            start = stop
        return b"".join(out)

    def _has_learnt(self) -> bool:
        return self.template is not None

    def eof(self) -> bytes:
        # The first choice is noted only when it finishes, but any other one implies it.
        highest = max((int(index) for index in self._finished if index.isdigit()), default=0)
        if len(self._finished) >= max(self.choices, highest + 1) and all(self._finished.values()):
            # Some servers leave [DONE] out. Every choice has a finish_reason, so the response is complete.
            return self._end()
        self.error = unfinished() if self._started else empty_response()
        return b""

    def _end(self) -> bytes:
        self.done = True
        return self._usage_event + DONE

    def _feed_slowly(self, block: bytes) -> bytes:
        out: list[bytes] = []
        same = True
        for part in parts(block):
            if self.done:
                same = same and not part
                continue
            if part == _DONE_PART and self._started:
                same = same and not self._usage_event
                out.append(self._end())
                continue
            start = 6 if part[:6] == b"data: " else 5
            if (start == 6 or part[:5] == b"data:") and _LF not in part:
                name, data, passes = "", part[start:], True
            else:
                name, lines, passes = read_part(part)
                if lines is None:
                    same = same and passes
                    continue
                # Line feeds between data lines are white space in JSON, but would end the line of a rewritten event.
                data = lines.replace(b"\n", b" ")
            try:
                event = self._event(name, data, part)
            except (msgspec.DecodeError, RecursionError) as error:
                self.error = malformed("an event", error)
            if self.error is not None:
                break
            if event is None and not passes:
                event = b"data: %b\n\n" % data
            same = same and event is None
            out.append(part + b"\n\n" if event is None else event)
        # Comments and other empty parts are sent only together with events of a response.
        return block if same and self._started and self.error is None else b"".join(out)

    def _event(self, name: str, data: bytes, part: bytes) -> bytes | None:
        """Returns the rewritten event; None if ``part`` stays unchanged. Sets ``error`` if the event reports one."""
        if data == _END:
            if not self._started:
                return self.eof()
            end = self._end()
            return end if self._usage_event else None
        if self.template is not None and self.rewrite.empty:
            last = self._last_event(data)
            if last is not None:
                return None if last is data else last
        try:
            return self._chunk(name, data, part)
        except msgspec.DecodeError:
            text = data.strip()
            if text == _END:
                return self._end() if self._started else self.eof()
            if not text or (name not in _OWN_NAMES and not text.startswith(b"{")):
                return b""
            if name == "error":
                self.error = read_error(text, 200)
                return b""
            hidden = hide_halves(data)
            if hidden == data:
                raise
            out = self._chunk(name, hidden, part)
            return None if out is None else restore_halves(out)

    def _last_event(self, data: bytes) -> bytes | None:
        """Reads a finish or usage of a stream that is not rewritten. Returns ``data`` itself if it stays unchanged, the
        event without its usage, or None for any other event."""
        try:
            event = _last(data)
        except (msgspec.DecodeError, RecursionError):
            return None
        choices, usage = event.choices, event.usage
        counted = usage is not _ABSENT and usage != _NULL
        if not choices:
            if not counted or reports_error(_fields(data), has_choices=False):
                return None
        elif choices[0].finish_reason is not None:
            self._finished[b"0"] = True
        elif not counted:
            return None
        if counted:
            self.usage = read_usage(usage) or self.usage
        out: bytes | None = data
        if usage is not _ABSENT and not self.include_usage:
            end = b',"usage":%b}' % usage
            if not data.endswith(end):
                return None
            out = b"data: %b}\n\n" % data[: -len(end)] if choices else b""
        if choices:
            self._started = True
        return out

    def _rewrite_last(self, template: DeltaTemplate, data: bytes) -> bytes | None:
        """Same as ``_last_event``, for a stream that is rewritten. The event must begin as the plain ones, whose
        beginning has been rewritten in ``template``, and contain nothing else than choices and usage."""
        try:
            event = _rewritten_last(data)
            finishes = _finishes(event.choices)
        except (msgspec.DecodeError, RecursionError):
            return None
        choices, usage = bytes(event.choices), event.usage
        end = b"" if usage is _ABSENT else b',"usage":%b' % usage
        start, mark = template.head[6:-_DELTA_BYTES], template.head[-_DELTA_BYTES:]
        if data != b'%b"choices":%b%b}' % (start, choices, end) or mark != DELTA:
            return None
        counted = usage is not _ABSENT and usage != _NULL
        if not finishes and (not counted or reports_error(_fields(data), has_choices=False)):
            return None
        normalise = self.rewrite.normalise
        head = template.new_head[:-_DELTA_BYTES]
        if finishes:
            if normalise and finishes[0].logprobs is _ABSENT:
                if choices[-2:] != b"}]":
                    return None
                choices = choices[:-2] + b',"logprobs":null}]'
            self._finished[b"0"] = True
        if counted:
            self.usage = read_usage(usage) or self.usage
        if counted and normalise and self.include_usage:
            self._usage_event = b'%b"choices":[],"usage":%b}\n\n' % (head, usage)
        if not finishes and (normalise or not self.include_usage):
            return b""
        # See _write.
        keeps = counted and normalise != self.include_usage
        return b'%b"choices":%b%b}\n\n' % (head, choices, end if keeps else b"")

    def _chunk(self, name: str, data: bytes, part: bytes) -> bytes | None:
        """Same as ``_event``, for JSON that should be a chunk."""
        try:
            fields = _fields(data)
        except msgspec.ValidationError:
            # JSON of another type than an object.
            if name == "error" or _lists_error(_any(data)):
                self.error = read_error(data, 200)
            return b""
        raw_choices, usage = fields.get("choices", _NULL), fields.get("usage", _NULL)
        try:
            choices, whole = _choices(raw_choices), True
        except msgspec.ValidationError:
            choices, whole = read_objects(raw_choices), False
        listed = whole or bool(choices)
        if ("error" in fields or not choices) and (
            reports_error(fields, has_choices=bool(choices)) or (name == "error" and not choices)
        ):
            self.error = read_error(restore_halves(data), 200)
            return b""
        counted = usage != _NULL
        if counted:
            self.usage = read_usage(usage) or self.usage
        if not choices and not (self.include_usage if counted else listed):
            return b""
        self._started = self._started or bool(choices)
        finished, mapped = self._finish(choices)
        if self.error is not None:
            return b""
        removed = "usage" in fields and not self.include_usage
        unchanged = self.rewrite.empty and whole and not mapped and not removed
        out = None if unchanged else self._write(fields, choices, finished=finished)
        if len(choices) == 1 == self.choices and not finished and not counted:
            self._learn(part[: -len(data)], data, out, removed=removed)
        return out

    def _write(self, fields: Fields, choices: list[Fields], *, finished: bool) -> bytes:
        """Returns the event as the rewrite requires it.

        Clients add up every usage that they receive, so the usage in Z.ai's events is sent once: in an event of its own
        at the end if the client requested that, else in the event that finishes, where Z.ai's SDK expects it.
        """
        header = self.rewrite.header(fields, _CHUNK)
        normalise = self.rewrite.normalise
        if normalise:
            for choice in choices:
                choice.setdefault("logprobs", _NULL)
                choice.setdefault("finish_reason", _NULL)
                if choice.get("delta", _NULL) == _NULL:
                    choice["delta"] = _EMPTY_OBJECT
        usage = fields.get("usage", _NULL)
        event: dict[str, object] = {**header, "choices": choices}
        if usage != _NULL and self.include_usage and normalise:
            self._usage_event = b"data: %b\n\n" % _encode({**header, "choices": [], "usage": usage})
            if not choices:
                return b""
        elif usage != _NULL and (self.include_usage or (finished and normalise)):
            event["usage"] = usage
        return b"data: %b\n\n" % _encode(event)

    def _finish(self, choices: list[Fields]) -> tuple[bool, bool]:
        """Records and maps the finish_reason of each choice; returns whether one finishes and one is mapped."""
        any_finished = any_mapped = False
        for place, choice in enumerate(choices):
            index, raw = choice.get("index", _NULL), choice.get("finish_reason", _NULL)
            finished = False
            if raw != _NULL:
                reason = bytes(raw)
                finished = reason[:1] == b'"' and reason != b'""'
                any_finished = any_finished or finished
                if reason == _NETWORK_ERROR:
                    self.error = _network_error()
                elif reason in _FINISH_REASONS:
                    choice["finish_reason"] = _FINISH_REASONS[reason]
                    any_mapped = True
                elif not finished and self.rewrite.normalise:
                    # Some servers write "" instead of null.
                    choice["finish_reason"] = _NULL
            if index == _NULL and self.rewrite.normalise:
                choice["index"] = msgspec.Raw(b"%d" % place)
            if finished or index != _ZERO:
                self._note(bytes(index), place, finished)
        return any_finished, any_mapped

    def _note(self, index: bytes, place: int, finished: bool) -> None:
        """Records that a choice has appeared, and whether it has finished."""
        if index == b"null":
            index = b"%d" % place
        self._finished[index] = finished or self._finished.get(index, False)

    def _learn(self, lead: bytes, data: bytes, out: bytes | None, *, removed: bool) -> None:
        """Learns the template from a plain event, ``data`` after ``lead``, which was rewritten as ``out``. A template
        that does not rewrite the event as ``out`` is discarded."""
        event = b"%b%b\n\n" % (lead, data)
        if self.template is not None and self.template.fits(event):
            return
        mark = DELTA if DELTA in data else b'"choices":'
        at = data.find(mark)
        if at < 0 or lead not in (b"data: ", b"data:"):
            return
        try:
            head, new_head = self._heads(lead, data[:at], mark)
            template = learn(data, head, new_head, nulls=self.rewrite.normalise, usage_removed=removed)
            applied = template.apply(event)
            if applied is None or _any(applied[5:]) != _any((out or event)[5:]):
                return
        except (msgspec.DecodeError, RecursionError):
            # The result is not JSON: the text of the event contains a key, or its keys are in an unusual order.
            return
        self.template = self.templates[self.rewrite.empty, self.include_usage] = template


def _lists_error(value: object) -> bool:
    """Whether ``value`` is a list of errors, which Gemini sends."""
    return isinstance(value, list) and any(isinstance(item, dict) and item.get("error") for item in value)


def _last_events(block: bytes) -> int:
    """Returns where the last three events begin (a finish, usage, [DONE]); 0 if there are no others."""
    first, *others = block.rsplit(b"\n\n", 4)
    return len(first) + 2 if len(others) == 4 else 0


def completion(body: bytes, rewrite: Rewrite) -> tuple[bytes, Usage | None]:
    """Returns a whole response, rewritten, and its usage. Raises UpstreamError if it is none, or reports an error."""
    if rewrite.empty:
        # Nearly every response, at a third of the instructions (60 opcodes, 170 with the long way).
        try:
            whole = _whole(body)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            choices, usage = whole.choices, whole.usage
            for choice in choices:
                if choice.finish_reason in _FOREIGN:
                    break
            else:
                if choices:
                    counted = usage and (usage.prompt_tokens or usage.completion_tokens or usage.total_tokens)
                    return body, usage if counted else None
    elif rewrite.normalise and rewrite.model is not None:
        # Nearly every response of Z.ai's: 60 opcodes, 250 with the long way.
        try:
            plain = _plain_whole(body)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            plain.id = rewrite.id
            plain.kind = "chat.completion"
            plain.model = rewrite.model
            raw = plain.usage
            return _encode(plain), None if raw is msgspec.UNSET else read_usage(raw)
    try:
        try:
            return _completion(body, rewrite)
        except msgspec.DecodeError:
            hidden = hide_halves(body.removeprefix(BYTE_ORDER_MARK))
            if hidden == body:
                raise
            out, usage = _completion(hidden, rewrite)
            return restore_halves(out), usage
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed("a completion", error) from error


def _completion(body: bytes, rewrite: Rewrite) -> tuple[bytes, Usage | None]:
    fields = _fields(body)
    raw_choices = fields.get("choices", _NULL)
    is_list = bytes(raw_choices)[:1] == b"["
    try:
        choices, all_objects = _choices(raw_choices), True
    except msgspec.ValidationError:
        choices, all_objects = read_objects(raw_choices), False
    if not is_list or reports_error(fields, has_choices=bool(choices)):
        raise read_error(restore_halves(body), 200)
    mapped = False
    normalise = rewrite.normalise
    for choice in choices:
        reason = bytes(choice.get("finish_reason", _NULL))
        if reason == _NETWORK_ERROR:
            raise _network_error()
        if reason in _FINISH_REASONS:
            choice["finish_reason"] = _FINISH_REASONS[reason]
            mapped = True
        if normalise:
            _normalise_message(choice)
    raw_usage = fields.get("usage")
    usage = None if raw_usage is None else read_usage(raw_usage)
    if rewrite.empty and not mapped and all_objects:
        return body, usage
    rewritten: dict[str, object] = {**rewrite.header(fields, _COMPLETION), "choices": choices}
    if raw_usage is not None:
        rewritten["usage"] = raw_usage
    return _encode(rewritten), usage


def _normalise_message(choice: Fields) -> None:
    choice.setdefault("logprobs", _NULL)
    raw = choice.get("message", _NULL)
    message = {} if raw == _NULL else _fields(raw)
    choice["message"] = msgspec.Raw(_encode({**_MESSAGE, **message}))


def _network_error() -> UpstreamError:
    return UpstreamError("the upstream lost its connection to the model", Failure.FAILED, upstream_code="network_error")
