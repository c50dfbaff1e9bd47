"""GET /health, /livez and /readyz. Liveness and readiness depend on nothing but this process."""

import datetime
from collections.abc import Callable

import msgspec

from ztoapi import __version__
from ztoapi.errors import ApiError, Ending
from ztoapi.server.context import ServerContext
from ztoapi.server.exchange import Exchange

__all__ = ["HealthHandler"]

_encode = msgspec.json.Encoder().encode


class HealthHandler:
    """Answers also under overload and while draining: its routes pass no gate. ``refused`` says whether the upstreams
    have refused every credential."""

    def __init__(self, context: ServerContext, refused: Callable[[], bool]) -> None:
        self._context = context
        self._refused = refused

    def handle_health(self, exchange: Exchange) -> None:
        """Status, time and version, as the project before this one proposed."""
        now = datetime.datetime.fromtimestamp(self._context.wall_clock(), datetime.UTC)
        body = {
            "status": "draining" if self._context.draining else "ok",
            "timestamp": now.isoformat(timespec="seconds"),
            "version": __version__,
        }
        exchange.respond(200, _encode(body))

    def handle_live(self, exchange: Exchange) -> None:
        exchange.respond(200, b'{"status":"ok"}')

    def handle_ready(self, exchange: Exchange) -> None:
        """503 from the moment shutdown begins, so that a load balancer looks elsewhere; and when every credential has
        been refused, which is our configuration's fault. An upstream that is down is no reason: there is no other
        gateway for which it is up."""
        if self._context.draining:
            raise ApiError(
                "the gateway is shutting down", status=503, type="server_error", code="shutdown", ending=Ending.SHUTDOWN
            )
        if self._refused():
            raise ApiError(
                "the upstreams refuse every credential of the gateway",
                status=503,
                type="server_error",
                code="credentials_refused",
                ending=Ending.REJECTED,
            )
        exchange.respond(200, b'{"status":"ok"}')
