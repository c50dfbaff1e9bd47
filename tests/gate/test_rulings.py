"""Budgets, verdicts, baselines: what needs no counting."""

import dataclasses
from pathlib import Path

import pytest

from bench.gate.errors import GateError
from bench.gate.measure import Key
from bench.gate.report import read_baseline, save_baseline
from bench.gate.verdicts import Budgets, Verdict, judge

COUNTS = {"doubling": {"opcodes": 100.0, "calls": 1.0}}
KEY = Key("cpython", "3.11.7 (main)", "x86_64", "1a2b", None, True, ("h11==0.16.0", "msgspec==0.22.0"))


def budgets(path: Path, text: str) -> Budgets:
    file = path / "budgets.toml"
    file.write_text(text)
    return Budgets.read(file, "cpython-3.11")


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (98.1, Verdict.SAME), (102.0, Verdict.SAME), (97.9, Verdict.REGRESSED), (0.0, Verdict.REGRESSED),
        (102.1, Verdict.IMPROVED),
    ],
)  # fmt: skip
def test_the_limit(base: float, expected: Verdict) -> None:
    opcodes, calls = judge(COUNTS, {"doubling": {"opcodes": base}}, Budgets(), 0.02)
    assert opcodes.verdict is expected
    assert calls.verdict is Verdict.NEW


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (0.0, 0.01, Verdict.SAME), (0.0, 0.03, Verdict.REGRESSED), (0.5, 0.51, Verdict.SAME), (0.02, 0.0, Verdict.SAME),
        (0.03, 0.0, Verdict.IMPROVED),
    ],
)  # fmt: skip
def test_the_limit_of_a_count_below_one_is_a_share_of_one(base: float, head: float, expected: Verdict) -> None:
    (kept,) = judge({"doubling": {"kept": head}}, {"doubling": {"kept": base}}, Budgets(), 0.02)
    assert kept.verdict is expected


def test_a_scenario_that_is_gone_is_reported() -> None:
    cells = judge(COUNTS, {**COUNTS, "halving": {"opcodes": 1.0}}, Budgets(), 0.02)
    assert [(cell.scenario, cell.verdict) for cell in cells[2:]] == [("halving", Verdict.GONE)]
    assert not any(cell.verdict.fails for cell in cells)


def test_a_budget_can_depend_on_the_interpreter(tmp_path: Path) -> None:
    text = '[doubling]\ncalls = { "cpython-3.11" = 0, "cpython-2.7" = 1 }\nopcodes = { "cpython-2.7" = 1 }\n'
    read = budgets(tmp_path, text)
    assert read.counts == {"doubling": {"calls": 0}}
    over = judge(COUNTS, None, read, 0.02)[1]
    assert over.verdict is Verdict.OVER_BUDGET
    assert over.sentence() == "doubling: calls 1, the budget is 0: lower the cost, or raise the budget with a reason"


def test_a_budget_that_is_not_used_up_fails_too(tmp_path: Path) -> None:
    under = judge(COUNTS, COUNTS, budgets(tmp_path, "[doubling]\ncalls = 2"), 0.02)[1]
    assert under.verdict.fails
    assert "update the budget" in under.sentence()


def test_a_machine_that_cannot_count_blocks_leaves_their_budget_alone(tmp_path: Path) -> None:
    assert len(judge(COUNTS, None, budgets(tmp_path, "[doubling]\nblocks = 2"), 0.02)) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[doubling]\ncalls = "few"', "calls of \\[doubling\\] is 'few'; a budget is a number"),
        ("calls = 1", "not in the table of a scenario"),
        ('[doubling]\nlimit = "2"', "'2' is not a percentage such as 2%"),
        ("[", "cannot be read"),
        ("[test_a.py::test_b[1]]\ncalls = 1", r'A name with :: needs quotes: \["test_a.py::test_b\[1\]"\]'),
        ("[doubling]\ncalls = '::'x", r"at line 2, column 13\)$"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(GateError, match=reason):
        budgets(tmp_path, text)


def test_a_baseline_comes_back(tmp_path: Path) -> None:
    save_baseline(tmp_path / "baseline.json", KEY, COUNTS)
    assert read_baseline(tmp_path / "baseline.json", KEY) == COUNTS


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("implementation", "pypy", "implementation is cpython, there pypy"),
        ("version", "3.11.8 (main)", r"version is 3.11.7 \(main\), there 3.11.8"),
        ("architecture", "aarch64", "architecture is x86_64, there aarch64"),
        ("valgrind", "3.19.0", "valgrind is not used, there 3.19.0"),
        ("malloc_counter", False, "malloc_counter is used, there not used"),
        ("lock", "3c4d", "lock: here msgspec==0.22.0, there msgspec==0.19.0"),
    ],
)
def test_a_baseline_under_another_key_is_refused(tmp_path: Path, part: str, value: object, named: str) -> None:
    former = dataclasses.replace(KEY, distributions=("h11==0.16.0", "msgspec==0.19.0"), **{part: value})  # type: ignore[arg-type]
    save_baseline(tmp_path / "baseline.json", former, COUNTS)
    with pytest.raises(GateError, match=f"cannot be compared: {named}.*save a new baseline with --save"):
        read_baseline(tmp_path / "baseline.json", KEY)
