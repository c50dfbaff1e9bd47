"""Figures of all models together by minute and by hour, in the file of the history (:mod:`ztoapi.telemetry.history`).

The charts of the dashboard read them: a month has 720 rows here, and as many for each model in the table of the hours.
A save adds the growth of the counts to the current minute and hour, in the transaction that stores the totals.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from math import floor, log2
from typing import Final

import msgspec

from ztoapi.structures.histogram import quantiles
from ztoapi.telemetry.board import MetricsBoard, Row
from ztoapi.telemetry.layout import HISTOGRAM_WORDS, LIVE_VALUES_SECONDS, PLATFORMS, ModelCell, PlatformCell

__all__ = [
    "HOUR",
    "MINUTES_KEPT",
    "SUMS",
    "Counts",
    "Json",
    "columns_of",
    "delete_hours",
    "distribution",
    "durations_of",
    "every_step",
    "has_minutes",
    "make_step_tables",
    "read_steps",
    "save_steps",
    "step_of",
]

Json = dict[str, object]

_MINUTE: Final = 60
HOUR: Final = 3600
_DAY: Final = 24 * HOUR
MINUTES_KEPT: Final = 25 * 60
"""Minutes that are kept: a day, and an hour to look at its beginning. With the hours of a month the table has at most
2,220 rows."""
_STEPS: Final = (_MINUTE, 10 * _MINUTE, HOUR, _DAY)
"""Lengths of a column of a chart."""
_MAX_COLUMNS: Final = 180
"""Columns that can be told apart in a chart: seven days by hour have 168."""

SUMS: Final = {
    "requests": ModelCell.REQUESTS,
    "failed": ModelCell.FAILED,
    "cancelled": ModelCell.CANCELLED,
    "refused": ModelCell.REFUSED,
    "input_tokens": ModelCell.INPUT,
    "output_tokens": ModelCell.OUTPUT,
    "cached_tokens": ModelCell.CACHED,
    "reasoning_tokens": ModelCell.REASONING,
    "seconds": ModelCell.SECONDS,
}
"""Columns, and the cells that they add up; ``seconds`` are those of answered requests."""
_HISTOGRAMS: Final = ("time_to_first_token", "inter_token", "duration")
"""Columns with a JSON object: the number of values by the value of their bucket, in whole nanoseconds."""
_BUCKETS: Final = HISTOGRAM_WORDS - 1
_NANOSECONDS: Final = tuple(round(1e9 * value) for value in LIVE_VALUES_SECONDS)

_TABLES: Final = (
    f"""
    CREATE TABLE IF NOT EXISTS steps (
        step INTEGER NOT NULL, start INTEGER NOT NULL,
        {", ".join(f"{name} {'REAL' if name == 'seconds' else 'INTEGER'} NOT NULL" for name in SUMS)},
        {", ".join(f"{name} TEXT NOT NULL" for name in _HISTOGRAMS)},
        PRIMARY KEY (step, start)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE IF NOT EXISTS step_totals (id TEXT PRIMARY KEY, durations BLOB NOT NULL) WITHOUT ROWID",
)
_FILL: Final = f"""
    INSERT INTO steps
    SELECT {HOUR}, start, {", ".join(f"SUM(COALESCE({name}, 0))" for name in SUMS)},
        {", ".join(["'{}'"] * len(_HISTOGRAMS))}
    FROM hours LEFT JOIN refusals USING (start, model, platform) GROUP BY start
"""
"""Takes over the hours that earlier versions have saved. Their histograms are not merged, which could take seconds."""
_ADD: Final = f"""
    INSERT INTO steps VALUES ({", ".join("?" * (2 + len(SUMS) + len(_HISTOGRAMS)))}) ON CONFLICT DO UPDATE SET
    {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)},
    {", ".join(f"{name} = excluded.{name}" for name in _HISTOGRAMS)}
"""
_READ: Final = f"""
    SELECT start, {", ".join((*SUMS, *_HISTOGRAMS))} FROM steps WHERE step = ? AND start >= ? AND start < ?
"""

Counts = dict[int, int]
_encode = msgspec.json.Encoder().encode
_decode_counts = msgspec.json.Decoder(Counts).decode
_decode_totals = msgspec.json.Decoder(list[int]).decode


def make_step_tables(database: sqlite3.Connection) -> None:
    """Creates the tables if they do not exist, in a transaction of the caller."""
    exists = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'steps'").fetchone()
    for statement in _TABLES:
        database.execute(statement)
    if exists is None:
        database.execute(_FILL)


def durations_of(board: MetricsBoard) -> list[int]:
    """Returns the counts of the buckets of durations of all platforms together."""
    start = PlatformCell.DURATION + 1
    rows = [row[start : start + _BUCKETS] for row in board.rows(PLATFORMS).values()]
    return [int(sum(counts)) for counts in zip(*rows, strict=True)] or [0] * _BUCKETS


