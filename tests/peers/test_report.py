"""The comparison's arithmetic, the figures that it withholds, its table and its chart, on plain results."""

import xml.etree.ElementTree as ElementTree

import pytest

from bench.peers.__main__ import main
from bench.peers.chart import chart
from bench.peers.report import Figure, Result, costs, latencies, loaded, markdown


def unary(number: int, target: str, cpu_us: float, **more: object) -> Result:
    plain = {"units": 100, "mock_busy": 0.4, "load_busy": 0.5, "errors": {}, "latency_ms": None, "delay_ms": None}
    return {"round": number, "workload": "unary", "target": target, "cpu_us": cpu_us, **plain, **more}


ROUNDS = [
    unary(0, "nginx", 10.0),
    unary(0, "ztoapi", 20.0),
    unary(1, "nginx", 20.0),
    unary(1, "ztoapi", 60.0),
    unary(2, "nginx", 10.0),
    unary(2, "ztoapi", 50.0),
]


def test_the_ratio_is_the_median_of_ratios_within_a_round() -> None:
    # Not the ratio of the medians, which is 5: a slow round is slow for both.
    assert costs(ROUNDS, "unary", "ztoapi") == Figure(50.0, 3.0, (2.5, 4.0))


def test_without_nginx_there_is_no_ratio() -> None:
    assert costs([unary(0, "ztoapi", 20.0)], "unary", "ztoapi") == Figure(20.0, None)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "not measured"),
        ([unary(0, "ztoapi", 20.0, mock_busy=0.97)], "the mock was the bottleneck"),
        ([unary(0, "ztoapi", 2e6, units=0)], "no correct response"),
    ],
)
def test_a_figure_that_is_unknown_is_a_word(results: list[Result], said: str) -> None:
    assert costs(results, "unary", "ztoapi") == said
    assert said in markdown(results or ROUNDS[:1], ["ztoapi"], [])


def test_a_round_with_a_busy_mock_does_not_count() -> None:
    assert costs([*ROUNDS[:2], unary(1, "nginx", 1.0), unary(1, "ztoapi", 9.0, mock_busy=1.0)], "unary", "ztoapi") == (
        Figure(20.0, 2.0, (2.0, 2.0))
    )


def test_added_latency_is_taken_within_the_round() -> None:
    def single(number: int, target: str, p99: float, busy: float = 0.2) -> Result:
        found = unary(number, target, 1.0, latency_ms={"p50": 0.1, "p99": p99}, load_busy=busy)
        return {**found, "workload": "single"}

    rounds = [single(0, "direct", 0.1), single(0, "ztoapi", 0.4), single(1, "direct", 1.0), single(1, "ztoapi", 1.5)]
    rounds += [single(2, "direct", 0.1), single(2, "ztoapi", 9.0, busy=0.99)]
    assert latencies(rounds, "single", "ztoapi", "p99") == pytest.approx(0.4)


def test_a_target_that_does_not_reach_the_fixed_rate_has_its_rate_instead_of_a_cost() -> None:
    rounds = [{**unary(0, "ztoapi", 20.0), "workload": "rate", "per_second": rate} for rate in (4000, 4100, 5000)]
    assert costs(rounds, "rate", "ztoapi") == "4100/s reached"
    assert costs(rounds[2:], "rate", "ztoapi") == Figure(20.0, None)


def test_latency_under_load_is_a_multiple_of_that_of_nginx_in_the_round() -> None:
    times = [(0, "nginx", 2.0, 0.5), (0, "ztoapi", 3.0, 0.5), (1, "nginx", 4.0, 0.5), (1, "ztoapi", 90.0, 0.99)]
    rounds = [
        unary(number, name, 1.0, latency_ms={"p50": p99, "p99": p99}, load_busy=busy)
        for number, name, p99, busy in times
    ]
    assert loaded(rounds, "unary", "ztoapi", "latency_ms", "p99") == 1.5
    assert "| ztoapi | 1.50 | 1.50 |" in markdown(rounds, ["ztoapi"], [])


def test_the_table_has_ratio_and_time_of_each_target() -> None:
    text = markdown(ROUNDS, ["nginx", "ztoapi"], ["A machine."])
    assert "| ztoapi | **3.00** (2.50 to 4.00; 50.0) | 0 |" in text
    assert text.endswith("\nA machine.\n")


def test_the_chart_has_a_bar_for_each_target_and_hostile_names_stay_text() -> None:
    root = ElementTree.fromstring(chart({"unary": {"nginx": 1.0, "ztoapi": 2.5, "<b>&": 400.0}}, "ztoapi", ["note"]))
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{space}rect")]
    assert len(widths) == 3
    assert widths == sorted(widths)
    assert {"nginx", "2.50", "<b>&", "note"} <= {text.text for text in root.iter(f"{space}text")}


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "ztoapi,apache"]) == 2
    assert "unknown target apache; targets: nginx," in capsys.readouterr().err
