"""GET /dashboard/stats, /requests, /history and /events: the data of the dashboard page, as JSON."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Final

import msgspec

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange
from ztoapi.server.query import read_query, whole_number
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.figures import LiveRequest, RequestsPage
from ztoapi.telemetry.history import History, history_unavailable, no_chart, no_history
from ztoapi.telemetry.layout import SECONDS
from ztoapi.telemetry.live import LiveRecord, read_live
from ztoapi.telemetry.recent import COLUMN_SECONDS, Recent
from ztoapi.telemetry.stats import make_figures

__all__ = ["DashboardHandler"]

_EVENT_SECONDS: Final = 1.0
"""The interval of events: the figures change once a second."""
_PAGE_SIZE: Final = 20
_MAX_PAGE_SIZE: Final = 500
_MAX_PAGE: Final = 1_000_000
_NO_STORE: Final = b"cache-control: no-store\r\n"
_FILTERS: Final = ("model", "ending", "outcome", "key", "path", "platform", "credential", "error", "cache")
"""Parameters that must be equal to the field of the same name; ``error`` to either of the two error codes."""
_OF_CHARTS: Final = ("key", "model")
"""Parameters that select the requests of charts."""
_IN_FLIGHT: Final = "in_flight"
"""The outcome of requests that have none yet, as a filter."""
_ORDERS: Final = ("started", "status", "model", "key", "output_tokens", "time_to_first_token", "duration")
"""Fields that the list can be sorted by."""
_MAX_TIME: Final = 100_000_000_000
"""Unix seconds: far enough for any clock."""
_MAX_ATTEMPTS: Final = 1000

_encode = msgspec.json.Encoder().encode


class _RequestQuery(msgspec.Struct, frozen=True):
    """Selects requests: ``equal`` pairs fields and values, ``text`` must occur in one of several fields."""

    page: int = 1
    page_size: int = _PAGE_SIZE
    status: str | None = None
    text: str = ""
    equal: tuple[tuple[str, str], ...] = ()
    attempts: int = 0
    """The least number of attempts."""
    first: int = 0
    last: int = _MAX_TIME
    """The span in which requests have started, without its end."""
    order: str | None = None
    """The field to sort by; None for requests in flight first, each with the newest first."""
    descending: bool = False


_NEWEST: Final = _RequestQuery()


class DashboardHandler:
    """Reports on all workers. ``refresh`` and ``clock`` are as in MetricsHandler; ``draining`` ends event streams;
    ``history`` is None if it is not configured. ``api_urls`` is as in Figures."""

    def __init__(
        self,
        board: MetricsBoard,
        refresh: Callable[[], None],
        clock: Callable[[], float],
        draining: Callable[[], bool],
        history: History | None,
        loop: asyncio.AbstractEventLoop,
        api_urls: list[str] | None = None,
    ) -> None:
        self._board = board
        self._refresh = refresh
        self._clock = clock
        self._draining = draining
        self._history = history
        self._loop = loop
        self._api_urls = api_urls
        # Of its own: another process may hold the lock of the file for seconds, and metrics must not wait for that.
        self._history_thread = ThreadPoolExecutor(1, "history-reader")
        self._reading: asyncio.Future[bytes | ApiError] | None = None
        self._making: asyncio.Task[tuple[bytes, bytes]] | None = None
        self._made_at = 0.0

    def handle_stats(self, exchange: Exchange) -> None:
        exchange.spawn(self._respond(exchange, self._stats))

    def handle_requests(self, exchange: Exchange) -> None:
        """Returns a page of live records. Raises ApiError for an invalid query."""
        query = _read_query(exchange)
        exchange.spawn(self._respond(exchange, lambda: self._requests(query)))

    def handle_history(self, exchange: Exchange) -> None:
        """Returns hours and days, up to this moment; requests that arrive during a read share it. With a span it
        returns the columns of charts, of one key or model if they are given. Raises ApiError for an invalid span."""
        parameters = read_query(exchange)
        if not {"from", "to", *_OF_CHARTS} & parameters.keys():
            exchange.spawn(self._respond_history(exchange))
            return
        first, last = _read_span(parameters)
        if last == _MAX_TIME or first >= last:
            raise ApiError("from must be before to", code="invalid_value", param="from")
        key, model = (parameters.get(name) for name in _OF_CHARTS)
        exchange.spawn(self._respond_read(exchange, lambda: self._read_chart(first, last, key, model)))

    def handle_events(self, exchange: Exchange) -> None:
        """Sends the stats once a second, and the newest requests whenever they change, as server-sent events."""
        if exchange.request.method == "HEAD":
            # A body would be read as the next response.
            exchange.respond(200, b"", content_type=b"text/event-stream", headers=_NO_STORE)
            return
        exchange.spawn(self._stream(exchange))

    async def _respond(self, exchange: Exchange, make: Callable[[], bytes]) -> None:
        self._refresh()
        exchange.respond(200, await asyncio.to_thread(make), headers=_NO_STORE)

    async def _respond_history(self, exchange: Exchange) -> None:
        self._refresh()
        if self._reading is None or self._reading.done():
            self._reading = self._loop.run_in_executor(self._history_thread, self._read_history)
        # A client that leaves cancels its own wait only.
        read = await asyncio.shield(self._reading)
        if isinstance(read, ApiError):
            raise read
        exchange.respond(200, read, headers=_NO_STORE)

    async def _respond_read(self, exchange: Exchange, read: Callable[[], bytes | ApiError]) -> None:
        self._refresh()
        response = await self._loop.run_in_executor(self._history_thread, read)
        if isinstance(response, ApiError):
            raise response
        exchange.respond(200, response, headers=_NO_STORE)

    def _stats(self) -> bytes:
        figures = make_figures(self._board, self._clock())
        figures.api_urls = self._api_urls
        return _encode(figures)

    def _requests(self, query: _RequestQuery) -> bytes:
        matches = [record for record in read_live(self._board) if _matches(record, query)]
        if query.order is not None:
            matches = _sorted(matches, query.order, descending=query.descending)
        first = (query.page - 1) * query.page_size
        requests = [_with_names(record) for record in matches[first : first + query.page_size]]
        return _encode(RequestsPage(requests, len(matches), query.page, query.page_size))

    def _read_history(self) -> bytes | ApiError:
        return self._read(History.read, no_history())

    def _read_chart(self, first: int, last: int, key: str | None, model: str | None) -> bytes | ApiError:
        now = self._clock()
        if first >= now - SECONDS and key is None and model is None:
            columns = Recent(self._board, int(now) - 1).columns(first, last)
            return _encode({"kept": self._history is not None, "step": COLUMN_SECONDS, "columns": columns})
        return self._read(lambda history: history.read_chart(first, last, key, model), no_chart())

    def _read(self, read: Callable[[History], dict[str, object]], without: dict[str, object]) -> bytes | ApiError:
        """``without`` is the response if no history is kept."""
        if self._history is None:
            return _encode(without)
        self._history.save()
        try:
            return _encode(read(self._history))
        except sqlite3.Error as error:
            return history_unavailable(error)

    async def _newest(self) -> tuple[bytes, bytes]:
        """Returns the events of this second, made once for all open pages: the stats and the newest requests."""
        now = self._loop.time()
        if self._making is None or now - self._made_at >= _EVENT_SECONDS:
            self._refresh()
            self._made_at = now
            self._making = self._loop.create_task(asyncio.to_thread(self._make_events))
        # The page that started the task may close meanwhile; others wait for it too.
        return await asyncio.shield(self._making)

    def _make_events(self) -> tuple[bytes, bytes]:
        stats = self._stats()
        requests = self._requests(_NEWEST)
        return b"event: stats\ndata: %b\n\n" % stats, b"event: requests\ndata: %b\n\n" % requests

    async def _stream(self, exchange: Exchange) -> None:
        exchange.start_stream(headers=_NO_STORE)
        last = b""
        while not self._draining():
            # A page that cannot keep up misses events; none are queued for it.
            if not exchange.paused:
                stats, requests = await self._newest()
                exchange.stream.write(stats if requests == last else stats + requests)
                last = requests
            await asyncio.sleep(_EVENT_SECONDS)
        exchange.stream.end()


def _with_names(record: LiveRecord) -> LiveRequest:
    return LiveRequest(**msgspec.structs.asdict(record))


def _read_query(exchange: Exchange) -> _RequestQuery:
    parameters = read_query(exchange)
    equal = tuple((name, parameters[name]) for name in _FILTERS if name in parameters)
    page = whole_number(parameters, "page", 1, low=1, high=_MAX_PAGE)
    size = whole_number(parameters, "page_size", _PAGE_SIZE, low=1, high=_MAX_PAGE_SIZE)
    attempts = whole_number(parameters, "attempts", 0, low=0, high=_MAX_ATTEMPTS)
    order = parameters.get("sort")
    field = None if order is None else order.removeprefix("-")
    if field is not None and field not in _ORDERS:
        raise ApiError(
            f"sort must be one of {', '.join(_ORDERS)}, with a - in front to descend",
            code="invalid_value",
            param="sort",
        )
    return _RequestQuery(
        page,
        size,
        parameters.get("status"),
        parameters.get("q", "").lower(),
        equal,
        attempts,
        *_read_span(parameters),
        field,
        descending=order != field,
    )


def _read_span(parameters: dict[str, str]) -> tuple[int, int]:
    """Returns the span of ``from`` and ``to``, in Unix seconds. Raises ApiError."""
    first = whole_number(parameters, "from", 0, low=0, high=_MAX_TIME)
    return first, whole_number(parameters, "to", _MAX_TIME, low=0, high=_MAX_TIME)


def _sorted(records: list[LiveRecord], field: str, *, descending: bool) -> list[LiveRecord]:
    """Sorts by a field; records without a value come last."""
    known = [record for record in records if getattr(record, field) is not None]
    known.sort(key=attrgetter(field), reverse=descending)
    return known + [record for record in records if getattr(record, field) is None]


def _matches(record: LiveRecord, query: _RequestQuery) -> bool:
    """A status may be a code (429) or a class (4xx)."""
    if not query.first <= record.started < query.last or record.attempts < query.attempts:
        return False
    for name, value in query.equal:
        fields = ("upstream_code", "error_code") if name == "error" else (name,)
        absent = _IN_FLIGHT if name == "outcome" else ""
        if value not in [getattr(record, field) or absent for field in fields]:
            return False
    status = str(record.status)
    if query.status and query.status not in (status, f"{status[0]}xx"):
        return False
    if not query.text:
        return True
    texts = (record.id, record.path, record.model, record.key, record.client, record.user_agent, record.error_code)
    return any(query.text in text.lower() for text in texts if text)
