"""The exception tree, the endings of a request, and the failures of an upstream.

ZtoapiError
  ConfigError       the configuration is invalid; holds every problem
    UsageError      the arguments of a command are invalid
  ProtocolError     the bytes on a client connection break HTTP; the connection closes after the response
  ApiError          a request cannot be served; holds the error object for the client
    UpstreamError   the upstream is the reason; holds the consequences for retries and credentials

A class exists only where some caller acts differently on it. Foreign exceptions are translated once, where
they enter, and chained.
"""

import enum
from typing import Final

__all__ = [
    "ApiError",
    "ConfigError",
    "Ending",
    "Failure",
    "Fault",
    "ProtocolError",
    "UpstreamError",
    "UsageError",
    "ZtoapiError",
    "empty_response",
    "malformed",
    "shutting_down",
    "too_large",
    "unexpected_coding",
    "unfinished",
]

_SHUTDOWN_RETRY_SECONDS: Final = 1.0


class Ending(enum.Enum):
    """How a request ended; the values appear in logs, metrics and records."""

    DONE = "done"
    CLIENT_ERROR = "client_error"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    TRUNCATED = "truncated"
    CLIENT_DISCONNECT = "client_disconnect"
    SLOW_CLIENT = "slow_client"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal_error"

    # Members are equal only if identical. Enum's own hash is a call of Python for each lookup.
    __hash__ = object.__hash__


class Fault(enum.Enum):
    """The cause of an upstream's failure: it decides the consequence for the credential, and which other credential or
    model may serve the request. The values appear in statistics."""

    REQUEST = "request"
    """The request, the client or the gateway, certainly or possibly: no consequence for the credential."""
    REFUSED = "refused"
    """The upstream does not accept the credential: wrong, expired, locked."""
    QUOTA = "quota"
    """The credential's quota for a longer time is used up."""
    THROTTLED = "throttled"
    """The credential has sent too many requests for this model at once."""
    EXCLUDED = "excluded"
    """The credential may not use this model."""
    OVERLOADED = "overloaded"
    """The upstream has no capacity for this model."""
    UPSTREAM = "upstream"
    """The upstream cannot be reached, or fails."""

    @property
    def of_credential(self) -> bool:
        """Whether another credential may serve the same request at once."""
        return self in (Fault.REFUSED, Fault.QUOTA, Fault.THROTTLED, Fault.EXCLUDED)


_SERVER: Final = "server_error"
_INVALID: Final = "invalid_request_error"
_FORBIDDEN: Final = "permission_error"
_ENDINGS: Final = {
    "upstream_timeout": Ending.UPSTREAM_TIMEOUT,
    "upstream_truncated": Ending.TRUNCATED,
    "shutdown": Ending.SHUTDOWN,
    "internal": Ending.INTERNAL_ERROR,
}


