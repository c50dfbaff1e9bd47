"""GET /health, /livez and /readyz. Liveness and readiness depend on nothing but this process."""

import datetime

import msgspec

from ztoapi import __version__
from ztoapi.errors import ApiError, Ending
from ztoapi.server.context import ServerContext
from ztoapi.server.exchange import Exchange

__all__ = ["HealthHandler"]

_encode = msgspec.json.Encoder().encode


class HealthHandler:
    """Answers also under overload and while draining: its routes pass no gate."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

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
        """503 from the moment shutdown begins, so that a load balancer looks elsewhere."""
        if self._context.draining:
            raise ApiError(
                "the gateway is shutting down", status=503, type="server_error", code="shutdown", ending=Ending.SHUTDOWN
            )
        exchange.respond(200, b'{"status":"ok"}')
