"""Counts in a SQLite file, so that the dashboard can show more than the lifetime of the process.

The counts on the board only grow. A save adds the growth since the last save to the current hour and, in the same
transaction, stores the totals that have been added so far. The next save, in any process, continues from these totals.
Nothing is therefore added twice or left out, even if a process dies at any moment. Every worker may save; normally the
live worker with the lowest number does, in a separate thread, and each worker when it stops. Several gateways
may share a file.
"""

import datetime
import logging
import mmap
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec

from ztoapi.errors import ApiError, Ending
from ztoapi.telemetry.board import Labels, MetricsBoard, Row
from ztoapi.telemetry.checks import Check, passed_or_warn
from ztoapi.telemetry.layout import (
    GAP_EDGES_SECONDS,
    KEYS,
    LIVE_VALUES_SECONDS,
    MODELS,
    TTFT_EDGES_SECONDS,
    WORD_BYTES,
    Cell,
    ModelCell,
)
from ztoapi.telemetry.samples import Sample
from ztoapi.telemetry.steps import (
    HOUR,
    SUMS,
    Counts,
    Json,
    columns_of,
    counts_of,
    delete_hours,
    durations_of,
    every_step,
    has_minutes,
    make_step_tables,
    read_steps,
    save_steps,
    step_of,
)
from ztoapi.telemetry.usage import (
    USAGE_HOURS,
    UsageRow,
    make_tables,
    read_usage,
    read_usage_columns,
    save_usage,
)

__all__ = ["HISTORY_DAYS", "HISTORY_HOURS", "History", "history_unavailable", "no_chart", "no_history"]

HISTORY_HOURS: Final = 7 * 24
"""Hours that are shown individually, including the current one."""
HISTORY_DAYS: Final = 30
"""Days (UTC) that are shown, including today. Hours are kept for the same time."""
_DAY: Final = 24 * HOUR
_SAVE_SECONDS: Final = 10
"""Interval of saves, and the loss after a power failure or if all processes are killed at once. Saves are aligned to
it, so that one falls on the end of every hour."""
_IDLE_SECONDS: Final = _DAY
"""Interval at which a gateway without requests renews its totals; the totals of a gateway that is gone are deleted."""
_BUSY_SECONDS: Final = 5.0
"""How long to wait for the save of another process, which takes milliseconds."""
_FORMAT: Final = 1
"""Version of the file format, in SQLite's user_version."""
_SUMS: Final = (
    "requests", "failed", "cancelled", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "seconds",
)  # fmt: skip
"""Columns of the first cells of a row of MODELS."""
_HISTOGRAMS: Final = {
    "time_to_first_token": (ModelCell.TTFT + 1, TTFT_EDGES_SECONDS),
    "inter_token": (ModelCell.GAPS + 1, GAP_EDGES_SECONDS),
}
"""Columns with a JSON object of values and counts: position of the counts in the row. Earlier versions wrote the upper
edges of wide buckets instead of values: the edges that they used."""
_ABOVE: Final = "inf"
"""The upper edge of the highest bucket of earlier versions."""
_KEYS: Final = tuple(map(repr, LIVE_VALUES_SECONDS))
_COLUMNS: Final = (*_SUMS, *_HISTOGRAMS)

