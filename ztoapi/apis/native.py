"""Requests that go to the upstream's own endpoint of another client API than chat, without translation.

The bytes stay the same in both directions, except for a few repairs: the name of the model, and those of each API. Only
the events that matter are decoded: the first and last ones, usage and errors. A block of deltas is recognised by its
bytes (``wire/delta_template.py``).

The first events carry nothing for the client, and are held until the next one, so that another attempt may still
replace this one.
"""

import re
from collections.abc import Mapping
from typing import Final, Protocol, Self

import msgspec

from ztoapi.dialects.events import parts, read_part
from ztoapi.dialects.field_errors import missing
from ztoapi.dialects.lenient import hide_halves, restore_halves
from ztoapi.dialects.reader import Reader, Usage
from ztoapi.dialects.request import MAX_MODEL_CHARACTERS, decode_value, read_body
from ztoapi.dialects.translate import Endpoint, EventCollector, Preparation
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import ApiError, Failure, UpstreamError, empty_response, malformed, unfinished
from ztoapi.wire.delta_template import DeltaTemplate

__all__ = ["Fields", "NativeAPI", "NativeReader", "NativeRequest", "NativeTranslation", "decode_fields", "rename"]

Fields = dict[str, msgspec.Raw]

_decode_fields = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode
_DELTA_HEAD: Final = re.compile(rb'event: ?[\w.]+\ndata: ?\{|data: ?\{\s*"type"\s*:\s*"[\w.]+"')
"""The beginning of a delta: up to the brace after the name, or without a name up to the end of the type."""
_DELTA_TAIL: Final = b"}\n\n"
_EMPTY: Final = (b"", b"null", b"[]")
"""Data of events that are no part of a response."""
_TYPE: Final = re.compile(rb'\{\s*"type"\s*:\s*"([\w.]+)"')


class NativeRequest:
    """A request, decoded as far as routing requires. ``fields`` are its members with undecoded values.

    Raises ApiError (400), with the field and the remedy.
    """

    __slots__ = ("body", "fields", "model", "stream")

    generates = True

    def __init__(self, body: bytes | bytearray, fields: Fields | None = None) -> None:
        if fields is None:
            body, fields = read_body(body)
        self.body = body
        self.fields = fields
        model = decode_value(fields, "model", str)
        if not model:
            raise missing("model")
        if len(model) > MAX_MODEL_CHARACTERS:
            raise ApiError(
                f"model is longer than {MAX_MODEL_CHARACTERS} characters", code="string_above_max_length", param="model"
            )
        self.model: str = model
        self.stream = bool(decode_value(fields, "stream", bool))

    @property
    def names(self) -> Fields:
        """The names of the fields."""
        return self.fields

    def replaced(self, changes: Mapping[str, msgspec.Raw]) -> Self:
        """Returns the request with other values of some fields."""
        fields = {**self.fields, **changes}
        return type(self)(_encode(fields), fields)

    def renamed(self, model: str) -> Self:
        """Returns the request for another model."""
        return self.replaced({"model": msgspec.Raw(_encode(model))})


class NativeAPI(Protocol):
    """One request in the format of an API: the readers of its response, and the API's form of errors. ``model`` is the
    name that a response has to carry; None keeps that of the upstream."""

    endpoint: Endpoint

    @property
    def lines(self) -> bytes:
        """Header lines for the upstream, each ended by CRLF."""

    def reader(self, model: str | None) -> Reader:
        """Returns a reader for one stream."""

    def collector(self) -> EventCollector:
        """Returns a collector for a stream in response to a request for a whole response."""

    def whole(self, body: bytes, model: str | None) -> tuple[bytes, Usage | None]:
        """Returns a whole response, and its usage. Raises UpstreamError if it is none, or a failed one."""

    def explain(self, error: ApiError) -> None:
        """Adapts the message of an error to what clients of the API read from it."""

    def fail(self, error: ApiError) -> bytes:
        """Returns the event for a failure after the first byte."""


class NativeTranslation:
    """Sends ``request`` in the format of ``api``. Implements ``Translation`` (see ``dialects/translate.py``)."""

    __slots__ = ("_api", "_model", "body", "endpoint", "lines", "streams")

    prepares = False

    def __init__(self, api: NativeAPI, request: NativeRequest, upstream_model: str) -> None:
        self._api = api
        self.endpoint = api.endpoint
        self.lines = api.lines
        self.streams = request.stream
        self._model = None
        self.body = request.body
        if request.model != upstream_model:
            self._model = request.model
            self.body = request.renamed(upstream_model).body

    def prepare(self) -> Preparation:
        raise AssertionError("an endpoint of its own needs no preparation")

    def reader(self) -> Reader:
        return self._api.reader(self._model)

    def collector(self) -> EventCollector:
        return self._api.collector()

    def completion(self, body: bytes) -> tuple[bytes, Usage | None]:
        return self._api.whole(body, self._model)

    def events(self, completion: bytes) -> bytes:
        raise UpstreamError("the upstream sent a whole response to a request for a stream", Failure.UNEXPECTED)

    def amend(self, error: UpstreamError) -> bool:
        return False

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        return read_error(body, status, retry_after)


