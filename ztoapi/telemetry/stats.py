"""Computes the figures of ``/dashboard/stats`` from the metrics board."""

from collections.abc import Mapping
from typing import Final

from ztoapi import __version__
from ztoapi.structures.histogram import quantiles
from ztoapi.telemetry.board import Labels, MetricsBoard, Row, Slot
from ztoapi.telemetry.figures import (
    AdmissionFigures,
    CacheFigures,
    CredentialFigures,
    Figures,
    MetricsSummary,
    ModelFigures,
    NetworkFigures,
    RateLimitFigures,
    RequestFigures,
    StallFigures,
    TokenFigures,
    UpstreamFigures,
    WorkerFigures,
)
from ztoapi.telemetry.layout import (
    CODES,
    ENDINGS,
    ERRORS,
    LIVE_VALUES_SECONDS,
    MODELS,
    PLATFORMS,
    SECONDS,
    Cell,
    ModelCell,
    PlatformCell,
    SecondCell,
)
from ztoapi.telemetry.processes import process_figures
from ztoapi.telemetry.recent import Recent
from ztoapi.telemetry.samples import CredentialState, fault_of
from ztoapi.telemetry.seconds import DURATION, INTER_TOKEN, OVERHEAD, TIME_TO_FIRST_TOKEN

__all__ = ["credential_figures", "make_figures", "make_summary"]

_RATE_SECONDS: Final = 10
"""The window of rates."""
_ERROR_RATE_SECONDS: Final = 60
"""The window of the error rate."""


def make_figures(board: MetricsBoard, now: float) -> Figures:
    """Returns all figures as of ``now`` (Unix seconds). Call it outside the event loop."""
    models = board.rows(MODELS)
    platforms = board.rows(PLATFORMS)
    samples = board.samples()
    recent = Recent(board, int(now) - 1)
    started = _start(board, now)
    return Figures(
        version=__version__,
        now=now,
        started=started,
        uptime=max(now - started, 0.0),
        window=f"{SECONDS // 60}m",
        requests=_requests(board, models, samples, recent),
        duration=recent.latency(DURATION),
        time_to_first_token=recent.latency(TIME_TO_FIRST_TOKEN),
        inter_token=recent.latency(INTER_TOKEN),
        overhead=recent.latency(OVERHEAD),
        tokens=TokenFigures(
            input=_sum(models, ModelCell.INPUT),
            output=_sum(models, ModelCell.OUTPUT),
            cached=_sum(models, ModelCell.CACHED),
            reasoning=_sum(models, ModelCell.REASONING),
            output_per_second=recent.total(SecondCell.OUTPUT, _RATE_SECONDS) / _RATE_SECONDS,
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
            denied=_sample(samples, "ztoapi_ratelimit_decisions", "denied")
            + _sample(samples, "ztoapi_budget_refusals"),
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
        series=recent.series(),
    )


def make_summary(board: MetricsBoard, now: float) -> MetricsSummary:
    """Returns the JSON form of ``/metrics`` as of ``now`` (Unix seconds)."""
    models = board.rows(MODELS)
    total = _sum(models, ModelCell.REQUESTS)
    answered = _sum(models, ModelCell.ANSWERED)
    answered_seconds = sum(row[ModelCell.SECONDS] for row in models.values())
    pids = {slot.ints[Cell.PID] for slot in board.slots} - {0}
    memory = sum(process_figures(pid).memory_bytes or 0 for pid in pids | {board.supervisor})
    return MetricsSummary(
        memory_alloc_mb=round(memory / 1e6, 3),
        workers=len(pids),
        uptime_seconds=round(max(now - _start(board, now), 0.0), 3),
        total_requests=total,
        avg_response_time_ms=round(1000.0 * answered_seconds / answered, 3) if answered else 0.0,
    )


def _start(board: MetricsBoard, now: float) -> float:
    """Returns the start of the gateway, or else that of its oldest live worker."""
    return board.started or min(
        (slot.floats[Cell.STARTED_AT] for slot in board.slots if slot.ints[Cell.PID]), default=now
    )


def _sum(rows: dict[Labels, Row], cell: int) -> int:
    return int(sum(row[cell] for row in rows.values()))


def _sample(samples: Mapping[Labels, float], metric: str, first: str | None = None) -> int:
    total = sum(
        value for labels, value in samples.items() if labels[0] == metric and (first is None or labels[1] == first)
    )
    return int(total)


# -- the parts --------------------------------------------------------------------------------------------------------


def _requests(
    board: MetricsBoard, models: dict[Labels, Row], samples: Mapping[Labels, float], recent: Recent
) -> RequestFigures:
    lost = board.total(Cell.LOST)
    minute = recent.total(SecondCell.REQUESTS, _ERROR_RATE_SECONDS) - recent.total(
        SecondCell.REFUSED, _ERROR_RATE_SECONDS
    )
    return RequestFigures(
        total=_sum(models, ModelCell.REQUESTS) + lost,
        succeeded=_sum(models, ModelCell.ANSWERED),
        failed=_sum(models, ModelCell.FAILED) + lost,
        refused=_sum(models, ModelCell.REFUSED),
        cancelled=_sum(models, ModelCell.CANCELLED),
        in_flight=board.in_flight(),
        streams=board.total(Cell.STREAMS),
        waiting=_sample(samples, "ztoapi_admission_waiting"),
        connections=_sample(samples, "ztoapi_client_connections"),
        per_second=recent.total(SecondCell.REQUESTS, _RATE_SECONDS) / _RATE_SECONDS,
        error_rate=recent.total(SecondCell.FAILED, _ERROR_RATE_SECONDS) / minute if minute else 0.0,
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
            figures.refused += int(row[ModelCell.REFUSED])
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
    lags = [int(count) for count in slot.histogram(Cell.LAG)[1:]]
    return WorkerFigures(
        number=slot.number,
        pid=pid or None,
        alive=bool(pid),
        cpu=slot.floats[Cell.CPU_SHARE],
        memory_bytes=process.memory_bytes,
        open_files=process.open_files,
        in_flight=slot.in_flight(),
        loop_lag_p99=quantiles(LIVE_VALUES_SECONDS, lags, 0.99)[0],
    )
