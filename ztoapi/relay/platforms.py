"""The configured upstreams, ready for use: origin, target, credentials with prebuilt request heads, retry budget."""

import asyncio
import logging
import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

import httpx
import msgspec

from ztoapi import __version__
from ztoapi.config.model import Platform, UpstreamConfig
from ztoapi.dialects.openai import KnownTemplates
from ztoapi.errors import Fault, UpstreamError
from ztoapi.relay.cooling import bounded_wait
from ztoapi.relay.credentials import Caps, CredentialPool, CredentialStatistics, Lease, Unavailable
from ztoapi.relay.redaction import Redaction
from ztoapi.structures.breaker import BreakerState
from ztoapi.structures.retry_budget import RetryBudget
from ztoapi.telemetry.checks import Check
from ztoapi.telemetry.samples import CredentialState, Sample
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.transport import origin_of

__all__ = ["Upstream", "UpstreamStatistics"]

_USER_AGENT = f"ztoapi/{__version__}"
_FREE_RETRIES = 10
"""In the budget's window, whatever the traffic: one a second, so that a gateway of one person's retries at all."""

_NO_USAGE_SECONDS: Final = 3600.0
"""Time for which an upstream that has refused to count is not asked for usage. Then a request finds out again, at the
cost of a second attempt."""
_CODE_CHARACTERS: Final = 64
"""As much of an upstream's own code goes into the log; those that are known have less than half of that."""

_LOG_SECONDS: Final = 10.0
"""Between two messages of a platform's errors, which may come with every request."""
_WORDS_CHARACTERS: Final = 500
"""As much of an upstream's words goes into the log."""
_CREDENTIAL_WORDS = re.compile(r"api[ _-]?key|(?:access|auth|bearer)[ _-]?token|bearer|credential", re.IGNORECASE)

_log = logging.getLogger(__name__)


class UpstreamStatistics(msgspec.Struct, frozen=True):
    """One platform in one worker."""

    platform: str
    credentials: tuple[CredentialStatistics, ...]
    retries_refused: int
    """Retries that the budget did not allow."""


