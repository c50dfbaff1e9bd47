"""The receiver of an upstream's response, and its last callback.

A callback that raises is a bug in the gateway. It ends its own request with an internal error, and nothing else: the
event loop would take it for a broken connection, the deadline scan would stop, and the client would wait.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from ztoapi.errors import Failure, UpstreamError
from ztoapi.upstream.failures import internal
from ztoapi.wire.client import ResponseHead

__all__ = ["TAKE_NOTHING", "Sink", "Take", "log_failure", "report_end", "report_error"]


Take = Callable[[bytes], bytes]
"""Takes whole chunks at the beginning of a read, and returns the rest."""
TAKE_NOTHING: Final[Take] = bytes.__bytes__
"""Returns the read. A function in C, which costs a stream less than a comparison with None before each call."""


class Sink(Protocol):
    """Receives one response, by synchronous callbacks in this order: head, data ..., then end or error.

    After an exception in a callback ``on_error`` is called with an internal error, even if the sink has cancelled the
    call in that callback."""

    __slots__ = ()

    takes_whole: ClassVar[bool] = False
    """Whether :meth:`on_whole` takes the place of the first three callbacks where a whole response is in one read."""

    def on_head(self, head: ResponseHead) -> Take | None:
        """Returns the function that takes reads of the body with their framing, if there is one: see
        :meth:`UpstreamCall.offer_raw_reads`."""

    def on_data(self, payload: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_whole(self, head: ResponseHead, body: bytes) -> None:
        """A whole response with a status of 200 to 299. The connection has no part in it any more."""
        raise AssertionError("it takes no whole response")

    def on_error(self, error: UpstreamError) -> None: ...

    def on_idle(self, seconds: float) -> None:
        """No byte has arrived for ``seconds``; called at each deadline scan during a request."""


def report_end(loop: asyncio.AbstractEventLoop, sink: Sink) -> None:
    """Calls ``on_end``, and ``on_error`` if that fails."""
    try:
        sink.on_end()
    except Exception as error:  # noqa: BLE001 - the last frame, see above
        log_failure(loop, error)
        report_error(loop, sink, internal())


def report_error(loop: asyncio.AbstractEventLoop, sink: Sink, error: UpstreamError) -> None:
    """Calls ``on_error``, and a second time with an internal error if that fails."""
    try:
        sink.on_error(error)
    except Exception as failure:  # noqa: BLE001 - the last frame, see above
        log_failure(loop, failure)
        if error.failure is not Failure.INTERNAL:
            report_error(loop, sink, internal())


def log_failure(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    """Logs an exception in a call or in a callback of its sink."""
    loop.call_exception_handler({"message": "the sink of an upstream response failed", "exception": error})
