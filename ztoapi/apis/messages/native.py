"""Messages requests for the upstream's own endpoint.

Repairs: Claude Code's billing line is removed from the system prompt, because it changes with each request and the
upstream's cache compares prompts from their beginning. ``message_start`` gets the estimate of the input tokens where
the upstream reports none, because clients decide by it when to compact a conversation.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ztoapi.apis.messages.content import BILLING
from ztoapi.apis.messages.errors import describe_length, error_event
from ztoapi.apis.messages.fold import fold
from ztoapi.apis.native import Fields, NativeReader, NativeRequest, decode_fields, rename
from ztoapi.dialects.lenient import restore_halves
from ztoapi.dialects.reader import Count, Usage
from ztoapi.dialects.translate import Endpoint
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import ApiError, malformed

__all__ = ["NativeMessages", "without_billing"]

_VERSION: Final = b"2023-06-01"
_PASSED_ON: Final = (b"anthropic-beta",)
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]+")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Fields).decode
_decode_any = msgspec.json.Decoder().decode


class _MessagesUsage(msgspec.Struct):
    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None


_decode_counts = msgspec.json.Decoder(_MessagesUsage, strict=False).decode


class NativeMessages:
    """Implements :class:`~ztoapi.apis.native.NativeAPI` for one request.

    ``headers`` are the client's; ``input_tokens`` is the estimate. ``context_tokens`` is the model's context, for the
    error of a prompt that is too long; None if it is unknown.
    """

    __slots__ = ("_context_tokens", "_input_tokens", "_request_id", "lines")

    endpoint: Endpoint = "messages"

    def __init__(
        self, headers: Mapping[bytes, bytes], input_tokens: int, request_id: str, context_tokens: int | None
    ) -> None:
        self._input_tokens = input_tokens
        self._request_id = request_id
        self._context_tokens = context_tokens
        self.lines = _lines(headers)

    def reader(self, model: str | None) -> "_MessagesReader":
        return _MessagesReader(model, self._input_tokens)

    def collector(self) -> "_MessageCollector":
        return _MessageCollector()

    def whole(self, body: bytes, model: str | None) -> tuple[bytes, Usage | None]:
        try:
            fields, _ = decode_fields(body)
            if bytes(fields.get("type", b"")) != b'"message"':
                raise read_error(body, 200)
            counts = _counts(fields.get("usage"))
            return rename(body, model) or body, counts.usage()
        except (msgspec.DecodeError, RecursionError) as error:
            raise malformed("a message", error) from error

    def explain(self, error: ApiError) -> None:
        describe_length(error, self._input_tokens, self._context_tokens)

    def fail(self, error: ApiError) -> bytes:
        return error_event(error, self._request_id)


class _MessagesReader(NativeReader):
    __slots__ = ("_counts", "_input_tokens", "_model")

    first_events = frozenset(("message_start", "ping"))

    def __init__(self, model: str | None, input_tokens: int) -> None:
        super().__init__()
        self._model = model
        self._input_tokens = input_tokens
        self._counts = _TokenCounts()

    def is_delta(self, name: str) -> bool:
        return name == "content_block_delta"

    def read(self, name: str, data: bytes) -> bytes | None:
        if name == "message_start":
            return self._start(data)
        if name == "message_delta":
            fields, _ = decode_fields(data)
            self._counts.add(fields.get("usage"))
            self.usage = self._counts.usage()
        elif name == "message_stop":
            self.done = True
        elif name == "error":
            self.error = read_error(data, 200)
        return None

    def _start(self, data: bytes) -> bytes | None:
        fields, hidden = decode_fields(data)
        message = _decode(fields.get("message", b"{}"))
        raw = message.get("usage", b"null")
        self._counts.add(raw)
        changed = False
        if not self._counts.prompt:
            usage = {} if bytes(raw) == b"null" else _decode(raw)
            usage["input_tokens"] = msgspec.Raw(b"%d" % self._input_tokens)
            message["usage"] = msgspec.Raw(_encode(usage))
            changed = True
        if self._model is not None:
            message["model"] = msgspec.Raw(_encode(self._model))
            changed = True
        if not changed:
            return None
        fields["message"] = msgspec.Raw(_encode(message))
        written = _encode(fields)
        return restore_halves(written) if hidden else written


class _TokenCounts:
    """The counts of one response. Those of ``message_delta`` replace those of ``message_start``."""

    __slots__ = ("cached", "completion", "fresh", "written")

    def __init__(self) -> None:
        self.fresh = self.written = self.cached = self.completion = 0

    def add(self, raw: bytes | msgspec.Raw | None) -> None:
        """Reads a ``usage``. A count of zero means that it is unknown. A count of another shape is ignored."""
        try:
            counts = _decode_counts(raw or b"{}")
        except (msgspec.DecodeError, RecursionError):
            return
        self.fresh = counts.input_tokens or self.fresh
        self.written = counts.cache_creation_input_tokens or self.written
        self.cached = counts.cache_read_input_tokens or self.cached
        self.completion = counts.output_tokens or self.completion

    @property
    def prompt(self) -> int:
        return self.fresh + self.written + self.cached

    def usage(self) -> Usage | None:
        if not self.prompt and not self.completion:
            return None
        details = msgspec.Raw(b'{"cached_tokens":%d}' % self.cached)
        return Usage(self.prompt, self.completion, self.prompt + self.completion, details)


class _MessageCollector:
    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def feed(self, block: bytes) -> None:
        self._blocks.append(block)

    def body(self) -> bytes:
        try:
            return fold(b"".join(self._blocks))
        except (msgspec.DecodeError, LookupError) as error:
            raise malformed("an event", error) from error


def _counts(raw: msgspec.Raw | None) -> _TokenCounts:
    counts = _TokenCounts()
    counts.add(raw)
    return counts


def _lines(headers: Mapping[bytes, bytes]) -> bytes:
    version = headers.get(b"anthropic-version", b"")
    lines = [b"anthropic-version: %b\r\n" % (version if _PRINTABLE.fullmatch(version) else _VERSION)]
    for name in _PASSED_ON:
        value = headers.get(name, b"")
        if _PRINTABLE.fullmatch(value):
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def without_billing(request: NativeRequest) -> NativeRequest:
    """Returns a request without the billing line in its system prompt. Raises ApiError."""
    system = request.fields.get("system")
    if system is None or BILLING.encode() not in bytes(system):
        return request
    return request.replaced({"system": msgspec.Raw(_encode(_cleaned(_decode_any(system))))})


def _cleaned(system: object) -> object:
    """Returns a system prompt without its billing line, and without a block that has nothing else."""
    if isinstance(system, str):
        return _rest(system)
    if not isinstance(system, list):
        return system
    blocks: list[object] = []
    for block in system:
        text = block.get("text") if isinstance(block, dict) else None
        if not isinstance(text, str) or not text.lstrip().startswith(BILLING):
            blocks.append(block)
        elif rest := _rest(text):
            blocks.append({**block, "text": rest})
    return blocks


def _rest(text: str) -> str:
    return text.lstrip().partition("\n")[2] if text.lstrip().startswith(BILLING) else text
