"""Thresholds of a load test: the valid files, and the results that break a threshold."""

from pathlib import Path
from typing import NamedTuple

import pytest

from loadtests.thresholds import Run, judge, load
from tests.support.table import table

ROOT = Path(__file__).resolve().parents[2]


class Seen(NamedTuple):
    """An event with the times 1 ms, 2 ms ... ``num_requests`` ms."""

    num_requests: int
    num_failures: int = 0
    num_none_requests: int = 0

    @property
    def max_response_time(self) -> int:
        return self.num_requests

    @property
    def fail_ratio(self) -> float:
        return self.num_failures / self.num_requests

    @property
    def avg_response_time(self) -> float:
        return (self.num_requests + 1) / 2

    def get_response_time_percentile(self, percent: float) -> int:
        return round(self.num_requests * percent)


def broken(tmp_path: Path, text: str, **entries: Seen) -> list[tuple[str, str]]:
    """Event and key of every limit in ``text`` that a run with 50 tokens a second, 10 a stream, breaks."""
    file = tmp_path / "limits.toml"
    file.write_text(text, "utf-8")
    named = {name.replace("_", " "): entry for name, entry in entries.items()}
    return [breach[:2] for breach in judge(load(str(file)), Run(named, 50.0, 10.0))]  # type: ignore[arg-type]  # read-only is enough


@table(
    "limit",
    [
        "min_count = 100", "failures = 5", "failure_ratio = 0.05", "mean_ms = 50.5", "p50_ms = 50", "p90_ms = 90",
        "p95_ms = 95", "p99_ms = 99", "max_ms = 100",
    ],
)  # fmt: skip
def test_a_limit_holds_to_its_value_and_breaks_beyond(tmp_path: Path, limit: str) -> None:
    key, _, value = limit.partition(" = ")
    beyond = float(value) * (1.01 if key == "min_count" else 0.99)
    shown = round(beyond) if key == "min_count" else int(beyond) if key == "failures" else beyond
    assert broken(tmp_path, f"[E2E]\n{limit}", E2E=Seen(100, 5)) == []
    assert broken(tmp_path, f"[E2E]\n{key} = {shown}", E2E=Seen(100, 5)) == [("E2E", key)]


@pytest.mark.parametrize(("key", "value"), [("per_second", 50), ("per_second_per_stream", 10)])
def test_tokens_have_lower_limits(tmp_path: Path, key: str, value: int) -> None:
    assert broken(tmp_path, f"[tokens]\n{key} = {value}") == []
    assert broken(tmp_path, f"[tokens]\n{key} = {value + 0.1}") == [("tokens", key)]


def test_a_section_holds_for_every_label_and_a_labelled_one_for_its_own(tmp_path: Path) -> None:
    entries = {"TTFT": Seen(10), "TTFT [long]": Seen(30), "TTFTX": Seen(50)}
    assert broken(tmp_path, "[TTFT]\nmax_ms = 5", **entries) == [("TTFT", "max_ms"), ("TTFT [long]", "max_ms")]
    assert broken(tmp_path, '["TTFT [long]"]\nmax_ms = 5', **entries) == [("TTFT [long]", "max_ms")]


def test_an_event_that_never_came_breaks_its_section(tmp_path: Path) -> None:
    assert broken(tmp_path, "[TTFT]\np95_ms = 5", E2E=Seen(1)) == [("TTFT", "min_count")]
    assert broken(tmp_path, "[TTFT]\nmin_count = 0", E2E=Seen(1)) == []


def test_times_of_an_event_that_was_never_timed_are_not_kept(tmp_path: Path) -> None:
    assert broken(tmp_path, "[E2E]\np95_ms = 5000", E2E=Seen(10, 10, 10)) == [("E2E", "p95_ms")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[TTFT]\np94_ms = 5", r"\[TTFT\]: .*`p94_ms`; keys are min_count, failures"),
        ("[tokens]\np95_ms = 5", r"\[tokens\]: .*`p95_ms`; keys are per_second,"),
        ("[E2E]\nfailures = -1", r"\[E2E\]: .*>= 0.*\$\.failures"),
        ("[E2E]\nfailure_ratio = 5", r"\[E2E\]: .*<= 1.*\$\.failure_ratio"),
        ('[E2E]\np95_ms = "fast"', r"\[E2E\]: .*\$\.p95_ms"),
        ("E2E = 5", r"\[E2E\]: Expected `object`"),
        ("[E2E", "limits.toml: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        broken(tmp_path, text)


def test_the_file_that_comes_along_is_valid() -> None:
    assert set(load(str(ROOT / "loadtests" / "thresholds.toml")).events) == {"E2E", "truncation", "TTFT"}
