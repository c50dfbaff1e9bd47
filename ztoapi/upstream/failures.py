"""Errors of the transports: the upstream cannot be reached, is silent, breaks off, or breaks HTTP.

Their messages contain no byte from an upstream. Those of failed connections contain the address, for the log:
:meth:`ztoapi.relay.upstreams.Upstream.disclose` removes it for clients.
"""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from ztoapi.errors import Failure, UpstreamError

__all__ = [
    "accepted_nothing",
    "broken_http",
    "closed",
    "closing",
    "connect_failed",
    "connect_timeout",
    "fell_silent",
    "internal",
    "no_byte_in_time",
    "took_too_long",
    "truncated",
    "tunnel_refused",
]

_LOCAL_SHORTAGES: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""The gateway's host has no descriptor or buffer left, which is not a fault of the upstream."""
_SHORTAGE_RETRY_SECONDS: Final = 1.0


def connect_failed(authority: str, cause: BaseException) -> UpstreamError:
    """Returns the error for no connection to ``authority``. The reason is in ``cause``, or in the exceptions that led
    to it."""
    chain = list(_chain(cause))
    tls = next((error for error in chain if isinstance(error, ssl.SSLError)), None)
    if tls is not None:
        return _unreachable(authority, f"TLS failed: {_tls_reason(tls)}", cause, Failure.TLS_FAILED)
    system = next((error for error in reversed(chain) if isinstance(error, OSError) and error.errno), None)
    if isinstance(system, socket.gaierror):
        system = _shortage() or system
    if system is not None and system.errno in _LOCAL_SHORTAGES:
        error = UpstreamError(
            "the gateway has no socket left for a connection to the upstream",
            Failure.NO_SOCKET,
            retry_after=_SHORTAGE_RETRY_SECONDS,
        )
        error.__cause__ = cause
        return error
    return _unreachable(authority, _system_reason(system), cause, Failure.UNREACHABLE)


def connect_timeout(authority: str, seconds: float, cause: BaseException) -> UpstreamError:
    """Returns the error for no connection to ``authority`` within ``seconds``."""
    message = f"cannot connect to the upstream {authority}: no connection within {seconds:g} s"
    error = UpstreamError(message, Failure.CONNECT_TIMEOUT)
    error.__cause__ = cause
    return error


def tunnel_refused(authority: str, variable: str, status: int | None) -> UpstreamError:
    """Returns the error for a proxy of ``variable`` that opens no tunnel to ``authority``."""
    reason = "its response is not HTTP" if status is None else f"status {status}"
    message = f"cannot connect to the upstream {authority}: the proxy of {variable} refuses the tunnel: {reason}"
    return UpstreamError(message, Failure.UNREACHABLE)


def no_byte_in_time(seconds: float) -> UpstreamError:
    """Returns the error for no first byte of a response within ``seconds``."""
    return UpstreamError(f"the upstream sent no byte of a response within {seconds:g} s", Failure.TIMEOUT)


def fell_silent(seconds: float) -> UpstreamError:
    """Returns the error for a pause of ``seconds``."""
    return UpstreamError(f"the upstream sent nothing for {seconds:g} s", Failure.TIMEOUT)


def accepted_nothing(seconds: float) -> UpstreamError:
    """Returns the error for an upstream that has read none of the request's body for ``seconds``."""
    return UpstreamError(f"the upstream accepted no byte of the request for {seconds:g} s", Failure.TIMEOUT)


def took_too_long(seconds: float) -> UpstreamError:
    """Returns the error for a response that is not complete after ``seconds``, which is not a sign of a failing
    upstream."""
    return UpstreamError(f"the upstream's response took longer than {seconds:g} s", Failure.TOTAL_TIMEOUT)


def closed(cause: BaseException | None) -> UpstreamError:
    """Returns the error for a connection that ends before any byte of a response."""
    return _caused(cause, "the upstream closed the connection without a response", Failure.CLOSED)


def truncated(cause: BaseException | None) -> UpstreamError:
    """Returns the error for a connection that ends within a response."""
    return _caused(cause, "the upstream closed the connection in the middle of its response", Failure.CUT_OFF)


def broken_http(reason: str) -> UpstreamError:
    """Returns the error for a response that breaks HTTP. ``reason`` is one of the gateway's own messages."""
    return UpstreamError(f"the upstream's response breaks HTTP: {reason}", Failure.BROKEN_HTTP)


def closing() -> UpstreamError:
    """Returns the error for a request whose connection opens after the client has closed."""
    return UpstreamError("the gateway is shutting down", Failure.SHUTDOWN)


def internal() -> UpstreamError:
    """Returns the error for a failed callback of a sink."""
    return UpstreamError("internal error", Failure.INTERNAL)


def _caused(cause: BaseException | None, message: str, failure: Failure) -> UpstreamError:
    error = UpstreamError(message, failure)
    error.__cause__ = cause
    return error


def _unreachable(authority: str, reason: str, cause: BaseException, failure: Failure) -> UpstreamError:
    return _caused(cause, f"cannot connect to the upstream {authority}: {reason}", failure)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            # Of several addresses: the last one.
            error = error.exceptions[-1]
            continue
        error = error.__cause__ or error.__context__


def _shortage() -> OSError | None:
    """Returns the reason why no socket can be created, if any: without a descriptor a resolver reports that the name
    cannot be resolved."""
    try:
        socket.socket().close()
    except OSError as error:
        return error
    return None


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # Such as "unable to get local issuer certificate"; ``reason`` is less specific. A mismatch continues with the
        # host's name.
        return f"the certificate is not accepted: {error.verify_message.partition(' for ')[0]}"
    return error.reason or "the handshake broke off"


def _system_reason(error: OSError | None) -> str:
    if error is None or error.errno is None:
        # Such as a host name that IDNA cannot encode.
        return "the address cannot be used"
    if isinstance(error, socket.gaierror):
        return str(error.strerror or "the name cannot be resolved")
    # ``strerror`` contains the address, from asyncio.
    return os.strerror(error.errno)
