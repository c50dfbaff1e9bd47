"""Computes the figures of ``/dashboard/stats`` from the metrics board."""

from collections.abc import Mapping, Sequence
from typing import Final

from ztoapi import __version__
from ztoapi.structures.histogram import maximum, quantile
from ztoapi.telemetry.board import Labels, MetricsBoard, Row, Slot
from ztoapi.telemetry.figures import (
    AdmissionFigures,
    CacheFigures,
    CredentialFigures,
    Figures,
    LatencyFigures,
    MetricsSummary,
    ModelFigures,
    NetworkFigures,
    RateLimitFigures,
    RequestFigures,
    SeriesFigures,
    StallFigures,
    TokenFigures,
    UpstreamFigures,
    WorkerFigures,
)
from ztoapi.telemetry.layout import (
    CODES,
    ENDINGS,
    ERRORS,
    LAG_EDGES_SECONDS,
    MODELS,
    PLATFORMS,
    SECOND_HISTOGRAMS,
    SECOND_SUMS,
    SECONDS,
    Cell,
    ModelCell,
    PlatformCell,
    SecondCell,
)
from ztoapi.telemetry.processes import process_figures
from ztoapi.telemetry.samples import CredentialState, fault_of

__all__ = ["credential_figures", "make_figures", "make_summary"]

_RATE_SECONDS: Final = 10
"""The window of rates, and of the quantiles in the series."""
_ERROR_RATE_SECONDS: Final = 60
"""The window of the error rate."""
_Seconds = Mapping[int, Sequence[int]]
"""By Unix second: the words of SecondCell, added up over all workers; 0 in place of the histograms' sums."""


def make_figures(board: MetricsBoard, now: float) -> Figures:
    """Returns all figures as of ``now`` (Unix seconds). Call it outside the event loop."""
    models = board.rows(MODELS)
    platforms = board.rows(PLATFORMS)
    samples = board.samples()
    seconds, sums = _read_seconds(board, int(now) - 1)
    started = _start(board, now)
    return Figures(
        version=__version__,
        now=now,
        started=started,
        uptime=max(now - started, 0.0),
        window=f"{SECONDS // 60}m",
        requests=_requests(board, models, samples, seconds),
        duration=_latency("duration", seconds, sums),
        time_to_first_token=_latency("time_to_first_token", seconds, sums),
        inter_token=_latency("inter_token", seconds, sums),
        overhead=_latency("overhead", seconds, sums),
        tokens=TokenFigures(
            input=_sum(models, ModelCell.INPUT),
            output=_sum(models, ModelCell.OUTPUT),
            cached=_sum(models, ModelCell.CACHED),
            reasoning=_sum(models, ModelCell.REASONING),
            output_per_second=_recent(seconds, SecondCell.OUTPUT, _RATE_SECONDS) / _RATE_SECONDS,
        ),
        stream_ends={
            ending.value: count
            for position, ending in enumerate(ENDINGS)
            if (count := _sum(platforms, PlatformCell.ENDS + position))
        },
        status=_statuses(board),
        stalls=StallFigures(
            upstream=_sum(platforms, PlatformCell.UPSTREAM_STALLS), client=_sum(platforms, PlatformCell.CLIENT_STALLS)
        ),
        models=_models(models),
        rate_limits=RateLimitFigures(
            granted=_sample(samples, "ztoapi_ratelimit_decisions", "granted"),
            denied=_sample(samples, "ztoapi_ratelimit_decisions", "denied"),
        ),
        admission=AdmissionFigures(
            waiting=_sample(samples, "ztoapi_admission_waiting"), refused=_sample(samples, "ztoapi_admission_refused")
        ),
        cache=_cache(samples),
        credentials=credential_figures(samples, now),
        upstream=UpstreamFigures(
            idle=_sample(samples, "ztoapi_upstream_connections", "idle"),
            busy=_sample(samples, "ztoapi_upstream_connections", "busy"),
            retries=_sum(platforms, PlatformCell.RETRIES),
            errors=_errors(board),
        ),
        workers=[_worker(slot) for slot in board.slots if slot.ints[Cell.PID]],
        network=NetworkFigures(bytes_in=board.total(Cell.BYTES_IN), bytes_out=board.total(Cell.BYTES_OUT)),
        series=_series(seconds),
    )


def make_summary(board: MetricsBoard, now: float) -> MetricsSummary:
    """Returns the JSON form of ``/metrics`` as of ``now`` (Unix seconds)."""
    models = board.rows(MODELS)
    total = _sum(models, ModelCell.REQUESTS)
    total_seconds = sum(row[ModelCell.SECONDS] for row in models.values())
    pids = {slot.ints[Cell.PID] for slot in board.slots} - {0}
    memory = sum(process_figures(pid).memory_bytes or 0 for pid in pids | {board.supervisor})
    return MetricsSummary(
        memory_alloc_mb=round(memory / 1e6, 3),
        workers=len(pids),
        uptime_seconds=round(max(now - _start(board, now), 0.0), 3),
        total_requests=total,
        avg_response_time_ms=round(1000.0 * total_seconds / total, 3) if total else 0.0,
    )


