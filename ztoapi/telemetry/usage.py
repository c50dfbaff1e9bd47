"""Usage by day or hour, client key and model, in the file of the history (:mod:`ztoapi.telemetry.history`).

The counts on the board only grow. A save adds their growth to the current hour and day (UTC), in the transaction that
stores the totals added so far.
"""

import datetime
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ztoapi.telemetry.board import Labels, Row
from ztoapi.telemetry.layout import KeyCell
from ztoapi.telemetry.steps import HOUR

__all__ = [
    "USAGE_DAYS",
    "USAGE_HOURS",
    "Day",
    "UsageRow",
    "make_tables",
    "read_usage",
    "read_usage_columns",
    "save_usage",
]

USAGE_DAYS: Final = 400
"""Days that are kept: the current month and a year before it."""
USAGE_HOURS: Final = 8 * 24
"""Hours that are kept: the charts show a week by hour."""
Day = datetime.date

_COUNTS: Final = {
    "requests": KeyCell.REQUESTS,
    "denied": KeyCell.DENIED,
    "input_tokens": KeyCell.INPUT,
    "cached_tokens": KeyCell.CACHED,
    "output_tokens": KeyCell.OUTPUT,
    "cost": KeyCell.COST,
    "unpriced_requests": KeyCell.UNPRICED,
}
"""Columns, and the cells that they add up."""
_TABLES: Final = (
    f"""
    CREATE TABLE IF NOT EXISTS usage (
        day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
        {", ".join(f"{name} INTEGER NOT NULL" for name in _COUNTS)},
        PRIMARY KEY (day, key, model)
    ) WITHOUT ROWID
    """,
    f"""
    CREATE TABLE IF NOT EXISTS usage_hours (
        start INTEGER NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
        {", ".join(f"{name} INTEGER NOT NULL" for name in _COUNTS)},
        PRIMARY KEY (start, key, model)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE IF NOT EXISTS usage_totals (id TEXT PRIMARY KEY, totals BLOB NOT NULL) WITHOUT ROWID",
)
_ADD: Final = f"""
    INSERT INTO {{}} VALUES ({", ".join("?" * (3 + len(_COUNTS)))}) ON CONFLICT DO UPDATE SET
    {", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTS)}
"""
_READ: Final = f"""
    SELECT day, key, model, {", ".join(_COUNTS)} FROM usage WHERE day BETWEEN ? AND ? ORDER BY day, key, model
"""
_READ_HOURS: Final = f"""
    SELECT start, {", ".join(f"SUM({name})" for name in _COUNTS)} FROM usage_hours
    WHERE start >= ? AND start < ? AND key = COALESCE(?, key) AND model = COALESCE(?, model) GROUP BY start
"""
_READ_DAYS: Final = f"""
    SELECT CAST(strftime('%s', day) AS INTEGER), {", ".join(f"SUM({name})" for name in _COUNTS)} FROM usage
    WHERE day >= ? AND day < ? AND key = COALESCE(?, key) AND model = COALESCE(?, model) GROUP BY day
"""

_Totals = list[tuple[Labels, Row]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Totals).decode


class UsageRow(msgspec.Struct, frozen=True):
    """The usage of one day, key and model."""

    day: str
    key: str | None
    """None for requests without a key."""
    model: str | None
    """None for requests that named no model."""
    requests: int
    denied: int
    """Requests that a limit or a budget refused."""
    input_tokens: int
    cached_tokens: int
    """Tokens of the input that the upstream had in its cache."""
    output_tokens: int
    cost_usd: float
    unpriced_requests: int
    """Requests with tokens whose model has no price; the cost does not contain them."""


def make_tables(database: sqlite3.Connection) -> None:
    """Creates the tables if they do not exist."""
    for statement in _TABLES:
        database.execute(statement)


def save_usage(
    database: sqlite3.Connection, gateway: str, hour: int, totals: Mapping[Labels, Row], before: Mapping[Labels, Row]
) -> None:
    """Adds the growth of ``totals`` to ``hour`` (Unix seconds) and its day. ``before`` are the totals added so far, if
    the file is new."""
    day = datetime.datetime.fromtimestamp(hour, datetime.UTC).date()
    stored = database.execute("SELECT totals FROM usage_totals WHERE id = ?", (gateway,)).fetchone()
    if stored is not None:
        before = dict(_decode(stored[0]))
    for labels, row in totals.items():
        key, model, _ = labels
        old = before.get(labels)
        counts = [int(row[cell]) - (0 if old is None else int(old[cell])) for cell in _COUNTS.values()]
        if any(counts):
            database.execute(_ADD.format("usage"), (day.isoformat(), key, model, *counts))
            database.execute(_ADD.format("usage_hours"), (hour, key, model, *counts))
    database.execute("INSERT OR REPLACE INTO usage_totals VALUES (?, ?)", (gateway, _encode([*totals.items()])))
    oldest = day - datetime.timedelta(days=USAGE_DAYS - 1)
    database.execute("DELETE FROM usage WHERE day < ?", (oldest.isoformat(),))
    database.execute("DELETE FROM usage_hours WHERE start <= ?", (hour - USAGE_HOURS * HOUR,))
    database.execute("DELETE FROM usage_totals WHERE id NOT IN (SELECT id FROM gateways)")


def read_usage(database: sqlite3.Connection, first: Day, last: Day) -> Iterable[UsageRow]:
    """Yields the usage of the days from ``first`` to ``last``."""
    for day, key, model, *counts in database.execute(_READ, (first.isoformat(), last.isoformat())):
        requests, denied, inputs, cached, outputs, cost, unpriced = counts
        yield UsageRow(day, key or None, model or None, requests, denied, inputs, cached, outputs, cost / 1e9, unpriced)


def read_usage_columns(
    database: sqlite3.Connection, first: int, last: float, step: int, key: str | None, model: str | None
) -> dict[int, dict[str, int | float]]:
    """Returns the usage of ``key`` and ``model``, each of which may be None for all, from ``first`` to ``last`` by the
    start of the hour or, for a longer ``step``, of the day."""
    rows = (
        database.execute(_READ_HOURS, (first, last, key, model))
        if step == HOUR
        else database.execute(_READ_DAYS, (*map(_day_of, (first, last + step - 1)), key, model))
    )
    columns: dict[int, dict[str, int | float]] = {}
    for start, *counts in rows:
        column = columns[start] = dict(zip(_COUNTS, counts, strict=True))
        column["cost_usd"] = column.pop("cost") / 1e9
    return columns


def _day_of(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).date().isoformat()
