"""The memory layout of a worker's slot on the metrics board. All positions are computed here, once.

A slot is an array of 64-bit words: first the single cells, then the tables. A table allocates a row when a combination
of label values first occurs; its last row counts the combinations that find no free row.

All histograms have the buckets of LIVE_EDGES_SECONDS. A histogram takes one word for the sum (a double) and one for
each bucket. The edges of the metrics are among them, so a scrape adds buckets up, and nothing is counted twice.

Cells are attributes of plain classes rather than members of enumerations, which take twice the time to look up.
"""

import hashlib
from typing import Final, NamedTuple

from ztoapi.errors import Ending
from ztoapi.structures.histogram import log_linear, middles
from ztoapi.telemetry.figures import LiveRequest

__all__ = [
    "CODES",
    "DURATION_EDGES_SECONDS",
    "ENDINGS",
    "ERRORS",
    "FINISHED_START",
    "GAP_EDGES_SECONDS",
    "HISTOGRAM_WORDS",
    "IN_FLIGHT_START",
    "KEYS",
    "LABEL_BYTES",
    "LABEL_VALUE_BYTES",
    "LABEL_WORDS",
    "LAG_EDGES_SECONDS",
    "LIVE_BYTES",
    "LIVE_EDGES_SECONDS",
    "LIVE_FINISHED",
    "LIVE_IN_FLIGHT",
    "LIVE_VALUES_SECONDS",
    "LIVE_WORDS",
    "MODELS",
    "OTHER",
    "OVERHEAD_EDGES_SECONDS",
    "OWN_CODES",
    "PLATFORMS",
    "ROUTES",
    "SAMPLES",
    "SECONDS",
    "SECONDS_START",
    "SECOND_BUCKETS",
    "SECOND_BYTES",
    "SECOND_HISTOGRAMS",
    "SECOND_WORDS",
    "SLOT_WORDS",
    "TABLES",
    "TTFT_EDGES_SECONDS",
    "WORD_BYTES",
    "Cell",
    "KeyCell",
    "MetricTable",
    "ModelCell",
    "PlatformCell",
    "SecondCell",
    "layout_digest",
]

WORD_BYTES: Final = 8
OTHER: Final = "other"
"""The label value for unknown names, and for rows that find no room."""

DURATION_EDGES_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    163.84, 327.68, 655.36,
)  # fmt: skip
"""OpenTelemetry's buckets for GenAI durations (0.01 doubled to 81.92), with smaller ones for refusals and cached
responses, and larger ones up to the time limit of a whole response."""
TTFT_EDGES_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
"""OpenTelemetry's buckets, with vLLM's larger ones for long prompts."""
GAP_EDGES_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 40.0,
)  # fmt: skip
"""OpenTelemetry's buckets for the time per output token, as in vLLM, with smaller ones: a fast model sends several
chunks in 10 ms."""
OVERHEAD_EDGES_SECONDS: Final = (
    0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05,
)  # fmt: skip
"""50 us to 50 ms. A gateway that adds more than that is broken or has too little CPU."""
LAG_EDGES_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""From the resolution of uvloop's timers to a delay that every client notices."""

LIVE_EDGES_SECONDS: Final = tuple(
    sorted(
        {
            *log_linear(-17, 10),
            *DURATION_EDGES_SECONDS,
            *TTFT_EDGES_SECONDS,
            *GAP_EDGES_SECONDS,
            *OVERHEAD_EDGES_SECONDS,
            *LAG_EDGES_SECONDS,
        }
    )
)
"""From 8 us, below any overhead, to 1024 s, above the time limit of a whole response. A quantile is wrong by at most
3.2 %."""
LIVE_VALUES_SECONDS: Final = tuple(middles(LIVE_EDGES_SECONDS))
"""The value of each bucket."""
HISTOGRAM_WORDS: Final = len(LIVE_EDGES_SECONDS) + 2

