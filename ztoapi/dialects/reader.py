"""The interface of the readers, and the inner format between upstream dialects and client APIs.

The inner format is OpenAI's wire format. A request is one JSON object whose values stay undecoded
(:class:`~ztoapi.dialects.request.ChatRequest`); a response is a sequence of whole SSE events with
``chat.completion.chunk`` objects. The reader of a dialect translates the upstream's events into these events, and the
writer of another client API reads them (``chunks.py``). Between two sides with OpenAI's format the bytes stay the same.
"""

from typing import Annotated, Final, Protocol, TypeAlias

import msgspec

from ztoapi.errors import UpstreamError
from ztoapi.wire.delta_template import DeltaTemplate

__all__ = ["MAX_TOKENS", "Count", "Reader", "TranslatingReader", "Usage"]

MAX_TOKENS: Final = 10**9
"""Larger counts make a usage invalid. No response has a hundredth of it, and the cost of a hundred thousand such
responses, at 15 dollars a million tokens, fits the 64 bits of a counter of nano-dollars."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=-MAX_TOKENS, le=MAX_TOKENS)]
"""A number of tokens, as the upstream reports it."""


class Usage(msgspec.Struct):
    """Token counts of one response, with OpenAI's names; the ``details`` stay undecoded."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0
    prompt_tokens_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    completion_tokens_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def keep(self) -> None:
        """Copies the details, which are views into the response: a record would keep the whole response in memory."""
        if isinstance(self.prompt_tokens_details, msgspec.Raw):
            self.prompt_tokens_details = self.prompt_tokens_details.copy()
        if isinstance(self.completion_tokens_details, msgspec.Raw):
            self.completion_tokens_details = self.completion_tokens_details.copy()


class Reader(Protocol):
    """Reads one upstream response: blocks of whole SSE events in, OpenAI's chunk events out.

    ``feed`` and ``eof`` return bytes for the client: whole ``data: ...`` events, possibly none. ``done`` becomes True
    when the response is complete, and its ``data: [DONE]`` is in the returned bytes. ``error`` is set when the upstream
    reports or causes a failure; the bytes returned before remain valid. Neither is ever unset, and no call follows once
    one of them is set.

    ``feed`` returns nothing before the first event that is part of a response, because another attempt may replace this
    one until then. Comments, ``id`` and ``retry`` fields, empty events and chunks without choices are no part of it.
    """

    usage: Usage | None
    done: bool
    error: UpstreamError | None
    template: DeltaTemplate | None
    """The template of the stream's plain events, once known. A block that ``template.apply`` accepts skips ``feed``."""

    def expect(self, start: bytes) -> DeltaTemplate | None:
        """Returns the template that the stream has if it is like the upstream's last one. ``start`` begins with its
        first event. The template is set then."""
        ...

    def begin(self) -> None:
        """An event of the template has been sent without ``feed``."""
        ...

    def feed(self, block: bytes) -> bytes:
        """Translates ``block``: one or more whole events, each with its blank line."""
        ...

    def eof(self) -> bytes:
        """Ends the upstream's body: sets ``done``, or ``error`` if the response is not finished."""
        ...


class TranslatingReader:
    """The state of a :class:`Reader` that translates every event: without a template, ``feed`` gets each block."""

    __slots__ = ("done", "error", "template", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.done = False
        self.error: UpstreamError | None = None
        self.template: DeltaTemplate | None = None

    def expect(self, start: bytes) -> DeltaTemplate | None:
        return None

    def begin(self) -> None:
        """Not called without a template."""