class Failure(enum.Enum):
    """Each way in which an upstream can fail a request, the same for all dialects and transports: the ``code``,
    ``status`` and ``type`` of the error for the client, the ``fault``, whether the request is ``retried``, and the
    ``occasion``. docs/behaviour.md has the table."""

    CONNECT_TIMEOUT = "upstream_timeout", 504, _SERVER, Fault.UPSTREAM, True, "no connection within the timeout"
    TIMEOUT = "upstream_timeout", 504, _SERVER, Fault.UPSTREAM, False, "no first byte, or no further one, in time"
    TOTAL_TIMEOUT = "upstream_timeout", 504, _SERVER, Fault.REQUEST, False, "the response is not complete in time"
    UNREACHABLE = "upstream_unreachable", 502, _SERVER, Fault.UPSTREAM, True, "no connection"
    TLS_FAILED = "upstream_unreachable", 502, _SERVER, Fault.UPSTREAM, False, "no TLS connection"
    NO_SOCKET = "overloaded", 503, _SERVER, Fault.REQUEST, False, "the gateway has no file descriptor left"
    CLOSED = "upstream_closed", 502, _SERVER, Fault.UPSTREAM, False, "the connection ends before the response"
    CUT_OFF = "upstream_truncated", 502, _SERVER, Fault.UPSTREAM, False, "the connection ends within the response"
    UNFINISHED = "upstream_truncated", 502, _SERVER, Fault.REQUEST, False, "the stream ends without a finish"
    BROKEN_HTTP = "upstream_protocol_error", 502, _SERVER, Fault.UPSTREAM, False, "the response breaks HTTP"
    EMPTY = "upstream_empty", 502, _SERVER, Fault.REQUEST, True, "a success without content"
    MALFORMED = "upstream_malformed", 502, _SERVER, Fault.REQUEST, False, "the response has invalid JSON"
    CODED = "upstream_content_encoding", 502, _SERVER, Fault.REQUEST, False, "a success in a content coding"
    LARGE_EVENT = "upstream_event_too_large", 502, _SERVER, Fault.REQUEST, False, "an event above the limit"
    LARGE_RESPONSE = "upstream_response_too_large", 502, _SERVER, Fault.REQUEST, False, "a response above the limit"
    REFUSED = "upstream_auth_error", 502, _SERVER, Fault.REFUSED, False, "the credential is refused"
    ACCOUNT = "upstream_account_error", 502, _SERVER, Fault.REFUSED, False, "the account is locked or unusable"
    QUOTA = "insufficient_quota", 429, "insufficient_quota", Fault.QUOTA, False, "the quota is used up"
    THROTTLED = "rate_limit_exceeded", 429, "rate_limit_exceeded", Fault.THROTTLED, True, "too many requests"
    OVERLOADED = "upstream_overloaded", 503, _SERVER, Fault.OVERLOADED, True, "the upstream has no capacity"
    FORBIDDEN = "upstream_forbidden", 403, _FORBIDDEN, Fault.REQUEST, False, "access is refused"
    EXCLUDED = "upstream_forbidden", 403, _FORBIDDEN, Fault.EXCLUDED, False, "the model is not in the plan"
    RESTRICTED = "upstream_forbidden", 403, _FORBIDDEN, Fault.QUOTA, False, "the plan is restricted for a time"
    CLIENT_CHECK = "upstream_client_check", 502, _SERVER, Fault.REQUEST, False, "chat.z.ai accepts only its own client"
    INVALID = "invalid_request", 400, _INVALID, Fault.REQUEST, False, "the upstream rejects the request"
    TOO_LARGE = "request_too_large", 413, _INVALID, Fault.REQUEST, False, "the upstream rejects the request's size"
    CONTEXT = "context_length_exceeded", 400, _INVALID, Fault.REQUEST, False, "more tokens than the model's context"
    POLICY = "content_policy_violation", 400, _INVALID, Fault.REQUEST, False, "the upstream's content filter"
    NO_MODEL = "model_not_found", 404, _INVALID, Fault.REQUEST, False, "the upstream does not have the model"
    FAILED = "upstream_error", 502, _SERVER, Fault.UPSTREAM, True, "the upstream fails (502, 504)"
    SERVER_ERROR = (
        "upstream_error",
        502,
        _SERVER,
        Fault.REQUEST,
        True,
        "the upstream fails at this request (500)",
    )
    UNEXPECTED = "upstream_error", 502, _SERVER, Fault.REQUEST, False, "an unknown error, or no completion"
    NO_TOKEN = "token_unavailable", 503, _SERVER, Fault.REQUEST, False, "no token is configured"
    UNAVAILABLE = "upstream_unavailable", 503, _SERVER, Fault.REQUEST, True, "no credential is usable"
    BUSY = "rate_limit_exceeded", 429, "rate_limit_exceeded", Fault.REQUEST, True, "all credentials throttled or full"
    SHUTDOWN = "shutdown", 503, _SERVER, Fault.REQUEST, False, "the gateway shuts down before a connection opens"
    INTERNAL = "internal", 500, _SERVER, Fault.REQUEST, False, "an error in the gateway"

    def __init__(self, code: str, status: int, type: str, fault: Fault, retried: bool, occasion: str) -> None:
        self.code = code
        self.status = status
        self.type = type
        self.fault = fault
        self.retried = retried
        self.occasion = occasion
        self.ending = _ENDINGS.get(code, Ending.UPSTREAM_ERROR)


