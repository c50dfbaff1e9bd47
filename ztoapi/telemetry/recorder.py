"""Counts requests on the metrics board. No other module turns finished requests into numbers.

On the path of a request the record is only queued. Up to :data:`BATCH_RECORDS` records are counted together, at the
latest at the next tick (0.25 s) and before this worker reads the board. Requests with the same labels share one lookup
of their rows, and C code computes sums and buckets: counting each request alone took 440 opcodes, counting it in a
batch takes about 100. A worker that is killed loses the counts of the current tick.

There is no lock: a worker writes only its own slot.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import add, attrgetter, gt
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from ztoapi.config.prices import Price, PriceOf
from ztoapi.dialects.reader import Count, Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.board import Slot
from ztoapi.telemetry.layout import (
    CODES,
    ENDINGS,
    ERRORS,
    HISTOGRAM_WORDS,
    KEYS,
    MODELS,
    OTHER,
    OWN_CODES,
    PLATFORMS,
    ROUTES,
    Cell,
    KeyCell,
    ModelCell,
    PlatformCell,
    SecondCell,
)
from ztoapi.telemetry.record import Outcome, Recorder, RequestRecord
from ztoapi.telemetry.seconds import DURATION, OVERHEAD, TIME_TO_FIRST_TOKEN, Second, buckets_of

__all__ = ["BATCH_RECORDS", "BoardRecorder", "cached_tokens"]

_log = logging.getLogger(__name__)
BATCH_RECORDS: Final = 50
"""Records that are counted together. The event loop stands still meanwhile, for about 0.1 ms."""

_METHODS: Final = frozenset(("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"))
_MAX_CACHED_ROWS: Final = 4096
"""Combinations whose rows are cached. Clients choose methods and models, so the number is bounded; when it is reached,
the cache is cleared."""
_group_of = attrgetter(
    "route", "method", "status", "served_model", "model", "platform", "key", "ending", "error_code", "upstream_code"
)
"""Records with equal values are counted together."""
_bytes_in_of = attrgetter("bytes_in")
_bytes_out_of = attrgetter("bytes_out")
_attempts_of = attrgetter("attempts")
_input_of = attrgetter("prompt_tokens")
_output_of = attrgetter("completion_tokens")


class _PromptDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


T = TypeVar("T")

_Ints: TypeAlias = "memoryview[int]"
_Floats: TypeAlias = "memoryview[float]"


class _Rows(NamedTuple):
    """The rows that count a group of requests, as integers and as doubles."""

    code: _Ints
    route: _Ints
    route_sum: _Floats
    model: "_Ints | None"
    """None for monitoring requests."""
    model_sums: _Floats
    platform: "_Ints | None"
    platform_sums: _Floats
    key: "_Ints | None"
    price: Price | None
    error: "_Ints | None"


class BoardRecorder(Recorder):
    """``models`` are the configured models. Any other model gets a label once an upstream has served it; before that,
    and if there is no room, it counts as "other". ``readers`` are called with every batch of records. ``price_of``
    returns the price of a model."""

    __slots__ = (
        "_floats",
        "_gap_cells",
        "_gaps",
        "_ints",
        "_model_names",
        "_price_of",
        "_readers",
        "_rows",
        "_second",
        "_slot",
        "_streams",
        "_waiting",
    )

    def __init__(
        self,
        slot: Slot,
        models: Iterable[str] = (),
        readers: Iterable[Callable[[Sequence[RequestRecord]], None]] = (),
        price_of: PriceOf | None = None,
    ) -> None:
        super().__init__()
        self._price_of = price_of
        self._readers = tuple(readers)
        self._slot = slot
        self._ints = slot.ints
        self._floats = slot.floats
        self._model_names = {model.lower(): model for model in models}
        self._rows: dict[tuple[object, ...], _Rows] = {}
        self._waiting: list[RequestRecord] = []
        """Requests that have ended and are not counted."""
        self._streams = 0
        """Streamed responses in flight, and those that have ended and are not counted."""
        self._second = Second()
        """The requests that were counted since the last call of ``take_second``."""
        self._gaps: dict[tuple[str | None, str], list[int]] = {}
        """By the model and platform of a record: an entry of ``_gap_cells``."""
        self._gap_cells: dict[tuple[str, str], tuple[list[int], _Ints]] = {}
        """By the labels of a row: the gaps between chunks that are not on the board, by bucket, and their cells."""

    def begin_stream(self, record: RequestRecord) -> list[int] | None:
        if record.monitoring:
            return None
        self._streams += 1
        if record.platform is None:
            return None
        model = record.served_model or record.model
        gaps = self._gaps.get((model, record.platform))
        return self._find_gaps(model, record, record.platform) if gaps is None else gaps

    def stall(self, record: RequestRecord, *, upstream: bool) -> None:
        if record.platform is not None:
            row, _ = self._slot.row(PLATFORMS, (record.platform,))
            row[PlatformCell.UPSTREAM_STALLS if upstream else PlatformCell.CLIENT_STALLS] += 1

    def submit(self, record: RequestRecord) -> None:
        self.total += 1
        self.recent.append(record)
        waiting = self._waiting
        waiting.append(record)
        if len(waiting) == BATCH_RECORDS:
            self._count_waiting()

    def publish(self) -> None:
        """Writes everything that is not yet on the board. Call it at each tick, before the board is read, and when the
        worker ends."""
        self._count_waiting()
        for gaps, cells in self._gap_cells.values():
            if any(gaps):
                buckets = {place: number for place, number in enumerate(gaps) if number}
                _add(cells, 0, buckets)
                self._second.add_gaps(buckets)
                # In place, because streams hold the list.
                gaps[:] = bytes(len(gaps))

    def take_second(self) -> Second:
        """Returns the requests that were counted since the last call."""
        second, self._second = self._second, Second()
        return second

    def _count_waiting(self) -> None:
        ints = self._ints
        # Before the requests that have ended: a worker that is killed in between has more requests in flight, and not
        # fewer than none.
        begun, self.begun = self.begun, 0
        ints[Cell.STARTED] += begun
        records, self._waiting = self._waiting, []
        groups: dict[tuple[object, ...], list[RequestRecord]] = {}
        for labels, record in zip(map(_group_of, records), records, strict=True):
            groups.setdefault(labels, []).append(record)
        for labels, group in groups.items():
            try:
                self._count(labels, group)
            except Exception:  # noqa: BLE001 - it is logged, and the other groups are counted
                _log.exception("%d finished requests could not be counted", len(group))
        ints[Cell.STREAMS] = self._streams
        if records:
            for read in self._readers:
                read(records)

    def _count(self, labels: tuple[object, ...], records: list[RequestRecord]) -> None:
        """Counts requests with equal ``labels``."""
        first = records[0]
        ending = first.ending
        if ending is None:
            return
        ints = self._ints
        rows = self._rows.get(labels) or self._find(labels, first)
        number = len(records)
        rows.code[0] += number
        durations = [record.finished - record.started for record in records]  # type: ignore[operator] # they have ended
        buckets = _spread(rows.route, rows.route_sum, 0, durations)
        ints[Cell.BYTES_IN] += sum(map(_bytes_in_of, records))
        ints[Cell.BYTES_OUT] += sum(map(_bytes_out_of, records))
        usages = [record.usage for record in records if record.usage is not None]
        inputs, outputs = sum(map(_input_of, usages)), sum(map(_output_of, usages))
        key = rows.key
        if key is not None:
            key[KeyCell.REQUESTS] += number
            if ending is Ending.RATE_LIMITED:
                key[KeyCell.DENIED] += number
        if usages:
            self._count_usage(rows, records, usages, inputs, outputs)
        model = rows.model
        if model is not None:
            self._count_outcome(model, rows.model_sums, first.outcome, durations, buckets)
            if usages:
                model[ModelCell.INPUT] += inputs
                model[ModelCell.OUTPUT] += outputs
                self._second.count(SecondCell.OUTPUT, outputs)
                for usage in usages:
                    if usage.completion_tokens_details:
                        model[ModelCell.REASONING] += _reasoning_tokens(usage)
            self._count_streams(model, rows.model_sums, records)
        if rows.platform is not None:
            self._count_upstream(rows.platform, rows.platform_sums, ending, records)
        if rows.error is not None:
            rows.error[0] += sum(record.whole is not None for record in records)

    def _count_usage(
        self, rows: _Rows, records: Iterable[RequestRecord], usages: Sequence[Usage], inputs: int, outputs: int
    ) -> None:
        """Counts the tokens and the cost of requests by key. The access log has the cost of each request."""
        price, key, model = rows.price, rows.key, rows.model
        cached = [cached_tokens(usage) if usage.prompt_tokens_details else 0 for usage in usages]
        if price is not None and self._readers:
            used = (record for record in records if record.usage is not None)
            for record, usage, in_cache in zip(used, usages, cached, strict=True):
                record.cost = price.cost(usage.prompt_tokens, in_cache, usage.completion_tokens)
        if key is not None:
            key[KeyCell.INPUT] += inputs
            key[KeyCell.OUTPUT] += outputs
            key[KeyCell.CACHED] += sum(cached)
            if price is not None:
                key[KeyCell.COST] += price.cost(inputs, sum(cached), outputs)
            else:
                totals = map(add, map(_input_of, usages), map(_output_of, usages))
                key[KeyCell.UNPRICED] += sum(map(gt, totals, repeat(0)))
        if model is not None:
            model[ModelCell.CACHED] += sum(cached)

    def _count_outcome(
        self,
        model: _Ints,
        sums: _Floats,
        outcome: Outcome | None,
        durations: Sequence[float],
        buckets: Mapping[int, int],
    ) -> None:
        number = len(durations)
        second = self._second
        second.count(SecondCell.REQUESTS, number)
        model[ModelCell.REQUESTS] += number
        match outcome:
            case Outcome.ANSWERED:
                model[ModelCell.ANSWERED] += number
                sums[ModelCell.SECONDS] += sum(durations)
                second.add(DURATION, durations, buckets)
            case Outcome.FAILED:
                model[ModelCell.FAILED] += number
                second.count(SecondCell.FAILED, number)
            case Outcome.REFUSED:
                model[ModelCell.REFUSED] += number
                second.count(SecondCell.REFUSED, number)
            case _:
                model[ModelCell.CANCELLED] += number

    def _count_streams(self, model: _Ints, sums: _Floats, records: list[RequestRecord]) -> None:
        # Most batches of whole responses have no stream beside them.
        streams = [record for record in records if record.first_byte is not None] if self._streams else None
        if streams:
            self._streams -= len(streams)
            whole = [record for record in streams if record.whole is not None]
            waits = [record.first_byte - record.whole for record in whole]  # type: ignore[operator]
            self._second.add(TIME_TO_FIRST_TOKEN, waits, _spread(model, sums, ModelCell.TTFT, waits))
            # The sum of all gaps of a stream is the time from its first write to its last.
            spans = [record.last_write - record.first_byte for record in whole if record.last_write is not None]  # type: ignore[operator]
            seconds = sum(spans)
            sums[ModelCell.GAPS] += seconds
            self._second.add_gap_seconds(seconds)

    def _count_upstream(self, platform: _Ints, sums: _Floats, ending: Ending, records: list[RequestRecord]) -> None:
        platform[PlatformCell.ENDS + ENDINGS.index(ending)] += len(records)
        attempts = sum(map(_attempts_of, records))
        platform[PlatformCell.ATTEMPTS] += attempts
        if attempts > len(records):
            platform[PlatformCell.RETRIES] += sum(max(record.attempts - 1, 0) for record in records)
        durations = [
            (record.complete or record.finished) - record.sent  # type: ignore[operator] # they have ended
            for record in records
            if record.sent is not None
        ]
        _spread(platform, sums, PlatformCell.DURATION, durations)
        overheads = [
            record.overhead + record.finished - record.complete  # type: ignore[operator] # they have ended
            for record in records
            if record.overhead is not None and record.complete is not None
        ]
        self._second.add(OVERHEAD, overheads, _spread(self._ints, self._floats, Cell.OVERHEAD, overheads))

    # -- the rows of a group ----------------------------------------------------------------------------------------

    def _find(self, labels: tuple[object, ...], record: RequestRecord) -> _Rows:
        if len(self._rows) >= _MAX_CACHED_ROWS:
            self._rows.clear()
        slot = self._slot
        route = record.route
        monitoring = record.monitoring
        method = record.method if record.method in _METHODS else OTHER
        code, _ = slot.row(OWN_CODES if monitoring else CODES, (route, method, str(record.status)))
        duration, duration_sum = slot.row(ROUTES, (route,))
        model_row, model_sums, key, price = None, self._floats, None, None
        if not monitoring:
            model = record.served_model or record.model
            name = self._label(model, record) if model is not None else ""
            model_row, model_sums = slot.row(MODELS, (name, record.platform or ""))
            if record.key is not None or model is not None:
                key, _ = slot.row(KEYS, (record.key or "", name, record.platform or ""))
                price = self._price_of(model) if model is not None and self._price_of is not None else None
        platform_row, platform_sums, error = None, self._floats, None
        if record.platform is not None:
            platform_row, platform_sums = slot.row(PLATFORMS, (record.platform,))
            if record.error_code is not None and record.ending is not Ending.RATE_LIMITED:
                error, _ = slot.row(ERRORS, (record.platform, record.upstream_code or record.error_code))
        rows = _Rows(
            code, duration, duration_sum, model_row, model_sums, platform_row, platform_sums, key, price, error
        )
        self._rows[labels] = rows
        return rows

    def _find_gaps(self, model: str | None, record: RequestRecord, platform: str) -> list[int]:
        if len(self._gaps) >= _MAX_CACHED_ROWS:
            self._gaps.clear()
        labels = ("" if model is None else self._label(model, record), platform)
        found = self._gap_cells.get(labels)
        if found is None:
            row, _ = self._slot.row(MODELS, labels)
            cells = row[ModelCell.GAPS + 1 : ModelCell.GAPS + HISTOGRAM_WORDS]
            found = self._gap_cells[labels] = [0] * len(cells), cells
        self._gaps[(model, platform)] = found[0]
        return found[0]

    def _label(self, model: str, record: RequestRecord) -> str:
        name = self._model_names.get(model.lower())
        if name is not None:
            return name
        if record.status != 200 or record.platform is None or len(self._model_names) >= MODELS.rows:
            return OTHER
        # An upstream serves the model. Its requests counted as "other" until now.
        self._rows.clear()
        self._gaps.clear()
        self._model_names[model.lower()] = model
        return model


def _spread(ints: _Ints, floats: _Floats, cell: int, values: Sequence[float]) -> Mapping[int, int]:
    """Adds ``values`` to the histogram at ``cell``. Returns the number of them in each bucket."""
    if not values:
        return {}
    buckets = buckets_of(values)
    floats[cell] += sum(values)
    _add(ints, cell + 1, buckets)
    return buckets


def _add(ints: _Ints, start: int, buckets: Mapping[int, int]) -> None:
    for place, number in buckets.items():
        ints[start + place] += number


def cached_tokens(usage: Usage) -> int:
    """Returns the tokens of the prompt that the upstream had in its cache."""
    prompt = _read_details(usage.prompt_tokens_details, _PromptDetails)
    return 0 if prompt is None else prompt.cached_tokens or 0


def _reasoning_tokens(usage: Usage) -> int:
    completion = _read_details(usage.completion_tokens_details, _CompletionDetails)
    return 0 if completion is None else completion.reasoning_tokens or 0


def _read_details(details: msgspec.Raw | msgspec.UnsetType, kind: type[T]) -> T | None:
    """Returns the details of a usage; None if there are none. They come from the upstream and may have any shape."""
    try:
        return msgspec.json.decode(details or b"null", type=kind | None)
    except msgspec.ValidationError:
        return None
