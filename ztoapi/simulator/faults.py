"""Faults of a response: before its first byte, and in the middle.

Each dialect formats its error responses (:class:`SimulatedDialect`). The other faults concern HTTP and TCP, and are the
same for all dialects.
"""

import datetime
import re
import socket
import struct
from typing import Final, NamedTuple, Protocol

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.plan import ResponsePlan

__all__ = ["SimulatedCall", "SimulatedDialect", "apply_fault", "end_with_fault", "refuse"]

_HTML = b"<!DOCTYPE html><html><head><title>405</title></head><body>blocked by the edge</body></html>"
_CAPTCHA = b'{"detail":{"code":"FRONTEND_CAPTCHA_REQUIRED"}}'
_BOTH_LENGTHS = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"


_RESET: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_ZONE_HOURS: Final = 8
"""Z.ai gives times in Beijing time, without a zone."""


class SimulatedCall(NamedTuple):
    """A chat request in progress. Its id contains ``number``."""

    exchange: Exchange
    model: str
    plan: ResponsePlan
    number: int


class SimulatedDialect(Protocol):
    """The wire format of one upstream."""

    error_event: bytes
    """The event that reports a failure in the middle of a stream."""

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of an error response."""
        ...

    def respond(self, call: SimulatedCall) -> None: ...


def refuse(
    exchange: Exchange, dialect: SimulatedDialect, code: str, message: str = "", *, retry_after: int = 0
) -> None:
    """Sends one of :data:`ztoapi.simulator.codes.REFUSALS`."""
    status, body = dialect.error(code, message or REFUSALS[code].message)
    headers = b"retry-after: %d\r\n" % retry_after if retry_after else b""
    exchange.respond(status, body, headers=headers)


def _reset_time(seconds: int) -> str:
    zone = datetime.timezone(datetime.timedelta(hours=_ZONE_HOURS))
    now = datetime.datetime.now(zone)  # noqa: TID251 - shown to users
    return (now + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


def apply_fault(call: SimulatedCall, dialect: SimulatedDialect) -> bool:
    """Applies a fault that comes before the first byte. Returns True if no response is to follow."""
    exchange = call.exchange
    fault = call.plan.fault
    if fault in REFUSALS:
        message = _RESET.sub(_reset_time(call.plan.reset), REFUSALS[fault].message) if call.plan.reset else ""
        refuse(exchange, dialect, fault, message, retry_after=call.plan.retry_after)
    elif fault == "refuse":
        exchange.abort()
    elif fault == "reset":
        _reset(exchange)
    elif fault == "garbage":
        _send_raw(exchange, b"\x00\x01 this is not HTTP\r\n\r\n")
    elif fault == "bad_head":
        _send_raw(exchange, _BOTH_LENGTHS)
    elif fault in ("html", "html_200"):
        exchange.respond(200 if fault == "html_200" else 405, _HTML, content_type=b"text/html")
    elif fault == "empty":
        exchange.start_stream()
        exchange.stream.end()
    elif fault == "captcha":
        exchange.respond(403, _CAPTCHA)
    else:
        # A hanging response sends nothing and waits for the client to disconnect.
        return fault == "hang"
    return True


def end_with_fault(exchange: Exchange, fault: str, upcoming: bytes, error_event: bytes) -> bool:
    """Applies a fault that ends a stream in its middle. Returns False if ``fault`` is another one. ``upcoming`` is the
    next event."""
    if fault == "truncate":
        exchange.abort()
    elif fault == "reset_mid":
        _reset(exchange)
    elif fault == "garbage_mid":
        exchange.stream.end(upcoming[: len(upcoming) // 2] + b"\n\n")
    elif fault == "bad_chunk":
        _send_raw(exchange, b"nonsense\r\n")
    elif fault == "error_mid":
        exchange.stream.end(error_event)
    else:
        return fault == "hang_mid"
    return True


def _send_raw(exchange: Exchange, data: bytes) -> None:
    exchange.transport.write(data)
    exchange.abort()


def _reset(exchange: Exchange) -> None:
    """Closes the connection with a TCP reset."""
    sock = exchange.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.transport.abort()
    exchange.abort()