class ZtoapiError(Exception):
    """Base of all exceptions that this package raises on purpose."""


class ConfigError(ZtoapiError):
    """The configuration cannot be used.

    ``problems`` holds one line for each invalid value: its name, its source, and the remedy.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UsageError(ConfigError):
    """The arguments of a command cannot be used. The command line prints it without mention of the configuration."""


class ProtocolError(ZtoapiError):
    """The client broke HTTP. The response has ``status``, and the connection closes after it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ApiError(ZtoapiError):
    """A request that cannot be served.

    ``status`` is the HTTP status; ``type``, ``code`` and ``param`` fill OpenAI's error object
    (https://platform.openai.com/docs/guides/error-codes/api-errors); ``retry_after`` is in seconds. The access log
    has the code, and ``docs/troubleshooting.md`` has a section for each.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str,
        param: str | None = None,
        retry_after: float | None = None,
        ending: Ending = Ending.CLIENT_ERROR,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.ending = ending


class UpstreamError(ApiError):
    """A ``failure`` of the upstream.

    ``retryable`` is whether the same request may succeed if it is sent again before any byte of a response has been
    sent; it overrides the failure's. ``upstream_code`` is the provider's own code (a decimal string for Z.ai), for the
    record. ``reset_at`` (Unix seconds) is the end of a used-up quota, if the upstream names it.
    """

    def __init__(
        self,
        message: str,
        failure: Failure = Failure.UNEXPECTED,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        upstream_code: str | None = None,
        reset_at: float | None = None,
    ) -> None:
        super().__init__(
            message,
            status=failure.status,
            type=failure.type,
            code=failure.code,
            param=param,
            retry_after=retry_after,
            ending=failure.ending,
        )
        self.failure = failure
        self.fault = failure.fault
        self.retryable = failure.retried if retryable is None else retryable
        self.upstream_code = upstream_code
        self.reset_at = reset_at

    @property
    def elsewhere(self) -> bool:
        """Whether another credential or another model may serve the request."""
        return self.retryable or self.fault.of_credential

    @property
    def lasting(self) -> bool:
        """Whether another attempt of the client finds the same quota or the same refused credential."""
        return self.fault in (Fault.QUOTA, Fault.REFUSED)


def shutting_down() -> ApiError:
    """Returns the error for a request that arrives, or has not ended, when the gateway shuts down."""
    return ApiError(
        "the gateway is shutting down",
        status=503,
        type=_SERVER,
        code="shutdown",
        retry_after=_SHUTDOWN_RETRY_SECONDS,
        ending=Ending.SHUTDOWN,
    )


def unfinished(*, retryable: bool = False) -> UpstreamError:
    """Returns the error for a stream that ends without a finish."""
    return UpstreamError(
        "the upstream's stream ended in the middle of the response", Failure.UNFINISHED, retryable=retryable
    )


def empty_response(part: str = "stream") -> UpstreamError:
    """Returns the error for a success without content."""
    return UpstreamError(f"the upstream's {part} is empty", Failure.EMPTY)


def malformed(part: str, cause: Exception | None = None, *, retryable: bool = False) -> UpstreamError:
    """Returns the error for a ``part`` of the response, with its article, that cannot be read because of ``cause``."""
    reason = "" if cause is None else f": {cause}"
    message = f"the upstream sent {part} that cannot be read{reason}"
    error = UpstreamError(message, Failure.MALFORMED, retryable=retryable)
    error.__cause__ = cause
    return error


def too_large(part: str, failure: Failure, max_size: str) -> UpstreamError:
    """Returns the error for a ``part`` of the response that is larger than ``max_size``, a number with its unit."""
    return UpstreamError(f"the upstream's {part} is larger than {max_size}", failure)


def unexpected_coding(coding: str) -> UpstreamError:
    """Returns the error for a completion with a content coding. Requests ask for none, because a compressed stream
    arrives in bursts."""
    message = f"the upstream's response has the content encoding {coding}, which was not requested"
    return UpstreamError(message, Failure.CODED)