class NativeReader:
    """Reader (see ``dialects/reader.py``) of a stream that is passed on. The API's own reader has the names of its
    events and reads those that matter."""

    __slots__ = ("_held", "_started", "done", "error", "template", "usage")

    first_events: frozenset[str]
    """The events before the first one with content."""

    def __init__(self) -> None:
        self._held = b""
        self._started = False
        self.template: DeltaTemplate | None = None
        """The template of the last kind of delta."""
        self.usage: Usage | None = None
        self.done = False
        self.error: UpstreamError | None = None

    def read(self, name: str, data: bytes) -> bytes | None:
        """Reads an event that is not a delta. Returns its data if that changes, otherwise None. Sets ``done`` and
        ``error``. Raises msgspec.DecodeError."""
        raise NotImplementedError

    def is_delta(self, name: str) -> bool:
        """Whether the event ``name`` is a piece of content."""
        raise NotImplementedError

    def expect(self, start: bytes) -> DeltaTemplate | None:
        return self.template

    def begin(self) -> None:
        self._started = True

    def feed(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for part in parts(block):
            out.append(self._part(part))
            if self.done or self.error is not None:
                break
        written = self._held + b"".join(out)
        if self._started:
            self._held = b""
            return written
        self._held = written
        return b""

    def eof(self) -> bytes:
        self.error = unfinished() if self._started or self._held else empty_response()
        return b""

    def _part(self, part: bytes) -> bytes:
        """Returns the text between two blank lines, with its own."""
        name, data, passes = read_part(part)
        if data is None:
            return part + b"\n\n" if passes else b""
        if data == b"[DONE]":
            return b"data: [DONE]\n\n"
        if data.strip() in _EMPTY or (name == "ping" and not data.startswith(b"{")):
            # Servers and proxies send these to keep the connection alive; clients of the API cannot read them.
            return b""
        if not passes:
            # Line feeds between data lines are white space in JSON.
            data = data.replace(b"\n", b" ")
            part = (b"event: %b\n" % name.encode() if name else b"") + b"data: " + data
        if not name:
            match = _TYPE.match(data)
            name = "" if match is None else match[1].decode("ascii")
        if self.is_delta(name):
            self._started = True
            self._learn(part)
            return part + b"\n\n"
        try:
            changed = self._read(name, data)
        except (msgspec.DecodeError, RecursionError) as error:
            self.error = malformed("an event", error)
            return b""
        if self.error is not None:
            return b""
        if name and name not in self.first_events:
            self._started = True
        if changed is None:
            return part + b"\n\n"
        line = b"event: %b\n" % name.encode() if part.startswith(b"event") else b""
        return b"%bdata: %b\n\n" % (line, changed)

    def _read(self, name: str, data: bytes) -> bytes | None:
        if not name:
            # Servers and proxies report errors in other forms than that of the API.
            fields, _ = decode_fields(data)
            if "error" not in fields and "type" not in fields:
                return None
            name = decode_value(fields, "type", str) or "error"
        return self.read(name, data)

    def _learn(self, part: bytes) -> None:
        head = _DELTA_HEAD.match(part)
        if head is not None:
            self.template = DeltaTemplate(head[0], head[0], _DELTA_TAIL, _DELTA_TAIL, ())


def decode_fields(data: bytes) -> tuple[Fields, bool]:
    """Returns the members of an object, and whether halves of surrogate pairs are hidden in them: ``restore_halves``
    applies to what is written from them. Raises msgspec.DecodeError."""
    try:
        return _decode_fields(data), False
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _decode_fields(hide_halves(data)), True


def rename(data: bytes, model: str | None, member: str | None = None) -> bytes | None:
    """Returns the JSON object ``data`` with another ``model``, in its object ``member`` if that is not None; None if it
    has no model, or keeps it. Raises msgspec.DecodeError."""
    if model is None:
        return None
    fields, hidden = decode_fields(data)
    inner = fields if member is None else _decode_fields(fields.get(member, b"{}"))
    if "model" not in inner:
        return None
    inner["model"] = msgspec.Raw(_encode(model))
    if member is not None:
        fields[member] = msgspec.Raw(_encode(inner))
    written = _encode(fields)
    return restore_halves(written) if hidden else written
