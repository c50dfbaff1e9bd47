"""GET /health, /livez and /readyz. Liveness and readiness depend on nothing but this process."""

import datetime
from collections.abc import Mapping
from typing import Literal

import msgspec

from ztoapi import __version__
from ztoapi.errors import shutting_down
from ztoapi.server.context import ServerContext
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.checks import Check, Checks

__all__ = ["HealthHandler"]

_encode = msgspec.json.Encoder().encode
_REQUESTS = "gateway:requests"
_UPSTREAM = "upstream:"


class _Health(msgspec.Struct, frozen=True):
    status: Literal["ok", "warn", "fail"]
    timestamp: str
    version: str
    checks: Mapping[str, tuple[Check]]


class HealthHandler:
    """Responds under overload and while draining too: its routes pass no gate. ``checks`` are those of the
    components."""

    def __init__(self, context: ServerContext, checks: Checks) -> None:
        self._context = context
        self._checks: Checks = {_REQUESTS: self._check_requests, **checks}

    def handle_health(self, exchange: Exchange) -> None:
        """For monitors and people. The status is always 200, as in the preceding project: some monitors restart a
        gateway by its status, which repairs no upstream. ``ok`` is that project's word for ``pass``."""
        now = datetime.datetime.fromtimestamp(self._context.wall_clock(), datetime.UTC)
        results = {name: check() for name, check in self._checks.items()}
        upstreams = [check.status for name, check in results.items() if name.startswith(_UPSTREAM)]
        status: Literal["ok", "warn", "fail"] = "ok"
        if results[_REQUESTS].status == "fail" or all(upstream == "fail" for upstream in upstreams):
            status = "fail"
        elif any(check.status != "pass" for check in results.values()):
            status = "warn"
        body = _Health(
            status, now.isoformat(timespec="seconds"), __version__, {name: (check,) for name, check in results.items()}
        )
        exchange.respond(200, _encode(body), headers=b"cache-control: no-store\r\n")

    def _check_requests(self) -> Check:
        in_flight = sum(connection.exchange is not None for connection in self._context.connections)
        if self._context.stopping:
            return Check("fail", in_flight, "requests", "shutting down")
        return Check("pass", in_flight, "requests")

    def handle_live(self, exchange: Exchange) -> None:
        exchange.respond(200, b'{"status":"ok"}')

    def handle_ready(self, exchange: Exchange) -> None:
        """Responds with 503 from the beginning of the shutdown, so that a load balancer uses other gateways. The state
        of upstreams and credentials does not matter: it is the same for every gateway."""
        if self._context.stopping:
            raise shutting_down()
        exchange.respond(200, b'{"status":"ok"}')
