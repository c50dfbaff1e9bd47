"""The declarations of all metrics that are counted for each request: name, help text, labels and cells.

A new metric needs an entry here, a cell in :mod:`ztoapi.telemetry.layout` and the code that counts it. Metrics that are
sampled once a second are declared in :mod:`ztoapi.telemetry.samples`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

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
    MetricTable,
    ModelCell,
    PlatformCell,
)

__all__ = ["COUNTED", "CellCounter", "CellGauge", "CellHistogram", "CountedMetric", "RowCounter", "RowHistogram"]


class CellCounter(NamedTuple):
    """A counter without labels."""

    name: str
    help: str
    cell: int


class CellGauge(NamedTuple):
    """A gauge without labels."""

    name: str
    help: str
    cell: int


class CellHistogram(NamedTuple):
    """A histogram without labels. ``edges`` are some of LIVE_EDGES_SECONDS."""

    name: str
    help: str
    cell: int
    edges: Sequence[float]


class RowCounter(NamedTuple):
    """A counter with a series for each row of ``tables`` and each entry of ``cells``.

    ``labels`` are some or all labels of the tables; rows that agree in them are added up. The keys of ``cells`` are the
    values of the label ``split``; without it, ``cells`` has one entry.
    """

    name: str
    help: str
    tables: tuple[MetricTable, ...]
    labels: tuple[str, ...]
    cells: Mapping[str, int]
    split: str | None = None


class RowHistogram(NamedTuple):
    """A histogram for each row of ``table``. ``edges`` are some of LIVE_EDGES_SECONDS."""

    name: str
    help: str
    table: MetricTable
    cell: int
    edges: Sequence[float]


CountedMetric = CellCounter | CellGauge | CellHistogram | RowCounter | RowHistogram

COUNTED: Final[Sequence[CountedMetric]] = (
    RowCounter("ztoapi_http_requests", "HTTP requests that have ended.", (CODES, OWN_CODES), CODES.labels, {"": 0}),
    RowHistogram(
        "ztoapi_http_request_duration_seconds",
        "Time from the request head until the last byte of the response was handed to the socket.",
        ROUTES,
        0,
        DURATION_EDGES_SECONDS,
    ),
    RowCounter(
        "ztoapi_requests",
        "Requests of clients that have ended, by outcome.",
        (MODELS,),
        (),
        {
            "answered": ModelCell.ANSWERED,
            "failed": ModelCell.FAILED,
            "refused": ModelCell.REFUSED,
            "cancelled": ModelCell.CANCELLED,
        },
        "outcome",
    ),
    CellGauge("ztoapi_streams_in_flight", "Streamed responses that have begun and not ended.", Cell.STREAMS),
    CellCounter("ztoapi_requests_lost", "Requests that were in flight in a worker that died.", Cell.LOST),
    CellCounter("ztoapi_http_request_bytes", "Bytes of request bodies.", Cell.BYTES_IN),
    CellCounter("ztoapi_http_response_bytes", "Bytes of response bodies.", Cell.BYTES_OUT),
    CellHistogram(
        "ztoapi_overhead_seconds",
        "Time that the gateway itself added to a request that was sent upstream.",
        Cell.OVERHEAD,
        OVERHEAD_EDGES_SECONDS,
    ),
    RowHistogram(
        "ztoapi_time_to_first_token_seconds",
        "Streams: time from the complete request to the first event written to the client.",
        MODELS,
        ModelCell.TTFT,
        TTFT_EDGES_SECONDS,
    ),
    RowHistogram(
        "ztoapi_inter_token_latency_seconds",
        "Streams: time between two writes of chunks to the client.",
        MODELS,
        ModelCell.GAPS,
        GAP_EDGES_SECONDS,
    ),
    RowCounter(
        "ztoapi_tokens",
        "Tokens as counted by the upstream.",
        (MODELS,),
        ("model",),
        {
            "input": ModelCell.INPUT,
            "output": ModelCell.OUTPUT,
            "cached": ModelCell.CACHED,
            "reasoning": ModelCell.REASONING,
        },
        "type",
    ),
    RowCounter("ztoapi_key_requests", "Requests with a client key.", (KEYS,), ("key",), {"": KeyCell.REQUESTS}),
    RowCounter(
        "ztoapi_key_requests_denied",
        "Requests with a client key that a rate limit or a budget denied.",
        (KEYS,),
        ("key",),
        {"": KeyCell.DENIED},
    ),
    RowCounter(
        "ztoapi_key_tokens",
        "Tokens of requests with a client key.",
        (KEYS,),
        ("key",),
        {"input": KeyCell.INPUT, "output": KeyCell.OUTPUT},
        "type",
    ),
    RowCounter(
        "ztoapi_stream_ends",
        "Upstream responses, by how they ended.",
        (PLATFORMS,),
        PLATFORMS.labels,
        {ending.value: PlatformCell.ENDS + position for position, ending in enumerate(ENDINGS)},
        "reason",
    ),
    RowCounter(
        "ztoapi_stream_stalls",
        "Times that a stream stood still for 5 s, by cause.",
        (PLATFORMS,),
        PLATFORMS.labels,
        {"upstream": PlatformCell.UPSTREAM_STALLS, "client": PlatformCell.CLIENT_STALLS},
        "cause",
    ),
    RowCounter(
        "ztoapi_upstream_attempts",
        "Requests sent to an upstream, including retries.",
        (PLATFORMS,),
        PLATFORMS.labels,
        {"": PlatformCell.ATTEMPTS},
    ),
    RowCounter(
        "ztoapi_upstream_retries",
        "Requests sent to an upstream again.",
        (PLATFORMS,),
        PLATFORMS.labels,
        {"": PlatformCell.RETRIES},
    ),
    RowHistogram(
        "ztoapi_upstream_request_duration_seconds",
        "Time from sending the last attempt to the end of the upstream response.",
        PLATFORMS,
        PlatformCell.DURATION,
        DURATION_EDGES_SECONDS,
    ),
    RowCounter(
        "ztoapi_upstream_errors",
        "Requests that ended in an upstream error.",
        (ERRORS,),
        ERRORS.labels,
        {"": 0},
    ),
    CellHistogram(
        "ztoapi_event_loop_lag_seconds",
        "Delay of the event loop's timer, measured four times a second.",
        Cell.LAG,
        LAG_EDGES_SECONDS,
    ),
)
