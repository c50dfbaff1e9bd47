"""Errors of the transports themselves: the upstream cannot be reached, is silent, or breaks off.

Their messages hold no byte that an upstream has sent. Those of failed connections name the address, for the log:
:meth:`ztoapi.relay.upstreams.Upstream.disclose` takes it out for clients.
"""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from ztoapi.errors import Ending, Fault, UpstreamError

__all__ = [
    "broken_http",
    "closed",
    "connect_failed",
    "connect_timeout",
    "internal",
    "late",
    "truncated",
]

_LOCAL_SHORTAGES: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""The gateway's host has no descriptor or buffer left, which says nothing of the upstream."""
_SHORTAGE_RETRY_SECONDS: Final = 1.0


def connect_failed(authority: str, cause: BaseException) -> UpstreamError:
    """No connection to ``authority``, because of ``cause``; exceptions that it came from count too."""
    chain = list(_chain(cause))
    tls = next((error for error in chain if isinstance(error, ssl.SSLError)), None)
    if tls is not None:
        return _unreachable(authority, f"TLS failed: {_tls_reason(tls)}", cause, retryable=False)
    system = next((error for error in reversed(chain) if isinstance(error, OSError) and error.errno), None)
    if isinstance(system, socket.gaierror):
        system = _shortage() or system
    if system is not None and system.errno in _LOCAL_SHORTAGES:
        error = UpstreamError(
            "the gateway has no socket left for a connection to the upstream",
            status=503,
            code="overloaded",
            retry_after=_SHORTAGE_RETRY_SECONDS,
            fault=Fault.REQUEST,
        )
        error.__cause__ = cause
        return error
    return _unreachable(authority, _system_reason(system), cause)


def connect_timeout(authority: str, seconds: float, cause: BaseException) -> UpstreamError:
    """No connection to ``authority`` within ``seconds``."""
    error = late(f"cannot connect to the upstream {authority}: no connection within {seconds:g} s")
    error.retryable = True
    error.__cause__ = cause
    return error


def late(message: str, fault: Fault = Fault.UPSTREAM) -> UpstreamError:
    """The upstream has taken too long."""
    return UpstreamError(message, status=504, code="upstream_timeout", ending=Ending.UPSTREAM_TIMEOUT, fault=fault)


def closed(cause: BaseException | None) -> UpstreamError:
    """The connection has ended before any byte of a response."""
    error = UpstreamError(
        "the upstream closed the connection without an answer", code="upstream_closed", fault=Fault.UPSTREAM
    )
    error.__cause__ = cause
    return error


def truncated(cause: BaseException | None) -> UpstreamError:
    """The connection has ended within a response."""
    error = UpstreamError(
        "the upstream closed the connection in the middle of its answer",
        code="upstream_truncated",
        ending=Ending.TRUNCATED,
        fault=Fault.UPSTREAM,
    )
    error.__cause__ = cause
    return error


def broken_http(reason: str) -> UpstreamError:
    """The response breaks HTTP; ``reason`` is one of our own messages."""
    return UpstreamError(
        f"the upstream's answer breaks HTTP: {reason}", code="upstream_protocol_error", fault=Fault.UPSTREAM
    )


def internal() -> UpstreamError:
    """A fault of the gateway's own."""
    return UpstreamError("internal error", status=500, code="internal", ending=Ending.INTERNAL_ERROR)


def _unreachable(authority: str, reason: str, cause: BaseException, *, retryable: bool = True) -> UpstreamError:
    error = UpstreamError(
        f"cannot connect to the upstream {authority}: {reason}",
        code="upstream_unreachable",
        retryable=retryable,
        fault=Fault.UPSTREAM,
    )
    error.__cause__ = cause
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            # Of several addresses: the last one.
            error = error.exceptions[-1]
            continue
        error = error.__cause__ or error.__context__


def _shortage() -> OSError | None:
    """The reason why no socket can be made, if there is one: a resolver without a descriptor reports that the name
    cannot be resolved."""
    try:
        socket.socket().close()
    except OSError as error:
        return error
    return None


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # E.g. "unable to get local issuer certificate"; ``reason`` only says that the certificate was refused.
        # A mismatch goes on with the host's name.
        return f"the certificate is not accepted: {error.verify_message.partition(' for ')[0]}"
    return error.reason or "the handshake broke off"


def _system_reason(error: OSError | None) -> str:
    if error is None or error.errno is None:
        # Such as a host name that IDNA cannot encode.
        return "the address cannot be used"
    if isinstance(error, socket.gaierror):
        return str(error.strerror or "the name cannot be resolved")
    # Not ``strerror``: asyncio writes the address there.
    return os.strerror(error.errno)
