"""Counts requests on the metrics board. No other module turns finished requests into numbers.

The code runs on the path of each request: plain stores into cells that only this worker writes. Requests with the same
route, method, status, model and platform share one lookup of their rows. There is no lock, and no object outlives a
call.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from ztoapi.dialects.reader import Count, Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.board import Slot
from ztoapi.telemetry.layout import (
    CODES,
    DURATION_EDGES_SECONDS,
    ENDINGS,
    ERRORS,
    KEYS,
    MODELS,
    OTHER,
    OVERHEAD_EDGES_SECONDS,
    OWN_CODES,
    PLATFORMS,
    ROUTES,
    TTFT_EDGES_SECONDS,
    Cell,
    KeyCell,
    ModelCell,
    PlatformCell,
)
from ztoapi.telemetry.record import Recorder, RequestRecord

__all__ = ["BoardRecorder"]

_METHODS: Final = frozenset(("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"))
_MAX_CACHED_ROWS: Final = 4096
"""Combinations whose rows are cached. Clients choose methods and models, so the number is bounded; when it is reached,
the cache is cleared."""

# Globals for the cells that every request counts in: class attributes made a streamed request 0.9 us slower (CPython
# 3.11).
_STARTED: Final = Cell.STARTED
_STREAMS: Final = Cell.STREAMS
_BYTES_IN: Final = Cell.BYTES_IN
_BYTES_OUT: Final = Cell.BYTES_OUT
_OVERHEAD: Final = Cell.OVERHEAD
_REQUESTS: Final = ModelCell.REQUESTS
_SECONDS: Final = ModelCell.SECONDS
_INPUT: Final = ModelCell.INPUT
_OUTPUT: Final = ModelCell.OUTPUT
_TTFT: Final = ModelCell.TTFT
_GAPS: Final = ModelCell.GAPS
_KEY_REQUESTS: Final = KeyCell.REQUESTS
_KEY_INPUT: Final = KeyCell.INPUT
_KEY_OUTPUT: Final = KeyCell.OUTPUT
_ATTEMPTS: Final = PlatformCell.ATTEMPTS
_DURATION: Final = PlatformCell.DURATION
_DONE: Final = PlatformCell.ENDS + ENDINGS.index(Ending.DONE)
# Members of an enumeration are slow to look up, and every request compares with these two.
_ENDED: Final = Ending.DONE
_CANCELLED: Final = Ending.CLIENT_DISCONNECT


class _PromptDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _Rows(NamedTuple):
    """The rows that count a request, as integers and as doubles."""

    code: "memoryview[int]"
    route: "memoryview[int]"
    route_sum: "memoryview[float]"
    model: "memoryview[int] | None"
    model_sums: "memoryview[float]"
    platform: "memoryview[int] | None"
    platform_sums: "memoryview[float]"
    gaps: "memoryview[int] | None"
    """The buckets of the model's gaps between chunks; None if the request was not sent upstream."""


