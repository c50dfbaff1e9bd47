"""GET /metrics: Prometheus text or OpenMetrics, and JSON for whoever asks for that."""

import asyncio
from collections.abc import Callable

import msgspec

from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.stats import seed_metrics

__all__ = ["MetricsHandler"]


class MetricsHandler:
    """Any worker answers for all. ``refresh`` brings this worker's part of the board up to date; ``clock`` gives Unix
    seconds."""

    def __init__(self, board: MetricsBoard, refresh: Callable[[], None], clock: Callable[[], float]) -> None:
        self._board = board
        self._refresh = refresh
        self._clock = clock

    def handle(self, exchange: Exchange) -> None:
        exchange.spawn(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        headers = exchange.request.headers
        accept = headers.get(b"accept", b"").decode("latin-1")
        self._refresh()
        if "application/json" in accept.lower():
            shown = await asyncio.to_thread(seed_metrics, self._board, self._clock())
            exchange.respond(200, msgspec.json.encode(shown), headers=b"vary: accept\r\n")
            return
        compress = b"gzip" in headers.get(b"accept-encoding", b"").lower()
        text, content_type = await asyncio.to_thread(_render, self._board, accept, compress)
        fields = b"vary: accept, accept-encoding\r\n" + (b"content-encoding: gzip\r\n" if compress else b"")
        exchange.respond(200, text, content_type=content_type.encode("ascii"), headers=fields)


def _render(board: MetricsBoard, accept: str, compress: bool) -> tuple[bytes, str]:
    # The library takes 57 ms to import, and many a gateway is never scraped.
    from ztoapi.telemetry.prometheus import render

    return render(board, accept, compress=compress)
