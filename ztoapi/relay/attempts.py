"""The attempts of one request at an upstream: common to relays that translate and to those that pass bodies through."""

import asyncio
from typing import Generic, TypeVar

from ztoapi.errors import UpstreamError
from ztoapi.relay.retries import RetryLoop
from ztoapi.server.downstream import Downstream
from ztoapi.upstream.client import UpstreamCall

__all__ = ["Attempts"]

D = TypeVar("D", bound=Downstream)


class Attempts(Generic[D]):
    """The upstream call in progress, and the timer of the next attempt. A relay takes over the callbacks of its
    downstream: ``_cancel``, ``_pause`` and ``_resume``."""

    __slots__ = ("_call", "_downstream", "_retries", "_retry_timer")

    _downstream: D
    _call: UpstreamCall | None
    _retries: RetryLoop
    _retry_timer: asyncio.Handle | None

    def _attempt(self) -> None:
        """Begins an attempt. Raises UpstreamError if no credential is available."""
        raise NotImplementedError

    def _give_up(self, error: UpstreamError) -> None:
        """Ends the attempts with ``error``."""
        raise NotImplementedError

    def _retry(self, last: UpstreamError) -> None:
        self._retry_timer = None
        try:
            try:
                self._attempt()
            except UpstreamError:
                # Other requests took the credential. The upstream's last error is more specific.
                self._give_up(last)
        except Exception as error:  # noqa: BLE001 - the last frame of a timer
            self._crash(error)

    def _cancel(self) -> None:
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._hang_up()
        self._retries.drop()

    def _pause(self) -> None:
        if self._call is not None:
            self._call.pause()

    def _resume(self) -> None:
        if self._call is not None:
            self._call.resume()

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _crash(self, error: Exception) -> None:
        """Ends the request after an exception that nothing else handles. It is logged, and the response is 500."""
        try:
            self._cancel()
        finally:
            self._detach()
            self._downstream.crash(error)

    def _detach(self) -> None:
        """Breaks the reference cycle of downstream, relay and call, as the downstream is about to end."""
        downstream = self._downstream
        downstream.on_gone = downstream.on_pause = downstream.on_resume = None
        self._call = None
