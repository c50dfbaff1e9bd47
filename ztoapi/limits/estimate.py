"""Estimates of the tokens of a request, before its usage is known and where it never is."""

import re
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final, Protocol

import msgspec

__all__ = ["LimitedRequest", "completion_estimate", "estimate", "sent_tokens"]

_BYTES_PER_TOKEN: Final = 4
"""OpenAI's rule of thumb for English. Chinese has three bytes per character and about two characters per token."""
_DEFAULT_COMPLETION_TOKENS: Final = 1024
"""Reserved for the completion of a request without a limit; settled when its usage is known."""
_LEAST_EVENT_BYTES: Final = 64
"""An event with an OpenAI chunk is larger, however short its text."""
_MOST_EVENT_BYTES: Final = 256
"""A larger event has more than one token: a chunk without text has 150 to 250 bytes."""
_SMALL_BYTES: Final = 4096
"""A smaller body has no room for an image that would matter."""
_DATA = re.compile(rb'"data:')
_DATA_URI = re.compile(rb'"data:[^"]{64,}"')
"""An inline image. Its bytes are not text; it counts as a fixed number of tokens."""
_MOST_PICTURES: Final = 4096
"""A body with more beginnings of images counts as text: a million of them in 10 MB would take 0.1 s."""
_TOKENS_PER_PICTURE: Final = 1000
"""Typical of vision models of this kind."""


class LimitedRequest(Protocol):
    """The parts of a request on which limits depend: a :class:`~ztoapi.dialects.request.ChatRequest`, or the request of
    another API."""

    @property
    def body(self) -> bytes | bytearray: ...

    @property
    def model(self) -> str: ...

    @property
    def names(self) -> Collection[str]: ...

    @property
    def fields(self) -> Mapping[str, msgspec.Raw]: ...

    @property
    def generates(self) -> bool:
        """Whether the response is generated, so that its tokens count."""


_COMPLETION_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_LIMITING_FIELDS: Final = frozenset(_COMPLETION_LIMITS)


def estimate(request: LimitedRequest) -> int:
    """Returns the sum of the tokens of the text, the images and the longest completion that the request allows.

    Without a completion, such as for embeddings, it is that of the text and the images."""
    body = request.body
    names = request.names
    size = len(body)
    pictures = 0
    if size > _SMALL_BYTES and 0 < _beginnings(body) <= _MOST_PICTURES:
        for uri in _DATA_URI.finditer(body):
            size -= uri.end() - uri.start()
            pictures += 1
    completion = _DEFAULT_COMPLETION_TOKENS
    # Most requests have none of these fields, and a call costs as much as the rest of this function.
    if not request.generates:
        completion = 0
    elif not _LIMITING_FIELDS.isdisjoint(names):
        completion = _completion_tokens(request)
    return size // _BYTES_PER_TOKEN + pictures * _TOKENS_PER_PICTURE + completion


def completion_estimate(request: LimitedRequest) -> int:
    """Returns the part of the estimate that is the longest completion."""
    return _completion_tokens(request) if request.generates else 0


def sent_tokens(size: int, event_bytes: int | None) -> int:
    """Returns the tokens in ``size`` bytes that a client was sent: one for each event of a stream, whose events have
    ``event_bytes``; without that, as many as English text of the size has."""
    if event_bytes is None:
        return size // _BYTES_PER_TOKEN
    return size // min(max(event_bytes, _LEAST_EVENT_BYTES), _MOST_EVENT_BYTES)


def _beginnings(body: bytes | bytearray) -> int:
    """Returns the number of beginnings of images in ``body``, or one more than ``_MOST_PICTURES``. The expression takes
    a tenth of the time of ``in`` where the text has many letters of the word."""
    return sum(1 for _ in islice(_DATA.finditer(body), _MOST_PICTURES + 1))


def _completion_tokens(request: LimitedRequest) -> int:
    for name in _COMPLETION_LIMITS:
        raw = bytes(request.fields.get(name, b""))
        if raw.isdigit() and len(raw) < 10:
            return int(raw)
    return _DEFAULT_COMPLETION_TOKENS