def save_steps(
    database: sqlite3.Connection, gateway: str, at: float, grown: Row, durations: Sequence[int], before: Sequence[int]
) -> None:
    """Adds to the minute and the hour of ``at`` (Unix seconds): ``grown``, the growth of the rows of MODELS, and the
    growth of ``durations``. ``before`` are the durations added so far, if the file has none of ``gateway``."""
    stored = database.execute("SELECT durations FROM step_totals WHERE id = ?", (gateway,)).fetchone()
    if stored is not None:
        before = _decode_totals(stored[0])
    new = (
        _sparse(grown[ModelCell.TTFT + 1 :]),
        _sparse(grown[ModelCell.GAPS + 1 :]),
        _sparse([a - b for a, b in zip(durations, before, strict=True)]),
    )
    if any(grown) or new[2]:
        for step in (_MINUTE, HOUR):
            start = int(at // step * step)
            old = database.execute(
                f"SELECT {', '.join(_HISTOGRAMS)} FROM steps WHERE (step, start) = (?, ?)", (step, start)
            ).fetchone()
            histograms = (
                _encode(_merged(one, _decode_counts(text))).decode("ascii")
                for one, text in zip(new, old or ("{}",) * len(new), strict=True)
            )
            database.execute(_ADD, (step, start, *(grown[cell] for cell in SUMS.values()), *histograms))
    database.execute("INSERT OR REPLACE INTO step_totals VALUES (?, ?)", (gateway, _encode(durations)))
    database.execute("DELETE FROM steps WHERE step = ? AND start < ?", (_MINUTE, at - _MINUTE * MINUTES_KEPT))
    database.execute("DELETE FROM step_totals WHERE id NOT IN (SELECT id FROM gateways)")


def delete_hours(database: sqlite3.Connection, first: int) -> None:
    """Deletes the hours before ``first``."""
    database.execute("DELETE FROM steps WHERE step = ? AND start < ?", (HOUR, first))


def has_minutes(database: sqlite3.Connection, first: float, now: float) -> bool:
    """Returns whether minutes are kept from ``first`` on. A file of an earlier version has hours only at first."""
    if first < now - _MINUTE * MINUTES_KEPT:
        return False
    (oldest,) = database.execute("SELECT MIN(start) FROM steps WHERE step = ?", (_MINUTE,)).fetchone()
    end = (now if oldest is None else oldest) - HOUR
    before = "SELECT 1 FROM steps WHERE step = ? AND start BETWEEN ? AND ?"
    return database.execute(before, (HOUR, first // HOUR * HOUR, end)).fetchone() is None


def step_of(first: float, last: float, *, minutes: bool) -> int:
    """Returns the length of the columns of a chart from ``first`` to ``last``: the shortest that is kept and that
    results in few enough columns. ``minutes`` is whether minutes are kept from ``first`` on."""
    shortest = _MINUTE if minutes else HOUR
    return next((step for step in _STEPS if step >= shortest and last - first <= step * _MAX_COLUMNS), _STEPS[-1])


def read_steps(database: sqlite3.Connection, first: float, last: float, step: int) -> dict[int, Json]:
    """Returns the figures of each column of ``step`` seconds from ``first`` to ``last``, without empty ones, by its
    start."""
    kept = _MINUTE if step < HOUR else HOUR
    rows = database.execute(_READ, (kept, int(first // step * step), last))
    return columns_of(
        (
            (start, values[: len(SUMS)], [_decode_counts(text) for text in values[len(SUMS) :]])
            for start, *values in rows
        ),
        step,
    )


def columns_of(rows: Iterable[tuple[int, Sequence[float], Sequence[Counts]]], step: int) -> dict[int, Json]:
    """Adds rows up to columns of ``step`` seconds, without empty ones, by their start. A row has its start, its SUMS,
    and the counts of the first of the histograms; columns have the histograms that rows have."""
    columns: dict[int, tuple[list[float], list[Counts]]] = {}
    for start, values, counts in rows:
        sums, histograms = columns.setdefault(start // step * step, ([0.0] * len(SUMS), [{} for _ in counts]))
        for place in range(len(SUMS)):
            sums[place] += values[place]
        for more, merged in zip(counts, histograms, strict=True):
            _merged(more, merged)
    return {start: _column(start, *column) for start, column in sorted(columns.items())}


def every_step(columns: Mapping[int, Json], step: int, now: float) -> dict[int, Json]:
    """Returns the columns from the first one up to ``now``, with empty ones between them."""
    empty: list[Counts] = [{} for _ in _HISTOGRAMS]
    return {
        start: columns.get(start) or _column(start, [0.0] * len(SUMS), empty)
        for start in range(min(columns, default=int(now) + 1), int(now) + 1, step)
    }


def counts_of(sums: Sequence[float]) -> Json:
    """Returns the figures of a column that have no distribution."""
    numbers = dict(zip(SUMS, sums, strict=True))
    seconds = numbers.pop("seconds")
    answered = numbers["requests"] - numbers["failed"] - numbers["cancelled"] - numbers["refused"]
    counts: Json = {name: int(number) for name, number in numbers.items()}
    counts["average_seconds"] = seconds / answered if answered > 0 else None
    return counts


def _column(start: int, sums: Sequence[float], histograms: Sequence[Counts]) -> Json:
    column: Json = {"start": start, **counts_of(sums)}
    for name, counts in zip(_HISTOGRAMS, histograms, strict=False):
        values = sorted(counts)
        column[name] = distribution([value / 1e9 for value in values], [counts[value] for value in values])
    return column


def distribution(values: Sequence[float], counts: Sequence[int]) -> Json:
    """Returns quantiles in seconds, and the counts by half octave: ``n`` stands for 2**(n/2) to 2**((n+1)/2) s.
    ``values`` are in seconds and ascend."""
    p50, p95, p99 = quantiles(values, counts, 0.5, 0.95, 0.99)
    bands: Counts = {}
    for value, count in zip(values, counts, strict=True):
        if count:
            band = floor(2 * log2(value))
            bands[band] = bands.get(band, 0) + count
    return {"p50": p50, "p95": p95, "p99": p99, "bands": bands}


def _sparse(counts: Sequence[float]) -> Counts:
    """Returns the buckets with counts; the cells after them are ignored."""
    return {value: int(count) for value, count in zip(_NANOSECONDS, counts, strict=False) if count}


def _merged(more: Mapping[int, int], counts: Counts) -> Counts:
    for value, count in more.items():
        counts[value] = counts.get(value, 0) + count
    return counts
