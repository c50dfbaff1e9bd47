"""The input items of a Responses request as the messages of a chat request.

Items are flatter than messages: a reasoning item, a message and several calls that follow each other were one message
of the model. Items of tools that OpenAI executes are left out; the executable ones among them (``local_shell_call``,
``apply_patch_call``) become calls of a function of that name, so that the conversation keeps its sense.
Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from ztoapi.apis.arguments import as_object
from ztoapi.apis.reasoning import unseal
from ztoapi.apis.responses.tools import ToolNames
from ztoapi.apis.transcript import BLANK_LINE, FilePart, ImagePart, Part, TextPart, Transcript, Url, tool_call
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.dialects.field_errors import excerpt, field_error, missing
from ztoapi.errors import ApiError

__all__ = ["InputReader", "listed_tools"]

T = TypeVar("T")

_NULL: Final = msgspec.Raw(b"null")
_TEXTS: Final = frozenset(("input_text", "output_text", "text", "summary_text", "reasoning_text"))
_IMAGES: Final = frozenset(("input_image", "image_url"))
_KNOWN_PARTS: Final = _TEXTS | _IMAGES | {"refusal", "input_file"}
_DETAILS: Final = frozenset(("low", "high"))
"""Values of an image's ``detail`` that the chat API has, without the default."""
_TOOL_LISTS: Final = frozenset(("additional_tools", "tool_search_output"))
_HOSTED_CALL: Final = re.compile(r"(local_shell|shell|apply_patch)_call(_output)?")


class _ItemType(msgspec.Struct, gc=False):
    type: str | None = None