class BoardRecorder(Recorder):
    """``models`` are the configured models. Any other model gets a label
    once an upstream has served it; before that, and if there is no room, it counts as "other". ``readers`` are called
    with every record."""

    __slots__ = ("_floats", "_ints", "_keys", "_model_names", "_readers", "_rows", "_slot")

    def __init__(
        self,
        slot: Slot,
        models: Iterable[str] = (),
        readers: Iterable[Callable[[RequestRecord], None]] = (),
    ) -> None:
        super().__init__()
        self._readers = tuple(readers)
        self._slot = slot
        self._ints = slot.ints
        self._floats = slot.floats
        self._model_names = {model.lower(): model for model in models}
        self._keys: dict[str, memoryview[int]] = {}
        self._rows: dict[tuple[str, str, int, str | None, str | None], _Rows] = {}

    def begin(self, record: RequestRecord) -> None:
        if not record.monitoring:
            self._ints[_STARTED] += 1

    def begin_stream(self, record: RequestRecord) -> "memoryview[int] | None":
        rows = self._rows_of(record)
        if rows.model is not None:
            self._ints[_STREAMS] += 1
        return rows.gaps

    def stall(self, record: RequestRecord, *, upstream: bool) -> None:
        if record.platform is not None:
            row, _ = self._slot.row(PLATFORMS, (record.platform,))
            row[PlatformCell.UPSTREAM_STALLS if upstream else PlatformCell.CLIENT_STALLS] += 1

    def submit(self, record: RequestRecord) -> None:
        self.total += 1
        self.recent.append(record)
        if self._readers:
            for read in self._readers:
                read(record)
        finished = record.finished
        if finished is None:
            return
        ints = self._ints
        code, route, route_sum, model, model_sums, platform, platform_sums, _ = self._rows_of(record)
        seconds = finished - record.started
        code[0] += 1
        route[1 + bisect_left(DURATION_EDGES_SECONDS, seconds)] += 1
        route_sum[0] += seconds
        ints[_BYTES_IN] += record.bytes_in
        ints[_BYTES_OUT] += record.bytes_out
        ending = record.ending
        if model is not None:
            model[_REQUESTS] += 1
            model_sums[_SECONDS] += seconds
            if ending is not _ENDED:
                model[ModelCell.CANCELLED if ending is _CANCELLED else ModelCell.FAILED] += 1
            usage = record.usage
            if usage is not None:
                model[_INPUT] += usage.prompt_tokens
                model[_OUTPUT] += usage.completion_tokens
                if usage.prompt_tokens_details or usage.completion_tokens_details:
                    _count_details(model, usage)
            if record.key is not None:
                self._count_key(record, record.key)
        whole = record.whole
        first_byte = record.first_byte
        if first_byte is not None:
            self._count_stream(record, first_byte, model, model_sums)
        if platform is None:
            return
        platform[_DONE if ending is _ENDED else PlatformCell.ENDS + ENDINGS.index(ending or Ending.INTERNAL_ERROR)] += 1
        attempts = record.attempts
        platform[_ATTEMPTS] += attempts
        if attempts > 1:
            platform[PlatformCell.RETRIES] += attempts - 1
        sent = record.sent
        complete = record.complete
        overhead = record.overhead
        if sent is not None:
            seconds = (complete or finished) - sent
            platform[1 + _DURATION + bisect_left(DURATION_EDGES_SECONDS, seconds)] += 1
            platform_sums[_DURATION] += seconds
        if overhead is not None and complete is not None:
            overhead += finished - complete
            ints[1 + _OVERHEAD + bisect_left(OVERHEAD_EDGES_SECONDS, overhead)] += 1
            self._floats[_OVERHEAD] += overhead
        if record.error_code is not None and whole is not None and ending is not Ending.RATE_LIMITED:
            error, _ = self._slot.row(ERRORS, (record.platform or "", record.upstream_code or record.error_code))
            error[0] += 1

    def _count_key(self, record: RequestRecord, name: str) -> None:
        row = self._keys.get(name)
        if row is None:
            row = self._keys[name] = self._slot.row(KEYS, (name,))[0]
        row[_KEY_REQUESTS] += 1
        if record.ending is Ending.RATE_LIMITED:
            row[KeyCell.DENIED] += 1
        usage = record.usage
        if usage is not None:
            row[_KEY_INPUT] += usage.prompt_tokens
            row[_KEY_OUTPUT] += usage.completion_tokens

    def _count_stream(
        self,
        record: RequestRecord,
        first_byte: float,
        model: "memoryview[int] | None",
        model_sums: "memoryview[float]",
    ) -> None:
        if model is None:
            return
        self._ints[_STREAMS] -= 1
        if record.whole is None:
            return
        seconds = first_byte - record.whole
        model[1 + _TTFT + bisect_left(TTFT_EDGES_SECONDS, seconds)] += 1
        model_sums[_TTFT] += seconds
        if record.last_write is not None:
            # The sum of all gaps is the time from the first write to the last.
            model_sums[_GAPS] += record.last_write - first_byte

    # -- the rows of a request --------------------------------------------------------------------------------------

    def _rows_of(self, record: RequestRecord) -> _Rows:
        model = record.served_model or record.model
        rows = self._rows.get((record.route, record.method, record.status, model, record.platform))
        return self._find(record, model) if rows is None else rows

    def _find(self, record: RequestRecord, model: str | None) -> _Rows:
        if len(self._rows) >= _MAX_CACHED_ROWS:
            self._rows.clear()
        slot = self._slot
        route = record.route
        monitoring = record.monitoring
        method = record.method if record.method in _METHODS else OTHER
        code, _ = slot.row(OWN_CODES if monitoring else CODES, (route, method, str(record.status)))
        duration, duration_sum = slot.row(ROUTES, (route,))
        model_row, model_sums = None, self._floats
        if not monitoring:
            name = self._label(model, record) if model is not None else ""
            model_row, model_sums = slot.row(MODELS, (name, record.platform or ""))
        platform_row, platform_sums, gaps = None, self._floats, None
        if record.platform is not None:
            platform_row, platform_sums = slot.row(PLATFORMS, (record.platform,))
            gaps = None if model_row is None else model_row[ModelCell.GAPS + 1 : ModelCell.COUNT]
        rows = _Rows(code, duration, duration_sum, model_row, model_sums, platform_row, platform_sums, gaps)
        self._rows[(record.route, record.method, record.status, model, record.platform)] = rows
        return rows

    def _label(self, model: str, record: RequestRecord) -> str:
        name = self._model_names.get(model.lower())
        if name is not None:
            return name
        if record.status != 200 or record.platform is None or len(self._model_names) >= MODELS.rows:
            return OTHER
        # An upstream serves the model. Its requests counted as "other" until now.
        self._rows.clear()
        self._model_names[model.lower()] = model
        return model


def _count_details(model: "memoryview[int]", usage: Usage) -> None:
    try:
        if usage.prompt_tokens_details:
            prompt = msgspec.json.decode(usage.prompt_tokens_details, type=_PromptDetails | None)
            model[ModelCell.CACHED] += 0 if prompt is None else prompt.cached_tokens or 0
        if usage.completion_tokens_details:
            completion = msgspec.json.decode(usage.completion_tokens_details, type=_CompletionDetails | None)
            model[ModelCell.REASONING] += 0 if completion is None else completion.reasoning_tokens or 0
    except msgspec.ValidationError:
        # The details come from the upstream and may have any shape.
        pass
