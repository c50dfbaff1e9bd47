"""The attempts of one request at an upstream: common to relays that translate and to those that pass bodies through."""

import asyncio
from typing import Generic, TypeVar

from ztoapi.errors import UpstreamError
from ztoapi.relay.credentials import CredentialLease, Unavailable
from ztoapi.relay.options import RelayOptions
from ztoapi.relay.retries import RetryLoop
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.downstream import Downstream
from ztoapi.upstream.client import UpstreamCall
from ztoapi.upstream.connection import Timeouts

__all__ = ["Attempts"]

D = TypeVar("D", bound=Downstream)


class Attempts(Generic[D]):
    """The upstream call in progress, the credential that it uses, and the timer of the next attempt. A relay is the
    producer of its downstream. Requests with the same ``_session`` use the same credential if possible."""

    __slots__ = (
        "_call",
        "_downstream",
        "_lease",
        "_model",
        "_options",
        "_retries",
        "_retry_timer",
        "_session",
        "_upstream",
    )

    _downstream: D
    _options: RelayOptions
    _upstream: Upstream
    _model: str
    """The upstream's name in lower case."""
    _session: bytes | None
    _call: UpstreamCall | None
    _lease: CredentialLease | None
    """The credential of the attempt in progress."""
    _retries: RetryLoop | None
    """None until an attempt has failed."""
    _retry_timer: asyncio.Handle | None

    def _send(self, lease: CredentialLease, timeouts: Timeouts) -> None:
        """Sends the request with a credential. Raises UpstreamError."""
        raise NotImplementedError

    def _give_up(self, error: UpstreamError) -> None:
        """Ends the attempts with ``error``."""
        raise NotImplementedError

    def start(self) -> None:
        """Begins the first attempt."""
        downstream = self._downstream
        downstream.record.platform = self._upstream.platform.id
        downstream.producer = self
        try:
            self._attempt()
        except UpstreamError as error:
            self._give_up(error)

    def _attempt(self) -> None:
        """Begins an attempt. Raises UpstreamError, for example if no credential is available."""
        retries = self._retries
        upstream = self._upstream
        downstream = self._downstream
        now = downstream.loop.time()
        if retries is None:
            upstream.budget.deposit(now)
            lease = upstream.pool.acquire(now, self._model, (), self._session)
        else:
            retries.attempts += 1
            lease = upstream.pool.acquire(now, self._model, retries.used_credentials, self._session)
        if isinstance(lease, Unavailable):
            raise upstream.unavailable(lease)
        self._lease = lease
        record = downstream.record
        record.credential = lease.name
        attempts = record.attempts = record.attempts + 1
        timeouts = self._options.timeouts
        if attempts > 1:
            left = timeouts.total - (now - record.started)
            timeouts = Timeouts(timeouts.first_byte, timeouts.between_bytes, max(left, 0.0), timeouts.idle)
        try:
            self._send(lease, timeouts)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        """Ends the attempt in progress, if any, without a verdict on the credential."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._upstream.pool.drop(lease)

    def _complete(self) -> None:
        """Ends the attempt: the response is complete."""
        assert self._lease is not None
        self._upstream.pool.complete(self._lease)
        self._lease = None

    def _fail(self, error: UpstreamError) -> RetryLoop:
        """Ends the attempt in progress, if any, as failed."""
        retries = self._retries_begun()
        lease, self._lease = self._lease, None
        if lease is not None:
            retries.fail(lease, error)
        return retries

    def _retries_begun(self) -> RetryLoop:
        """Returns the state of the retries, which begins now if it has not."""
        if self._retries is None:
            self._retries = RetryLoop(self._downstream, self._upstream, self._model, self._options)
        return self._retries

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

    def cancel(self) -> None:
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._hang_up()
        self._drop()

    def pause(self) -> None:
        if self._call is not None:
            self._call.pause()

    def resume(self) -> None:
        if self._call is not None:
            self._call.resume()

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _crash(self, error: Exception) -> None:
        """Ends the request after an exception that nothing else handles. It is logged, and the response is 500."""
        try:
            self.cancel()
        finally:
            self._detach()
            self._downstream.crash(error)

    def _detach(self) -> None:
        """Breaks the reference cycle of downstream, relay and call, as the downstream is about to end."""
        self._downstream.producer = None
        self._call = None
