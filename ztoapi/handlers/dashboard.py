"""GET /dashboard/stats, /requests, /history and /events: what the dashboard page shows, as JSON."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec

from ztoapi.errors import ApiError, Ending
from ztoapi.server.exchange import Exchange
from ztoapi.server.query import read_query, whole_number
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.history import History, no_history
from ztoapi.telemetry.live import LiveRecord, read_live
from ztoapi.telemetry.stats import Json, make_stats

__all__ = ["DashboardHandler"]

_EVENT_SECONDS: Final = 1.0
"""How often the page is told: as often as there is a new second to show."""
_PAGE_SIZE: Final = 20
_LARGEST_PAGE: Final = 500
_LAST_PAGE: Final = 1_000_000
_UNKEPT: Final = b"cache-control: no-store\r\n"
_FILTERS: Final = ("model", "ending", "key", "path")

_encode = msgspec.json.Encoder().encode


class _Question(msgspec.Struct, frozen=True):
    """Which requests are wanted. The texts must be equal to the record's; ``text`` occurs in any of its fields."""

    page: int
    page_size: int
    status: str | None
    text: str | None
    equal: tuple[tuple[str, str], ...]


_NEWEST: Final = _Question(1, _PAGE_SIZE, None, None, ())


class DashboardHandler:
    """Any worker answers for all. ``refresh`` and ``clock`` as in MetricsHandler; ``draining`` ends event streams;
    ``history`` is None where none is kept."""

    def __init__(
        self,
        board: MetricsBoard,
        refresh: Callable[[], None],
        clock: Callable[[], float],
        draining: Callable[[], bool],
        history: History | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._board = board
        self._refresh = refresh
        self._clock = clock
        self._draining = draining
        self._history = history
        self._loop = loop
        self._making: asyncio.Task[tuple[bytes, bytes]] | None = None
        self._made_at = 0.0

    def handle_stats(self, exchange: Exchange) -> None:
        exchange.spawn(self._answer(exchange, self._stats))

    def handle_requests(self, exchange: Exchange) -> None:
        """A page of live records. Raises ApiError for a question that makes no sense."""
        question = _question(exchange)
        exchange.spawn(self._answer(exchange, lambda: self._requests(question)))

    def handle_history(self, exchange: Exchange) -> None:
        """Hours and days, up to this moment."""
        exchange.spawn(self._answer(exchange, self._read_history))

    def handle_events(self, exchange: Exchange) -> None:
        """Server-sent events: the stats once a second, the newest requests whenever they have changed."""
        if exchange.request.method == "HEAD":
            # No body follows: what came would be read as the next answer.
            exchange.respond(200, b"", content_type=b"text/event-stream", headers=_UNKEPT)
            return
        exchange.spawn(self._stream(exchange))

    async def _answer(self, exchange: Exchange, make: Callable[[], bytes]) -> None:
        self._refresh()
        exchange.respond(200, await asyncio.to_thread(make), headers=_UNKEPT)

    def _stats(self) -> bytes:
        return _encode(make_stats(self._board, self._clock()))

    def _requests(self, question: _Question) -> bytes:
        found = [record for record in read_live(self._board) if _matches(record, question)]
        first = (question.page - 1) * question.page_size
        return _encode(
            {
                "requests": [_shown(record) for record in found[first : first + question.page_size]],
                "total": len(found),
                "page": question.page,
                "page_size": question.page_size,
            }
        )

    def _read_history(self) -> bytes:
        if self._history is None:
            return _encode(no_history())
        self._history.save()
        try:
            return _encode(self._history.read())
        except sqlite3.Error as error:
            raise ApiError(
                f"the history cannot be read: {error}",
                status=503,
                type="server_error",
                code="history_unavailable",
                ending=Ending.INTERNAL_ERROR,
            ) from error

    async def _newest(self) -> tuple[bytes, bytes]:
        """The events of this second, stats and newest requests: made once for all who watch."""
        now = self._loop.time()
        if self._making is None or now - self._made_at >= _EVENT_SECONDS:
            self._refresh()
            self._made_at = now
            self._making = self._loop.create_task(asyncio.to_thread(self._make_events))
        # Whoever asked first may leave meanwhile: the others wait for it too.
        return await asyncio.shield(self._making)

    def _make_events(self) -> tuple[bytes, bytes]:
        stats, requests = self._stats(), self._requests(_NEWEST)
        return b"event: stats\ndata: %b\n\n" % stats, b"event: requests\ndata: %b\n\n" % requests

    async def _stream(self, exchange: Exchange) -> None:
        exchange.start_stream(headers=_UNKEPT)
        last = b""
        while not self._draining():
            # A page that cannot keep up misses some: nothing piles up for it.
            if not exchange.paused:
                stats, requests = await self._newest()
                exchange.write(stats if requests == last else stats + requests)
                last = requests
            await asyncio.sleep(_EVENT_SECONDS)
        exchange.end()


def _shown(record: LiveRecord) -> Json:
    """With names, which the board's records do without."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _question(exchange: Exchange) -> _Question:
    given = read_query(exchange)
    equal = tuple((name, given[name]) for name in _FILTERS if name in given)
    page = whole_number(given, "page", 1, low=1, high=_LAST_PAGE)
    size = whole_number(given, "page_size", _PAGE_SIZE, low=1, high=_LARGEST_PAGE)
    return _Question(page, size, given.get("status"), given.get("q", "").lower(), equal)


def _matches(record: LiveRecord, question: _Question) -> bool:
    """A status may be one (429) or a class of them (4xx)."""
    if any((getattr(record, name) or "") != value for name, value in question.equal):
        return False
    status = str(record.status)
    if question.status and question.status not in (status, f"{status[0]}xx"):
        return False
    if not question.text:
        return True
    texts = (record.id, record.path, record.model, record.key, record.client, record.user_agent, record.error_code)
    return any(question.text in text.lower() for text in texts if text)