LABEL_VALUE_BYTES: Final = 72
"""Longer label values are cut. The longest model names in use have about 60 bytes."""
LABEL_WORDS: Final = 28
LABEL_BYTES: Final = LABEL_WORDS * WORD_BYTES
"""Three values and their separators."""

LIVE_BYTES: Final = 1536
"""One live record with its stamp and length. :mod:`ztoapi.telemetry.live` cuts texts to fit."""
LIVE_FINISHED: Final = 500
"""Finished requests that each worker keeps: a few pages of the dashboard."""
LIVE_IN_FLIGHT: Final = 128
"""Requests in flight that each worker shows; the oldest are chosen."""
SECONDS: Final = 300
"""Seconds that are kept individually: five minutes, the window of the rates and quantiles."""

ENDINGS: Final = tuple(Ending)


class Cell:
    """The single cells of a slot, and the starts of its two histograms."""

    PID: Final = 0
    STARTED_AT: Final = 1
    """Start of the worker that owns the slot, in Unix seconds (a double)."""
    STARTED: Final = 2
    """Requests begun, without monitoring requests."""
    LOST: Final = 3
    """Requests that were in flight when their worker died."""
    STREAMS: Final = 4
    """Streamed responses in flight."""
    BYTES_IN: Final = 5
    BYTES_OUT: Final = 6
    RESTARTS: Final = 7
    """Workers that died while they owned this slot."""
    CPU_SECONDS: Final = 8
    """CPU time of the worker (a double)."""
    CPU_SECONDS_BEFORE: Final = 9
    """CPU time of the slot's earlier workers (a double)."""
    CPU_SHARE: Final = 10
    """Share of one core used in the last second (a double)."""
    LIVE_WRITTEN: Final = 11
    """Records of finished requests ever written. Modulo the size of the ring, this is the next position."""
    LIVE_SHOWN: Final = 12
    """Valid records of requests in flight."""
    OVERHEAD: Final = 13
    LAG: Final = OVERHEAD + HISTOGRAM_WORDS
    BEAT: Final = LAG + HISTOGRAM_WORDS
    """Time of the worker's last deadline scan, on the monotonic clock (a double)."""
    COUNT: Final = BEAT + 1


class ModelCell:
    """The cells of a row of MODELS."""

    REQUESTS: Final = 0
    FAILED: Final = 1
    """Failures of an upstream or of the gateway."""
    CANCELLED: Final = 2
    """Requests whose client disconnected, or did not read."""
    INPUT: Final = 3
    OUTPUT: Final = 4
    CACHED: Final = 5
    REASONING: Final = 6
    SECONDS: Final = 7
    """Sum of the durations of answered requests (a double)."""
    REFUSED: Final = 8
    """Requests that were refused because of the client."""
    ANSWERED: Final = 9
    TTFT: Final = 10
    GAPS: Final = TTFT + HISTOGRAM_WORDS
    COUNT: Final = GAPS + HISTOGRAM_WORDS


class PlatformCell:
    """The cells of a row of PLATFORMS."""

    ATTEMPTS: Final = 0
    RETRIES: Final = 1
    UPSTREAM_STALLS: Final = 2
    CLIENT_STALLS: Final = 3
    ENDS: Final = 4
    """One cell for each ending, in the order of ENDINGS."""
    DURATION: Final = ENDS + len(ENDINGS)
    COUNT: Final = DURATION + HISTOGRAM_WORDS


class KeyCell:
    """The cells of a row of KEYS."""

    REQUESTS: Final = 0
    DENIED: Final = 1
    """Requests denied by a rate limit of the gateway."""
    INPUT: Final = 2
    OUTPUT: Final = 3
    CACHED: Final = 4
    COST: Final = 5
    """In nano-dollars."""
    UNPRICED: Final = 6
    """Requests with tokens whose model has no price."""
    COUNT: Final = 7


