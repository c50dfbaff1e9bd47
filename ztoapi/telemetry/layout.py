"""Where everything lies in a worker's part of the telemetry board: computed once, from what stands here.

A part (*slot*) is an array of 64-bit words. First the single cells, then the tables. A table has rows that are taken up
as their labels first occur; the last one is for whatever finds no room. A histogram is the sum (a double), then one
word for each bucket, the last of which is for what is above the last edge.
"""

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple

from ztoapi.errors import Ending

__all__ = [
    "CODES",
    "DURATION_EDGES_SECONDS",
    "ENDINGS",
    "ERRORS",
    "FINISHED_START",
    "GAP_EDGES_SECONDS",
    "IN_FLIGHT_START",
    "KEYS",
    "LABEL_BYTES",
    "LABEL_VALUE_BYTES",
    "LABEL_WORDS",
    "LAG_EDGES_SECONDS",
    "LIVE_BYTES",
    "LIVE_FINISHED",
    "LIVE_IN_FLIGHT",
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
    "SECOND_HISTOGRAMS",
    "SECOND_SUMS",
    "SECOND_WORDS",
    "SLOT_WORDS",
    "TABLES",
    "TTFT_EDGES_SECONDS",
    "WORD_BYTES",
    "Cell",
    "KeyCell",
    "ModelCell",
    "PlatformCell",
    "SecondCell",
    "Table",
]

WORD_BYTES: Final = 8
OTHER: Final = "other"
"""The label of what is not known, or finds no room."""

DURATION_EDGES_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    163.84, 327.68, 655.36,
)  # fmt: skip
"""OpenTelemetry's for GenAI durations (0.01 doubled to 81.92), with smaller ones for refusals and answers from a cache,
and larger ones up to the time that a whole answer may take."""
TTFT_EDGES_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
"""OpenTelemetry's, with vLLM's larger ones for prompts that take long."""
GAP_EDGES_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 40.0,
)  # fmt: skip
"""OpenTelemetry's for the time per output token, as vLLM has them, with smaller ones: a fast model has several chunks
in 10 ms."""
OVERHEAD_EDGES_SECONDS: Final = (
    0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05,
)  # fmt: skip
"""50 us to 50 ms: a gateway that adds more than that is broken or starved."""
LAG_EDGES_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""From what uvloop's timers resolve to what every client would notice."""

LABEL_VALUE_BYTES: Final = 72
"""A longer label value is cut. The longest names of models that are in use have about 60."""
LABEL_WORDS: Final = 28
LABEL_BYTES: Final = LABEL_WORDS * WORD_BYTES
"""Three values and what parts them."""

LIVE_BYTES: Final = 1024
"""One live record, its stamp and length included: what :mod:`ztoapi.telemetry.live` cuts its fields to fit."""
LIVE_FINISHED: Final = 500
"""Requests that have ended, of which each worker keeps the newest: some pages of a dashboard."""
LIVE_IN_FLIGHT: Final = 128
"""Requests in flight that each worker shows, the oldest first."""
SECONDS: Final = 300
"""For how long each second is kept by itself: five minutes, which is what rates and quantiles are shown over."""

ENDINGS: Final = tuple(Ending)


def _histogram(edges: Sequence[float]) -> int:
    """Words of a histogram."""
    return len(edges) + 2


class Cell(enum.IntEnum):
    """Single cells of a slot, and where its two histograms begin."""

    PID = 0
    STARTED_AT = 1
    """Unix seconds at which the worker that has the slot began (a double)."""
    STARTED = 2
    """Requests begun, but for those that look after the gateway."""
    LOST = 3
    """Requests that were in flight in workers that died."""
    STREAMS = 4
    """Streamed answers in flight."""
    BYTES_IN = 5
    BYTES_OUT = 6
    RESTARTS = 7
    """Workers of this slot that died."""
    CPU_SECONDS = 8
    """CPU time of the worker (a double)."""
    CPU_SECONDS_BEFORE = 9
    """That of its predecessors (a double)."""
    CPU_SHARE = 10
    """Part of a core used in the last second (a double)."""
    LIVE_WRITTEN = 11
    """Records of finished requests ever written; the ring's next place is this, modulo its size."""
    LIVE_SHOWN = 12
    """Records of requests in flight that are valid."""
    OVERHEAD = 13
    LAG = OVERHEAD + _histogram(OVERHEAD_EDGES_SECONDS)
    BEAT = LAG + _histogram(LAG_EDGES_SECONDS)
    """When the worker last looked at its deadlines, on the monotonic clock (a double)."""
    COUNT = BEAT + 1


