"""The configured platforms, prepared for requests: origin, credentials with prebuilt request heads, retry budget."""

import asyncio
import datetime
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import httpx
import msgspec

from ztoapi import __version__
from ztoapi.config.model import Platform, UpstreamConfig
from ztoapi.dialects.openai import KnownTemplates
from ztoapi.dialects.translate import Endpoint
from ztoapi.errors import Failure, Fault, UpstreamError
from ztoapi.relay.cooldowns import bounded_wait
from ztoapi.relay.credentials import Caps, CredentialLease, CredentialPool, CredentialStatistics, Unavailable
from ztoapi.relay.redaction import Redaction
from ztoapi.structures.breaker import BreakerState
from ztoapi.structures.retry_budget import RetryBudget
from ztoapi.telemetry.checks import Check
from ztoapi.telemetry.samples import CredentialState, Sample, stamped
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.pool import Origin
from ztoapi.upstream.transport import origin_of
from ztoapi.upstream.upload import Upload

__all__ = ["Upstream", "UpstreamStatistics"]

_USER_AGENT = f"ztoapi/{__version__}"
_FREE_RETRIES = 10
"""In the budget's window without any traffic: one a second, so that a gateway with one user retries at all."""
_NO_USAGE_SECONDS: Final = 3600.0
"""Time without requests for usage after the upstream has refused one. The next request after it may cost a second
attempt."""
_CODE_CHARACTERS: Final = 64
"""Longest part of an upstream's own code in the log. The known codes have less than half of that."""
_LOG_SECONDS: Final = 10.0
"""Between two log messages of a platform: every request may cause one."""
_MESSAGE_CHARACTERS: Final = 500
"""Longest part of an upstream's message in the log."""
_ABOUT_CREDENTIAL = re.compile(r"api[ _-]?key|(?:access|auth|bearer)[ _-]?token|bearer|credential", re.IGNORECASE)

_log = logging.getLogger(__name__)


class _Endpoint(NamedTuple):
    """A URL of the upstream. ``heads`` are the parts of the request head between the target and the length, by the
    number of the credential."""

    origin: Origin
    target: bytes
    heads: list[bytes]


class UpstreamStatistics(msgspec.Struct, frozen=True):
    """One platform in one worker."""

    platform: str
    credentials: tuple[CredentialStatistics, ...]
    retries_refused: int
    """Retries that the budget did not allow."""


