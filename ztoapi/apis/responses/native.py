"""Responses requests for the upstream's own endpoint."""

import re
from typing import Final

import msgspec

from ztoapi.apis.native import Fields, NativeReader, decode_fields, rename
from ztoapi.apis.responses.errors import failure
from ztoapi.dialects.events import events
from ztoapi.dialects.reader import Count, Usage
from ztoapi.dialects.translate import Endpoint
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import ApiError, UpstreamError, malformed, unfinished

__all__ = ["NativeResponses"]

_FIRST: Final = frozenset(("response.created", "response.queued", "response.in_progress"))
_LAST: Final = frozenset(("response.completed", "response.incomplete"))
_NUMBER: Final = re.compile(rb'"sequence_number"\s*:\s*(\d{1,9})')
_FAILED: Final = b'"failed"'
_NULL: Final = b"null"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Fields).decode


class _ResponsesUsage(msgspec.Struct):
    input_tokens: Count = 0
    output_tokens: Count = 0
    total_tokens: Count = 0
    input_tokens_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    output_tokens_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_counts = msgspec.json.Decoder(_ResponsesUsage, strict=False).decode


class NativeResponses:
    """Implements :class:`~ztoapi.apis.native.NativeAPI` for one request."""

    __slots__ = ("_number", "_response")

    endpoint: Endpoint = "responses"
    lines = b""

    def __init__(self) -> None:
        self._response: Fields = {}
        """The response of the first event."""
        self._number = -1
        """The ``sequence_number`` of the last event that was decoded."""

    def reader(self, model: str | None) -> "_ResponsesReader":
        return _ResponsesReader(self, model)

    def collector(self) -> "_ResponseCollector":
        return _ResponseCollector()

    def whole(self, body: bytes, model: str | None) -> tuple[bytes, Usage | None]:
        try:
            fields, _ = decode_fields(body)
            if bytes(fields.get("object", b"")) != b'"response"':
                raise read_error(body, 200)
            if bytes(fields.get("status", b"")) == _FAILED:
                raise _reported(fields)
            return rename(body, model) or body, _usage(fields)
        except (msgspec.DecodeError, RecursionError) as error:
            raise malformed("a response", error) from error

    def explain(self, error: ApiError) -> None:
        pass

    def fail(self, error: ApiError) -> bytes:
        """Returns ``response.failed``, which is all that Codex reads."""
        response: dict[str, object] = {"object": "response", **self._response}
        response |= {"status": "failed", "error": failure(error)}
        event = {"type": "response.failed", "sequence_number": self._number + 1, "response": response}
        return b"event: response.failed\ndata: %b\n\n" % _encode(event)

    def note(self, data: bytes) -> None:
        """Keeps the number of an event, for one that may have to follow it."""
        numbers = _NUMBER.findall(data)
        if numbers:
            self._number = int(numbers[-1])

    def begin(self, response: Fields) -> None:
        """Keeps the response of the first event. Raw values are views into the event."""
        self._response = {name: value.copy() for name, value in response.items()}


class _ResponsesReader(NativeReader):
    __slots__ = ("_api", "_model")

    first_events = _FIRST

    def __init__(self, api: NativeResponses, model: str | None) -> None:
        super().__init__()
        self._api = api
        self._model = model

    def is_delta(self, name: str) -> bool:
        return name.endswith(".delta")

    def read(self, name: str, data: bytes) -> bytes | None:
        self._api.note(data)
        if name == "error":
            self.error = read_error(data, 200)
            return None
        if name in _FIRST:
            changed = rename(data, self._model, "response")
            self._api.begin(_response(changed or data))
            return changed
        if name in _LAST:
            self.usage = _usage(_response(data))
            self.done = True
            return rename(data, self._model, "response")
        if name == "response.failed":
            self.error = _reported(_response(data))
        elif name == "response.cancelled":
            self.error = unfinished()
        return None


class _ResponseCollector:
    def __init__(self) -> None:
        self._last = b""

    def feed(self, block: bytes) -> None:
        pairs = events(block)
        if pairs:
            self._last = pairs[-1][1]

    def body(self) -> bytes:
        try:
            return _encode(_response(self._last))
        except (msgspec.DecodeError, RecursionError) as error:
            raise malformed("an event", error) from error


def _response(data: bytes) -> Fields:
    fields, _ = decode_fields(data)
    return _decode(fields.get("response", b"{}"))


def _reported(response: Fields) -> UpstreamError:
    """Returns the error of a failed response."""
    error = bytes(response.get("error", _NULL))
    return unfinished() if error == _NULL else read_error(b'{"error":%b}' % error, 200)


def _usage(response: Fields) -> Usage | None:
    """Returns the usage of a response under the names of chat."""
    try:
        counts = _decode_counts(response.get("usage", b"{}"))
    except (msgspec.DecodeError, RecursionError):
        return None
    total = counts.total_tokens or counts.input_tokens + counts.output_tokens
    usage = Usage(
        counts.input_tokens, counts.output_tokens, total, counts.input_tokens_details, counts.output_tokens_details
    )
    return usage if total else None
