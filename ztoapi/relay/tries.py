"""The tries of one request with one model: which credential, what became of it, and whether and when to try again.

Tried again is only before the first byte of an answer, and only after a failure that another try may cure. A failure of
the credential's own (throttled, used up, refused) goes to another credential at once and costs nothing of the budget:
it adds no load that the upstream would not have had, and a credential that has failed so is left alone for some time.
Everything else waits, longer each time and half by chance, is held to the budget, and is not done where the wait would
not fit into what is left of the request's time.
"""

import secrets
from typing import Final

from ztoapi.errors import UpstreamError
from ztoapi.relay.credentials import Lease
from ztoapi.relay.platforms import Upstream
from ztoapi.server.downstream import Downstream
from ztoapi.upstream.connection import Timeouts

__all__ = ["Tries"]

_FIRST_BACKOFF_SECONDS: Final = 0.25
_LONGEST_WAIT_SECONDS: Final = 5.0
"""Who has to wait longer is told so, with retry-after: a client may have a better use for the time."""


class Tries:
    """``most`` of them, for ``model`` (the upstream's name), all within ``timeouts.total`` seconds from the request's
    start. ``session`` is what requests have in common that should stay with one credential."""

    __slots__ = ("_exchange", "_most", "_rounds", "_session", "_timeouts", "_tried", "lease", "model", "upstream")

    def __init__(
        self,
        exchange: Downstream,
        upstream: Upstream,
        model: str,
        most: int,
        timeouts: Timeouts,
        session: bytes | None,
    ) -> None:
        self._exchange = exchange
        self._most = most
        self._timeouts = timeouts
        self._session = session
        self.lease: Lease | None = None
        """That of the try under way."""
        self._rounds = 0
        self._tried: tuple[int, ...] = ()
        self.model = model
        self.upstream = upstream

    def begin(self) -> Timeouts | None:
        """Take a credential for a try; returns the time it has, None for the usual one. Raises UpstreamError."""
        exchange, upstream = self._exchange, self.upstream
        now = exchange.loop.time()
        if not self._rounds:
            upstream.budget.deposit(now)
        self._rounds += 1
        lease = self.lease = upstream.acquire(now, self.model, self._tried, self._session)
        record = exchange.record
        record.attempts += 1
        record.credential = lease.name
        # A flight's new first rider has a record of its own, in which the tries of the one before do not stand.
        if self._rounds == record.attempts == 1 and record.asked is None:
            return None
        whole = self._timeouts
        return Timeouts(whole.first_byte, whole.between_bytes, max(self._seconds_left(now), 0.0))

    def answered(self) -> None:
        """The first of an answer has come."""
        assert self.lease is not None
        self.upstream.pool.answered(self.lease, self._exchange.loop.time())

    def complete(self) -> None:
        """The upstream has done its part."""
        assert self.lease is not None
        self.upstream.pool.complete(self.lease)
        self.lease = None

    def drop(self) -> None:
        """The try under way, if there is one, ends without a verdict on the upstream."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self.upstream.pool.drop(lease)

    def fail(self, error: UpstreamError) -> None:
        """The try under way, if there is one, has failed."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self._tried = (*self._tried, lease.number)
            self.upstream.fail(lease, error)

    def delay(self, error: UpstreamError) -> float | None:
        """Seconds until the next try after one that failed with ``error``; None if there is to be none."""
        if self._rounds >= self._most:
            return None
        upstream, now = self.upstream, self._exchange.loop.time()
        pool, model = upstream.pool, self.model.lower()
        if error.fault.of_credential and pool.wait(now, model, self._tried) == 0.0:
            return 0.0
        if not error.retryable:
            return None
        delay = max(_back_off(self._rounds, secrets.randbelow(1000) / 1000.0), pool.wait(now, model))
        if error.retry_after is not None and not error.fault.of_credential:
            delay = max(delay, error.retry_after)
        if delay > _LONGEST_WAIT_SECONDS or delay >= self._seconds_left(now) or not upstream.budget.withdraw(now):
            return None
        return delay

    def _seconds_left(self, now: float) -> float:
        return self._timeouts.total - (now - self._exchange.record.started)


def _back_off(tries: int, chance: float) -> float:
    """Seconds after so many tries: doubled each time, half of it left to ``chance`` (0 to 1), so that clients do not
    march in step."""
    return _FIRST_BACKOFF_SECONDS * 2.0 ** (tries - 1) * (0.5 + chance / 2.0)