class Upstream:
    """One platform in one worker. ``clock`` returns Unix seconds; ``redaction`` removes the gateway's secrets; ``caps``
    are those of the platform's credentials."""

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
        self.pool = CredentialPool([(each.name, each.weight) for each in platform.credentials], caps)
        self.budget = RetryBudget(config.retry_budget_percent / 100, _FREE_RETRIES)
        self.no_usage_until = -math.inf
        """Loop time until which streams are requested without usage, which the upstream has refused."""
        self.has_choice = len(platform.credentials) > 1
        """Whether a session decides which credential is used."""
        self._loop = loop
        self._redaction = redaction
        self._logged_at = -math.inf
        self.clock = clock
        self._resets: dict[int, float] = {}
        """The end of a used-up quota (Unix seconds) that the upstream has named, by the number of the credential."""
        tokens = [None if each.token is None else each.token.reveal() for each in platform.credentials]
        self._headers = [_headers(token) for token in tokens]
        chat = _endpoint(platform.chat_url, self._headers)
        self._origin = chat.origin
        self._base_target = httpx.URL(platform.base_url).raw_path.rstrip(b"/")
        self._endpoints: dict[Endpoint, _Endpoint] = {"chat": chat}
        if platform.messages_url is not None:
            # Anthropic's own field beside the usual one.
            keys = [{} if token is None else {"x-api-key": token} for token in tokens]
            headers = [{**fields, **key} for fields, key in zip(self._headers, keys, strict=True)]
            self._endpoints["messages"] = _endpoint(platform.messages_url, headers)
        if platform.responses_url is not None:
            self._endpoints["responses"] = _endpoint(platform.responses_url, self._headers)
        if platform.embeddings_url is not None:
            self._endpoints["embeddings"] = _endpoint(platform.embeddings_url, self._headers)

    def __repr__(self) -> str:
        return f"<Upstream {self.platform.id} {self._origin.authority}>"

    def request(
        self,
        lease: CredentialLease,
        body: bytes | bytearray,
        lines: bytes = b"",
        path: str | None = None,
        endpoint: Endpoint = "chat",
    ) -> UpstreamRequest:
        """Returns a POST of ``body`` to ``endpoint``, or to ``path`` under the base URL. ``lines`` are additional raw
        header lines, each ended by CRLF."""
        origin, target, heads = self._endpoints[endpoint]
        if path is not None:
            target = self._base_target + path.encode("ascii")
        head = b"POST %b%b%d\r\n%b\r\n" % (target, heads[lease.number], len(body), lines)
        return UpstreamRequest(origin, "POST", head, body)

    def passed_on(
        self,
        lease: CredentialLease,
        method: str,
        path: bytes,
        fields: Mapping[bytes, bytes],
        lines: bytes,
        body: bytes | bytearray,
        upload: Upload | None,
    ) -> UpstreamRequest:
        """Returns a request for ``path`` under the base URL, with the client's ``fields``. ``lines`` are additional raw
        header lines, those that frame the body among them."""
        own = {name.encode("ascii"): value.encode("ascii") for name, value in self._headers[lease.number].items()}
        start = b"%b %b%b HTTP/1.1\r\nhost: %b\r\n" % (
            method.encode("ascii"),
            self._base_target,
            path,
            self._origin.authority.encode("ascii"),
        )
        head = [start, *(b"%b: %b\r\n" % field for field in {**own, **fields}.items()), lines, b"\r\n"]
        return UpstreamRequest(self._origin, method, b"".join(head), body, upload)

    def headers(self, lease: CredentialLease, lines: bytes = b"") -> dict[str, str]:
        """Returns the header fields of another request with the same credential, with those of ``lines``."""
        fields = (line.partition(": ") for line in lines.decode("ascii").splitlines())
        return {**self._headers[lease.number], **{name: value for name, _, value in fields}}

    def spare_headers(self) -> dict[str, str]:
        """Returns the header fields of a request of the gateway itself, such as for the list of models. There must be a
        credential."""
        return self._headers[self.pool.peek()]

    def disclose(self, error: UpstreamError) -> None:
        """Removes secrets and internal addresses from ``error``, before clients and records receive it. A message about
        the credential goes to the log only."""
        message = error.message
        name = self.platform.id
        if error.fault is Fault.REFUSED or (error.code in _UPSTREAM_WORDED and _ABOUT_CREDENTIAL.search(message)):
            error.message = f"the gateway's credential was refused by the platform {name}"
        else:
            text = message.replace(f"the upstream {self._origin.authority}", f"the platform {name}")
            error.message = self._redaction.text(text)
        for field in ("code", "type", "param", "upstream_code"):
            value = getattr(error, field)
            if value is not None:
                setattr(error, field, self._redaction.text(value))
        now = self._loop.time()
        if error.message != message and now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            _log.warning("%s (%s): %r", name, error.code, self._redaction.secrets(message)[:_MESSAGE_CHARACTERS])

    def fail(self, lease: CredentialLease, error: UpstreamError) -> None:
        """Ends an attempt with ``lease`` in ``error``."""
        name = lease.name
        wait = error.retry_after
        if error.reset_at is not None:
            # A time in the past is a stale message or a clock that differs: the default applies.
            left = error.reset_at - self.clock()
            wait = left if left > 0 else None
            self._resets[lease.number] = error.reset_at
        elif wait is not None:
            wait = bounded_wait(error.fault, wait)
        seconds = self.pool.fail(lease, self._loop.time(), error.fault, wait)
        if seconds:
            # The message may quote the client's request, so only the code is logged. It is the upstream's choice too.
            upstream_code = error.upstream_code
            code = error.code if upstream_code is None else f"upstream code {upstream_code[:_CODE_CHARACTERS]!r}"
            remedy = "; check its token" if error.fault is Fault.REFUSED else ""
            _log.warning(
                "%s is out of use for %g s: %s (%s)%s", name, round(seconds, 1), error.fault.value, code, remedy
            )
            if not self.pool.usable(self._loop.time()):
                _log.error("the platform %s has no usable credential left", self.platform.id)

    def refuses_usage(self) -> None:
        """Records that the upstream refused a stream with usage, and served it without."""
        self.no_usage_until = self._loop.time() + _NO_USAGE_SECONDS

    def reset(self, number: int) -> None:
        """Puts a credential back into service."""
        self.pool.reset(number)
        self._resets.pop(number, None)
        _log.info("%s is back in service: it has been reset", self.platform.credentials[number].name)

    def statistics(self) -> UpstreamStatistics:
        """Returns the state of the platform in this worker."""
        return UpstreamStatistics(self.platform.id, self.pool.statistics(self._loop.time()), self.budget.refused)

    def check(self) -> Check:
        """Returns the entry in ``/health``."""
        now = self._loop.time()
        usable = self.pool.usable(now)
        total = len(self.pool)
        if not total:
            output: str | None = "no token is configured for it"
        elif self.pool.refused(now):
            output = "it refuses every credential"
        elif not usable:
            output = "every credential is out of use"
        else:
            output = None if usable == total else f"{total - usable} of {total} credentials are cooling or disabled"
        return Check("pass" if output is None else "warn" if usable else "fail", usable, "credentials", output)

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        platform = self.platform.id
        statistics = self.statistics()
        yield Sample("ztoapi_upstream_retries_refused", statistics.retries_refused, platform)
        exhausted = len(self.pool) > 0 and not self.pool.usable(self._loop.time())
        yield Sample("ztoapi_upstream_exhausted", exhausted, platform)
        yield Sample("ztoapi_upstream_last_resort_requests", self.pool.last_resorts, platform)
        for each in statistics.credentials:
            state = CredentialState.OK
            if each.state is not BreakerState.CLOSED:
                state = CredentialState.DISABLED if each.fault is Fault.REFUSED else CredentialState.COOLING
            now = self.clock()
            until = stamped(math.ceil(now + each.until), each.fault) if each.until else 0.0
            failed = 0.0
            if each.last_failure is not None:
                age, fault = each.last_failure
                failed = stamped(int(now - age), fault)
            yield Sample("ztoapi_credential_state", state, platform, each.name)
            yield Sample("ztoapi_credential_in_flight", each.in_flight, platform, each.name)
            yield Sample("ztoapi_credential_requests", each.requests, platform, each.name)
            yield Sample("ztoapi_credential_failures", sum(each.failures.values()), platform, each.name)
            yield Sample("ztoapi_credential_latency_seconds", each.latency or 0.0, platform, each.name)
            yield Sample("ztoapi_credential_retry_timestamp_seconds", until, platform, each.name)
            yield Sample("ztoapi_credential_models_out_of_use", len(each.models), platform, each.name)
            yield Sample("ztoapi_credential_last_failure_timestamp_seconds", failed, platform, each.name)

    def unavailable(self, unavailable: Unavailable) -> UpstreamError:
        """Returns the error for a request that no credential can serve."""
        platform = self.platform.id
        if not unavailable.reasons:
            return UpstreamError(
                f"the gateway has no token for the platform {platform}: set "
                f"{platform.upper()}_TOKEN (or UPSTREAM_TOKEN for the default platform)",
                Failure.NO_TOKEN,
            )
        # Without names: they may identify the owners of tokens.
        reasons = ", ".join(f"{count} {_REASONS[fault]}" for fault, count in unavailable.reasons.items())
        message = f"no credential of the platform {platform} can serve this model now: {reasons}"
        seconds = math.ceil(unavailable.seconds)
        transient = unavailable.reasons.keys() - _LASTING
        if not transient and Fault.QUOTA in unavailable.reasons:
            now = self.clock()
            reset_at = min((reset for reset in self._resets.values() if reset > now), default=None)
            when = "" if reset_at is None else f"; the quota resets at {_utc(reset_at)}"
            return UpstreamError(f"{message}{when}", Failure.QUOTA, retry_after=seconds, reset_at=reset_at)
        failure = Failure.BUSY if transient and transient <= {None, Fault.THROTTLED} else Failure.UNAVAILABLE
        return UpstreamError(f"{message}; try again in {seconds} s", failure, retry_after=seconds)


