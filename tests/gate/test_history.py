"""``--history`` and ``--chart``: the counts of each run in a file, and its chart."""

import json

import pytest

from bench.gate.history import Row, chart
from tests.gate.conftest import WORK, Project

SOURCE = "src/counted/__init__.py"
SLOWER = WORK.replace("number * 2", "number + number - 0")


def row(opcodes: float, conditions: str = "cpython 3.11") -> Row:
    return Row("0123456789ab", "2026-11-30T00:00:00+00:00", True, conditions, {"doubling": {"opcodes": opcodes}})


def test_each_run_is_a_row_and_a_point(foreign: Project) -> None:
    files = ("--history", str(foreign.root / "gate.jsonl"), "--chart", str(foreign.root / "gate.svg"))
    assert foreign.gate("--base", "none", *files) == 0
    foreign.write(SOURCE, SLOWER)
    assert foreign.gate("--base", "HEAD", *files) == 1
    first, second = map(json.loads, (foreign.root / "gate.jsonl").read_text().splitlines())
    assert (first["passed"], second["passed"]) == (True, False)
    assert second["commit"] == first["commit"] + "+"
    assert second["counts"]["doubling"]["opcodes"] > first["counts"]["doubling"]["opcodes"]
    drawn = (foreign.root / "gate.svg").read_text()
    assert ">doubling</text>" in drawn
    assert all(f">{one['commit']}: opcodes " in drawn for one in (first, second))


def test_growth_continues_under_other_conditions() -> None:
    drawn = chart([row(100), row(110), row(500, "cpython 3.13"), row(550, "cpython 3.13")])
    growths = [part.partition("<")[0] for part in drawn.split("<title>")[1:]]
    assert [growth.rpartition(" ")[2] for growth in growths] == ["(+0.00%)", "(+10.00%)", "(+10.00%)", "(+21.00%)"]
    assert drawn.count("stroke-dasharray") == 1


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        (("--chart", "gate.svg"), "", "--chart: draws the file of --history"),
        (("--history", "gate.jsonl"), "no row\n", "gate.jsonl, line 1: not a row of a history"),
        (("--history", "nowhere/gate.jsonl"), "", "--history: nowhere/gate.jsonl cannot be written"),
    ],
)
def test_mistakes_are_reported_before_anything_is_counted(
    foreign: Project, arguments: tuple[str, ...], text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text:
        foreign.write("gate.jsonl", text)
    assert foreign.gate(*arguments) == 2
    assert words in capsys.readouterr().err
