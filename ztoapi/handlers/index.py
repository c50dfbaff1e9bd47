"""GET /: the paths of the gateway, for a person or a program that has only its address."""

import msgspec

from ztoapi.server.exchange import Exchange

__all__ = ["IndexHandler"]


class IndexHandler:
    """Serves the index as JSON; a browser is sent to the API reference, which every visitor may read.

    ``demo_upstream`` is the base URL of the simulator of ``ztoapi demo``, for ``ztoapi bench``.
    """

    def __init__(self, *, dashboard: bool, demo_upstream: str | None = None) -> None:
        index = {"name": "ztoapi", "base_url": "/v1", "documentation": "/docs", "openapi": "/openapi.json"}
        if dashboard:
            index["dashboard"] = "/dashboard"
        if demo_upstream is not None:
            index["demo_upstream"] = demo_upstream
        self._body = msgspec.json.encode(index)

    def handle(self, exchange: Exchange) -> None:
        accepted = exchange.request.headers.get(b"accept", b"").lower()
        if b"text/html" in accepted and b"application/json" not in accepted:
            # Relative, so that a proxy may add a prefix.
            exchange.respond(302, b"", headers=b"location: docs\r\nvary: accept\r\n")
        else:
            exchange.respond(200, self._body, headers=b"vary: accept\r\n")
