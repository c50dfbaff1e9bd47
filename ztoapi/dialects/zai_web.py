"""chat.z.ai's web chat format: the plain request body, and the reader of its event stream.

The web application requires proofs from its clients that this package does not make, so a live request is normally
refused: the error is ``upstream_client_check``, with the alternative. Without guest credentials and client checks, the
dialect is for the simulator, recorded streams and servers with the plain format.
"""

import datetime
from collections.abc import Mapping
from typing import Annotated

import msgspec

from ztoapi.dialects.chunk_writer import DONE, ChunkWriter
from ztoapi.dialects.events import events
from ztoapi.dialects.field_errors import field_error
from ztoapi.dialects.lenient import is_empty, read_usage, replace_halves
from ztoapi.dialects.reader import TranslatingReader
from ztoapi.dialects.reasoning_blocks import Snapshot, TextSource
from ztoapi.dialects.reports import read_report
from ztoapi.dialects.request import decode_value
from ztoapi.dialects.thinking import ThinkMode
from ztoapi.dialects.web_tools import ToolCalls
from ztoapi.dialects.zai_web_errors import refusal, reported
from ztoapi.errors import Failure, UpstreamError, empty_response, malformed, too_large, unfinished

__all__ = ["MESSAGE_MAX_CHARS", "WebReader", "build", "refusal"]

MESSAGE_MAX_CHARS = 16 * 1024 * 1024
"""Longest message that is kept for later edits: far beyond the 131072 tokens of the longest documented response, yet a
bound on the memory of a stream. A longer message ends in an error."""

_PARAMS = ("temperature", "top_p", "max_tokens", "stop", "frequency_penalty", "presence_penalty", "seed")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NULL = b"null"
_encode = msgspec.json.Encoder().encode


class _ContentPart(msgspec.Struct):
    type: str
    text: str = ""


_decode_parts = msgspec.json.Decoder(list[_ContentPart]).decode


def build(
    fields: Mapping[str, msgspec.Raw],
    *,
    model: str,
    thinking: bool | None,
    chat_id: str,
    message_id: str,
    now: datetime.datetime,
) -> bytes:
    """Returns the request body for the undecoded ``fields`` of a client's request.

    ``model`` is the upstream's id. ``thinking`` None leaves the choice to the upstream. ``now`` goes into the prompt
    and should have a time zone.
    """
    features: dict[str, bool | list[str]] = {
        "image_generation": False,
        "web_search": False,
        "auto_web_search": False,
        "preview_mode": False,
        "flags": [],
        "features": [],
    }
    if thinking is not None:
        features["enable_thinking"] = thinking
    body: dict[str, object] = {
        "stream": True,
        "model": model,
        "messages": _messages(fields),
        "params": _params(fields),
        "features": features,
        "background_tasks": {"title_generation": False, "tags_generation": False},
        "chat_id": chat_id,
        "id": message_id,
        "mcp_servers": [],
        "tool_servers": [],
        "files": [],
        "model_item": {"id": model, "name": model, "owned_by": "openai"},
        "variables": _variables(now),
    }
    body.update((name, fields[name]) for name in ("tools", "tool_choice") if _is_set(fields, name))
    return _encode(body)


