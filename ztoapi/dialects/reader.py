"""What every upstream dialect offers, and the common inner form between client and upstream dialects.

The inner form is OpenAI's own wire format: a request is one JSON object whose values stay undecoded
(:class:`ChatRequest`), an answer is a run of whole SSE events that carry ``chat.completion.chunk`` objects. An
upstream dialect turns its events into that; a client-facing dialect other than OpenAI's reads that. OpenAI to
OpenAI is then the identity on bytes.
"""

from typing import Annotated, Final, Protocol, TypeAlias

import msgspec

from ztoapi.errors import UpstreamError
from ztoapi.wire.delta_template import DeltaTemplate

__all__ = ["Count", "Reader", "Usage"]

_MOST_TOKENS: Final = 10**12
"""No answer has a thousandth of it, and a million such still fit the 64 bits that they are added up in. An upstream
that says more says nothing: its answer is as one with a word there."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=-_MOST_TOKENS, le=_MOST_TOKENS)]
"""Of tokens, as an upstream tells it."""


class Usage(msgspec.Struct):
    """Token counts of one answer, as OpenAI names them; ``details`` fields stay undecoded."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0
    prompt_tokens_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    completion_tokens_details: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def keep(self) -> None:
        """Copy what is still a view into the answer, which a record would otherwise keep in memory as a whole."""
        if isinstance(self.prompt_tokens_details, msgspec.Raw):
            self.prompt_tokens_details = self.prompt_tokens_details.copy()
        if isinstance(self.completion_tokens_details, msgspec.Raw):
            self.completion_tokens_details = self.completion_tokens_details.copy()


class Reader(Protocol):
    """Reads one upstream answer: blocks of whole SSE events in, OpenAI chunk events out.

    ``feed`` and ``eof`` return octets ready for the client (whole ``data: ...`` events, possibly none). After each
    call: ``done`` is True once the answer is complete and its ``data: [DONE]`` is in the returned octets;
    ``error`` is set once the upstream has reported or caused a failure (what was returned before it is still
    valid). Neither is ever unset, and nothing is fed after one of them is set.

    ``feed`` returns nothing before the first event that carries part of an answer: until then another attempt may
    replace this one. Comments, ``id`` and ``retry`` fields, empty events and chunks without choices carry none.
    """

    usage: Usage | None
    done: bool
    error: UpstreamError | None
    template: DeltaTemplate | None
    """What plain deltas have in common, once known; a block that ``template.apply`` takes need not be fed."""

    def feed(self, block: bytes) -> bytes:
        """Translate ``block``: one or more whole events, each ended by a blank line."""
        ...

    def eof(self) -> bytes:
        """Say that the upstream body has ended; sets ``done`` or ``error`` (an end without a finish is an error)."""
        ...
