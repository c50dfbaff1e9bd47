"""The telemetry board as Prometheus metrics: a custom collector, read at each scrape.

https://prometheus.io/docs/instrumenting/writing_exporters/ and https://prometheus.io/docs/practices/naming/.
"""

import gzip
import itertools
import platform as host
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from ztoapi import __version__
from ztoapi.telemetry.board import Labels, MetricsBoard, Row
from ztoapi.telemetry.layout import (
    CODES,
    DURATION_EDGES_SECONDS,
    ENDINGS,
    ERRORS,
    GAP_EDGES_SECONDS,
    KEYS,
    LAG_EDGES_SECONDS,
    MODELS,
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
from ztoapi.telemetry.samples import SAMPLED, CredentialState, Kind

__all__ = ["BoardCollector", "render"]

_TOKENS: Final = {
    "input": ModelCell.INPUT,
    "output": ModelCell.OUTPUT,
    "cached": ModelCell.CACHED,
    "reasoning": ModelCell.REASONING,
}


def render(board: MetricsBoard, accept: str, *, compress: bool) -> tuple[bytes, str]:
    """The metrics and their content type, in the form that ``accept`` asks for. To be called outside the event loop."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BoardCollector(board))
    text: bytes = encode(registry)
    return gzip.compress(text, 1) if compress else text, content_type


class BoardCollector(Collector):
    """Reads the board when asked."""

    def __init__(self, board: MetricsBoard) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        board = self._board
        build = GaugeMetricFamily(
            "ztoapi_build_info", "Version of the gateway.", labels=("version", "python", "implementation")
        )
        build.add_metric((__version__, host.python_version(), host.python_implementation()), 1)
        yield build
        yield from self._requests()
        yield from self._models(board.rows(MODELS))
        yield from self._keys(board.rows(KEYS))
        yield from self._platforms(board.rows(PLATFORMS))
        errors = CounterMetricFamily(
            "ztoapi_upstream_errors", "Requests that ended in an error of the upstream.", labels=("platform", "code")
        )
        for labels, row in board.rows(ERRORS).items():
            errors.add_metric(labels, row[0])
        yield errors
        yield _histogram(
            "ztoapi_event_loop_lag_seconds",
            "How late the event loop was for a timer, four times a second.",
            (),
            LAG_EDGES_SECONDS,
            [((), board.histogram(Cell.LAG, len(LAG_EDGES_SECONDS) + 2))],
        )
        yield from self._sampled()
        yield from self._processes()

    def _requests(self) -> Iterator[Metric]:
        board = self._board
        in_flight = board.in_flight()
        requests = CounterMetricFamily(
            "ztoapi_http_requests", "HTTP requests that have ended.", labels=("route", "method", "code")
        )
        for labels, row in board.rows(CODES, OWN_CODES).items():
            requests.add_metric(labels, row[0])
        yield requests
        yield _histogram(
            "ztoapi_http_request_duration_seconds",
            "From the request's head until its last octet was handed to the socket.",
            ROUTES.labels,
            DURATION_EDGES_SECONDS,
            board.rows(ROUTES).items(),
        )
        yield GaugeMetricFamily(
            "ztoapi_requests_in_flight", "HTTP requests in hand, scrapes and such left out.", in_flight
        )
        yield GaugeMetricFamily(
            "ztoapi_streams_in_flight", "Streamed answers that have begun and not ended.", board.total(Cell.STREAMS)
        )
        yield CounterMetricFamily(
            "ztoapi_requests_lost", "Requests that were in flight in a worker that died.", board.total(Cell.LOST)
        )
        for name, what, cell in (
            ("request", "bodies of requests", Cell.BYTES_IN),
            ("response", "bodies of answers", Cell.BYTES_OUT),
        ):
            yield CounterMetricFamily(f"ztoapi_http_{name}_bytes", f"Octets of {what}.", board.total(cell))
        yield _histogram(
            "ztoapi_overhead_seconds",
            "Time that the gateway itself added to a request that an upstream answered.",
            (),
            OVERHEAD_EDGES_SECONDS,
            [((), board.histogram(Cell.OVERHEAD, len(OVERHEAD_EDGES_SECONDS) + 2))],
        )

    @staticmethod
    def _models(rows: dict[Labels, Row]) -> Iterator[Metric]:
        asked = {labels: row for labels, row in rows.items() if labels[0] and labels[1]}
        yield _histogram(
            "ztoapi_time_to_first_token_seconds",
            "Streams: from the whole request to the first event written to the client.",
            MODELS.labels,
            TTFT_EDGES_SECONDS,
            ((labels, row[ModelCell.TTFT : ModelCell.GAPS]) for labels, row in asked.items()),
        )
        yield _histogram(
            "ztoapi_inter_token_latency_seconds",
            "Streams: between two writes of chunks to the client.",
            MODELS.labels,
            GAP_EDGES_SECONDS,
            ((labels, row[ModelCell.GAPS : ModelCell.COUNT]) for labels, row in asked.items()),
        )
        tokens = CounterMetricFamily("ztoapi_tokens", "Tokens as the upstream counted them.", labels=("model", "type"))
        by_model: dict[str, Row] = {}
        for (model, _), row in asked.items():
            known = by_model.get(model, [0] * len(row))
            by_model[model] = [a + b for a, b in zip(known, row, strict=True)]
        for model, row in by_model.items():
            for kind, cell in _TOKENS.items():
                tokens.add_metric((model, kind), row[cell])
        yield tokens

    @staticmethod
    def _keys(rows: dict[Labels, Row]) -> Iterator[Metric]:
        requests = CounterMetricFamily("ztoapi_key_requests", "Requests with a client key.", labels=KEYS.labels)
        denied = CounterMetricFamily(
            "ztoapi_key_requests_denied", "Requests with a client key that a rate limit refused.", labels=KEYS.labels
        )
        tokens = CounterMetricFamily(
            "ztoapi_key_tokens", "Tokens of requests with a client key.", labels=(*KEYS.labels, "type")
        )
        for labels, row in rows.items():
            requests.add_metric(labels, row[KeyCell.REQUESTS])
            denied.add_metric(labels, row[KeyCell.DENIED])
            tokens.add_metric((*labels, "input"), row[KeyCell.INPUT])
            tokens.add_metric((*labels, "output"), row[KeyCell.OUTPUT])
        yield from (requests, denied, tokens)

    @staticmethod
    def _platforms(rows: dict[Labels, Row]) -> Iterator[Metric]:
        ends = CounterMetricFamily(
            "ztoapi_stream_ends", "Answers of an upstream, by how they ended.", labels=("platform", "reason")
        )
        stalls = CounterMetricFamily(
            "ztoapi_stream_stalls", "Times that a stream stood still for 5 s.", labels=("platform", "cause")
        )
        attempts = CounterMetricFamily(
            "ztoapi_upstream_attempts", "Requests sent to an upstream, retries included.", labels=("platform",)
        )
        retries = CounterMetricFamily(
            "ztoapi_upstream_retries", "Requests sent to an upstream again.", labels=("platform",)
        )
        for labels, row in rows.items():
            for ending, count in zip(ENDINGS, row[PlatformCell.ENDS :], strict=False):
                ends.add_metric((*labels, ending.value), count)
            stalls.add_metric((*labels, "upstream"), row[PlatformCell.UPSTREAM_STALLS])
            stalls.add_metric((*labels, "client"), row[PlatformCell.CLIENT_STALLS])
            attempts.add_metric(labels, row[PlatformCell.ATTEMPTS])
            retries.add_metric(labels, row[PlatformCell.RETRIES])
        yield from (ends, stalls, attempts, retries)
        yield _histogram(
            "ztoapi_upstream_request_duration_seconds",
            "From the last try's request to the end of the upstream's answer.",
            PLATFORMS.labels,
            DURATION_EDGES_SECONDS,
            ((labels, row[PlatformCell.DURATION : PlatformCell.COUNT]) for labels, row in rows.items()),
        )

    def _sampled(self) -> Iterator[Metric]:
        samples = self._board.samples()
        for name, metric in SAMPLED.items():
            family = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(
                name,
                metric.help,
                labels=(*metric.labels, "state") if name == "ztoapi_credential_state" else metric.labels,
            )
            for labels, value in samples.items():
                if labels[0] != name:
                    continue
                values = labels[1 : 1 + len(metric.labels)]
                if name == "ztoapi_credential_state":
                    for state in CredentialState:
                        family.add_metric((*values, state.name.lower()), float(value == state))
                else:
                    family.add_metric(values, value)
            if family.samples:
                yield family

    def _processes(self) -> Iterator[Metric]:
        """Those of the workers and their supervisor, as prometheus_client names them, added up."""
        board = self._board
        pids = {slot.ints[Cell.PID] for slot in board.slots} - {0}
        yield GaugeMetricFamily("ztoapi_workers", "Workers that live.", len(pids))
        yield CounterMetricFamily("ztoapi_worker_restarts", "Workers that died.", board.total(Cell.RESTARTS))
        found: dict[str, tuple[Metric, list[float]]] = {}
        for pid in pids | {board.supervisor}:
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                for sample in metric.samples:
                    found.setdefault(metric.name, (metric, []))[1].append(sample.value)
        for name, (metric, values) in found.items():
            value = min(values) if name == "process_start_time_seconds" else sum(values)
            if name == "process_cpu_seconds":
                # What workers that have died used must not be missing: the sum would go backwards.
                yield CounterMetricFamily(
                    name, metric.documentation, value + board.total_seconds(Cell.CPU_SECONDS_BEFORE)
                )
            else:
                yield GaugeMetricFamily(name, metric.documentation, value)


def _histogram(
    name: str, text: str, labels: Sequence[str], edges: Sequence[float], rows: Iterable[tuple[Labels, Row]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    bounds = [*(repr(edge) for edge in edges), "+Inf"]
    for values, row in rows:
        family.add_metric(values, list(zip(bounds, itertools.accumulate(row[1:]), strict=True)), row[0])
    return family
