"""Reads thresholds for a run from a TOML file, and checks a run against them.

A section has the name of an event and applies to all its labels: ``[E2E]`` to ``E2E`` and ``E2E [long]``,
``["E2E [long]"]`` only to that one. ``[tokens]`` applies to the throughput of all streams together.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol, TypeVar

import msgspec

__all__ = ["Breach", "Entry", "EventLimits", "Run", "Thresholds", "TokenLimits", "judge", "load"]

_Limit = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
T = TypeVar("T", bound=msgspec.Struct)


class EventLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Upper limits, except ``min_count``. Times are in milliseconds."""

    min_count: _Count | None = None
    failures: _Count | None = None
    failure_ratio: _Ratio | None = None
    mean_ms: _Limit | None = None
    p50_ms: _Limit | None = None
    p90_ms: _Limit | None = None
    p95_ms: _Limit | None = None
    p99_ms: _Limit | None = None
    max_ms: _Limit | None = None


class TokenLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Lower limits."""

    per_second: _Limit | None = None
    """Tokens of all complete responses together, per second of the run."""
    per_second_per_stream: _Limit | None = None
    """Tokens per second of a stream, from its first token to its last; the mean over all streams."""


class Thresholds(msgspec.Struct, frozen=True):
    events: Mapping[str, EventLimits]
    tokens: TokenLimits


class Entry(Protocol):
    """Statistics of one event, as in locust's StatsEntry."""

    num_requests: int
    num_none_requests: int
    """Number of events without a time."""
    num_failures: int
    max_response_time: int

    @property
    def fail_ratio(self) -> float: ...
    @property
    def avg_response_time(self) -> float: ...
    def get_response_time_percentile(self, percent: float) -> int: ...


class Run(NamedTuple):
    """The results of a run: entries by event name, and the throughput in tokens per second."""

    entries: Mapping[str, Entry]
    tokens_per_second: float
    tokens_per_second_per_stream: float


class Breach(NamedTuple):
    """A broken threshold."""

    event: str
    key: str
    limit: str
    measured: str


def load(path: str) -> Thresholds:
    """Reads the thresholds in ``path``. Raises ValueError, which names file, section and key, or OSError."""
    try:
        sections = tomllib.loads(Path(path).read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    tokens = _section(path, "tokens", sections.pop("tokens", {}), TokenLimits)
    return Thresholds({name: _section(path, name, table, EventLimits) for name, table in sections.items()}, tokens)


def _section(path: str, name: str, table: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: [{name}]: {error}; keys are {', '.join(kind.__struct_fields__)}") from error


def judge(thresholds: Thresholds, run: Run) -> list[Breach]:
    """Returns the thresholds that ``run`` broke, in the order of the file. A section fails if its event never
    occurred."""
    breaches: list[Breach] = []
    for section, limits in thresholds.events.items():
        entries = {
            name: entry for name, entry in run.entries.items() if name == section or name.startswith(f"{section} [")
        }
        if not entries and limits.min_count != 0:
            breaches.append(Breach(section, "min_count", "at least 1", "no such event in this run"))
        for name, entry in entries.items():
            breaches += (Breach(name, *breach) for breach in _broken(limits, entry))
    for key, limit, measured in (
        ("per_second", thresholds.tokens.per_second, run.tokens_per_second),
        ("per_second_per_stream", thresholds.tokens.per_second_per_stream, run.tokens_per_second_per_stream),
    ):
        if limit is not None and measured < limit:
            breaches.append(Breach("tokens", key, f"at least {limit:g}", f"{measured:g}"))
    return breaches


def _broken(limits: EventLimits, entry: Entry) -> Iterator[tuple[str, str, str]]:
    if limits.min_count is not None and entry.num_requests < limits.min_count:
        yield "min_count", f"at least {limits.min_count}", str(entry.num_requests)
    if limits.failures is not None and entry.num_failures > limits.failures:
        yield "failures", f"at most {limits.failures}", str(entry.num_failures)
    if limits.failure_ratio is not None and entry.fail_ratio > limits.failure_ratio:
        yield "failure_ratio", f"at most {limits.failure_ratio:g}", f"{entry.fail_ratio:g}"
    untimed = entry.num_requests == entry.num_none_requests
    for key, limit, measured in (
        ("mean_ms", limits.mean_ms, entry.avg_response_time),
        ("p50_ms", limits.p50_ms, entry.get_response_time_percentile(0.5)),
        ("p90_ms", limits.p90_ms, entry.get_response_time_percentile(0.9)),
        ("p95_ms", limits.p95_ms, entry.get_response_time_percentile(0.95)),
        ("p99_ms", limits.p99_ms, entry.get_response_time_percentile(0.99)),
        ("max_ms", limits.max_ms, entry.max_response_time),
    ):
        if limit is not None and (untimed or measured > limit):
            yield key, f"at most {limit:g}", "no times" if untimed else f"{measured:g}"
