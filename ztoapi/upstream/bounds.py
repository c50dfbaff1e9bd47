"""Sinks that bound the bytes and the time of a response of which only a part is needed."""

from typing import Final, Protocol

from ztoapi.errors import Failure, UpstreamError
from ztoapi.upstream.sink import Sink
from ztoapi.wire.client import ResponseHead

__all__ = ["ERROR_BYTES", "ERROR_SECONDS", "REST_SECONDS", "ErrorBody", "Rest"]

ERROR_BYTES: Final = 65536
"""Bytes of an error's body: enough for any message."""
ERROR_SECONDS: Final = 2.0
"""Time for an error's body: the status is known, and the client waits."""
REST_BYTES: Final = 16384
"""Bytes after the end of a response: servers send a last chunk, and sometimes comments."""
REST_SECONDS: Final = 1.0
"""Time for the bytes after the end of a response. A new connection costs less than a longer wait."""


class ResponseSource(Protocol):
    """The connection or call that a sink belongs to."""

    def cut(self) -> None:
        """Ends the response here, as if it were complete, and closes the connection."""

    def cancel(self) -> None:
        """Closes the connection."""


class ErrorBody(Sink):
    """Passes the beginning of an error's body on to ``sink``. The status is the result: a body that is long, slow or
    cut off ends early. The source limits its time to :data:`ERROR_SECONDS`."""

    __slots__ = ("_left", "_sink", "_source")

    def __init__(self, source: ResponseSource, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._left = ERROR_BYTES

    def on_head(self, head: ResponseHead) -> None:
        self._sink.on_head(head)

    def on_data(self, payload: bytes) -> None:
        self._sink.on_data(payload[: self._left])
        self._left -= len(payload)
        if self._left <= 0:
            self._source.cut()

    def on_end(self) -> None:
        self._sink.on_end()

    def on_error(self, error: UpstreamError) -> None:
        if error.failure is Failure.INTERNAL:
            self._sink.on_error(error)
        else:
            self._sink.on_end()

    def on_idle(self, seconds: float) -> None:
        self._sink.on_idle(seconds)


class Rest(Sink):
    """Reads the bytes after the end of a response, so that the connection can be used again."""

    __slots__ = ("_left", "_source")

    def __init__(self, source: ResponseSource) -> None:
        self._source = source
        self._left = REST_BYTES

    def on_head(self, head: ResponseHead) -> None:
        raise AssertionError("the end of a response before its head")

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
