"""The event writers of the client APIs: their interface, and the end of a response as all of them read it."""

import sys
from typing import Final, Protocol

import msgspec

from ztoapi.dialects.lenient import read_usage
from ztoapi.errors import ApiError, Failure, UpstreamError, too_large

__all__ = ["UNBOUNDED", "EventWriter", "TokenCounts", "check_kept", "stopped_early", "token_counts"]

UNBOUNDED: Final = sys.maxsize
_FAILED: Final = frozenset(("network_error", "error", "abort"))
"""Finish reasons of an upstream that gave up."""


class TokenCounts(msgspec.Struct, frozen=True, gc=False):
    """The counts of a response. ``prompt`` includes ``cached``, ``completion`` includes ``reasoning``; the latter is
    None where the upstream does not report it."""

    prompt: int
    cached: int
    completion: int
    reasoning: int | None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class EventWriter(Protocol):
    """Writes one response in the format of a client API.

    ``feed`` takes blocks of whole chunk events. After each call ``done`` is true once the response is complete; further
    blocks then have no effect. ``error`` is set if the response cannot be completed: the bytes returned before are
    valid, and nothing is fed after it.
    """

    done: bool
    error: UpstreamError | None

    def keepalive(self) -> bytes:
        """Returns an event or a comment without content."""
        ...

    def start(self) -> bytes:
        """Returns the events before the first chunk; ``feed`` returns them unless ``start`` was called."""
        ...

    def feed(self, block: bytes) -> bytes: ...

    def whole(self, completion: bytes) -> bytes:
        """Returns the whole response for a ``chat.completion``, made from the same events. Raises UpstreamError if the
        completion cannot be read, or is not complete."""
        ...

    def explain(self, error: ApiError) -> None:
        """Adapts the message of an error that is about to be sent to what clients of the API read from it."""
        ...

    def fail(self, error: ApiError) -> bytes:
        """Returns the event for a failure after the first byte; the connection is cut behind it."""
        ...


_decode_details = msgspec.json.Decoder(_Details, strict=False).decode


def token_counts(usage: msgspec.Raw) -> TokenCounts | None:
    """Returns the counts in a chunk's ``usage``; None if it has none."""
    counts = read_usage(usage) if bytes(usage) not in (b"", b"null") else None
    if counts is None:
        return None
    cached = _details(counts.prompt_tokens_details).cached_tokens or 0
    reasoning = _details(counts.completion_tokens_details).reasoning_tokens
    prompt = max(counts.prompt_tokens, 0)
    return TokenCounts(
        prompt=prompt,
        cached=min(max(cached, 0), prompt),
        completion=max(counts.completion_tokens, 0),
        reasoning=None if reasoning is None else max(reasoning, 0),
    )


def check_kept(characters: int, max_characters: int) -> UpstreamError | None:
    """Returns the error for a stream of which a writer keeps more than ``max_characters``."""
    if characters <= max_characters:
        return None
    return too_large("response", Failure.LARGE_RESPONSE, f"{max_characters} characters")


def stopped_early(finish: str | None) -> UpstreamError | None:
    """Returns the error for a response whose end has the finish reason ``finish``, None for a complete response."""
    if finish is not None and finish not in _FAILED:
        return None
    end = "without a finish reason" if finish is None else f"with the finish reason {finish}"
    return UpstreamError(f"the upstream ended the response {end}", Failure.UNFINISHED, retryable=False)


def _details(raw: msgspec.Raw | msgspec.UnsetType) -> _Details:
    try:
        return _decode_details(raw) if isinstance(raw, msgspec.Raw) else _Details()
    except (msgspec.DecodeError, RecursionError):
        return _Details()
