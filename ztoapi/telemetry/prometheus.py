"""The metrics board as Prometheus metrics: a custom collector that reads the board at each scrape.

https://prometheus.io/docs/instrumenting/writing_exporters/ and https://prometheus.io/docs/practices/naming/.
"""

import gzip
import itertools
import platform as host
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from ztoapi import __version__
from ztoapi.structures.histogram import folded
from ztoapi.telemetry.board import Labels, MetricsBoard, Row, add_rows
from ztoapi.telemetry.layout import HISTOGRAM_WORDS, KEYS, LIVE_EDGES_SECONDS, MODELS, Cell, MetricTable
from ztoapi.telemetry.metrics import (
    COUNTED,
    CellCounter,
    CellGauge,
    CellHistogram,
    RowCounter,
    RowHistogram,
)
from ztoapi.telemetry.samples import SAMPLED, CredentialState, SampleKind

__all__ = ["BoardCollector", "render"]

_CREDENTIAL_STATE: Final = "ztoapi_credential_state"
"""The one metric that becomes a series for each state: 1 for the current state, else 0."""


def render(board: MetricsBoard, accept: str, *, compress: bool) -> tuple[bytes, str]:
    """Returns the metrics in the format that ``accept`` prefers, and their content type. Call it outside the event
    loop."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BoardCollector(board))
    text: bytes = encode(registry)
    return gzip.compress(text, 1) if compress else text, content_type


class BoardCollector(Collector):
    """Reads the board at each scrape."""

    def __init__(self, board: MetricsBoard) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "ztoapi_build_info", "Version of the gateway.", labels=("version", "python", "implementation")
        )
        build.add_metric((__version__, host.python_version(), host.python_implementation()), 1)
        yield build
        yield GaugeMetricFamily(
            "ztoapi_requests_in_flight",
            "HTTP requests in flight, without monitoring requests.",
            self._board.in_flight(),
        )
        rows = cache(self._rows)
        for metric in COUNTED:
            match metric:
                case RowCounter():
                    yield _row_counter(metric, [rows(table, named=metric.labels != ()) for table in metric.tables])
                case RowHistogram():
                    yield _row_histogram(metric, rows(metric.table))
                case _:
                    yield self._single(metric)
        yield from self._sampled()
        yield from self._processes()

    def _rows(self, table: MetricTable, *, named: bool = True) -> dict[Labels, Row]:
        rows = self._board.rows(table)
        if table is MODELS and named:
            # A request that reached no upstream has no platform, and possibly no model: it has no series.
            return {labels: row for labels, row in rows.items() if all(labels)}
        if table is KEYS:
            return {labels: row for labels, row in rows.items() if labels[0]}
        return rows

    def _single(self, metric: CellCounter | CellGauge | CellHistogram) -> Metric:
        if isinstance(metric, CellHistogram):
            row = self._board.histogram(metric.cell)
            return _histogram(metric.name, metric.help, (), metric.edges, [((), row)])
        family = CounterMetricFamily if isinstance(metric, CellCounter) else GaugeMetricFamily
        return family(metric.name, metric.help, self._board.total(metric.cell))

    def _sampled(self) -> Iterator[Metric]:
        samples = self._board.samples()
        for name, metric in SAMPLED.items():
            family = (CounterMetricFamily if metric.kind is SampleKind.COUNTER else GaugeMetricFamily)(
                name, metric.help, labels=(*metric.labels, "state") if name == _CREDENTIAL_STATE else metric.labels
            )
            for labels, value in samples.items():
                if labels[0] != name:
                    continue
                values = labels[1 : 1 + len(metric.labels)]
                if name == _CREDENTIAL_STATE:
                    for state in CredentialState:
                        family.add_metric((*values, state.name.lower()), float(value == state))
                else:
                    family.add_metric(values, value)
            if family.samples:
                yield family

    def _processes(self) -> Iterator[Metric]:
        """The metrics of prometheus_client's ProcessCollector, added up over the workers and their supervisor."""
        board = self._board
        pids = {slot.ints[Cell.PID] for slot in board.slots} - {0}
        yield GaugeMetricFamily("ztoapi_workers", "Workers that are alive.", len(pids))
        yield CounterMetricFamily("ztoapi_worker_restarts", "Workers that died.", board.total(Cell.RESTARTS))
        collected: dict[str, tuple[Metric, list[float]]] = {}
        for pid in pids | {board.supervisor}:
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                for sample in metric.samples:
                    collected.setdefault(metric.name, (metric, []))[1].append(sample.value)
        for name, (metric, values) in collected.items():
            value = min(values) if name == "process_start_time_seconds" else sum(values)
            if name == "process_cpu_seconds":
                # The counter would go backwards without the CPU time of workers that have died.
                yield CounterMetricFamily(
                    name, metric.documentation, value + board.total_seconds(Cell.CPU_SECONDS_BEFORE)
                )
            else:
                yield GaugeMetricFamily(name, metric.documentation, value)


def _row_counter(metric: RowCounter, tables: Iterable[dict[Labels, Row]]) -> CounterMetricFamily:
    split = () if metric.split is None else (metric.split,)
    family = CounterMetricFamily(metric.name, metric.help, labels=(*metric.labels, *split))
    kept = [metric.tables[0].labels.index(label) for label in metric.labels]
    totals: dict[Labels, Row] = {}
    for rows in tables:
        for labels, row in rows.items():
            add_rows(totals, tuple(labels[position] for position in kept), row)
    for labels, row in totals.items():
        for value, cell in metric.cells.items():
            family.add_metric((*labels, value) if split else labels, row[cell])
    return family


def _row_histogram(metric: RowHistogram, rows: dict[Labels, Row]) -> HistogramMetricFamily:
    end = metric.cell + HISTOGRAM_WORDS
    cells = ((labels, row[metric.cell : end]) for labels, row in rows.items())
    return _histogram(metric.name, metric.help, metric.table.labels, metric.edges, cells)


def _histogram(
    name: str, text: str, labels: Sequence[str], edges: Sequence[float], rows: Iterable[tuple[Labels, Row]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    bounds = [*(repr(edge) for edge in edges), "+Inf"]
    for values, row in rows:
        counts = folded(edges, LIVE_EDGES_SECONDS, row[1:])
        family.add_metric(values, list(zip(bounds, itertools.accumulate(counts), strict=True)), row[0])
    return family