def _start(board: MetricsBoard, now: float) -> float:
    """Returns the start of the oldest live worker."""
    return min((slot.floats[Cell.STARTED_AT] for slot in board.slots if slot.ints[Cell.PID]), default=now)


def _sum(rows: dict[Labels, Row], cell: int) -> int:
    return int(sum(row[cell] for row in rows.values()))


def _sample(samples: Mapping[Labels, float], metric: str, first: str | None = None) -> int:
    total = sum(
        value for labels, value in samples.items() if labels[0] == metric and (first is None or labels[1] == first)
    )
    return int(total)


# -- the last five minutes --------------------------------------------------------------------------------------------


def _read_seconds(board: MetricsBoard, newest: int) -> tuple[_Seconds, Mapping[str, float]]:
    """Returns the seconds, and the sums of their histograms, added up over all workers."""
    seconds: dict[int, list[int]] = {}
    sums = dict.fromkeys(SECOND_HISTOGRAMS, 0.0)
    for slot in board.slots:
        for at, row, totals in slot.seconds(newest, SECONDS):
            total_row = seconds.get(at)
            seconds[at] = row if total_row is None else [at, *map(sum, zip(total_row[1:], row[1:], strict=True))]
            for name, total in zip(SECOND_HISTOGRAMS, totals, strict=True):
                sums[name] += total
    return {at: seconds[at] for at in sorted(seconds)}, sums


_COUNTS: Final = {
    name: slice(at + 1, at + len(edges) + 2)
    for at, (name, edges) in zip(SECOND_SUMS, SECOND_HISTOGRAMS.items(), strict=True)
}
"""Positions of the bucket counts of each histogram within a second."""


def _recent(seconds: _Seconds, cell: int, count: int) -> int:
    """Returns the sum of a cell over the newest ``count`` seconds."""
    newest = max(seconds, default=0)
    return sum(row[cell] for at, row in seconds.items() if at > newest - count)


def _latency(name: str, seconds: _Seconds, sums: Mapping[str, float]) -> LatencyFigures:
    edges = SECOND_HISTOGRAMS[name]
    place = _COUNTS[name]
    counts = [0] * (len(edges) + 1)
    for row in seconds.values():
        if any(row[place]):
            counts = [a + b for a, b in zip(counts, row[place], strict=True)]
    total = sum(counts)
    return LatencyFigures(
        average=sums[name] / total if total else None,
        maximum=maximum(edges, counts),
        p50=quantile(edges, counts, 0.5),
        p95=quantile(edges, counts, 0.95),
        p99=quantile(edges, counts, 0.99),
    )


def _series(seconds: _Seconds) -> SeriesFigures:
    newest = max(seconds, default=0)
    empty = [0] * (_COUNTS["overhead"].stop)
    first = min(seconds, default=0)
    rows = {at: seconds.get(at, empty) for at in range(first, newest + 1)} if seconds else {}
    ttft_p50, ttft_p99 = _quantiles("time_to_first_token", rows)
    inter_token_p50, inter_token_p99 = _quantiles("inter_token", rows)
    duration_p50, duration_p99 = _quantiles("duration", rows)
    return SeriesFigures(
        seconds=list(rows),
        requests=[row[SecondCell.REQUESTS] for row in rows.values()],
        failed=[row[SecondCell.FAILED] for row in rows.values()],
        streams=[row[SecondCell.STREAMS] for row in rows.values()],
        output_tokens=[row[SecondCell.OUTPUT] for row in rows.values()],
        ttft_p50=ttft_p50,
        ttft_p99=ttft_p99,
        inter_token_p50=inter_token_p50,
        inter_token_p99=inter_token_p99,
        duration_p50=duration_p50,
        duration_p99=duration_p99,
    )


def _quantiles(name: str, rows: _Seconds) -> tuple[list[float | None], list[float | None]]:
    """Returns the p50 and the p99 of each second."""
    edges = SECOND_HISTOGRAMS[name]
    place = _COUNTS[name]
    windows = _windows([row[place] for row in rows.values()])
    return [quantile(edges, counts, 0.5) for counts in windows], [quantile(edges, counts, 0.99) for counts in windows]


def _windows(counts: list[Sequence[int]]) -> list[Sequence[int]]:
    """Returns for each second the sum over the last ``_RATE_SECONDS``: one second has too few requests for a p99."""
    sums: list[Sequence[int]] = []
    for at, newest in enumerate(counts):
        total: Sequence[int] = newest
        if at:
            oldest = counts[at - _RATE_SECONDS] if at >= _RATE_SECONDS else ()
            total = sums[-1]
            if any(newest):
                total = [a + b for a, b in zip(total, newest, strict=True)]
            if any(oldest):
                total = [a - b for a, b in zip(total, oldest, strict=True)]
        sums.append(total)
    return sums