_SCHEMA: Final = f"""
    CREATE TABLE hours (
        start INTEGER NOT NULL, model TEXT NOT NULL, platform TEXT NOT NULL,
        {", ".join(f"{name} {'REAL' if name == 'seconds' else 'INTEGER'} NOT NULL" for name in _SUMS)},
        {", ".join(f"{name} TEXT NOT NULL" for name in _HISTOGRAMS)},
        PRIMARY KEY (start, model, platform)
    ) WITHOUT ROWID;
    CREATE TABLE gateways (id TEXT PRIMARY KEY, seen REAL NOT NULL, totals BLOB NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = {_FORMAT};
"""
_REFUSALS: Final = """
    CREATE TABLE IF NOT EXISTS refusals (
        start INTEGER NOT NULL, model TEXT NOT NULL, platform TEXT NOT NULL, refused INTEGER NOT NULL,
        PRIMARY KEY (start, model, platform)
    ) WITHOUT ROWID
"""
"""Refused requests. A table of its own, because earlier versions may still write to the others."""
_ADD: Final = f"""
    INSERT INTO hours VALUES ({", ".join("?" * (3 + len(_COLUMNS)))}) ON CONFLICT DO UPDATE SET
    {", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)},
    {", ".join(f"{name} = excluded.{name}" for name in _HISTOGRAMS)}
"""
_REFUSE: Final = (
    "INSERT INTO refusals VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET refused = refused + excluded.refused"
)
_READ: Final = f"""
    WITH RECURSIVE times (start) AS (SELECT ? UNION ALL SELECT start + {HOUR} FROM times WHERE start + {HOUR} < ?)
    SELECT start, {", ".join(f"COALESCE({name}, 0)" for name in SUMS)}, {", ".join(_HISTOGRAMS)}
    FROM times CROSS JOIN hours USING (start) LEFT JOIN refusals USING (start, model, platform) WHERE model = ?
"""
"""Looks up the model in each hour: the hours may have many others."""
_MODELS_OF: Final = f"""
    SELECT start - start % :step, model, {", ".join(f"SUM(COALESCE({name}, 0))" for name in SUMS)}
    FROM hours LEFT JOIN refusals USING (start, model, platform)
    WHERE start >= :first AND model != '' GROUP BY 1, 2 ORDER BY 2
"""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_Totals = list[tuple[Labels, Row]]
_decode_totals = msgspec.json.Decoder(_Totals).decode
_decode_counts = msgspec.json.Decoder(dict[str, int]).decode


