"""The gate names the functions that grew, and takes benchmarks of pytest as scenarios."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gate.growth import Profile, flame_graph, grown
from bench.gate.measure import Tools
from tests.gate.conftest import FEW_PLUGINS, Project

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "src/counted/__init__.py"
WORK = """\
def work(numbers):
    return sum(map(double, numbers)) + len(text())

def double(number):
    return number * 2

def text():
    return "abc".upper()
"""
CALLS = """\
def work(numbers):
    for number in each(numbers):
        text = "abc".strip().strip()

def each(numbers):
    for number in numbers:
        yield number
"""
COMPILING = """\
from types import FunctionType

def work(numbers):
    for number in range(700):
        FunctionType(double.__code__.replace(co_firstlineno=number + 1), {})(number)

def double(number):
    return number * 2
"""
EQUAL = """\
import ctypes, weakref
from types import FunctionType
from bench.gate.counting import blocks_by_place

def double(number):
    return [number]

def step():
    global last
    for number in range(400):
        code = double.__code__.replace()
        FunctionType(code, {})(number)
    last = weakref.ref(code)

print(blocks_by_place(ctypes.CDLL(None), step, "/")["<<string>>:double"], last() is None)
"""
"""A step that compiles the same function 400 times."""
SLOWER = WORK.replace("return number * 2", "return number + number - 0")
BENCHMARKS = """\
import pytest
from counted import work

@pytest.fixture
def numbers():
    return list(range(50))

def test_work(benchmark, numbers):
    assert benchmark(work, numbers) == 2 * sum(numbers) + 3

def test_prepared(benchmark):
    assert benchmark.pedantic(work, setup=lambda: (([1, 2],), {}), rounds=10) == 9

def test_without_benchmark():
    pass
"""
ODD = """\
import pytest
from beside import NUMBERS
from counted import work

pytestmark = pytest.mark.timeout(1)

class TestOdd:
    @pytest.mark.parametrize("path", ["a/b", "a|b"])
    @pytest.mark.benchmark(group="paths")
    def test_path(self, benchmark, path):
        closed = []
        benchmark.extra_info["path"] = path
        benchmark.pedantic(work, args=(NUMBERS,), teardown=closed.append, rounds=3)
        assert closed
        assert benchmark.stats is None and not benchmark.enabled

@pytest.mark.benchmark
def test_whole():
    assert work(NUMBERS)

def test_unrelated():
    raise AssertionError("not a benchmark")
