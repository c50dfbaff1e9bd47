"""GET /: the paths of the gateway, for a person or a program that has only its address."""

import msgspec

from ztoapi.server.exchange import Exchange

__all__ = ["IndexHandler"]


class IndexHandler:
    """Serves the index as JSON; a browser is sent to the chat page or, without ``pages`` for people, to the API
    reference.

    ``demo_upstream`` is the base URL of the simulator of ``ztoapi demo``, for ``ztoapi bench``.
    """

    def __init__(self, *, pages: bool, demo_upstream: str | None = None) -> None:
        index = {"name": "ztoapi", "base_url": "/v1", "documentation": "/docs", "openapi": "/openapi.json"}
        if pages:
            index |= {"dashboard": "/dashboard", "chat": "/chat"}
        # Relative, so that a proxy may add a prefix.
        self._location = b"location: %b\r\nvary: accept\r\n" % (b"chat" if pages else b"docs")
        if demo_upstream is not None:
            index["demo_upstream"] = demo_upstream
        self._body = msgspec.json.encode(index)

    def handle(self, exchange: Exchange) -> None:
        accepted = exchange.request.headers.get(b"accept", b"").lower()
        if b"text/html" in accepted and b"application/json" not in accepted:
            exchange.respond(302, b"", headers=self._location)
        else:
            exchange.respond(200, self._body, headers=b"vary: accept\r\n")