class History:
    """Saves the counts of ``board``; ``clock`` returns Unix seconds. Create it before the workers are forked. Each
    worker calls :meth:`start` and :meth:`close`; call the other methods outside the event loop's thread.

    ``gateway`` is the id of a previous program that used the same board.
    """

    def __init__(self, path: Path, board: MetricsBoard, clock: Callable[[], float], gateway: str | None = None) -> None:
        self.path = path
        self._board = board
        self._clock = clock
        self.gateway = gateway or token_hex(8)
        self._saved: dict[Labels, Row] = {}
        self._saved_usage: dict[Labels, Row] = {}
        self._saved_durations = [0] * len(LIVE_VALUES_SECONDS)
        self._saved_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = mmap.mmap(-1, 1)
        """Shared by all workers: 1 while saves fail."""
        self._saver = memoryview(mmap.mmap(-1, WORD_BYTES)).cast("q")
        """Shared by all workers: the process that saved last, or 0."""

    def create(self) -> None:
        """Creates the file if it does not exist. Raises OSError or sqlite3.Error, or ValueError for another format."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._connect() as database:
            _prepare(database)
            version = _format(database)
            if version != _FORMAT:
                raise ValueError(f"it has format {version}, but this version of ztoapi uses format {_FORMAT}")
            make_tables(database)
            database.execute(_REFUSALS)
            with _transaction(database):
                make_step_tables(database)

    def start(self, worker: int) -> None:
        """Starts saving the counts of all workers, unless a worker with a number lower than ``worker`` is alive."""
        self._thread = threading.Thread(target=self._run, args=(worker,), name="history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the thread and saves a last time. Waits for the disk."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.save()

    def _run(self, worker: int) -> None:
        while not self._stop.wait(_SAVE_SECONDS - self._clock() % _SAVE_SECONDS):
            if not any(slot.ints[Cell.PID] for slot in self._board.slots[:worker]):
                self.save()

    def samples(self) -> Iterator[Sample]:
        yield Sample("ztoapi_store_up", float(not self._failing[0]), "history")

    def check(self) -> Check:
        """Returns the check for ``/health``."""
        return passed_or_warn(not self._failing[0], "counts cannot be saved at present")

    def save(self) -> None:
        """Saves the counts since the last save. A failure is logged, and the next save includes its counts."""
        try:
            if self._clock() - self._saved_at >= _IDLE_SECONDS or self._totals() != self._saved:
                self._save()
        except sqlite3.Error as error:
            if not self._failing[0]:
                _log.warning("the history cannot be saved: %s: %s", self.path, error)
            self._failing[0] = 1
        else:
            if self._failing[0]:
                _log.info("the history is saved again: %s", self.path)
            self._failing[0] = 0

    def _save(self) -> None:
        with self._open() as database, _transaction(database):
            # Read inside the transaction: otherwise another process may have saved newer counts.
            now = self._clock()
            totals, usage = self._totals(), self._board.rows(KEYS)
            durations = durations_of(self._board)
            stored = database.execute("SELECT seen, totals FROM gateways WHERE id = ?", (self.gateway,)).fetchone()
            if stored is not None:
                saved_at, before = stored[0], dict(_decode_totals(stored[1]))
                # The file is of an earlier version if it has no usage or no durations.
                usage_before: dict[Labels, Row] = {}
                durations_before = durations
            else:
                # The file is new, and counts of an old one must not be added to this hour. A process that did not make
                # the last save does not have its contents, and skips the counts of the last few seconds.
                own = self._saver[0] in (0, os.getpid())
                saved_at, before = now, self._saved if own else totals
                usage_before = self._saved_usage if own else usage
                durations_before = self._saved_durations if own else durations
            at = max(saved_at, now - _SAVE_SECONDS)
            hour = _floor(at, HOUR)
            grown: list[float] = [0] * ModelCell.COUNT
            for labels, row in totals.items():
                saved = before.get(labels)
                if row != saved:
                    new = row if saved is None else [a - b for a, b in zip(row, saved, strict=True)]
                    _add(database, hour, labels, new)
                    grown = [a + b for a, b in zip(grown, new, strict=True)]
            database.execute(
                "INSERT OR REPLACE INTO gateways VALUES (?, ?, ?)", (self.gateway, now, _encode([*totals.items()]))
            )
            save_usage(database, self.gateway, hour, usage, usage_before)
            save_steps(database, self.gateway, at, grown, durations, durations_before)
            delete_hours(database, _first_day(now))
            database.execute("DELETE FROM hours WHERE start < ?", (_first_day(now),))
            database.execute("DELETE FROM refusals WHERE start < ?", (_first_day(now),))
            database.execute("DELETE FROM gateways WHERE seen < ?", (_first_day(now),))
        self._saved, self._saved_usage, self._saved_at = totals, usage, now
        self._saved_durations = durations
        self._saver[0] = os.getpid()

    def _totals(self) -> dict[Labels, Row]:
        """Returns the totals by model and platform. Requests lost with a worker count as failed, without a model."""
        totals = self._board.rows(MODELS)
        lost = self._board.total(Cell.LOST)
        if lost:
            row = totals.setdefault(("", ""), [0] * ModelCell.COUNT)
            row[ModelCell.REQUESTS] += lost
            row[ModelCell.FAILED] += lost
        return totals

    def read(self) -> Json:
        """Returns hours and days up to now, from the first with data. Raises sqlite3.Error."""
        now = self._clock()
        first_hour = _floor(now, HOUR) - (HISTORY_HOURS - 1) * HOUR
        with self._open() as database:
            hours = _read_all(database, first_hour, HOUR, now)
            days = _read_all(database, _first_day(now), _DAY, now)
        return {"kept": True, "hours": hours, "days": days}

    def read_chart(self, first: float, last: float, key: str | None = None, model: str | None = None) -> Json:
        """Returns the columns of charts from ``first`` to ``last`` (Unix seconds), of one key or model if they are
        given. Columns of hours and days have the usage. Raises sqlite3.Error."""
        now = self._clock()
        with self._open() as database:
            if key is None and model is None:
                step = step_of(first, last, minutes=has_minutes(database, first, now))
                columns = read_steps(database, first, last, step)
                if step < HOUR:
                    return {"kept": True, "step": step, "columns": [*columns.values()]}
            else:
                kept = first >= now - USAGE_HOURS * HOUR
                step = step_of(first, last, minutes=False) if kept else _DAY
                first, last = max(first, _first_day(now)), min(last, now + 1)
                columns = {} if model is None else _read_model(database, first, last, step, model)
            usage = read_usage_columns(database, _floor(first, step), last, step, key, model)
        shown: list[Json]
        if key is not None:
            shown = [{"start": start, **counts} for start, counts in usage.items()]
        else:
            shown = [{**usage.get(start, {}), **column} for start, column in columns.items()]
        return {"kept": True, "step": step, "columns": shown}

    def read_usage(self, first: datetime.date, last: datetime.date) -> list[UsageRow]:
        """Returns the usage of the days from ``first`` to ``last``. Raises sqlite3.Error."""
        with self._open() as database:
            return list(read_usage(database, first, last))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Opens a connection for one task. Creates the file again if it was deleted."""
        with self._connect() as database:
            if not _format(database):
                _log.warning("the history file was deleted; starting a new one: %s", self.path)
                _prepare(database)
            yield database

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Opens a connection, which must not outlive a fork or be used by two threads."""
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            yield database


def no_history() -> Json:
    """Returns the response without a history."""
    return {"kept": False, "hours": [], "days": []}


def no_chart() -> Json:
    """Returns the columns without a history."""
    return {"kept": False, "step": HOUR, "columns": []}


def history_unavailable(error: sqlite3.Error) -> ApiError:
    """Returns the error for a file that cannot be read."""
    return ApiError(
        f"the history cannot be read: {error}",
        status=503,
        type="server_error",
        code="history_unavailable",
        ending=Ending.INTERNAL_ERROR,
    )


def _format(database: sqlite3.Connection) -> int:
    """Returns the format; 0 for an empty file."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _prepare(database: sqlite3.Connection) -> None:
    """Creates the tables, unless another process has."""
    with _transaction(database):
        if not _format(database):
            for statement in (*_SCHEMA.split(";"), _REFUSALS):
                database.execute(statement)
            make_tables(database)
            make_step_tables(database)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Opens a transaction that locks at once, so that no other writes between its reads and writes."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _add(database: sqlite3.Connection, hour: int, labels: Labels, row: Row) -> None:
    stored = database.execute(
        f"SELECT {', '.join(_HISTOGRAMS)} FROM hours WHERE (start, model, platform) = (?, ?, ?)",
        (hour, *labels),
    ).fetchone() or ("{}", "{}")
    histograms = []
    for text, (start, _) in zip(stored, _HISTOGRAMS.values(), strict=True):
        counts = _decode_counts(text)
        for value, count in zip(_KEYS, row[start:], strict=False):
            if count:
                counts[value] = counts.get(value, 0) + int(count)
        histograms.append(_encode(counts).decode("ascii"))
    database.execute(_ADD, (hour, *labels, *row[: len(_SUMS)], *histograms))
    if row[ModelCell.REFUSED]:
        database.execute(_REFUSE, (hour, *labels, int(row[ModelCell.REFUSED])))