"""


def test_the_function_that_grew_is_named_first(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    foreign.write(SOURCE, WORK)
    foreign.commit()
    foreign.write(SOURCE, SLOWER)
    outcome = foreign.outcome("--flame-graph", "difference.svg")
    assert not outcome["passed"]
    assert outcome["growth"]["doubling"][0].startswith("counted/__init__.py:double: opcodes ")
    assert len(outcome["growth"]["doubling"]) == 1
    printed = capsys.readouterr().out
    assert "Functions of `doubling` that grew most:" in printed
    drawn = (foreign.root / "difference.svg").read_text()
    reds = re.findall(r"<title>([^:]*:[^:]*): [^/]*</title><rect [^>]*fill=\"rgb\(245,(?!235)", drawn)
    assert reds == ["counted/__init__.py:double"]


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs glibc and cc")
def test_the_function_that_takes_more_blocks_is_named(foreign: Project) -> None:
    """The interpreter takes no blocks for the calls of methods and generators."""
    foreign.write(SOURCE, CALLS)
    foreign.commit()
    foreign.write(SOURCE, CALLS.replace("text =", "text = [number],"))
    foreign.write("b.toml", "[doubling]\nblocks = 0\n")
    [line] = foreign.outcome("--limit", "99%", "--budgets", "b.toml")["growth"]["doubling"]
    assert re.fullmatch(r"counted/__init__.py:work: opcodes [\d,]+ -> [\d,]+ \S+, blocks 0 -> 100 \(\+100\)", line)


def test_without_a_base_there_is_no_difference_to_draw(foreign: Project) -> None:
    foreign.outcome("--base", "none", "--flame-graph", "all.html")
    drawn = (foreign.root / "all.html").read_text()
    assert "counted/__init__.py:work" in drawn
    assert "rgb(245," not in drawn and "(+" not in drawn
    assert "doubling: opcodes of a step</text>" in drawn


def test_a_function_called_more_often_is_named_with_its_calls(foreign: Project) -> None:
    foreign.write(SOURCE, WORK)
    foreign.commit()
    foreign.write(SOURCE, WORK.replace("len(text())", "sum(len(text()) for _ in range(9)) - 24"))
    lines = foreign.outcome()["growth"]["doubling"]
    assert [line for line in lines if ":text: " in line and line.endswith(", calls 1 -> 9")]


@pytest.fixture
def _few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", FEW_PLUGINS)


@pytest.mark.usefixtures("_few_plugins")
def test_benchmarks_of_pytest_are_scenarios(foreign: Project) -> None:
    foreign.write(SOURCE, WORK)
    foreign.commit()
    foreign.write(SOURCE, SLOWER)
    foreign.write("perf/test_work.py", BENCHMARKS)
    foreign.write("pytest.ini", "[pytest]\naddopts = --benchmark-disable-gc\n")
    outcome = foreign.outcome("--scenarios", "perf/test_work.py")
    assert set(outcome["scenarios"]) == {"test_work.py::test_work", "test_work.py::test_prepared"}
    assert outcome["scenarios"]["test_work.py::test_work"]["opcodes"]["verdict"] == "regressed"
    assert outcome["growth"]["test_work.py::test_work"][0].startswith("counted/__init__.py:double: ")
    budgets = '["test_work.py::test_work"]\ncalls = 1\n["test_work.py::test_prepared"]\ncalls = 1\n'
    foreign.write("budgets.toml", budgets)
    chosen = foreign.outcome("--scenarios", "perf", "--budgets", "budgets.toml", "prepared")
    assert set(chosen["scenarios"]) == {"test_work.py::test_prepared"}
    assert chosen["scenarios"]["test_work.py::test_prepared"]["calls"]["verdict"] == "over budget"
    assert list(foreign.root.rglob("__pycache__")) == []


@pytest.mark.usefixtures("_few_plugins")
@pytest.mark.parametrize(
    ("names", "budgets", "reason"),
    [
        (
            ["work", "zero"],
            "",
            "perf: no benchmark matches zero; benchmarks: test_a.py::test_work, test_a.py::test_pre",
        ),
        (["test_prpared"], "", "perf: no benchmark matches test_prpared; did you mean test_a.py::test_prepared?"),
        ([], '["test_a.py::test_wrk"]\n', "budgets.toml: budget for the unknown scenario test_a.py::test_wrk; did"),
        (
            ["work"],
            '["test_a.py::test_work"]\ncall = 1',
            "has a budget for the unknown count call; did you mean calls?",
        ),
    ],
)
def test_a_name_that_nothing_has_is_refused(
    foreign: Project, capfd: pytest.CaptureFixture[str], names: list[str], budgets: str, reason: str
) -> None:
    foreign.write("perf/test_a.py", BENCHMARKS)
    foreign.write("budgets.toml", budgets)
    assert foreign.gate("--scenarios", "perf", "--base", "none", "--budgets", "budgets.toml", *names) == 2
    printed = capfd.readouterr().err
    assert reason in printed
    assert "head, counts" not in printed


@pytest.mark.usefixtures("_few_plugins")
def test_a_benchmark_that_fails_is_no_pass(foreign: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """The names of tests in a file that cannot be imported are not known."""
    foreign.write("perf/test_work.py", BENCHMARKS)
    foreign.write("perf/test_other.py", "from counted import missing\n\ndef test_other(benchmark): ...\n")
    foreign.write("budgets.toml", '["test_other.py::test_other"]\ncalls = 1')
    assert foreign.gate("--scenarios", "perf", "--budgets", "budgets.toml", "test_", "test_other") == 2
    printed = capfd.readouterr().err
    assert "head, counts: test_work.py::test_prepared (2 of 2)" in printed
    assert "perf/test_other.py fails: ImportError: cannot import name 'missing' from 'counted'" in printed
    assert "test_work.py::test_work fails: assert 2450 ==" in printed
    assert ">       assert benchmark(work, numbers) ==" in printed


@pytest.mark.usefixtures("_few_plugins")
def test_benchmarks_that_are_all_skipped_are_no_pass(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    skipped = "import pytest\n\n@pytest.mark.skip\ndef test_work(benchmark): ...\n"
    foreign.write("perf/test_work.py", skipped)
    assert foreign.gate("--base", "none", "--scenarios", "perf") == 2
    assert "perf: no benchmark ran: all were skipped" in capsys.readouterr().err


@pytest.mark.usefixtures("_few_plugins")
def test_benchmarks_may_use_what_pytest_and_its_plugins_offer(
    foreign: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A benchmark that base cannot run is new; the others are compared."""
    foreign.write(SOURCE, WORK)
    foreign.commit()
    foreign.write(SOURCE, f"{WORK}\nadded = work\n")
    foreign.write(
        "pytest.ini",
        "[pytest]\npythonpath = src\nfilterwarnings = error\nrequired_plugins = pytest-missing\n"
        "strict_config = true\ntimeout = 60\n",
    )
    foreign.write("perf/beside.py", "NUMBERS = [1, 2]\n")
    foreign.write(
        "perf/test_new.py", "from counted import added\n\ndef test_new(benchmark):\n    benchmark(added, [])\n"
    )
    foreign.write("perf/test_odd.py", ODD)
    outcome = foreign.outcome("--scenarios", "perf", "--markdown", "gate.md")
    verdicts = {name: counts["opcodes"]["verdict"] for name, counts in outcome["scenarios"].items()}
    assert verdicts == {
        "test_odd.py::TestOdd::test_path[a/b]": "within the limit",
        "test_odd.py::TestOdd::test_path[a|b]": "within the limit",
        "test_odd.py::test_whole": "within the limit",
        "test_new.py::test_new": "new",
    }
    assert [*outcome["uncounted"]] == ["perf/test_new.py"]
    assert r"| `test_odd.py::TestOdd::test_path[a\|b]` |" in (foreign.root / "gate.md").read_text()
    chosen = foreign.outcome("--scenarios", "perf", "--base", "none", "test_odd.py::TestOdd::test_path[a/b]")
    assert [*chosen["scenarios"]] == ["test_odd.py::TestOdd::test_path[a/b]"]


