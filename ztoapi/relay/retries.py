"""The attempts of one request with one model: their credentials, and the decision about a further one.

A request is retried only before the first byte of its response, and only after a failure that a retry may cure. A
failure of the credential (throttled, used up, refused) moves the request to another credential at once and costs none
of the retry budget: it adds no load to the upstream, and the credential then rests for some time. Every other retry
waits, longer each time and with jitter, is charged to the budget, and does not take place if the wait exceeds the rest
of the request's time.
"""

import secrets
from typing import Final

from ztoapi.errors import Fault, UpstreamError
from ztoapi.relay.credentials import CredentialLease, Unavailable
from ztoapi.relay.options import RelayOptions
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.downstream import Downstream
from ztoapi.upstream.connection import Timeouts

__all__ = ["RetryLoop"]

_FIRST_BACKOFF_SECONDS: Final = 0.25
_MAX_WAIT_SECONDS: Final = 5.0
"""For a longer wait the client gets the error with retry-after, and may use the time otherwise."""


class RetryLoop:
    """At most ``options.max_attempts`` for ``model`` (the upstream's name in lower case), within
    ``options.timeouts.total`` seconds from the start of the request. Requests with the same ``session`` use the same
    credential if possible."""

    __slots__ = (
        "_attempts",
        "_downstream",
        "_options",
        "_session",
        "_used_credentials",
        "lease",
        "model",
        "upstream",
    )

    def __init__(
        self,
        downstream: Downstream,
        upstream: Upstream,
        model: str,
        options: RelayOptions,
        session: bytes | None,
    ) -> None:
        self._downstream = downstream
        self._options = options
        self._session = session
        self.lease: CredentialLease | None = None
        """The credential of the attempt in progress."""
        self._attempts = 0
        self._used_credentials: tuple[int, ...] = ()
        self.model = model
        self.upstream = upstream

    def begin(self) -> Timeouts | None:
        """Takes a credential for an attempt. Returns its timeouts, None for the usual ones. Raises UpstreamError."""
        downstream = self._downstream
        upstream = self.upstream
        now = downstream.loop.time()
        if not self._attempts:
            upstream.budget.deposit(now)
        self._attempts += 1
        lease = upstream.pool.acquire(now, self.model, self._used_credentials, self._session)
        if isinstance(lease, Unavailable):
            raise upstream.unavailable(lease)
        self.lease = lease
        record = downstream.record
        record.attempts += 1
        record.credential = lease.name
        if record.attempts == 1:
            return None
        timeouts = self._options.timeouts
        return Timeouts(timeouts.first_byte, timeouts.between_bytes, max(self._seconds_left(now), 0.0))

    def responded(self) -> None:
        """The first part of the response has arrived."""
        assert self.lease is not None
        self.upstream.pool.responded(self.lease, self._downstream.loop.time())

    def complete(self) -> None:
        """The response is complete."""
        assert self.lease is not None
        self.upstream.pool.complete(self.lease)
        self.lease = None

    def drop(self) -> None:
        """Ends the attempt in progress, if any, without a verdict on the credential."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self.upstream.pool.drop(lease)

    def fail(self, error: UpstreamError) -> None:
        """Ends the attempt in progress, if any, as failed."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self._used_credentials = (*self._used_credentials, lease.number)
            self.upstream.fail(lease, error)
            if error.fault is Fault.THROTTLED and error.retry_after is None:
                # Z.ai names no time. The next request is served when a credential is back.
                wait = self.upstream.pool.wait(self._downstream.loop.time(), self.model)
                error.retry_after = max(wait, _FIRST_BACKOFF_SECONDS)

    def delay(self, error: UpstreamError) -> float | None:
        """Returns the seconds until the attempt that follows one with ``error``; None if there is none."""
        if self._attempts >= self._options.max_attempts:
            return None
        upstream = self.upstream
        now = self._downstream.loop.time()
        pool = upstream.pool
        model = self.model
        if error.fault.of_credential and pool.wait(now, model, self._used_credentials) == 0.0:
            return 0.0
        if not error.retryable:
            return None
        delay = max(_back_off(self._attempts, secrets.randbelow(1000) / 1000.0), pool.wait(now, model))
        if error.retry_after is not None and not error.fault.of_credential:
            delay = max(delay, error.retry_after)
        if delay > _MAX_WAIT_SECONDS or delay >= self._seconds_left(now) or not upstream.budget.withdraw(now):
            return None
        return delay

    def _seconds_left(self, now: float) -> float:
        return self._options.timeouts.total - (now - self._downstream.record.started)


def _back_off(attempts: int, jitter: float) -> float:
    """Returns the seconds to wait after so many attempts: doubled each time, half of it subject to ``jitter`` (0 to 1),
    so that clients do not retry at the same time."""
    return _FIRST_BACKOFF_SECONDS * 2.0 ** (attempts - 1) * (0.5 + jitter / 2.0)
