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
from ztoapi.relay.credentials import CredentialLease
from ztoapi.relay.options import RelayOptions
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.downstream import Downstream

__all__ = ["RetryLoop"]

_FIRST_BACKOFF_SECONDS: Final = 0.25
_MAX_WAIT_SECONDS: Final = 5.0
"""For a longer wait the client gets the error with retry-after, and may use the time otherwise."""


class RetryLoop:
    """The state of a request with ``model`` (the upstream's name in lower case) since its first attempt has failed:
    most requests need none. There are at most ``options.max_attempts``, within ``options.timeouts.total`` seconds from
    the start of the request."""

    __slots__ = ("_downstream", "_model", "_options", "_upstream", "amended", "attempts", "used_credentials")

    def __init__(self, downstream: Downstream, upstream: Upstream, model: str, options: RelayOptions) -> None:
        self._downstream = downstream
        self._options = options
        self._model = model
        self._upstream = upstream
        self.attempts = 1
        self.used_credentials: tuple[int, ...] = ()
        """The numbers of the credentials of failed attempts."""
        self.amended = False
        """Whether the request is repeated without a field that the gateway had added."""

    def fail(self, lease: CredentialLease, error: UpstreamError) -> None:
        """Ends the attempt with ``lease`` as failed."""
        self.used_credentials = (*self.used_credentials, lease.number)
        self._upstream.fail(lease, error)
        if error.fault is Fault.THROTTLED and error.retry_after is None:
            # Z.ai names no time. The next request is served when a credential is back.
            wait = self._upstream.pool.wait(self._downstream.loop.time(), self._model)
            error.retry_after = max(wait, _FIRST_BACKOFF_SECONDS)

    def delay(self, error: UpstreamError) -> float | None:
        """Returns the seconds until the attempt that follows one with ``error``; None if there is none."""
        if self.attempts >= self._options.max_attempts:
            return None
        upstream = self._upstream
        now = self._downstream.loop.time()
        pool = upstream.pool
        model = self._model
        if error.fault.of_credential and pool.wait(now, model, self.used_credentials) == 0.0:
            return 0.0
        if not error.retryable:
            return None
        delay = max(_back_off(self.attempts, secrets.randbelow(1000) / 1000.0), pool.wait(now, model))
        if error.retry_after is not None and not error.fault.of_credential:
            delay = max(delay, error.retry_after)
        seconds_left = self._options.timeouts.total - (now - self._downstream.record.started)
        if delay > _MAX_WAIT_SECONDS or delay >= seconds_left or not upstream.budget.withdraw(now):
            return None
        return delay


def _back_off(attempts: int, jitter: float) -> float:
    """Returns the seconds to wait after so many attempts: doubled each time, half of it subject to ``jitter`` (0 to 1),
    so that clients do not retry at the same time."""
    return _FIRST_BACKOFF_SECONDS * 2.0 ** (attempts - 1) * (0.5 + jitter / 2.0)
