"""The one exception tree, and the endings a request can have.

ZtoapiError
  ConfigError       the configuration is wrong; carries every problem at once
  ProtocolError     the octets on a client connection break HTTP; it is answered and closed
  ApiError          a request cannot be served; knows the error object the client sees
    UpstreamError   the upstream is the reason; knows whether another try may help

A class exists only where some caller acts differently on it. Foreign exceptions are translated once, where
they enter, and chained.
"""

import enum

__all__ = [
    "ApiError",
    "ConfigError",
    "Ending",
    "Fault",
    "ProtocolError",
    "UpstreamError",
    "ZtoapiError",
    "empty_response",
    "too_large",
    "unexpected_coding",
]


class Ending(enum.Enum):
    """How a request ended; the values are what logs, metrics and records show."""

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


class Fault(enum.Enum):
    """Whose fault it is that an upstream did not serve a request: what becomes of the credential, and who may still
    serve the request. The values are what statistics show."""

    REQUEST = "request"
    """The request's, the client's, our own, or perhaps so: says nothing of the credential."""
    REFUSED = "refused"
    """The upstream does not accept the credential: wrong, expired, locked."""
    QUOTA = "quota"
    """What the credential may use in a longer time is used up."""
    THROTTLED = "throttled"
    """The credential asks for too much of this model at once."""
    EXCLUDED = "excluded"
    """The credential may not use this model."""
    OVERLOADED = "overloaded"
    """The upstream has no room for this model."""
    UPSTREAM = "upstream"
    """The upstream cannot be reached, or fails."""

    @property
    def of_credential(self) -> bool:
        """Whether another credential may well serve the same request at once."""
        return self in (Fault.REFUSED, Fault.QUOTA, Fault.THROTTLED, Fault.EXCLUDED)


class ZtoapiError(Exception):
    """Everything this package raises on purpose."""


class ConfigError(ZtoapiError):
    """The configuration cannot be used.

    ``problems`` holds one line for each wrong value: its name, where it came from, and the remedy.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ProtocolError(ZtoapiError):
    """The client broke HTTP. The answer is ``status``; the connection closes after it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ApiError(ZtoapiError):
    """A request that cannot be served.

    ``status`` is the HTTP status; ``type``, ``code`` and ``param`` fill OpenAI's error object
    (https://platform.openai.com/docs/guides/error-codes/api-errors); ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
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
    """The upstream refused, broke or fell silent.

    ``retryable`` says that the same request may succeed when it is tried again before any byte of an answer has
    gone out; ``upstream_code`` is the provider's own code (a decimal string for Z.ai), kept for the record. ``fault``
    is whose fault it was, ``reset_at`` (Unix seconds) when a used-up quota is whole again, if the upstream said so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        type: str = "server_error",
        code: str | None = "upstream_error",
        param: str | None = None,
        retry_after: float | None = None,
        ending: Ending = Ending.UPSTREAM_ERROR,
        retryable: bool = False,
        upstream_code: str | None = None,
        fault: Fault = Fault.REQUEST,
        reset_at: float | None = None,
    ) -> None:
        super().__init__(
            message, status=status, type=type, code=code, param=param, retry_after=retry_after, ending=ending
        )
        self.retryable = retryable
        self.upstream_code = upstream_code
        self.fault = fault
        self.reset_at = reset_at

    @property
    def elsewhere(self) -> bool:
        """Whether another credential or another model may serve the request."""
        return self.retryable or self.fault.of_credential


def too_large(part: str, max_bytes: int) -> UpstreamError:
    """Returns the error for an event or a response of more than ``max_bytes``."""
    return UpstreamError(f"the upstream's {part} is larger than {max_bytes} bytes", code=f"upstream_{part}_too_large")


def unexpected_coding(coding: str) -> UpstreamError:
    """Returns the error for a completion with a content coding. Requests ask for none, because a compressed stream
    arrives in bursts."""
    return UpstreamError(
        f"the upstream's response has the content encoding {coding}, which was not requested",
        code="upstream_content_encoding",
    )


def empty_response(status: int) -> UpstreamError:
    """Returns the error for a success without a body."""
    return UpstreamError(f"the upstream answered {status} without a body", code="upstream_empty", retryable=True)