def _is_set(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    return name in fields and bytes(fields[name]) != _NULL


def _params(fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    params = {name: fields[name] for name in _PARAMS if _is_set(fields, name)}
    if _is_set(fields, "max_completion_tokens"):
        params.setdefault("max_tokens", fields["max_completion_tokens"])
    return params


def _messages(fields: Mapping[str, msgspec.Raw]) -> list[dict[str, msgspec.Raw]]:
    messages = decode_value(fields, "messages", list[dict[str, msgspec.Raw]]) or []
    for number, message in enumerate(messages):
        if bytes(message.get("role", b"")) == b'"developer"':
            message["role"] = msgspec.Raw(b'"system"')
        if "content" in message:
            message["content"] = _content(message["content"], f"messages[{number}].content")
    return messages


def _content(content: msgspec.Raw, place: str) -> msgspec.Raw:
    """Joins text parts into a string, which the web format always accepts; other parts are forwarded unchanged.

    ``place`` names the content in errors.
    """
    if not bytes(content).startswith(b"["):
        return content
    try:
        parts = _decode_parts(content)
    except msgspec.DecodeError as error:
        raise field_error(place, error) from error
    if any(part.type != "text" for part in parts):
        return content
    # Without a separator, as GLM's own chat template joins them.
    return msgspec.Raw(_encode("".join(part.text for part in parts)))


def _variables(now: datetime.datetime) -> dict[str, str]:
    date, clock = now.strftime("%Y-%m-%d"), now.strftime("%H:%M:%S")
    return {
        "{{USER_NAME}}": "User",
        "{{USER_LOCATION}}": "Unknown",
        "{{USER_LANGUAGE}}": "en-US",
        "{{CURRENT_DATETIME}}": f"{date} {clock}",
        "{{CURRENT_DATE}}": date,
        "{{CURRENT_TIME}}": clock,
        "{{CURRENT_WEEKDAY}}": _WEEKDAYS[now.weekday()],
        "{{CURRENT_TIMEZONE}}": now.tzname() or "UTC",
    }


_UNSET = msgspec.Raw()


class _Data(msgspec.Struct):
    phase: object = None
    delta_content: str | None = None
    edit_index: Annotated[float, msgspec.Meta(ge=0)] | None = None
    edit_content: str | None = None
    content: str | None = None
    done: object = None
    usage: msgspec.Raw = _UNSET
    tool_calls: msgspec.Raw = _UNSET
    error: msgspec.Raw = _UNSET
    data: msgspec.Raw = _UNSET


class _Event(msgspec.Struct):
    type: object = None
    data: _Data | str | None = None
    error: msgspec.Raw = _UNSET
    detail: msgspec.Raw = _UNSET


class _EventType(msgspec.Struct):
    """The field that decides whether an event is skipped, for any shape of its data."""

    type: object = None


class _Nested(msgspec.Struct):
    error: msgspec.Raw = _UNSET


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_kind = msgspec.json.Decoder(_EventType).decode
_decode_any = msgspec.json.Decoder().decode
_decode_nested = msgspec.json.Decoder(_Nested).decode
_decode_string = msgspec.json.Decoder(str).decode

_CHAT = "chat:completion"
_FINISH = "chat:completion:finish"
_END = b"[DONE]"
_NESTED_END = b'"[DONE]"'
_DONE = (True, "true")
_OWN_NAMES = frozenset(("", "message", "error"))
"""Names of events that contain the answer or errors."""
# Phases whose text is not part of the answer. Any other phase counts as the answer: a lost answer is the worse mistake.
_SOURCES = {"thinking": TextSource.THINKING, "tool_call": TextSource.HIDDEN, "search": TextSource.HIDDEN}


class WebReader(TranslatingReader):
    """Reads one web chat stream; see :class:`ztoapi.dialects.reader.Reader`."""

    __slots__ = (
        "_include_usage",
        "_phase",
        "_snapshot",
        "_started",
        "_tools",
        "_writer",
    )

    def __init__(self, writer: ChunkWriter, mode: ThinkMode, include_usage: bool) -> None:
        super().__init__()
        self._writer = writer
        self._include_usage = include_usage
        self._snapshot = Snapshot(mode)
        self._tools = ToolCalls()
        self._phase = ""
        self._started = False

    @property
    def rewrites(self) -> int:
        """The number of edits that changed sent text: the client's text then differs from the final message."""
        return self._snapshot.rewrites

    @property
    def reparses(self) -> int:
        """The number of events that caused the message to be reread from its start."""
        return self._snapshot.reparses

    def feed(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for name, payload in events(block):
            try:
                self._read(name, payload, out)
            except UpstreamError as error:
                self._fail(error, out)
            if self.done or self.error:
                break
        return b"".join(out)

    def eof(self) -> bytes:
        out: list[bytes] = []
        if not self.done and not self.error:
            self._fail(self._truncated(), out)
        return b"".join(out)

    def _truncated(self) -> UpstreamError:
        if not self._started and not self._snapshot.chars:
            return empty_response()
        return unfinished(retryable=not self._started)

    def _fail(self, error: UpstreamError, out: list[bytes]) -> None:
        self._write(self._snapshot.take_rest(), out)
        self.error = error

    def _read(self, name: str, payload: bytes, out: list[bytes]) -> None:
        text = payload.strip()
        if text == _END:
            self._finish(out)
            return
        if not text or (name not in _OWN_NAMES and not text.startswith(b"{")):
            return
        event = self._decode(payload)
        if event is None:
            return
        _raise_error(event)
        if event.type not in (_CHAT, _FINISH, None):
            return
        ended = event.type == _FINISH
        if isinstance(event.data, _Data):
            self._apply(event.data)
            self._write(self._snapshot.take(), out)
            self._write_tools(event.data.tool_calls, out)
            ended = ended or self._ends(event.data)
        elif event.data is not None:
            ended = ended or event.data == "[DONE]"
        if ended:
            self._finish(out)

    def _decode(self, payload: bytes) -> _Event | None:
        """Returns the event; None if it is not an object, or has an unknown type and data of another shape."""
        try:
            try:
                return _decode_event(payload)
            except msgspec.ValidationError:
                if not isinstance(_decode_any(payload), dict):
                    return None
                if _decode_kind(payload).type not in (_CHAT, _FINISH, None):
                    return None
                raise
            except msgspec.DecodeError:
                return _decode_event(replace_halves(payload))
        except (msgspec.DecodeError, RecursionError) as error:
            raise malformed("an event", error, retryable=not self._started) from error

    def _apply(self, data: _Data) -> None:
        if data.phase and isinstance(data.phase, str):
            self._phase = data.phase
        snapshot = self._snapshot
        # An empty text without an index must be ignored: applied as a change it would erase the message.
        if data.content:
            snapshot.replace(data.content)
        if data.edit_content is not None and (data.edit_content or data.edit_index is not None):
            snapshot.edit(int(data.edit_index or 0), _plain(data.edit_content))
        if data.delta_content:
            snapshot.append(data.delta_content, _SOURCES.get(self._phase, TextSource.ANSWER))
        if snapshot.chars > MESSAGE_MAX_CHARS:
            raise too_large("message", Failure.LARGE_RESPONSE, f"{MESSAGE_MAX_CHARS} characters")
        if _present(data.usage):
            self.usage = read_usage(data.usage) or self.usage

    def _ends(self, data: _Data) -> bool:
        return data.done in _DONE or data.phase == "done" or bytes(data.data) == _NESTED_END

    def _write(self, texts: tuple[str, str], out: list[bytes]) -> None:
        reasoning, content = texts
        if reasoning:
            self._start(out)
            out.append(self._writer.reasoning(reasoning))
        if content:
            self._start(out)
            out.append(self._writer.content(content))

    def _write_tools(self, calls: msgspec.Raw, out: list[bytes]) -> None:
        if _present(calls):
            delta = self._tools.delta(calls)
            self._start(out)
            out.append(self._writer.delta(delta))

    def _start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            out.append(self._writer.role())

    def _finish(self, out: list[bytes]) -> None:
        if not self._started and not self._snapshot.chars and self.usage is None:
            raise empty_response()
        self._write(self._snapshot.end(), out)
        self._start(out)
        out.append(self._writer.finish("tool_calls" if self._tools.any else "stop"))
        if self._include_usage and self.usage is not None:
            out.append(self._writer.usage(self.usage))
        out.append(DONE)
        self.done = True


def _present(raw: msgspec.Raw) -> bool:
    """Whether a field has a value. The comparison by identity decides for most fields, without a copy."""
    return raw is not _UNSET and not is_empty(raw)


def _raise_error(event: _Event) -> None:
    """Raises the error that the event reports: at the top level, in its data, or in the data within that."""
    errors = [event.error, event.detail]
    if isinstance(event.data, _Data):
        errors.append(event.data.error)
        if event.data.data is not _UNSET and bytes(event.data.data).startswith(b"{"):
            errors.append(_decode_nested(event.data.data).error)
    for error in filter(_present, errors):
        raise reported(read_report(bytes(error)))


def _plain(text: str) -> str:
    """Returns the text of an edit, which may be a JSON string within the string.

    Only a text with an escape is decoded: otherwise an answer in quotation marks would lose them.
    """
    if text[:1] == '"' == text[-1:] and "\\" in text:
        try:
            return _decode_string(text)
        except msgspec.DecodeError:
            return text
    return text