# -- reading ----------------------------------------------------------------------------------------------------------


def _read_all(database: sqlite3.Connection, first: int, step: int, now: float) -> list[Json]:
    """Returns the columns of all models together, from the first with data up to ``now``, and in each the counts of
    each model. Its distributions are not read: there may be 100,000, which takes seconds."""
    models: dict[int, list[Json]] = {}
    for start, model, *sums in database.execute(_MODELS_OF, {"step": step, "first": first}):
        models.setdefault(start, []).append({"model": model, **counts_of(sums)})
    columns = every_step(read_steps(database, first, now + 1, step), step, now)
    return [{**column, "models": models.get(start, [])} for start, column in columns.items()]


def _read_model(database: sqlite3.Connection, first: float, last: float, step: int, model: str) -> dict[int, Json]:
    """Returns the columns of one model."""
    values_of = [_nanoseconds(edges) for _, edges in _HISTOGRAMS.values()]
    rows = database.execute(_READ, (_floor(first, step), last, model))
    return columns_of(
        ((start, values[: len(SUMS)], list(map(_by_value, values_of, values[len(SUMS) :]))) for start, *values in rows),
        step,
    )


def _nanoseconds(edges: Sequence[float]) -> dict[str, int]:
    """Returns the values by the keys of a histogram. ``edges`` are those of earlier versions: the middle of a bucket
    stands for it."""
    middles = {repr(high): (low + high) / 2 for low, high in zip((0.0, *edges), edges, strict=False)}
    values = {**{key: float(key) for key in _KEYS}, **middles, _ABOVE: edges[-1]}
    return {key: round(1e9 * value) for key, value in values.items()}


def _by_value(values: Mapping[str, int], text: str) -> Counts:
    return {values[key]: count for key, count in _decode_counts(text).items()}


def _floor(at: float, size: int) -> int:
    return int(at // size * size)


def _first_day(now: float) -> int:
    return _floor(now, _DAY) - (HISTORY_DAYS - 1) * _DAY
