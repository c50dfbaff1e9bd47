"""The last five minutes of all workers: rates, distributions, and the series of the charts."""

from typing import Final

from ztoapi.structures.histogram import quantiles
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.figures import LatencyFigures, SeriesFigures
from ztoapi.telemetry.layout import LIVE_VALUES_SECONDS, SECOND_HISTOGRAMS, SECONDS, SecondCell
from ztoapi.telemetry.seconds import DURATION, INTER_TOKEN, TIME_TO_FIRST_TOKEN, counts_of, widened
from ztoapi.telemetry.steps import distribution

__all__ = ["COLUMN_SECONDS", "Recent"]

_QUANTILE_SECONDS: Final = 10
"""The window of the quantiles in the series."""
COLUMN_SECONDS: Final = 10
"""The length of a column: 30 of them cover the window."""
_COLUMN: Final = {
    "requests": SecondCell.REQUESTS,
    "failed": SecondCell.FAILED,
    "refused": SecondCell.REFUSED,
    "output_tokens": SecondCell.OUTPUT,
}
"""Fields of a column, and the cells that they add up."""
_VALUES: Final = (*LIVE_VALUES_SECONDS, LIVE_VALUES_SECONDS[-1])
"""One more than there are, like SECOND_BUCKETS."""


class Recent:
    """Reads the seconds up to ``newest`` (Unix seconds) from ``board``. Call it outside the event loop."""

    def __init__(self, board: MetricsBoard, newest: int) -> None:
        self._numbers: dict[int, list[int]] = {}
        """By second: the cells between the stamp and the sums."""
        self._counts: dict[int, list[int]] = {}
        """By second: the counts of each histogram, see ``widened``."""
        histograms = len(SECOND_HISTOGRAMS)
        self._sums = [0.0] * histograms
        self._maxima = [0.0] * histograms
        for slot in board.slots:
            for at, numbers, doubles, fields in slot.seconds(newest, SECONDS):
                size = len(fields) // histograms
                counts = [widened(fields[start : start + size]) for start in range(0, len(fields), size)]
                if at in self._numbers:
                    numbers = [a + b for a, b in zip(self._numbers[at], numbers, strict=True)]
                    counts = [a + b for a, b in zip(self._counts[at], counts, strict=True)]
                self._numbers[at] = numbers
                self._counts[at] = counts
                self._sums = [a + b for a, b in zip(self._sums, doubles[:histograms], strict=True)]
                self._maxima = [max(pair) for pair in zip(self._maxima, doubles[histograms:], strict=True)]
        self._seconds = range(min(self._numbers), max(self._numbers) + 1) if self._numbers else range(0)

    def total(self, cell: int, count: int) -> int:
        """Returns the sum of a cell over the newest ``count`` seconds."""
        return sum(self._number(at, cell) for at in self._seconds[-count:])

    def latency(self, histogram: int) -> LatencyFigures:
        counts = counts_of(sum(of_second[histogram] for of_second in self._counts.values()))
        number = sum(counts)
        highest = self._maxima[histogram]
        p50, p95, p99 = (_at_most(highest, value) for value in quantiles(_VALUES, counts, 0.5, 0.95, 0.99))
        return LatencyFigures(
            average=self._sums[histogram] / number if number else None,
            maximum=highest if number else None,
            p50=p50,
            p95=p95,
            p99=p99,
        )

    def series(self) -> SeriesFigures:
        ttft_p50, ttft_p99 = self._quantiles(TIME_TO_FIRST_TOKEN)
        inter_token_p50, inter_token_p99 = self._quantiles(INTER_TOKEN)
        duration_p50, duration_p99 = self._quantiles(DURATION)
        return SeriesFigures(
            seconds=list(self._seconds),
            requests=self._numbers_of(SecondCell.REQUESTS),
            failed=self._numbers_of(SecondCell.FAILED),
            refused=self._numbers_of(SecondCell.REFUSED),
            streams=self._numbers_of(SecondCell.STREAMS),
            output_tokens=self._numbers_of(SecondCell.OUTPUT),
            ttft_p50=ttft_p50,
            ttft_p99=ttft_p99,
            inter_token_p50=inter_token_p50,
            inter_token_p99=inter_token_p99,
            duration_p50=duration_p50,
            duration_p99=duration_p99,
        )

    def columns(self, first: int, last: int) -> list[dict[str, object]]:
        """Returns the figures of each ten seconds from ``first`` to ``last``, without empty ones."""
        together: dict[int, list[int]] = {}
        for at in self._seconds:
            if first <= at < last:
                together.setdefault(at - at % COLUMN_SECONDS, []).append(at)
        return [
            {
                "start": start,
                **{name: sum(self._number(at, cell) for at in seconds) for name, cell in _COLUMN.items()},
                **{name: self._distribution(seconds, place) for place, name in enumerate(SECOND_HISTOGRAMS)},
            }
            for start, seconds in together.items()
        ]

    def _distribution(self, seconds: list[int], histogram: int) -> dict[str, object]:
        return distribution(_VALUES, counts_of(sum(self._of(at, histogram) for at in seconds)))

    def _number(self, at: int, cell: int) -> int:
        numbers = self._numbers.get(at)
        return 0 if numbers is None else numbers[cell - 1]

    def _numbers_of(self, cell: int) -> list[int]:
        return [self._number(at, cell) for at in self._seconds]

    def _quantiles(self, histogram: int) -> tuple[list[float | None], list[float | None]]:
        """Returns the p50 and the p99 of the ten seconds that end at each second: one second has too few requests."""
        medians: list[float | None] = []
        highest: list[float | None] = []
        window = 0
        median: float | None = None
        p99: float | None = None
        for at in self._seconds:
            newest, oldest = self._of(at, histogram), self._of(at - _QUANTILE_SECONDS, histogram)
            if newest or oldest:
                window += newest - oldest
                median, p99 = quantiles(_VALUES, counts_of(window), 0.5, 0.99)
            medians.append(median)
            highest.append(p99)
        return medians, highest

    def _of(self, at: int, histogram: int) -> int:
        counts = self._counts.get(at)
        return 0 if counts is None else counts[histogram]


def _at_most(highest: float, value: float | None) -> float | None:
    """The middle of the highest bucket may be above the highest value."""
    return None if value is None else min(value, highest)
