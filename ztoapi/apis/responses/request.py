"""Reads a Responses request: a chat request for the upstream, and the context that its response needs.

Fields that the chat API lacks are echoed in the response and have no other effect. Fields that need a state which the
gateway does not keep (``background``, ``conversation``, ``prompt``) are refused: ignoring them would lose the
conversation. Null stands for an absent field.
Format: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ztoapi.apis.responses.input_items import InputReader, listed_tools
from ztoapi.apis.responses.output_items import TextKind
from ztoapi.apis.responses.response_object import DEFAULT_SCHEMA_NAME, EchoedTool, echo
from ztoapi.apis.responses.tools import CalledTool, ToolNames, choose_tools
from ztoapi.apis.thinking import thinking_fields
from ztoapi.apis.transcript import Transcript
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.dialects.field_errors import excerpt, missing
from ztoapi.dialects.request import ChatRequest, decode_request, decode_value, read_body
from ztoapi.errors import ApiError

__all__ = ["ResponseContext", "ResponsesRequest"]

Fields = dict[str, msgspec.Raw]

_NULL: Final = msgspec.Raw(b"null")
_NO_MESSAGES: Final = msgspec.Raw(b"[]")
_STATEFUL: Final = {
    "conversation": "the gateway stores no conversations: send the whole conversation in input",
    "prompt": "the gateway stores no prompt templates: send the text itself in instructions or input",
}
_EFFORTS: Final = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))
_REFERENCE_BYTES: Final = 256
"""Largest item that may be a reference to a stored one: the others need not be decoded for that."""
_encode = msgspec.json.Encoder().encode


class ResponseContext(msgspec.Struct, gc=False):
    """The parts of a request that the chat request lacks and the response needs."""

    model: str
    """As requested."""
    shows_reasoning: bool
    """False if the client does not want reasoning. Some models send it nevertheless."""
    reasoning_kind: TextKind
    called: dict[str, CalledTool]
    """The client's tools by the names of their functions, where they differ."""
    echo: bytes
    """Members of the Response object that repeat the request."""


class _Reasoning(msgspec.Struct, gc=False):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    """The former name of ``summary``."""


class _TextFormat(msgspec.Struct, gc=False):
    type: str
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = _NULL
    strict: bool | None = None


class _Text(msgspec.Struct, gc=False):
    format: _TextFormat | None = None


class _NamedSchema(msgspec.Struct, gc=False, omit_defaults=True):
    """The schema of ``response_format`` in the chat API."""

    name: str
    schema: msgspec.Raw
    description: str | None = None
    strict: bool | None = None


class _Reference(msgspec.Struct, gc=False):
    """An input item, as far as it may stand for a stored one."""

    type: str | None = None
    id: str | None = None


_decode_reference = msgspec.json.Decoder(_Reference).decode