class _ItemPart(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: msgspec.Raw = _NULL
    detail: str | None = None
    file_url: str | None = None


class _Image(msgspec.Struct, gc=False):
    """An image in the shape of the chat API, which some clients send."""

    url: str


class _MessageItem(msgspec.Struct, gc=False):
    role: str
    content: str | list[_ItemPart] | None = None


class _ReasoningItem(msgspec.Struct, gc=False):
    summary: list[_ItemPart] | None = None
    content: list[_ItemPart] | None = None
    encrypted_content: str | None = None


class _CallItem(msgspec.Struct, gc=False):
    call_id: str
    name: str
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None


class _OutputItem(msgspec.Struct, gc=False):
    call_id: str
    output: msgspec.Raw = _NULL


class _HostedCall(msgspec.Struct, gc=False):
    """A call of a tool that OpenAI defines and the client executes."""

    call_id: str
    action: msgspec.Raw = _NULL
    operation: msgspec.Raw = _NULL


class _ToolList(msgspec.Struct, gc=False):
    tools: list[msgspec.Raw] | None = None


_output_parts: Final[msgspec.json.Decoder[str | list[_ItemPart] | None]] = msgspec.json.Decoder(
    str | list[_ItemPart] | None
)
_image_url: Final[msgspec.json.Decoder[str | _Image | None]] = msgspec.json.Decoder(str | _Image | None)


def listed_tools(items: Sequence[msgspec.Raw]) -> Iterator[tuple[list[msgspec.Raw], str]]:
    """Yields the tools that items of the conversation add, each with its place for messages."""
    for place, raw in enumerate(items):
        where = f"input[{place}]"
        if _decode(raw, _ItemType, where).type in _TOOL_LISTS:
            yield _decode(raw, _ToolList, where).tools or [], f"{where}.tools"


class InputReader:
    """Adds items to a ``transcript``. Raises ApiError (400) that names the item."""

    __slots__ = ("_model", "_model_name", "_reasoning", "_tools", "_transcript")

    def __init__(self, transcript: Transcript, tools: ToolNames, model_name: str, model: ModelCapabilities) -> None:
        self._transcript = transcript
        self._tools = tools
        self._model_name = model_name
        self._model = model
        self._reasoning: list[str] = []
        """Texts of reasoning items that wait for the message that they precede."""

    def read(self, items: Sequence[msgspec.Raw]) -> None:
        for place, raw in enumerate(items):
            self._item(raw, f"input[{place}]")

    def _item(self, raw: msgspec.Raw, where: str) -> None:
        kind = _decode(raw, _ItemType, where).type
        if kind in (None, "message"):
            self._message(_decode(raw, _MessageItem, where), where)
        elif kind == "reasoning":
            text = _reasoning_text(_decode(raw, _ReasoningItem, where))
            if text:
                self._reasoning.append(text)
        elif kind in ("function_call", "custom_tool_call"):
            call = _decode(raw, _CallItem, where)
            arguments = call.arguments or ""
            if kind == "custom_tool_call":
                arguments = msgspec.json.encode({"input": call.input or ""}).decode()
            self._call(call.call_id, self._tools.chat_name(call.name, call.namespace), arguments)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._output(_decode(raw, _OutputItem, where), where)
        elif kind == "item_reference":
            raise ApiError(
                f"{where} refers to a stored item that the gateway does not have: send the item itself. Clients do so "
                "if store is false",
                code="unsupported_content",
                param=where,
            )
        else:
            self._hosted(kind, raw, where)

    def _message(self, item: _MessageItem, where: str) -> None:
        parts = list(self._parts(item.content, f"{where}.content"))
        if item.role == "user":
            self._reasoning.clear()
            self._transcript.user(parts)
            return
        if item.role not in ("assistant", "system", "developer"):
            raise ApiError(
                f"{where}.role is {excerpt(item.role)}: use user, assistant, system or developer",
                code="invalid_value",
                param=f"{where}.role",
            )
        texts = [part.text for part in parts if isinstance(part, TextPart) and part.text]
        if item.role != "assistant":
            self._transcript.system(BLANK_LINE.join(texts))
        elif texts:
            self._transcript.assistant("".join(texts), reasoning=self._waiting_reasoning())

    def _call(self, call_id: str, name: str, arguments: str) -> None:
        call = tool_call(call_id, name, as_object(arguments).decode())
        self._transcript.assistant(reasoning=self._waiting_reasoning(), calls=[call])

    def _output(self, item: _OutputItem, where: str) -> None:
        content = _output_content(item.output)
        parts = list(self._parts(content, f"{where}.output"))
        self._transcript.result(item.call_id, "\n".join(part.text for part in parts if isinstance(part, TextPart)))
        rest = [part for part in parts if not isinstance(part, TextPart)]
        if rest:
            self._transcript.user(rest)

    def _hosted(self, kind: str | None, raw: msgspec.Raw, where: str) -> None:
        hosted = _HOSTED_CALL.fullmatch(kind or "")
        if hosted is None:
            return
        name, is_output = hosted.groups()
        if is_output:
            self._output(_decode(raw, _OutputItem, where), where)
            return
        call = _decode(raw, _HostedCall, where)
        arguments = call.action if call.operation == _NULL else call.operation
        self._call(call.call_id, name, "" if arguments == _NULL else bytes(arguments).decode())

    def _waiting_reasoning(self) -> str:
        text = BLANK_LINE.join(self._reasoning)
        self._reasoning.clear()
        return text

    def _parts(self, content: str | list[_ItemPart] | None, where: str) -> Iterator[Part]:
        if isinstance(content, str):
            yield TextPart(content)
            return
        for place, part in enumerate(content or ()):
            yield self._part(part, f"{where}[{place}]")

    def _part(self, part: _ItemPart, where: str) -> Part:
        if part.type in _TEXTS:
            return TextPart(part.text or "")
        if part.type == "refusal":
            return TextPart(part.refusal or "")
        if part.type in _IMAGES:
            return self._image(part, where)
        if part.type == "input_file":
            if part.file_url is None:
                raise ApiError(
                    f"{where}: the models read a file only by its URL: send file_url",
                    code="unsupported_content",
                    param=where,
                )
            if "file" in self._model.refused_inputs:
                raise self._not_accepted("files", where)
            return FilePart(Url(part.file_url))
        raise ApiError(
            f"{where}: a part of the type {excerpt(part.type)} is not supported",
            code="unsupported_content",
            param=where,
        )

    def _image(self, part: _ItemPart, where: str) -> Part:
        try:
            image = _image_url.decode(part.image_url)
        except msgspec.DecodeError as error:
            raise field_error(f"{where}.image_url", error) from error
        url = image.url if isinstance(image, _Image) else image
        if not url:
            raise missing(f"{where}.image_url", "send an image by its URL or as a data: URL")
        if "image" in self._model.refused_inputs:
            raise self._not_accepted("images", where)
        return ImagePart(Url(url, part.detail if part.detail in _DETAILS else None))

    def _not_accepted(self, inputs: str, where: str) -> ApiError:
        return ApiError(
            f"the model {self._model_name} does not accept {inputs}: use a vision model",
            code="unsupported_content",
            param=where,
        )


def _output_content(output: msgspec.Raw) -> str | list[_ItemPart] | None:
    """The content of a tool's output. A client may have a shape of its own: the model then reads its JSON."""
    try:
        content = _output_parts.decode(output)
    except msgspec.ValidationError:
        return bytes(output).decode()
    if isinstance(content, list) and any(part.type not in _KNOWN_PARTS for part in content):
        return bytes(output).decode()
    return content


def _reasoning_text(item: _ReasoningItem) -> str:
    text = unseal(item.encrypted_content) if item.encrypted_content else None
    if text is None:
        text = "".join(part.text or "" for part in item.content or ())
    return text or BLANK_LINE.join(part.text or "" for part in item.summary or ())


def _decode(raw: msgspec.Raw, type: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(raw, type=type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise field_error(where, error) from error
