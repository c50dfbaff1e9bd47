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

__all__ = ["ApiError", "ConfigError", "Ending", "ProtocolError", "UpstreamError", "ZtoapiError"]


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
    gone out; ``upstream_code`` is the provider's own code (a decimal string for Z.ai), kept for the record.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        type: str = "server_error",
        code: str | None = "upstream_error",
        retry_after: float | None = None,
        ending: Ending = Ending.UPSTREAM_ERROR,
        retryable: bool = False,
        upstream_code: str | None = None,
    ) -> None:
        super().__init__(message, status=status, type=type, code=code, retry_after=retry_after, ending=ending)
        self.retryable = retryable
        self.upstream_code = upstream_code
