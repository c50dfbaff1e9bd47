"""One upstream request of a chat: what to send and how to read the answer, for each dialect.

A :class:`Translation` is made for each request; the relay sends its ``body`` and reads the answer with it. It is the
only place where the dialects are told apart.
"""

import datetime
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ztoapi.dialects import openai, zai_request, zai_web, zread
from ztoapi.dialects.chunks import ChunkWriter
from ztoapi.dialects.reader import Reader, Usage
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.thinking import ThinkMode
from ztoapi.dialects.whole import completion_events
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import UpstreamError

__all__ = ["OpenAITranslation", "Translation", "TranslationContext", "WebTranslation", "ZreadTranslation"]


_USAGE_FIELDS: Final = ("stream_options", "include_usage")
"""The fields that request usage, as refusals name them."""


class TranslationContext(msgspec.Struct, gc=False):
    """What a translation needs to know beside the request: where an answer's id comes from, and the time (``clock``:
    Unix seconds), the upstream's name of the model, whether the client gets a ``stream``, ``thinking`` where the
    request does not say, and how thoughts are shown."""

    new_id: Callable[[], str]
    clock: Callable[[], float]
    upstream_model: str
    stream: bool
    thinking: bool | None
    think_mode: ThinkMode


class Translation(Protocol):
    """See the module docstring. ``streams``: the upstream's answer is an event stream, whatever the client gets."""

    streams: bool
    body: bytes | bytearray

    def reader(self) -> Reader:
        """A reader for one try."""

    def completion(self, body: bytes) -> tuple[bytes, Usage | None]:
        """A whole upstream completion as OpenAI's, and its usage. Raises UpstreamError."""

    def events(self, completion: bytes) -> bytes:
        """The stream that stands for a ``completion`` returned by :meth:`completion`. Raises UpstreamError."""

    def amend(self, error: UpstreamError) -> bool:
        """Take what ``error`` refuses out of ``body``, if the gateway has added it; returns whether that was so."""

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        """The error that an answer other than the one asked for stands for; ``retry_after`` in seconds."""


class OpenAITranslation:
    """To upstreams that speak OpenAI's format; ``glm``: GLM's own rules apply (Z.ai). ``known`` is the upstream's.
    ``count``: a stream's usage is requested even where the client does not want it."""

    def __init__(
        self,
        request: ChatRequest,
        context: TranslationContext,
        known: openai.KnownTemplates,
        *,
        glm: bool,
        count: bool = True,
    ) -> None:
        self._known = known
        self._request, self._terms = request, context
        self._counts = count and context.stream and not glm and not request.include_usage
        self.streams = context.stream
        # A stream in response to a whole request is collected, with its usage.
        self._include_usage = request.include_usage or not context.stream
        self._choices = request.choices
        model, stream = context.upstream_model, context.stream
        if glm:
            self.body = zai_request.build(request, model=model, stream=stream, thinking=context.thinking)
            self._rewrite = openai.Rewrite(context.new_id(), request.model, normalise=True)
        else:
            self.body = openai.build(request, model=model, stream=stream, count=count)
            same = request.model == model
            self._rewrite = openai.NO_REWRITE if same else openai.Rewrite("", request.model, normalise=False)

    def reader(self) -> Reader:
        return openai.OpenAIReader(self._rewrite, self._known, include_usage=self._include_usage, choices=self._choices)

    def completion(self, body: bytes) -> tuple[bytes, Usage | None]:
        return openai.completion(body, self._rewrite)

    def events(self, completion: bytes) -> bytes:
        return completion_events(completion, include_usage=self._include_usage)

    def amend(self, error: UpstreamError) -> bool:
        if not self._counts or error.status != 400 or not any(name in error.message for name in _USAGE_FIELDS):
            return False
        self._counts = False
        context = self._terms
        self.body = openai.build(self._request, model=context.upstream_model, stream=True, count=False)
        return True

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        return read_error(body, status, retry_after)


class _EventTranslation:
    """Dialects that only ever stream and whose chunks are written here."""

    streams = True
    body: bytes | bytearray

    def __init__(self, request: ChatRequest, context: TranslationContext) -> None:
        self._include_usage = request.include_usage or not context.stream
        self._mode = context.think_mode
        self._id, self._now = context.new_id(), context.clock()
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
    """To chat.z.ai's web format."""

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
    """To zread.ai; ``body`` is the message call's, set once the steps before it have been taken."""

    def __init__(self, request: ChatRequest, context: TranslationContext, body: bytes) -> None:
        super().__init__(request, context)
        self.body = body

    def reader(self) -> Reader:
        return zread.ZreadReader(self._writer, self._mode, self._include_usage)

    def refusal(self, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
        return zread.refusal(status, body, retry_after)