class ModelCell(enum.IntEnum):
    """A row of MODELS."""

    REQUESTS = 0
    FAILED = 1
    CANCELLED = 2
    """The client went away."""
    INPUT = 3
    OUTPUT = 4
    CACHED = 5
    REASONING = 6
    SECONDS = 7
    """Sum of the requests' durations (a double)."""
    TTFT = 8
    GAPS = TTFT + _histogram(TTFT_EDGES_SECONDS)
    COUNT = GAPS + _histogram(GAP_EDGES_SECONDS)


class PlatformCell(enum.IntEnum):
    """A row of PLATFORMS."""

    ATTEMPTS = 0
    RETRIES = 1
    UPSTREAM_STALLS = 2
    CLIENT_STALLS = 3
    ENDS = 4
    """One for each ending."""
    DURATION = ENDS + len(ENDINGS)
    COUNT = DURATION + _histogram(DURATION_EDGES_SECONDS)


class KeyCell(enum.IntEnum):
    """A row of KEYS."""

    REQUESTS = 0
    DENIED = 1
    """By a rate limit of the gateway's."""
    INPUT = 2
    OUTPUT = 3
    COUNT = 4


class SecondCell(enum.IntEnum):
    """One second of a worker; the histograms are in the order of SECOND_HISTOGRAMS."""

    STAMP = 0
    """Unix seconds; 0 while the row is being written."""
    REQUESTS = 1
    FAILED = 2
    STREAMS = 3
    OUTPUT = 4
    HISTOGRAMS = 5


SECOND_HISTOGRAMS: Final = {
    "duration": DURATION_EDGES_SECONDS,
    "time_to_first_token": TTFT_EDGES_SECONDS,
    "inter_token": GAP_EDGES_SECONDS,
    "overhead": OVERHEAD_EDGES_SECONDS,
}


class Table(NamedTuple):
    """Rows of one kind. ``doubles`` are the cells that hold a double."""

    start: int
    """Word of the slot at which it begins: first the number of rows in use, then the rows."""
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


CODES: Final = Table(Cell.COUNT, ("route", "method", "code"), 256, 1)
OWN_CODES: Final = Table(CODES.end, CODES.labels, 256, 1)
"""Of requests that look after the gateway: in one table they would take each other's rows, and be one in the last."""
ROUTES: Final = Table(OWN_CODES.end, ("route",), 64, _histogram(DURATION_EDGES_SECONDS), (0,))
MODELS: Final = Table(
    ROUTES.end,
    ("model", "platform"),
    128,
    ModelCell.COUNT,
    (ModelCell.SECONDS, ModelCell.TTFT, ModelCell.GAPS),
)
PLATFORMS: Final = Table(MODELS.end, ("platform",), 32, PlatformCell.COUNT, (PlatformCell.DURATION,))
ERRORS: Final = Table(PLATFORMS.end, ("platform", "code"), 256, 1)
SAMPLES: Final = Table(ERRORS.end, ("metric", "first", "second"), 4096, 1, (0,))
"""What is looked at once a second rather than counted at each request; ``first`` and ``second`` are label values. A
credential has six: there is room for more than six hundred."""
KEYS: Final = Table(SAMPLES.end, ("key",), 256, KeyCell.COUNT)
"""Client keys by name."""
TABLES: Final = (CODES, OWN_CODES, ROUTES, MODELS, PLATFORMS, ERRORS, SAMPLES, KEYS)


SECOND_WORDS: Final = SecondCell.HISTOGRAMS + sum(_histogram(edges) for edges in SECOND_HISTOGRAMS.values())
SECOND_SUMS: Final = tuple(
    SecondCell.HISTOGRAMS + sum(_histogram(edges) for edges in list(SECOND_HISTOGRAMS.values())[:number])
    for number in range(len(SECOND_HISTOGRAMS))
)
"""Where the histograms of a second begin: with their sums, which are doubles."""
LIVE_WORDS: Final = LIVE_BYTES // WORD_BYTES

SECONDS_START: Final = KEYS.end
FINISHED_START: Final = SECONDS_START + SECONDS * SECOND_WORDS
IN_FLIGHT_START: Final = FINISHED_START + LIVE_FINISHED * LIVE_WORDS
SLOT_WORDS: Final = IN_FLIGHT_START + LIVE_IN_FLIGHT * LIVE_WORDS
"""About 2.2 MB. Memory that is never touched costs nothing."""
