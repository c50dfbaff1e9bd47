"""GET /metrics: Prometheus text, OpenMetrics or JSON, as the Accept field requests."""

import asyncio
from collections.abc import Callable

import msgspec

from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.stats import make_summary

__all__ = ["MetricsHandler"]


class MetricsHandler:
    """Reports on all workers. ``refresh`` updates this worker's slot of the board; ``clock`` returns Unix seconds."""

    def __init__(self, board: MetricsBoard, refresh: Callable[[], None], clock: Callable[[], float]) -> None:
        self._board = board
        self._refresh = refresh
        self._clock = clock

    def handle(self, exchange: Exchange) -> None:
        exchange.spawn(self._respond(exchange))

    async def _respond(self, exchange: Exchange) -> None:
        headers = exchange.request.headers
        accept = headers.get(b"accept", b"").decode("latin-1")
        self._refresh()
        if "application/json" in accept.lower():
            summary = await asyncio.to_thread(make_summary, self._board, self._clock())
            exchange.respond(200, msgspec.json.encode(summary), headers=b"vary: accept\r\n")
            return
        compress = b"gzip" in headers.get(b"accept-encoding", b"").lower()
        text, content_type = await asyncio.to_thread(_render, self._board, accept, compress)
        fields = b"vary: accept, accept-encoding\r\n" + (b"content-encoding: gzip\r\n" if compress else b"")
        exchange.respond(200, text, content_type=content_type.encode("ascii"), headers=fields)


def _render(board: MetricsBoard, accept: str, compress: bool) -> tuple[bytes, str]:
    # Importing prometheus_client takes 57 ms, and many gateways are never scraped.
    from ztoapi.telemetry.prometheus import render

    return render(board, accept, compress=compress)