class ResponsesRequest:
    """A request whose fields are decoded as far as every use needs. Raises ApiError (400) that names the field.

    ``items`` are the input items, undecoded. ``counts`` marks a request of ``input_tokens``, which may lack a model,
    and the input if it has instructions.
    """

    __slots__ = (
        "_counts", "_fields", "_instructions", "_reasoning", "_size", "items", "model", "previous_response_id",
        "store", "stream",
    )  # fmt: skip

    def __init__(self, body: bytes | bytearray, *, counts: bool = False) -> None:
        _, fields = read_body(body)
        self._fields = fields
        self._counts = counts
        self._size = len(body)
        for name, remedy in _STATEFUL.items():
            if fields.get(name, _NULL) != _NULL:
                raise ApiError(f"{name} is not supported: {remedy}", param=name, code="unsupported_parameter")
        if decode_value(fields, "background", bool):
            raise ApiError(
                "background is not supported: leave it out, and stream the response instead",
                param="background",
                code="unsupported_parameter",
            )
        model = decode_value(fields, "model", str)
        if not model and not counts:
            raise missing("model")
        self.model = model or ""
        self.stream = bool(decode_value(fields, "stream", bool))
        self.store = decode_value(fields, "store", bool) is not False
        self.previous_response_id = decode_value(fields, "previous_response_id", str)
        self.items = _items(fields)
        self._instructions = decode_value(fields, "instructions", str)
        if not self.items and self.previous_response_id is None and not (counts and self._instructions):
            raise _empty_input("input" in fields)
        self._reasoning = decode_value(fields, "reasoning", _Reasoning) or _Reasoning()
        if self._reasoning.effort is not None and self._reasoning.effort not in _EFFORTS:
            raise ApiError(
                f"reasoning.effort is {excerpt(self._reasoning.effort)}: use {', '.join(sorted(_EFFORTS))}",
                code="invalid_value",
                param="reasoning.effort",
            )

    def references(self) -> dict[int, str]:
        """Returns the ids of the stored items to which the input refers, by place."""
        small = ((place, raw) for place, raw in enumerate(self.items) if memoryview(raw).nbytes <= _REFERENCE_BYTES)
        items = ((place, _read_reference(raw)) for place, raw in small)
        return {place: item.id for place, item in items if item.type == "item_reference" and item.id is not None}

    def resolve(self, stored: Mapping[str | None, msgspec.Raw]) -> None:
        """Replaces references by the ``stored`` items, by id."""
        for place, id in self.references().items():
            self.items[place] = stored.get(id, self.items[place])

    @property
    def session_key(self) -> str | None:
        """The client's key for requests with a common prefix."""
        return decode_value(self._fields, "prompt_cache_key", str)

    def size(self, history: Sequence[msgspec.Raw] | None) -> int:
        """Returns the bytes of the request and of ``history``."""
        return self._size + sum(len(memoryview(item)) for item in history or ())

    def chat(
        self,
        model: ModelCapabilities,
        *,
        history: Sequence[msgspec.Raw] | None = None,
        stored: bool = False,
    ) -> tuple[ChatRequest, ResponseContext]:
        """Returns the chat request and the context of its response. Raises ApiError (400).

        ``history`` holds the stored items of the previous response; None without a store. ``stored``: the response
        will be stored.
        """
        if self.previous_response_id is not None and history is None:
            raise _no_previous_response(self.previous_response_id)
        fields = self._fields
        items = [*(history or ()), *self.items]
        tools = ToolNames()
        listed = decode_value(fields, "tools", list[msgspec.Raw]) or []
        tools.add(listed, "tools", web_search=model.web_search)
        for more, where in listed_tools(items):
            tools.add(more, where, web_search=False)
        transcript = Transcript()
        transcript.system(self._instructions or "")
        InputReader(transcript, tools, self.model, model).read(items)
        messages = transcript.messages()
        if not transcript.has_input and (messages == _NO_MESSAGES or not self._counts):
            # GLM refuses a request without them (1214).
            raise ApiError(
                "input needs at least one message of the user with content, or the output of a tool",
                code="invalid_value",
                param="input",
            )
        effort = self._reasoning.effort
        chat: dict[str, object] = {"model": self.model, "messages": messages, "stream": self.stream}
        if self.stream:
            chat["stream_options"] = {"include_usage": True}
        chat |= self._sampling(model)
        selection, choice = choose_tools(decode_value(fields, "tool_choice", object), tools, tools.chat_tools())
        if selection:
            chat["tools"] = selection
            if choice is not None:
                chat["tool_choice"] = choice
            if decode_value(fields, "parallel_tool_calls", bool) is False:
                chat["parallel_tool_calls"] = False
            if self.stream and model.tool_stream:
                chat["tool_stream"] = True
        if effort is not None or transcript.has_reasoning:
            chat |= thinking_fields(effort != "none", effort, model, replayed=transcript.has_reasoning)
        context = ResponseContext(
            model=self.model,
            shows_reasoning=effort != "none",
            reasoning_kind=self._reasoning_kind,
            called=tools.called,
            echo=echo(fields, [_echoed(raw) for raw in listed], stored=stored),
        )
        return decode_request(_encode(chat), needs_model=False), context

    @property
    def _reasoning_kind(self) -> TextKind:
        reasoning = self._reasoning
        if reasoning.summary is not None or reasoning.generate_summary is not None:
            return TextKind.SUMMARY
        return TextKind.UNREQUESTED if reasoning.effort is None else TextKind.REASONING

    def _sampling(self, model: ModelCapabilities) -> dict[str, object]:
        """The fields that the chat API has too."""
        fields = self._fields
        chat = dict[str, object]()
        for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
            if decode_value(fields, name, float) is not None:
                # Numbers keep their spelling, on which the key of a cached response depends.
                chat[name] = fields[name]
        limit = decode_value(fields, "max_output_tokens", int)
        if limit is not None:
            if limit < 1:
                raise ApiError(
                    "max_output_tokens must be at least 1", code="integer_below_min_value", param="max_output_tokens"
                )
            chat["max_tokens"] = limit if model.max_output_tokens is None else min(limit, model.max_output_tokens)
        user = decode_value(fields, "user", str) or decode_value(fields, "safety_identifier", str)
        if user:
            chat["user"] = user
        text = decode_value(fields, "text", _Text)
        if text is not None and text.format is not None and text.format.type != "text":
            chat["response_format"] = _response_format(text.format)
        return chat


def _read_reference(raw: msgspec.Raw) -> _Reference:
    try:
        return _decode_reference(raw)
    except (msgspec.DecodeError, RecursionError):
        # The reader of the items names the error.
        return _Reference()


def _items(fields: Fields) -> list[msgspec.Raw]:
    raw = fields.get("input", _NULL)
    if bytes(memoryview(raw)[:1]) == b'"':
        return [msgspec.Raw(b'{"type":"message","role":"user","content":%b}' % raw)]
    return decode_value(fields, "input", list[msgspec.Raw]) or []


def _empty_input(is_present: bool) -> ApiError:
    remedy = "send a text or at least one item"
    if not is_present:
        return missing("input", remedy)
    return ApiError(f"input is empty: {remedy}", code="empty_array", param="input")


def _no_previous_response(id: str) -> ApiError:
    return ApiError(
        f"Previous response with id {excerpt(id)} not found: the gateway does not have it. Send the whole conversation "
        "in input.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def _response_format(format: _TextFormat) -> dict[str, object]:
    """``text.format`` in the shape of the chat API, which nests the schema."""
    if format.type == "json_object":
        return {"type": "json_object"}
    if format.type != "json_schema":
        raise ApiError(
            f"text.format.type is {excerpt(format.type)}: use text, json_object or json_schema",
            code="invalid_value",
            param="text.format.type",
        )
    if format.schema == _NULL:
        raise missing("text.format.schema", "send the JSON Schema of the response")
    schema = _NamedSchema(format.name or DEFAULT_SCHEMA_NAME, format.schema, format.description, format.strict)
    return {"type": "json_schema", "json_schema": schema}


def _echoed(raw: msgspec.Raw) -> msgspec.Raw:
    """A tool as the Response object lists it: a function has all its members."""
    try:
        return msgspec.Raw(_encode(msgspec.json.decode(raw, type=EchoedTool)))
    except msgspec.ValidationError:
        return raw