# -- the parts --------------------------------------------------------------------------------------------------------


def _requests(
    board: MetricsBoard, models: dict[Labels, Row], samples: Mapping[Labels, float], seconds: _Seconds
) -> RequestFigures:
    lost = board.total(Cell.LOST)
    ended = _sum(models, ModelCell.REQUESTS)
    failed = _sum(models, ModelCell.FAILED)
    cancelled = _sum(models, ModelCell.CANCELLED)
    recent = _recent(seconds, SecondCell.REQUESTS, _ERROR_RATE_SECONDS)
    return RequestFigures(
        total=ended + lost,
        succeeded=ended - failed - cancelled,
        failed=failed + lost,
        cancelled=cancelled,
        in_flight=board.in_flight(),
        streams=board.total(Cell.STREAMS),
        waiting=_sample(samples, "ztoapi_admission_waiting"),
        connections=_sample(samples, "ztoapi_client_connections"),
        per_second=_recent(seconds, SecondCell.REQUESTS, _RATE_SECONDS) / _RATE_SECONDS,
        error_rate=_recent(seconds, SecondCell.FAILED, _ERROR_RATE_SECONDS) / recent if recent else 0.0,
    )


def _statuses(board: MetricsBoard) -> dict[str, int]:
    statuses: dict[str, int] = {}
    for (_, _, code), row in board.rows(CODES).items():
        statuses[code] = statuses.get(code, 0) + int(row[0])
    return dict(sorted(statuses.items()))


def _models(rows: dict[Labels, Row]) -> list[ModelFigures]:
    models: dict[str, ModelFigures] = {}
    for (model, _), row in rows.items():
        if model:
            figures = models.setdefault(model, ModelFigures(model, 0, 0, 0))
            figures.requests += int(row[ModelCell.REQUESTS])
            figures.failed += int(row[ModelCell.FAILED])
            figures.output_tokens += int(row[ModelCell.OUTPUT])
    return sorted(models.values(), key=lambda figures: -figures.requests)


def _cache(samples: Mapping[Labels, float]) -> CacheFigures | None:
    if not any(labels[0].startswith("ztoapi_cache_") for labels in samples):
        return None
    return CacheFigures(
        hit=_sample(samples, "ztoapi_cache_requests", "hit"),
        miss=_sample(samples, "ztoapi_cache_requests", "miss"),
        bypass=_sample(samples, "ztoapi_cache_requests", "bypass"),
        shared=_sample(samples, "ztoapi_cache_requests", "shared"),
        bytes=_sample(samples, "ztoapi_cache_bytes"),
        entries=_sample(samples, "ztoapi_cache_entries"),
    )


def credential_figures(samples: Mapping[Labels, float], now: float) -> list[CredentialFigures]:
    """Returns the state of each credential as of ``now``, from the board's samples."""
    credentials: list[CredentialFigures] = []
    for metric, platform, name in samples:
        if metric != "ztoapi_credential_state":
            continue

        def value(suffix: str, platform: str = platform, name: str = name) -> float:
            return samples.get((f"ztoapi_credential_{suffix}", platform, name), 0.0)

        until = value("retry_timestamp_seconds")
        failed = value("last_failure_timestamp_seconds")
        credentials.append(
            CredentialFigures(
                platform=platform,
                credential=name,
                state=CredentialState(int(value("state"))).name.lower(),
                in_flight=int(value("in_flight")),
                requests=int(value("requests")),
                failed=int(value("failures")),
                latency=value("latency_seconds") or None,
                until=int(until) if until > now else None,
                fault=_fault(until),
                models=int(value("models_out_of_use")),
                last_fault=_fault(failed),
                last_failed=int(failed) or None,
            )
        )
    return credentials


def _fault(stamp: float) -> str | None:
    fault = fault_of(stamp)
    return None if fault is None else fault.value


def _errors(board: MetricsBoard) -> dict[str, int]:
    errors: dict[str, int] = {}
    for (_, code), row in board.rows(ERRORS).items():
        errors[code] = errors.get(code, 0) + int(row[0])
    return errors


def _worker(slot: Slot) -> WorkerFigures:
    pid = slot.ints[Cell.PID]
    process = process_figures(pid)
    lag = slot.histogram(Cell.LAG, len(LAG_EDGES_SECONDS) + 2)
    return WorkerFigures(
        number=slot.number,
        pid=pid or None,
        alive=bool(pid),
        cpu=slot.floats[Cell.CPU_SHARE],
        memory_bytes=process.memory_bytes,
        open_files=process.open_files,
        in_flight=slot.in_flight(),
        loop_lag_p99=quantile(LAG_EDGES_SECONDS, [int(count) for count in lag[1:]], 0.99),
    )