class SecondCell:
    """The cells of one second."""

    STAMP: Final = 0
    """The second in Unix time; 0 while the row is being written."""
    REQUESTS: Final = 1
    FAILED: Final = 2
    REFUSED: Final = 3
    STREAMS: Final = 4
    OUTPUT: Final = 5
    SUMS: Final = 6
    """The sums of the histograms (doubles), in the order of SECOND_HISTOGRAMS."""
    MAXIMA: Final = SUMS + 4
    """Their highest values (doubles)."""
    COUNTS: Final = MAXIMA + 4
    """The counts of their buckets, four of 16 bits in a word."""


SECOND_HISTOGRAMS: Final = ("duration", "time_to_first_token", "inter_token", "overhead")
SECOND_BUCKETS: Final = HISTOGRAM_WORDS - 1 + (HISTOGRAM_WORDS - 1) % 2
"""Buckets of each histogram, rounded up to an even number."""
SECOND_BYTES: Final = 2 * SECOND_BUCKETS * len(SECOND_HISTOGRAMS)
"""The counts of all histograms."""
SECOND_WORDS: Final = SecondCell.COUNTS + SECOND_BYTES // WORD_BYTES
"""One page of memory."""


class MetricTable(NamedTuple):
    """Rows with the same labels and cells. ``doubles`` lists the cells that hold a double."""

    start: int
    """Position in the slot: one word with the number of rows in use, then the rows."""
    labels: tuple[str, ...]
    rows: int
    cells: int
    doubles: tuple[int, ...] = ()

    @property
    def row_words(self) -> int:
        return LABEL_WORDS + self.cells

    @property
    def end(self) -> int:
        return self.start + 1 + self.rows * self.row_words


CODES: Final = MetricTable(Cell.COUNT, ("route", "method", "code"), 256, 1)
OWN_CODES: Final = MetricTable(CODES.end, CODES.labels, 256, 1)
"""The same for monitoring requests. A shared table could run out of rows, and its last row would mix both kinds."""
ROUTES: Final = MetricTable(OWN_CODES.end, ("route",), 64, HISTOGRAM_WORDS, (0,))
MODELS: Final = MetricTable(
    ROUTES.end,
    ("model", "platform"),
    128,
    ModelCell.COUNT,
    (ModelCell.SECONDS, ModelCell.TTFT, ModelCell.GAPS),
)
PLATFORMS: Final = MetricTable(MODELS.end, ("platform",), 32, PlatformCell.COUNT, (PlatformCell.DURATION,))
ERRORS: Final = MetricTable(PLATFORMS.end, ("platform", "code"), 256, 1)
SAMPLES: Final = MetricTable(ERRORS.end, ("metric", "first", "second"), 4096, 1, (0,))
"""Values that are sampled once a second rather than counted for each request; ``first`` and ``second`` are label
values. A credential takes eight rows, so five hundred credentials fit."""
KEYS: Final = MetricTable(SAMPLES.end, ("key", "model", "platform"), 2048, KeyCell.COUNT)
"""Client keys, by name; requests without a key have an empty one."""
TABLES: Final = (CODES, OWN_CODES, ROUTES, MODELS, PLATFORMS, ERRORS, SAMPLES, KEYS)


LIVE_WORDS: Final = LIVE_BYTES // WORD_BYTES

SECONDS_START: Final = KEYS.end
FINISHED_START: Final = SECONDS_START + SECONDS * SECOND_WORDS
IN_FLIGHT_START: Final = FINISHED_START + LIVE_FINISHED * LIVE_WORDS
SLOT_WORDS: Final = IN_FLIGHT_START + LIVE_IN_FLIGHT * LIVE_WORDS
"""About 5 MB. Pages that are never touched take no memory."""


def layout_digest() -> str:
    """Identifies the layout: another version of the program continues the counts of this one if it has the same."""
    cells = [(name, place) for name, place in vars(Cell).items() if name.isupper()]
    parts = (SLOT_WORDS, cells, TABLES, LIVE_EDGES_SECONDS, SECOND_HISTOGRAMS, ENDINGS, LiveRequest.__struct_fields__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
