"""Content blocks of a Messages request as the turns of a chat request.

https://platform.claude.com/docs/en/api/messages
"""

from base64 import b64decode
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from ztoapi.apis.messages.tools import Tools
from ztoapi.apis.reasoning import unseal
from ztoapi.apis.transcript import (
    BLANK_LINE,
    CallMessage,
    FilePart,
    ImagePart,
    Part,
    TextPart,
    Transcript,
    Url,
    tool_call,
)
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.dialects.chunks import ABSENT
from ztoapi.dialects.field_errors import excerpt, field_error, missing
from ztoapi.errors import ApiError

T = TypeVar("T")

__all__ = ["BILLING", "Block", "Content", "Conversation", "Turn", "system_text"]

BILLING: Final = "x-anthropic-billing-header"
"""Begins a line of Claude Code's system prompt that differs from request to request, and is not part of the prompt."""
_ROLES: Final = ("user", "assistant", "system")
_ERROR: Final = "Error: "
_COUNTED: Final = "data:,"
"""Address that replaces the source of an image when tokens are counted."""
_DOCUMENT_BLOCKS: Final = ("text", "image")
"""Types of the blocks of a document."""
_IMAGE_RESULT: Final = "(the image is in the next message)"
"""Text of a tool result that has an image only: tool messages hold text."""
_SERVER_BLOCKS: Final = ("_tool_result", "server_tool_use", "mcp_tool_use", "redacted_thinking", "container_upload")
"""Ends of the types of blocks that only Anthropic's servers write, or read."""


class BlockSource(msgspec.Struct, gc=False):
    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: msgspec.Raw = ABSENT


class Block(msgspec.Struct, gc=False):
    """A block of any type. Other fields, such as ``cache_control``, are ignored."""

    type: str
    text: str | None = None
    source: msgspec.Raw = ABSENT
    title: str | None = None
    context: str | None = None
    content: msgspec.Raw = ABSENT
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    tool_use_id: str | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    tool_name: str | None = None


Content = str | list[Block]


class Turn(msgspec.Struct, gc=False):
    """One of the request's ``messages``."""

    role: str
    content: Content


_decode_content: Final = msgspec.json.Decoder(Content | None).decode
_decode_source = msgspec.json.Decoder(BlockSource).decode


def system_text(content: Content | None, place: str) -> str:
    """Returns a system prompt without its billing line."""
    texts: list[str] = []
    for block in _blocks(content):
        if block.type != "text":
            raise ApiError(
                f"{place}: a block of the type {excerpt(block.type)} is not supported; send text",
                code="unsupported_content",
                param=place,
            )
        text = block.text or ""
        if text.lstrip().startswith(BILLING):
            _, _, text = text.lstrip().partition("\n")
        if text.strip():
            texts.append(text)
    return BLANK_LINE.join(texts)


