"""Translations: the upstream request of a chat and the reading of its response, for each dialect.

A :class:`Translation` is made for each request: the relay sends its ``body`` and reads the response with it.
"""

import datetime
from collections.abc import Callable, Generator
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from ztoapi.dialects import openai, zai_request, zai_web, zread, zread_request
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.collect import Collector
from ztoapi.dialects.hidden_reasoning import HiddenReasoningReader, completion_without_reasoning
from ztoapi.dialects.reader import Reader, Usage
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.thinking import ThinkMode
from ztoapi.dialects.whole import completion_events
from ztoapi.dialects.zai_errors import read_error
from ztoapi.dialects.zread_request import JSONCall
from ztoapi.errors import UpstreamError

__all__ = [
    "Endpoint",
    "EventCollector",
    "OpenAITranslation",
    "Preparation",
    "Translation",
    "TranslationContext",
    "WebTranslation",
    "ZreadTranslation",
    "to_openai",
    "to_zai",
]

Preparation: TypeAlias = Generator[JSONCall, bytes, tuple[str, bytes]]
"""The calls that precede the chat request. It receives the body of each response, and returns the path and the body of
the chat request. Raises ApiError or UpstreamError for a response that it cannot use."""


_USAGE_FIELDS: Final = ("stream_options", "include_usage")
"""Names of the fields that request usage, as they occur in errors."""


class TranslationContext(msgspec.Struct, gc=False):
    """The data beside the request that a translation depends on.

    ``new_id`` returns the id of a response, ``clock`` Unix seconds, ``upstream_model`` is the upstream's id of the
    model, and ``stream`` is whether the client receives a stream. ``thinking`` applies if the request does not set it.
    ``templates`` belong to the upstream; ``count_usage`` is whether it accepts requests for the usage of a stream.
    ``repository`` is the default for upstreams that need one. ``capabilities`` are those of the model.
    """

    new_id: Callable[[], str]
    clock: Callable[[], float]
    upstream_model: str
    stream: bool
    thinking: bool | None
    think_mode: ThinkMode
    templates: openai.KnownTemplates
    count_usage: bool = True
    repository: str | None = None
    capabilities: ModelCapabilities = UNKNOWN


Endpoint: TypeAlias = Literal["chat", "messages", "responses", "embeddings"]


class EventCollector(Protocol):
    """Joins the events of a reader into a whole response."""

    def feed(self, block: bytes) -> None:
        """Adds ``block``: whole events. Raises UpstreamError for one that cannot be read."""

    def body(self) -> bytes:
        """Returns the response. Raises UpstreamError."""


class Translation(Protocol):
    """The interface that a relay uses; see the module docstring."""

    streams: bool
    """Whether the upstream's response is an event stream, even if the client receives a whole response."""
    prepares: bool
    """Whether each attempt begins with the calls of ``prepare``."""
    body: bytes | bytearray
    endpoint: Endpoint
    """The URL of the upstream that receives the request."""
    lines: bytes
    """Header lines of the request that depend on the client's, each ended by CRLF."""

    def prepare(self) -> Preparation:
        """The preparation of one attempt."""

    def reader(self) -> Reader:
        """A reader for one attempt."""

    def collector(self) -> EventCollector:
        """A collector for a client that gets a whole response from a stream."""

    def completion(self, body: bytes) -> tuple[bytes, Usage | None]:
        """Returns a whole upstream completion as OpenAI's, and its usage. Raises UpstreamError."""

    def events(self, completion: bytes) -> bytes:
        """Returns a ``completion`` of :meth:`completion` as a stream. Raises UpstreamError."""

    def amend(self, error: UpstreamError) -> bool:
        """Removes from ``body`` the fields that the gateway added and that caused ``error``; False without any."""

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        """Returns the error for a response of another kind than requested; ``retry_after`` is in seconds."""


class _ChatTranslation:
    """For the chat endpoint, whose readers write OpenAI's chunks."""

    __slots__ = ()

    endpoint: Endpoint = "chat"
    lines = b""
    prepares = False

    def prepare(self) -> Preparation:
        raise AssertionError("this dialect has no preparation")

    def collector(self) -> Collector:
        return Collector()


