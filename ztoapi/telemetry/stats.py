"""The telemetry board as the JSON of ``/dashboard/stats``. Durations are in seconds; None is "no data"."""

from collections.abc import Mapping, Sequence
from typing import Final

from ztoapi import __version__
from ztoapi.structures.histogram import maximum, quantile
from ztoapi.telemetry.board import Labels, MetricsBoard, Row, Slot
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
from ztoapi.telemetry.samples import CredentialState

__all__ = ["Json", "make_stats", "seed_metrics"]

Json = dict[str, object]

_RATE_SECONDS: Final = 10
"""The time that rates are taken over."""
_ERROR_SECONDS: Final = 60
"""The time that the error rate is taken over."""
_Seconds = Mapping[int, Sequence[int]]
"""By Unix second: the words of SecondCell, of all workers together, in which the histograms' sums are left out."""


def make_stats(board: MetricsBoard, now: float) -> Json:
    """Everything, as of ``now`` (Unix seconds). To be called outside the event loop."""
    models, platforms, samples = board.rows(MODELS), board.rows(PLATFORMS), board.samples()
    seconds, sums = _read_seconds(board, int(now) - 1)
    started = min((slot.floats[Cell.STARTED_AT] for slot in board.slots if slot.ints[Cell.PID]), default=now)
    codes: dict[str, int] = {}
    for (_, _, code), row in board.rows(CODES).items():
        codes[code] = codes.get(code, 0) + int(row[0])
    return {
        "version": __version__,
        "now": now,
        "started": started,
        "uptime": max(now - started, 0.0),
        "window": f"{SECONDS // 60}m",
        "requests": _requests(board, models, samples, seconds),
        **{name: _times(name, seconds, sums) for name in SECOND_HISTOGRAMS},
        "tokens": {
            "input": _sum(models, ModelCell.INPUT),
            "output": _sum(models, ModelCell.OUTPUT),
            "cached": _sum(models, ModelCell.CACHED),
            "reasoning": _sum(models, ModelCell.REASONING),
            "output_per_second": _last(seconds, SecondCell.OUTPUT, _RATE_SECONDS) / _RATE_SECONDS,
        },
        "stream_ends": {
            ending.value: count
            for place, ending in enumerate(ENDINGS)
            if (count := _sum(platforms, PlatformCell.ENDS + place))
        },
        "status": dict(sorted(codes.items())),
        "stalls": {
            "upstream": _sum(platforms, PlatformCell.UPSTREAM_STALLS),
            "client": _sum(platforms, PlatformCell.CLIENT_STALLS),
        },
        "models": _models(models),
        "rate_limits": {
            result: _sample(samples, "ztoapi_ratelimit_decisions", result) for result in ("granted", "denied")
        },
        "admission": {
            "waiting": _sample(samples, "ztoapi_admission_waiting"),
            "refused": _sample(samples, "ztoapi_admission_refused"),
        },
        "cache": _cache(samples),
        "credentials": _credentials(samples, now),
        "upstream": {
            "idle": _sample(samples, "ztoapi_upstream_connections", "idle"),
            "busy": _sample(samples, "ztoapi_upstream_connections", "busy"),
            "retries": _sum(platforms, PlatformCell.RETRIES),
            "errors": _errors(board),
        },
        "workers": [_worker(slot) for slot in board.slots],
        "network": {"bytes_in": board.total(Cell.BYTES_IN), "bytes_out": board.total(Cell.BYTES_OUT)},
        "series": _series(seconds),
    }


def seed_metrics(board: MetricsBoard, now: float) -> Json:
    """What ``/metrics`` says as JSON, by the names that the project before this one proposed; ``workers`` stands where
    it had goroutines."""
    models = board.rows(MODELS)
    total, taken = _sum(models, ModelCell.REQUESTS), _sum(models, ModelCell.SECONDS)
    pids = {slot.ints[Cell.PID] for slot in board.slots} - {0}
    memory = sum(process_figures(pid).memory_bytes or 0 for pid in pids | {board.supervisor})
    started = min((slot.floats[Cell.STARTED_AT] for slot in board.slots if slot.ints[Cell.PID]), default=now)
    return {
        "memory_alloc_mb": round(memory / 1e6, 3),
        "workers": len(pids),
        "uptime_seconds": round(max(now - started, 0.0), 3),
        "total_requests": total,
        "avg_response_time_ms": round(1000.0 * taken / total, 3) if total else 0.0,
    }


def _sum(rows: dict[Labels, Row], cell: int) -> float:
    return sum(row[cell] for row in rows.values())


def _sample(samples: Mapping[Labels, float], metric: str, first: str | None = None) -> int:
    total = sum(
        value for labels, value in samples.items() if labels[0] == metric and (first is None or labels[1] == first)
    )
    return int(total)


# -- the last five minutes --------------------------------------------------------------------------------------------


def _read_seconds(board: MetricsBoard, newest: int) -> tuple[_Seconds, Mapping[str, float]]:
    """Of all workers together: the seconds, and the sums of the histograms over all of them."""
    seconds: dict[int, list[int]] = {}
    sums = dict.fromkeys(SECOND_HISTOGRAMS, 0.0)
    for slot in board.slots:
        for at, row, totals in slot.seconds(newest, SECONDS):
            known = seconds.get(at)
            seconds[at] = row if known is None else [at, *map(sum, zip(known[1:], row[1:], strict=True))]
            for name, total in zip(SECOND_HISTOGRAMS, totals, strict=True):
                sums[name] += total
    return {at: seconds[at] for at in sorted(seconds)}, sums


_PLACES: Final = {
    name: slice(at + 1, at + len(edges) + 2)
    for at, (name, edges) in zip(SECOND_SUMS, SECOND_HISTOGRAMS.items(), strict=True)
}
"""Where the counts of each histogram lie in a second."""


