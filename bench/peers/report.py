"""Computes the reported figures: ratios within a round, medians over rounds; figures without meaning are left out."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from bench.peers.load import CONNECTIONS, RATE, UNITS
from bench.peers.targets import DIRECT

__all__ = ["BASE", "BUSY", "Figure", "Result", "costs", "latencies", "loaded", "markdown", "ratio"]

BASE: Final = "nginx"
BUSY: Final = 0.95
"""Share of a core above which the mock or the load generator dominates the measurement."""
_LATENCY: Final = {"single": "latency_ms", "single_stream": "ttft_ms"}
_LOADED: Final = {
    ("unary", "latency_ms", "p50"): "unary p50",
    ("unary", "latency_ms", "p99"): "unary p99",
    ("rate", "latency_ms", "p99"): "rate p99",
    ("paced", "ttft_ms", "p50"): "paced, first token p50",
    ("paced", "ttft_ms", "p99"): "paced, first token p99",
}
"""The latencies under load that are reported as multiples of those of nginx."""
_MIN_RATE: Final = 0.95
"""Share of the fixed rate below which a target has not kept up: it is saturated, and its cost another one."""
Result = dict[str, Any]
"""One target under one workload in one round; see ``measure`` in ``__main__.py``."""


class Figure(NamedTuple):
    """CPU of a target for one unit of work: microseconds, and the ratio to nginx with its quartiles (None without
    nginx)."""

    cpu_us: float
    ratio: float | None
    quartiles: tuple[float, float] | None = None


def _of(rounds: Iterable[Result], workload: str, target: str) -> list[Result]:
    return [row for row in rounds if row["workload"] == workload and row["target"] == target]


def costs(rounds: Sequence[Result], workload: str, target: str) -> Figure | str:
    """The medians over rounds, or the reason for which there are none: a mock that was busier than its core allows
    would make every gateway look alike."""
    mine = _of(rounds, workload, target)
    if not mine:
        return "not measured"
    good = {row["round"]: row["cpu_us"] for row in mine if row["mock_busy"] < BUSY and row["units"]}
    if not good:
        return "the mock was the bottleneck" if any(row["units"] for row in mine) else "no correct response"
    rate = statistics.median(row.get("per_second", RATE) for row in mine)
    if workload == "rate" and rate < RATE * _MIN_RATE:
        return f"{rate:.0f}/s reached"
    base = {row["round"]: row["cpu_us"] for row in _of(rounds, workload, BASE) if row["units"]}
    ratios = [cpu / base[number] for number, cpu in good.items() if number in base]
    cpu_us = statistics.median(good.values())
    if not ratios:
        return Figure(cpu_us, None)
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Figure(cpu_us, middle, (low, high))


def ratio(rounds: Sequence[Result], workload: str, target: str) -> float | None:
    """The cost as a multiple of nginx, if both were measured."""
    figure = costs(rounds, workload, target)
    return None if isinstance(figure, str) else figure.ratio


def latencies(rounds: Sequence[Result], workload: str, target: str, which: str) -> float | None:
    """Returns the time added on one connection, in milliseconds: the percentile ``which`` less that of the mock called
    directly in the same round. None if it was not measured, or the load generator was too busy for a figure."""
    what = _LATENCY[workload]
    direct = {row["round"]: row[what][which] for row in _of(rounds, workload, DIRECT) if row[what]}
    added = [
        row[what][which] - direct[row["round"]]
        for row in _of(rounds, workload, target)
        if row[what] and row["round"] in direct and row["load_busy"] < BUSY
    ]
    return statistics.median(added) if added else None


def loaded(rounds: Sequence[Result], workload: str, target: str, what: str, which: str) -> float | None:
    """Returns a percentile of the latency under load as a multiple of that of nginx in the same round, the median over
    rounds. None if it was not measured, or the load generator was too busy for a figure."""
    base = {row["round"]: row[what][which] for row in _of(rounds, workload, BASE) if row[what]}
    ratios = [
        row[what][which] / base[row["round"]]
        for row in _of(rounds, workload, target)
        if row[what] and row["round"] in base and row["load_busy"] < BUSY
    ]
    return statistics.median(ratios) if ratios else None


def _median(results: list[Result], value: Callable[[Result], float | None]) -> float | None:
    values = [number for row in results if (number := value(row)) is not None]
    return statistics.median(values) if values else None


def _delay(row: Result) -> float | None:
    return row["delay_ms"]["p99"] if row["delay_ms"] and row["load_busy"] < BUSY else None


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def markdown(rounds: Sequence[Result], targets: Sequence[str], notes: Sequence[str]) -> str:
    """The tables, with ``notes`` (machine, versions) below them."""
    done = list(dict.fromkeys(row["workload"] for row in rounds if row["workload"] != "memory"))
    loads = [workload for workload in done if not workload.startswith("single")]
    lines = [
        "CPU of the whole process tree, times nginx in the same round, medians (in brackets: quartiles; microseconds):",
        "",
    ]
    heads = [f"{workload}, a {UNITS.get(workload, 'request')}, {CONNECTIONS[workload]} conn." for workload in loads]
    lines += [f"| | {' | '.join(heads)} | errors |", f"|---|{'--:|' * (len(heads) + 1)}"]
    for target in targets:
        cells = [_cost_cell(costs(rounds, workload, target)) for workload in loads]
        errors = sum(sum(row["errors"].values()) for row in rounds if row["target"] == target and "errors" in row)
        lines.append(f"| {target} | {' | '.join(cells)} | {errors} |")
    ratios = {key: name for key, name in _LOADED.items() if key[0] in done}
    if ratios:
        lines += ["", "Latency under load, times nginx in the same round, medians:", ""]
        lines += [f"| | {' | '.join(ratios.values())} |", f"|---|{'--:|' * len(ratios)}"]
        for target in targets:
            row = [_shown(loaded(rounds, workload, target, *key), 2) for workload, *key in ratios]
            lines.append(f"| {target} | {' | '.join(row)} |")
    lines += [
        "",
        "Added by the gateway on one connection (percentiles less those of the mock, called directly in the same",
        "round), delay of each delta with 200 paced streams, memory of the process tree (PSS):",
        "",
        "| | latency p50, ms | p99 | first token p50, ms | p99 | delta p99, ms | MB idle | MB with 1,000 streams |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for target in targets:
        added = [latencies(rounds, workload, target, which) for workload in _LATENCY for which in ("p50", "p99")]
        memory = _of(rounds, "memory", target)
        cells = [_shown(value, 2) for value in added]
        cells.append(_shown(_median(_of(rounds, "paced", target), _delay), 1))
        cells += [_shown(_median(memory, lambda row, key=key: row[key]), 0) for key in ("idle_mb", "streams_mb")]  # type: ignore[misc]  # mypy cannot infer a default
        lines.append(f"| {target} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes]) + "\n"


def _cost_cell(figure: Figure | str) -> str:
    if isinstance(figure, str):
        return figure
    if figure.quartiles is None:
        return f"{figure.cpu_us:.1f} us"
    low, high = figure.quartiles
    return f"**{figure.ratio:.2f}** ({low:.2f} to {high:.2f}; {figure.cpu_us:.1f})"
