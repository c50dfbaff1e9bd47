"""Sinks that bound how much of a response is read where little of it is of use."""

import asyncio
from typing import Final, Protocol

from ztoapi.errors import Ending, UpstreamError
from ztoapi.upstream.connection import Sink
from ztoapi.wire.client import ResponseHead

__all__ = ["REST_SECONDS", "Refusal", "Rest"]

REFUSAL_BYTES: Final = 65536
"""Of an error's body: enough for any message."""
REFUSAL_SECONDS: Final = 2.0
"""For an error's body: the status is known, and the client waits."""
REST_BYTES: Final = 16384
"""Behind the end of an answer: servers send a last chunk, and comments perhaps."""
REST_SECONDS: Final = 1.0
"""For the rest of a response behind the end of its answer. A new connection costs less than a longer wait."""


class Source(Protocol):
    """The connection or call that a sink belongs to."""

    sink: Sink | None

    def cut(self) -> None:
        """End the response here, as if it were complete, and close the connection."""

    def cancel(self) -> None:
        """Close the connection."""


class Refusal:
    """Hands the beginning of an error's body on to ``sink``. The status says what has happened: a body that is long,
    slow or cut off ends early."""

    __slots__ = ("_left", "_sink", "_source", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._left = REFUSAL_BYTES
        self._timer = loop.call_later(REFUSAL_SECONDS, self._cut)

    def on_head(self, head: ResponseHead) -> None:
        self._sink.on_head(head)

    def on_data(self, payload: bytes) -> None:
        self._sink.on_data(payload[: self._left])
        self._left -= len(payload)
        if self._left <= 0:
            self._cut()

    def on_end(self) -> None:
        self._timer.cancel()
        self._sink.on_end()

    def on_error(self, error: UpstreamError) -> None:
        self._timer.cancel()
        if error.ending is Ending.INTERNAL_ERROR:
            self._sink.on_error(error)
        else:
            self._sink.on_end()

    def on_idle(self, seconds: float) -> None:
        self._sink.on_idle(seconds)

    def _cut(self) -> None:
        # The call may have been cancelled meanwhile.
        if self._source.sink is self:
            self._source.cut()


class Rest:
    """Takes what comes behind the end of an answer, so that the connection can be used again."""

    __slots__ = ("_left", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = REST_BYTES

    def on_head(self, head: ResponseHead) -> None:
        raise AssertionError("an answer has ended before its head")

    def on_data(self, payload: bytes) -> None:
        self._left -= len(payload)
        if self._left < 0:
            self._source.cancel()

    def on_end(self) -> None:
        """The connection is free."""

    def on_error(self, error: UpstreamError) -> None:
        """The connection is gone."""

    def on_idle(self, seconds: float) -> None:
        """No client waits."""