class OpenAITranslation(_ChatTranslation, msgspec.Struct, eq=False):
    """For upstreams that use OpenAI's format. :func:`to_openai` and :func:`to_zai` make one."""

    _request: ChatRequest
    _context: TranslationContext
    streams: bool
    body: bytes | bytearray
    _rewrite: openai.Rewrite
    _hides_reasoning: bool = False

    @property
    def _include_usage(self) -> bool:
        """A stream in response to a request for a whole response is collected, with its usage."""
        return self._request.include_usage or not self.streams

    def reader(self) -> Reader:
        request = self._request
        # As _include_usage has it.
        include_usage = request.include_usage or not self.streams
        reader = openai.OpenAIReader(self._rewrite, self._context.templates, include_usage, request.choices)
        return HiddenReasoningReader(reader) if self._hides_reasoning else reader

    def completion(self, body: bytes) -> tuple[bytes, Usage | None]:
        if self._hides_reasoning:
            body = completion_without_reasoning(body)
        return openai.completion(body, self._rewrite)

    def events(self, completion: bytes) -> bytes:
        return completion_events(completion, include_usage=self._include_usage)

    def amend(self, error: UpstreamError) -> bool:
        if self._rewrite.normalise or error.status != 400 or not any(name in error.message for name in _USAGE_FIELDS):
            return False
        context = self._context
        body = openai.build(self._request, model=context.upstream_model, stream=context.stream, count=False)
        if body == self.body:
            return False
        self.body = body
        return True

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        return read_error(body, status, retry_after)


def to_openai(request: ChatRequest, context: TranslationContext) -> OpenAITranslation:
    """Translates a request for a plain upstream."""
    stream, model = context.stream, context.upstream_model
    same = request.model == model
    if same and not (stream or request.stream):
        body = request.body
    else:
        body = openai.build(request, model=model, stream=stream, count=context.count_usage)
    rewrite = openai.NO_REWRITE if same else openai.Rewrite("", request.model, normalise=False)
    return OpenAITranslation(request, context, stream, body, rewrite)


def to_zai(request: ChatRequest, context: TranslationContext) -> OpenAITranslation:
    """Translates a request by the rules of GLM. Raises ApiError."""
    stream, capabilities = context.stream, context.capabilities
    body = zai_request.build(
        request, model=context.upstream_model, stream=stream, thinking=context.thinking, capabilities=capabilities
    )
    hides_reasoning = (
        capabilities.thinking == "always" and zai_request.wants_thinking(request, context.thinking) is False
    )
    rewrite = openai.Rewrite(context.new_id(), request.model, normalise=True)
    return OpenAITranslation(request, context, stream, body, rewrite, hides_reasoning)


class _EventTranslation(_ChatTranslation):
    """For upstreams that always stream, and whose events are translated into chunks."""

    streams = True
    body: bytes | bytearray

    def __init__(self, request: ChatRequest, context: TranslationContext) -> None:
        self._include_usage = request.include_usage or not context.stream
        self._mode = context.think_mode
        self._id = context.new_id()
        self._now = context.clock()
        self._writer = ChunkWriter(self._id, int(self._now), request.model, include_usage=self._include_usage)

    def completion(self, body: bytes) -> tuple[bytes, Usage | None]:
        raise self.refusal(200, body, None)

    def amend(self, error: UpstreamError) -> bool:
        return False

    def events(self, completion: bytes) -> bytes:
        raise AssertionError("this dialect has no completions")

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        raise NotImplementedError


class WebTranslation(_EventTranslation):
    """For chat.z.ai's web format."""

    def __init__(self, request: ChatRequest, context: TranslationContext) -> None:
        super().__init__(request, context)
        thinking = request.enable_thinking if request.enable_thinking is not None else context.thinking
        self.body = zai_web.build(
            request.fields,
            model=context.upstream_model,
            thinking=thinking,
            chat_id=self._id,
            message_id=self._id,
            now=datetime.datetime.fromtimestamp(self._now, datetime.UTC),
        )

    def reader(self) -> Reader:
        return zai_web.WebReader(self._writer, self._mode, self._include_usage)

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        return zai_web.refusal(status, body, retry_after)


class ZreadTranslation(_EventTranslation):
    """For zread.ai. The preparation makes the path and the body of the request."""

    prepares = True
    body: bytes | bytearray = b""

    def __init__(self, request: ChatRequest, context: TranslationContext) -> None:
        super().__init__(request, context)
        self._target = zread_request.choose(request.fields, context.upstream_model, context.repository)
        self._query = zread_request.query(request.fields)

    def prepare(self) -> Preparation:
        return zread_request.calls(self._query, self._target)

    def reader(self) -> Reader:
        return zread.ZreadReader(self._writer, self._mode, self._include_usage)

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        return zread.refusal(status, body, retry_after)
