"""GET /admin/usage: tokens and cost by day, client key and model, as JSON or CSV."""

import asyncio
import csv
import datetime
import io
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange
from ztoapi.server.query import read_query
from ztoapi.telemetry.history import History, history_unavailable
from ztoapi.telemetry.usage import USAGE_DAYS, UsageRow

__all__ = ["UsageHandler"]

_LABELS: Final = ("day", "key", "model")
_SUMS: Final = tuple(name for name in UsageRow.__struct_fields__ if name not in _LABELS)
_DEFAULT_DAYS: Final = 30
_NO_STORE: Final = b"cache-control: no-store\r\n"
_CSV: Final = b"text/csv; charset=utf-8"

_encode = msgspec.json.Encoder().encode
_Rows = list[dict[str, str | int | float | None]]


class _Query(msgspec.Struct, frozen=True):
    first: datetime.date
    last: datetime.date
    labels: tuple[str, ...]
    """The labels that rows are not added up over."""
    key: str | None
    model: str | None
    csv: bool


class UsageHandler:
    """Reports on all workers. ``refresh`` and ``clock`` are as in MetricsHandler; ``history`` is None if it is not
    configured."""

    def __init__(self, history: History | None, refresh: Callable[[], None], clock: Callable[[], float]) -> None:
        self._history = history
        self._refresh = refresh
        self._clock = clock
        # Of its own: another process may hold the lock of the file for seconds.
        self._thread = ThreadPoolExecutor(1, "usage-reader")

    def handle(self, exchange: Exchange) -> None:
        """Raises ApiError for an invalid query."""
        query = _read(exchange, datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).date())
        exchange.spawn(self._respond(exchange, query))

    async def _respond(self, exchange: Exchange, query: _Query) -> None:
        self._refresh()
        rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._rows, query)
        if isinstance(rows, ApiError):
            raise rows
        if query.csv:
            exchange.respond(200, _table(rows, query.labels), content_type=_CSV, headers=_NO_STORE)
            return
        page = {
            "kept": self._history is not None,
            "from": query.first,
            "to": query.last,
            "currency": "USD",
            "usage": rows,
        }
        exchange.respond(200, _encode(page), headers=_NO_STORE)

    def _rows(self, query: _Query) -> _Rows | ApiError:
        if self._history is None:
            return []
        self._history.save()
        try:
            rows = self._history.read_usage(query.first, query.last)
        except sqlite3.Error as error:
            return history_unavailable(error)
        return _added_up(
            [row for row in rows if query.key in (None, row.key or "") and query.model in (None, row.model or "")],
            query.labels,
        )


def _added_up(rows: Sequence[UsageRow], labels: Sequence[str]) -> _Rows:
    totals: dict[tuple[str | None, ...], list[float]] = {}
    for row in rows:
        total = totals.setdefault(tuple(getattr(row, label) for label in labels), [0] * len(_SUMS))
        for place, name in enumerate(_SUMS):
            total[place] += getattr(row, name)
    return [
        {**dict(zip(labels, names, strict=True)), **dict(zip(_SUMS, sums, strict=True))}
        for names, sums in totals.items()
    ]


def _table(rows: _Rows, labels: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, (*labels, *_SUMS))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _read(exchange: Exchange, today: datetime.date) -> _Query:
    parameters = read_query(exchange)
    last = _date(parameters, "to", today)
    first = _date(parameters, "from", last - datetime.timedelta(days=_DEFAULT_DAYS - 1))
    if not datetime.timedelta(0) <= last - first < datetime.timedelta(days=USAGE_DAYS):
        raise ApiError(
            f"from must be a day before to, at most {USAGE_DAYS - 1} days", code="invalid_value", param="from"
        )
    labels = tuple(parameters.get("by", ",".join(_LABELS)).split(","))
    if not {*labels} <= {*_LABELS} or len({*labels}) < len(labels):
        raise ApiError(f"by must be one or more of {','.join(_LABELS)}", code="invalid_value", param="by")
    accept = exchange.request.headers.get(b"accept", b"")
    form = parameters.get("format", "csv" if accept.lower().startswith(b"text/csv") else "json")
    if form not in ("json", "csv"):
        raise ApiError("format must be json or csv", code="invalid_value", param="format")
    return _Query(first, last, labels, parameters.get("key"), parameters.get("model"), form == "csv")


def _date(parameters: dict[str, str], name: str, default: datetime.date) -> datetime.date:
    text = parameters.get(name)
    try:
        return default if text is None else datetime.date.fromisoformat(text)
    except ValueError:
        raise ApiError(f"{name} must be a day such as 2026-11-29", code="invalid_value", param=name) from None