class Upstream:
    """One platform. ``clock`` gives Unix seconds; ``redaction`` holds the gateway's secrets;
    ``caps`` are those of its credentials."""

    def __init__(
        self,
        platform: Platform,
        loop: asyncio.AbstractEventLoop,
        config: UpstreamConfig,
        clock: Callable[[], float],
        redaction: Redaction,
        caps: Caps | None = None,
    ) -> None:
        self.platform = platform
        self.known_templates: KnownTemplates = {}
        self.pool = CredentialPool([(one.name, one.weight) for one in platform.credentials], caps)
        self.budget = RetryBudget(config.retry_budget_percent / 100, _FREE_RETRIES)
        self.no_usage_until = -math.inf
        """Until then (loop time) streams are not asked for usage, which the upstream has refused."""
        self._loop = loop
        self._redaction = redaction
        self._logged_at = -math.inf
        self.clock = clock
        url = httpx.URL(platform.chat_url)
        self._origin = origin_of(url)
        self._chat_target = url.raw_path
        self._base_target = httpx.URL(platform.base_url).raw_path.rstrip(b"/")
        tokens = [None if one.token is None else one.token.reveal() for one in platform.credentials]
        self._headers = [_headers(token) for token in tokens]
        self._heads = [self._head(token) for token in tokens]

    def __repr__(self) -> str:
        return f"<Upstream {self.platform.id} {self._origin.authority}>"

    def acquire(self, now: float, model: str, tried: Collection[int] = (), session: bytes | None = None) -> Lease:
        """A credential for a request for ``model`` (the upstream's name). Raises UpstreamError if there is none."""
        lease = self.pool.acquire(now, model.lower(), tried, session)
        if isinstance(lease, Unavailable):
            raise self._unavailable(lease)
        return lease

    def request(
        self, lease: Lease, body: bytes | bytearray, lines: bytes = b"", path: str | None = None
    ) -> UpstreamRequest:
        """A POST of ``body`` to the chat URL, or to ``path`` under the base URL. ``lines`` are raw header lines of this
        request alone, each ended by CRLF."""
        target = self._chat_target if path is None else self._base_target + path.encode("ascii")
        head = b"POST %b%b%d\r\n%b\r\n" % (target, self._heads[lease.number], len(body), lines)
        return UpstreamRequest(self._origin, "POST", head, body)

    def headers(self, lease: Lease, lines: bytes = b"") -> dict[str, str]:
        """Header fields for another request with the same credential, and those of ``lines``."""
        own = (line.partition(": ") for line in lines.decode("ascii").splitlines())
        return {**self._headers[lease.number], **{name: value for name, _, value in own}}

    def spare_headers(self) -> dict[str, str]:
        """Header fields for a request beside those of clients, such as for the list of models; there must be a
        credential."""
        return self._headers[self.pool.peek()]

    def disclose(self, error: UpstreamError) -> None:
        """Make ``error`` fit to leave the gateway: without secrets and internal addresses, in clients' answers and in
        records alike. What an upstream says of the credential goes to the log only."""
        words, name = error.message, self.platform.id
        if error.fault is Fault.REFUSED or (error.code in _OWN_WORDS and _CREDENTIAL_WORDS.search(words)):
            error.message = f"the gateway's credential was refused by the platform {name}"
        else:
            known = words.replace(f"the upstream {self._origin.authority}", f"the platform {name}")
            error.message = self._redaction.text(known)
        for field in ("code", "type", "param", "upstream_code"):
            value = getattr(error, field)
            if value is not None:
                setattr(error, field, self._redaction.text(value))
        now = self._loop.time()
        if error.message != words and now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            _log.warning("%s (%s): %r", name, error.code, self._redaction.secrets(words)[:_WORDS_CHARACTERS])

    def fail(self, lease: Lease, error: UpstreamError) -> None:
        """A request with ``lease`` has ended in ``error``."""
        name, wait = lease.name, error.retry_after
        if error.reset_at is not None:
            # One that is over already is a stale message, or a clock that differs: the ordinary time holds.
            rest = error.reset_at - self.clock()
            wait = rest if rest > 0 else None
        elif wait is not None:
            wait = bounded_wait(error.fault, wait)
        seconds = self.pool.fail(lease, self._loop.time(), error.fault, wait)
        if seconds:
            # Its own words may hold what the client sent: the code must do, and that is the upstream's choice too.
            own = error.upstream_code
            code = error.code if own is None else f"upstream code {own[:_CODE_CHARACTERS]!r}"
            remedy = "; check its token" if error.fault is Fault.REFUSED else ""
            _log.warning(
                "%s is out of use for %g s: %s (%s)%s", name, round(seconds, 1), error.fault.value, code, remedy
            )

    def refuses_usage(self) -> None:
        """A stream has been refused for the usage that the gateway wanted, and was served without."""
        self.no_usage_until = self._loop.time() + _NO_USAGE_SECONDS

    def statistics(self) -> UpstreamStatistics:
        """How the platform stands in this worker."""
        return UpstreamStatistics(self.platform.id, self.pool.statistics(self._loop.time()), self.budget.refused)

    def check(self) -> Check:
        """What ``/health`` tells of it."""
        now = self._loop.time()
        usable, every = self.pool.usable(now), len(self.pool)
        if not every:
            output: str | None = "no token is configured for it"
        elif self.pool.refused(now):
            output = "it refuses every credential"
        else:
            output = None if usable == every else f"{every - usable} of {every} credentials rest, or are refused"
        return Check("pass" if output is None else "warn" if usable else "fail", usable, "credentials", output)

    def samples(self) -> Iterator[Sample]:
        """What telemetry shows of it."""
        platform, statistics = self.platform.id, self.statistics()
        yield Sample("ztoapi_upstream_retries_refused", statistics.retries_refused, platform)
        for one in statistics.credentials:
            state = CredentialState.OK
            if one.state is not BreakerState.CLOSED:
                state = CredentialState.DISABLED if one.fault is Fault.REFUSED else CredentialState.COOLING
            until = self.clock() + one.until if one.until else 0.0
            yield Sample("ztoapi_credential_state", state, platform, one.name)
            yield Sample("ztoapi_credential_in_flight", one.in_flight, platform, one.name)
            yield Sample("ztoapi_credential_requests", one.requests, platform, one.name)
            yield Sample("ztoapi_credential_failures", sum(one.failures.values()), platform, one.name)
            yield Sample("ztoapi_credential_latency_seconds", one.latency or 0.0, platform, one.name)
            yield Sample("ztoapi_credential_retry_timestamp_seconds", until, platform, one.name)

    def _head(self, token: str | None) -> bytes:
        """What every request with ``token`` has between its target and its length."""
        lines = [" HTTP/1.1", f"host: {self._origin.authority}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in _headers(token).items()]
        return "\r\n".join([*lines, "content-length: "]).encode("ascii")

    def _unavailable(self, why: Unavailable) -> UpstreamError:
        platform = self.platform.id
        if not why.reasons:
            return UpstreamError(
                f"the gateway has no token for the platform {platform}: set "
                f"{platform.upper()}_TOKEN (or UPSTREAM_TOKEN for the default platform)",
                status=503,
                code="token_unavailable",
            )
        # By number, not by name: a client need not know whose tokens serve it.
        reasons = ", ".join(f"{count} {_REASONS[fault]}" for fault, count in why.reasons.items())
        busy = why.reasons.keys() <= {None, Fault.THROTTLED}
        return UpstreamError(
            f"no credential of the platform {platform} can serve this model now: {reasons}; "
            f"try again in {math.ceil(why.seconds)} s",
            status=429 if busy else 503,
            type="rate_limit_exceeded" if busy else "server_error",
            code="rate_limit_exceeded" if busy else "upstream_unavailable",
            retry_after=math.ceil(why.seconds),
            retryable=True,
        )


_OWN_WORDS = frozenset(("upstream_error", "upstream_forbidden"))
"""Codes of errors whose message is the upstream's own, and which may be about the credential."""
_REASONS = {
    None: "in use as often as the caps allow",
    Fault.REFUSED: "refused by the upstream",
    Fault.QUOTA: "with its quota used up",
    Fault.THROTTLED: "throttled by the upstream",
    Fault.EXCLUDED: "without access to it",
    Fault.OVERLOADED: "resting while the upstream is overloaded",
    Fault.UPSTREAM: "resting while the upstream fails",
}


def _headers(token: str | None) -> dict[str, str]:
    headers = {
        # Anything else would let the upstream compress, and so hold back, a stream.
        "accept-encoding": "identity",
        "accept": "application/json, text/event-stream",
        "accept-language": "en-US,en",
        "user-agent": _USER_AGENT,
    }
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return headers