_LASTING: Final = frozenset((Fault.QUOTA, Fault.REFUSED, Fault.EXCLUDED))
"""Faults that another attempt does not avoid: the wait depends on the other credentials, if there are any."""
_UPSTREAM_WORDED = frozenset(("upstream_error", "upstream_forbidden"))
"""Codes of errors with the upstream's own message, which may be about the credential."""
_REASONS = {
    None: "in use as often as the caps allow",
    Fault.REFUSED: "refused by the upstream",
    Fault.QUOTA: "with its quota used up",
    Fault.THROTTLED: "throttled by the upstream",
    Fault.EXCLUDED: "without access to it",
    Fault.OVERLOADED: "cooling while the upstream is overloaded",
    Fault.UPSTREAM: "cooling while the upstream fails",
}


def _endpoint(address: str, headers: list[dict[str, str]]) -> _Endpoint:
    url = httpx.URL(address)
    origin = origin_of(url)
    start = [" HTTP/1.1", f"host: {origin.authority}", "content-type: application/json"]
    lines = [[*start, *(f"{name}: {value}" for name, value in fields.items())] for fields in headers]
    return _Endpoint(origin, url.raw_path, ["\r\n".join([*each, "content-length: "]).encode("ascii") for each in lines])


def _utc(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _headers(token: str | None) -> dict[str, str]:
    headers = {
        # Any other coding lets the upstream compress a stream, which delays it.
        "accept-encoding": "identity",
        "accept": "application/json, text/event-stream",
        "accept-language": "en-US,en",
        "user-agent": _USER_AGENT,
    }
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return headers