def _last(seconds: _Seconds, cell: SecondCell, count: int) -> int:
    newest = max(seconds, default=0)
    return sum(row[cell] for at, row in seconds.items() if at > newest - count)


def _times(name: str, seconds: _Seconds, sums: Mapping[str, float]) -> Json:
    edges, place = SECOND_HISTOGRAMS[name], _PLACES[name]
    counts = [0] * (len(edges) + 1)
    for row in seconds.values():
        if any(row[place]):
            counts = [a + b for a, b in zip(counts, row[place], strict=True)]
    total = sum(counts)
    return {
        "average": sums[name] / total if total else None,
        "maximum": maximum(edges, counts),
        "p50": quantile(edges, counts, 0.5),
        "p95": quantile(edges, counts, 0.95),
        "p99": quantile(edges, counts, 0.99),
    }


def _series(seconds: _Seconds) -> Json:
    newest = max(seconds, default=0)
    empty = [0] * (_PLACES["overhead"].stop)
    first = min(seconds, default=0)
    rows = {at: seconds.get(at, empty) for at in range(first, newest + 1)} if seconds else {}
    shown: Json = {
        "seconds": list(rows),
        "requests": [row[SecondCell.REQUESTS] for row in rows.values()],
        "failed": [row[SecondCell.FAILED] for row in rows.values()],
        "streams": [row[SecondCell.STREAMS] for row in rows.values()],
        "output_tokens": [row[SecondCell.OUTPUT] for row in rows.values()],
    }
    for name, short in (("time_to_first_token", "ttft"), ("inter_token", "inter_token"), ("duration", "duration")):
        edges, place = SECOND_HISTOGRAMS[name], _PLACES[name]
        counts = _trailing([row[place] for row in rows.values()])
        for share in (0.5, 0.99):
            shown[f"{short}_p{round(share * 100)}"] = [quantile(edges, each, share) for each in counts]
    return shown


def _trailing(counts: list[Sequence[int]]) -> list[Sequence[int]]:
    """For each second the sum of the last ``_RATE_SECONDS``: of the few requests of one second there is no p99."""
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
) -> Json:
    lost = board.total(Cell.LOST)
    ended, failed = _sum(models, ModelCell.REQUESTS), _sum(models, ModelCell.FAILED)
    cancelled = _sum(models, ModelCell.CANCELLED)
    recent = _last(seconds, SecondCell.REQUESTS, _ERROR_SECONDS)
    return {
        "total": ended + lost,
        "succeeded": ended - failed - cancelled,
        "failed": failed + lost,
        "cancelled": cancelled,
        "in_flight": board.in_flight(),
        "streams": board.total(Cell.STREAMS),
        "waiting": _sample(samples, "ztoapi_admission_waiting"),
        "connections": _sample(samples, "ztoapi_client_connections"),
        "per_second": _last(seconds, SecondCell.REQUESTS, _RATE_SECONDS) / _RATE_SECONDS,
        "error_rate": _last(seconds, SecondCell.FAILED, _ERROR_SECONDS) / recent if recent else 0.0,
    }


def _models(rows: dict[Labels, Row]) -> list[Json]:
    found: dict[str, list[float]] = {}
    for (model, _), row in rows.items():
        if model:
            known = found.setdefault(model, [0, 0, 0])
            for place, cell in enumerate((ModelCell.REQUESTS, ModelCell.FAILED, ModelCell.OUTPUT)):
                known[place] += row[cell]
    by_requests = sorted(found.items(), key=lambda item: -item[1][0])
    return [
        {"model": model, "requests": requests, "failed": failed, "output_tokens": output}
        for model, (requests, failed, output) in by_requests
    ]


def _cache(samples: Mapping[Labels, float]) -> Json | None:
    if not any(labels[0].startswith("ztoapi_cache_") for labels in samples):
        return None
    results = ("hit", "miss", "bypass", "shared")
    return {
        **{result: _sample(samples, "ztoapi_cache_requests", result) for result in results},
        "bytes": _sample(samples, "ztoapi_cache_bytes"),
        "entries": _sample(samples, "ztoapi_cache_entries"),
    }


def _credentials(samples: Mapping[Labels, float], now: float) -> list[Json]:
    shown: list[Json] = []
    for metric, platform, name in samples:
        if metric != "ztoapi_credential_state":
            continue

        def value(what: str, platform: str = platform, name: str = name) -> float:
            return samples.get((f"ztoapi_credential_{what}", platform, name), 0.0)

        until = value("retry_timestamp_seconds")
        shown.append(
            {
                "platform": platform,
                "credential": name,
                "state": CredentialState(int(value("state"))).name.lower(),
                "in_flight": int(value("in_flight")),
                "requests": int(value("requests")),
                "failed": int(value("failures")),
                "latency": value("latency_seconds") or None,
                "until": until if until > now else None,
            }
        )
    return shown


def _errors(board: MetricsBoard) -> dict[str, float]:
    errors: dict[str, float] = {}
    for (_, code), row in board.rows(ERRORS).items():
        errors[code] = errors.get(code, 0) + row[0]
    return errors


def _worker(slot: Slot) -> Json:
    pid = slot.ints[Cell.PID]
    figures = process_figures(pid)
    lag = slot.histogram(Cell.LAG, len(LAG_EDGES_SECONDS) + 2)
    return {
        "number": slot.number,
        "pid": pid or None,
        "alive": bool(pid),
        "cpu": slot.floats[Cell.CPU_SHARE],
        "memory_bytes": figures.memory_bytes,
        "open_files": figures.open_files,
        "in_flight": slot.in_flight(),
        "loop_lag_p99": quantile(LAG_EDGES_SECONDS, [int(count) for count in lag[1:]], 0.99),
    }