def test_c_functions_are_named_if_instructions_are_counted() -> None:
    base = Profile(functions={"a": 100.0, "b": 5.0})
    head = Profile(functions={"a": 130.0, "b": 5.0, "c": 7.0})
    assert grown(base, head) == [
        "C function a: instructions 100 -> 130 (+30)",
        "C function c: instructions 0 -> 7 (+7)",
    ]


def test_the_ten_that_grew_most_are_named_whatever_their_language() -> None:
    stacks = ["", 0, 1, [[f"m.py:f{number}", number, 1, []] for number in range(5, 25)]]
    lines = grown(Profile(), Profile(stacks, {"large": 90.0, "small": 10.0, "tiny": 0.001}))
    python = [f"m.py:f{number}" for number in range(24, 16, -1)]
    assert [line.rpartition(":")[0] for line in lines] == [*python, "C function large", "C function small"]


def test_equal_functions_do_not_hide_the_one_that_grew_most() -> None:
    stacks = ["", 0, 1, [[f"m.py:f{number}", 10, 1, []] for number in range(12)]]
    lines = grown(Profile(), Profile(stacks, {"huge": 900.0, "b": 100.0}))
    names = [*(f"m.py:f{number}" for number in range(8)), "C function huge", "C function b"]
    assert [line.rpartition(":")[0] for line in lines] == names


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs glibc and cc")
def test_a_step_may_compile_functions_without_end(foreign: Project) -> None:
    """More than the table of functions has room for."""
    foreign.write(SOURCE, COMPILING)
    counts = foreign.outcome("--base", "none")["scenarios"]["doubling"]
    assert counts["blocks"]["head"] > 700


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs glibc and cc")
def test_equal_functions_are_added_up_and_those_without_room_are_freed(tmp_path: Path) -> None:
    library = Tools.find(tmp_path, instructions=False).malloc_counter
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
    command = [sys.executable, "-c", EQUAL]
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    blocks, freed = result.stdout.split()
    assert (300 < float(blocks) < 350, freed) == (True, "True"), "half of the table has room for 327 of a step"


def test_names_are_escaped_in_the_graph() -> None:
    graph = flame_graph("a&b", Profile(), Profile(["", 0, 1, [["m.py:f.<locals>.<lambda>", 10, 1, []]]]))
    assert "a&amp;b" in graph and "&lt;lambda&gt;" in graph and "<lambda>" not in graph