class Conversation:
    """Adds the turns of a request for ``model`` to ``transcript``; ``referenced`` are the deferred tools that they
    name. ``counts``: the request is only counted, and a source that no model reads counts as an image."""

    def __init__(
        self, transcript: Transcript, model: ModelCapabilities, name: str, tools: Tools, *, counts: bool
    ) -> None:
        self._transcript = transcript
        self._model = model
        self._counts = counts
        self._name = name
        self._tools = tools
        self.referenced: list[str] = []

    def add(self, turn: Turn, place: str) -> None:
        if turn.role not in _ROLES:
            raise ApiError(
                f"{place}.role is {excerpt(turn.role)}: use {', '.join(_ROLES)}; tool results are blocks of a user",
                code="invalid_value",
                param=f"{place}.role",
            )
        place = f"{place}.content"
        if turn.role == "system":
            self._transcript.system(system_text(turn.content, place))
        elif turn.role == "assistant":
            self._add_assistant(_blocks(turn.content))
        else:
            self._add_user(_blocks(turn.content), place)

    def _add_user(self, blocks: Sequence[Block], place: str) -> None:
        """Tool messages hold text: images of results come with the rest of the turn, behind all of them."""
        images: list[Part] = []
        rest: list[Part] = []
        for at, block in enumerate(blocks):
            if block.type == "tool_result":
                images += self._add_result(block, f"{place}.{at}")
            else:
                rest += self._parts(block, f"{place}.{at}")
        self._transcript.user([*images, *rest])

    def _add_result(self, block: Block, place: str) -> list[Part]:
        """Adds a tool result, and returns its parts that are no text."""
        call_id = _need(block.tool_use_id, f"{place}.tool_use_id")
        parts: list[Part] = []
        for at, inner in enumerate(_content(block.content, f"{place}.content")):
            parts += self._parts(inner, f"{place}.content.{at}")
        text = BLANK_LINE.join(part.text for part in parts if isinstance(part, TextPart) and part.text)
        others: list[Part] = [part for part in parts if not isinstance(part, TextPart)]
        if others and not text:
            text = _IMAGE_RESULT
        if block.is_error and not text.lower().startswith("error"):
            text = _ERROR + (text or "(no output)")
        self._transcript.result(call_id, text)
        return others

    def _add_assistant(self, blocks: Sequence[Block]) -> None:
        texts: list[str] = []
        reasoning: list[str] = []
        calls: list[CallMessage] = []
        for block in blocks:
            if block.type == "tool_use":
                calls.append(tool_call(block.id or "", block.name or "", _arguments(block.input)))
            elif block.type == "thinking":
                reasoning.append(block.thinking or unseal(block.signature or "") or "")
            elif block.text:
                texts.append(block.text)
        self._transcript.assistant(
            BLANK_LINE.join(texts), reasoning=BLANK_LINE.join(filter(None, reasoning)), calls=calls
        )

    def _parts(self, block: Block, place: str) -> list[Part]:
        """Returns one block of a user's turn or of a tool result as parts."""
        if block.type == "text":
            return [TextPart(block.text or "")]
        if block.type == "image":
            return [self._image(block, place)]
        if block.type == "document":
            return self._document(block, place)
        if block.type == "search_result":
            inner = _content(block.content, f"{place}.content")
            return [_titled([block.title, _string(block.source)], [block.text or "" for block in inner])]
        if block.type == "tool_reference":
            name = _need(block.tool_name, f"{place}.tool_name")
            self.referenced.append(name)
            return [TextPart(self._tools.reference(name))]
        if block.type.endswith(_SERVER_BLOCKS):
            return []
        raise _misplaced(block, place)

    def _image(self, block: Block, place: str) -> Part:
        self._accept("image", "images", place)
        source = _source(block, place)
        if source.type == "url":
            return ImagePart(Url(_need(source.url, f"{place}.source.url")))
        if source.type != "base64":
            if self._counts:
                return ImagePart(Url(_COUNTED))
            raise _unsupported(source, "send the image as base64 or by its url", place)
        media_type = _need(source.media_type, f"{place}.source.media_type")
        return ImagePart(Url(f"data:{media_type};base64,{_need(source.data, f'{place}.source.data')}"))

    def _document(self, block: Block, place: str) -> list[Part]:
        source = _source(block, place)
        titles = [block.title, block.context]
        media_type = source.media_type or ""
        if source.type == "text":
            return [_titled(titles, [_need(source.data, f"{place}.source.data")])]
        if source.type == "content":
            parts: list[Part] = []
            for at, inner in enumerate(_content(source.content, f"{place}.source.content")):
                if inner.type not in _DOCUMENT_BLOCKS:
                    # Documents in documents would be decoded once for each level.
                    raise _misplaced(inner, f"{place}.source.content.{at}")
                parts += self._parts(inner, f"{place}.source.content.{at}")
            return [*([_titled(titles, [])] if any(titles) else []), *parts]
        if source.type == "base64" and media_type.startswith("text/"):
            return [_titled(titles, [_decoded(source, place)])]
        if source.type == "url":
            self._accept("file", "documents by URL", place)
            return [FilePart(Url(_need(source.url, f"{place}.source.url")))]
        if self._counts:
            return [ImagePart(Url(_COUNTED))]
        raise _unsupported(source, "GLM reads a PDF by its url only; send that, or its text", place)

    def _accept(self, kind: str, noun: str, place: str) -> None:
        if kind in self._model.refused_inputs:
            raise ApiError(f"{place}: the model {self._name} takes no {noun}", code="unsupported_content", param=place)


def _arguments(input: msgspec.Raw) -> str:
    """Returns a tool call's input as JSON text. GLM's prompt template takes objects only."""
    text = bytes(input).decode()
    return text if text.startswith("{") else "{}"


def _blocks(content: Content | None) -> list[Block]:
    if isinstance(content, str):
        return [Block("text", text=content)]
    return content or []


def _content(raw: msgspec.Raw, place: str) -> list[Block]:
    if raw is ABSENT:
        return []
    try:
        return _blocks(_decode_content(raw))
    except msgspec.ValidationError as error:
        raise field_error(place, error, dotted=True) from error


def _source(block: Block, place: str) -> BlockSource:
    try:
        return _decode_source(_need(block.source, f"{place}.source"))
    except msgspec.ValidationError as error:
        raise field_error(f"{place}.source", error, dotted=True) from error


def _need(value: T | None, place: str) -> T:
    if not value:
        raise missing(place)
    return value


def _titled(titles: Sequence[str | None], texts: Sequence[str]) -> TextPart:
    return TextPart(BLANK_LINE.join(["\n".join(filter(None, titles)), *texts]).strip())


def _string(raw: msgspec.Raw) -> str | None:
    try:
        return None if raw is ABSENT else msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        return None


def _decoded(source: BlockSource, place: str) -> str:
    try:
        return b64decode(source.data or "").decode("utf-8", "replace")
    except ValueError as error:
        raise ApiError(
            f"{place}.source.data is not base64", code="invalid_value", param=f"{place}.source.data"
        ) from error


def _misplaced(block: Block, place: str) -> ApiError:
    return ApiError(
        f"{place}.type: {excerpt(block.type)} is not supported here", code="unsupported_content", param=f"{place}.type"
    )


def _unsupported(source: BlockSource, remedy: str, place: str) -> ApiError:
    return ApiError(
        f"{place}.source: the type {excerpt(source.type)} ({excerpt(source.media_type)}) is not supported; {remedy}",
        code="unsupported_content",
        param=f"{place}.source",
    )
