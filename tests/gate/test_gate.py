"""The gate in a foreign project: its comparisons, messages and exit codes."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from bench.gate.__main__ import main
from tests.gate.conftest import SCENARIOS, WORK, Project

SLOWER = WORK.replace("number * 2", "number + number - 0")
QUICKER = "def work(numbers):\n    return 2 * sum(numbers)\n"
# Much work, almost all of it in C.
SLOWER_IN_C = "from zlib import crc32\n\nDATA = bytes(100_000)\n" + WORK.replace("return ", "return crc32(DATA) * 0 + ")
SOURCE = "src/counted/__init__.py"


def verdict(project: Project, count: str = "opcodes", *arguments: str) -> str:
    text: str = project.outcome(*arguments)["scenarios"]["doubling"][count]["verdict"]
    return text


def test_no_change_passes(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = foreign.outcome("--base", "HEAD")
    counts = outcome["scenarios"]["doubling"]
    assert outcome["passed"]
    assert counts["steps"] == {
        "base": 1.0, "head": 1.0, "change": 0.0, "budget": None, "limit": 0.02, "verdict": "within the limit",
    }  # fmt: skip
    assert counts["kept"]["head"] == 0.0
    assert all(count["base"] == count["head"] for count in counts.values())
    assert f"**Regression gate: passed** (head {outcome['head']} against " in capsys.readouterr().out
    assert list((foreign.root / ".git").glob("worktrees/*")) == []
    assert list(foreign.root.rglob("__pycache__")) == []


def test_calls_are_those_of_the_measured_packages(foreign: Project) -> None:
    """One of the function, and 101 of its generator. The step belongs to the scenarios, ``json`` to the interpreter."""
    foreign.write(SOURCE, "import json\n" + WORK.replace("return", "json.dumps([]); return"))
    counts = foreign.outcome("--base", "none")["scenarios"]["doubling"]
    assert counts["calls"]["head"] == 102.0


def test_a_slower_commit_fails_against_the_one_before(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    foreign.write(SOURCE, SLOWER)
    foreign.commit()
    outcome = foreign.outcome("--markdown", "table.md")
    assert [failure for failure in outcome["failures"] if failure.startswith("doubling: opcodes")]
    assert outcome["scenarios"]["doubling"]["steps"]["verdict"] == "within the limit"
    said = capsys.readouterr().out
    assert said == (foreign.root / "table.md").read_text()
    assert "**Regression gate: failed**" in said
    assert "; the limit is +2.0%" in said


def test_what_is_not_committed_is_compared_with_the_last_commit(foreign: Project) -> None:
    foreign.write(SOURCE, SLOWER)
    outcome = foreign.outcome()
    assert outcome["scenarios"]["doubling"]["opcodes"]["verdict"] == "regressed"
    assert outcome["head"].endswith("+")


def test_a_branch_is_compared_with_where_it_left_main(foreign: Project) -> None:
    foreign.git("checkout", "--quiet", "-b", "branch")
    foreign.write(SOURCE, SLOWER)
    foreign.commit()
    foreign.write("README", "x")
    foreign.commit()
    assert verdict(foreign) == "regressed"


def test_a_step_that_is_not_deterministic_is_named(foreign: Project) -> None:
    """Here by the path of the tree, in place of randomness."""
    text = SCENARIOS.replace("range(100)", "range(100 if '/base/' in work.__code__.co_filename else 200)")
    foreign.write("perf/scenarios.py", text)
    note = "doubling is not deterministic: the packages are the same in base"
    assert note in foreign.outcome("--base", "HEAD")["notes"]
    foreign.write("src/counted/new.py", "")
    assert note not in foreign.outcome("--base", "HEAD")["notes"]
    foreign.commit()
    assert note not in foreign.outcome("--base", "HEAD~1")["notes"]


def test_an_improvement_passes(foreign: Project) -> None:
    foreign.write(SOURCE, QUICKER)
    assert verdict(foreign) == "improved"


def test_what_is_kept_is_a_regression(foreign: Project) -> None:
    foreign.write(SOURCE, "kept = []\n" + WORK.replace("return", "kept.append([]); return"))
    assert verdict(foreign, "kept") == "regressed"


def test_an_aligned_block_that_is_freed_is_not_kept(foreign: Project) -> None:
    """Some versions of OpenSSL take such blocks."""
    foreign.write(
        SOURCE,
        """\
import ctypes
library = ctypes.CDLL(None)
library.aligned_alloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
def work(numbers):
    block = ctypes.c_void_p()
    library.posix_memalign(ctypes.byref(block), 64, 64)
    library.free(block)
    library.free(library.aligned_alloc(64, 64))
""",
    )
    assert foreign.outcome("--base", "none")["scenarios"]["doubling"]["kept"]["head"] == 0.0


def test_a_wider_limit_can_be_given(foreign: Project) -> None:
    foreign.write(SOURCE, SLOWER)
    foreign.write("budgets.toml", '[doubling]\nlimit = "90%"\n')
    assert verdict(foreign, "opcodes", "--budgets", "budgets.toml") == "within the limit"


def test_what_base_cannot_run_is_new(foreign: Project) -> None:
    foreign.write(SOURCE, WORK + "\ndef more():\n    pass\n")
    foreign.write("perf/scenarios.py", SCENARIOS.replace("import work", "import more, work"))
    outcome = foreign.outcome()
    assert outcome["scenarios"]["doubling"]["opcodes"]["verdict"] == "new"
    assert "cannot import name 'more'" in outcome["uncounted"]["every scenario"]


def test_one_scenario_may_be_new_alone(foreign: Project) -> None:
    foreign.write(SOURCE, WORK + "\ndef more():\n    pass\n")
    extra = "\nimport counted\n\nSCENARIOS['more'] = lambda: counted.more\n"
    foreign.write("perf/scenarios.py", SCENARIOS + extra)
    outcome = foreign.outcome()
    assert outcome["scenarios"]["more"]["opcodes"]["verdict"] == "new"
    assert outcome["scenarios"]["doubling"]["opcodes"]["verdict"] == "within the limit"
    assert list(outcome["uncounted"]) == ["more"]


def test_without_git_there_are_budgets_only(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(foreign.root / ".git")
    foreign.write("budgets.toml", "[doubling]\nsteps = 1\n")
    assert foreign.outcome("--budgets", "budgets.toml")["base"] is None
    reason = "(no base: no git repository with a commit; budgets only)"
    assert f"**Regression gate: passed** {reason}" in capsys.readouterr().out


def test_the_first_commit_has_no_base(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert foreign.outcome()["base"] is None
    headline = "**Regression gate: nothing compared** (no base: this is the first commit; no budgets). Name a commit"
    assert capsys.readouterr().out.startswith(headline)


def test_a_shallow_clone_without_budgets_is_refused(
    foreign: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.git("commit", "--quiet", "--allow-empty", "--message=next")
    foreign.git("clone", "--quiet", "--depth=1", foreign.root.as_uri(), "clone")
    monkeypatch.chdir(foreign.root / "clone")
    assert foreign.gate() == 2
    assert "bench.gate: nothing to compare with: the clone is shallow, and there is" in capsys.readouterr().err


def test_the_example_of_the_manual_runs_as_it_is(foreign: Project) -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs/regression-gate.md").read_text("utf-8")
    package, scenarios = re.findall(r"^```python\n(.*?)^```$", manual, re.MULTILINE | re.DOTALL)
    foreign.write("src/yours/__init__.py", package)
    foreign.write("perf/scenarios.py", scenarios)
    (budgets,) = re.findall(r"^```toml\n(\[stream\]\n.*?)^```$", manual, re.MULTILINE | re.DOTALL)
    foreign.write("perf/budgets.toml", budgets)
    outcome = foreign.outcome("--base", "none", "--package", "src/yours", "--budgets", "perf/budgets.toml")
    assert outcome["passed"]
    counted = outcome["scenarios"]
    assert list(counted) == ["small", "stream"]
    assert counted["stream"]["writes"]["head"] == 1.0


def test_a_budget_overrules_the_base(foreign: Project) -> None:
    """A reviewed number may rise; the base is no bound of that count any more."""
    foreign.write("perf/scenarios.py", SCENARIOS.replace("+= 1", "+= 3"))
    foreign.write("budgets.toml", "[doubling]\nsteps = 3\n")
    assert foreign.outcome("--budgets", "budgets.toml")["passed"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--base", "v9"], "no commit 'v9' here"),
        (["--limit", "2"], "'2' is not a percentage such as 2%"),
        (["--package", "src/other"], "no src/other in "),
        (["halving"], "scenarios.py: unknown scenario halving; scenarios: doubling"),
        (["doubling", "doublings"], "scenarios.py: unknown scenario doublings; did you mean doubling?"),
        (["--baseline", "pyproject.toml"], "write one with --save"),
        (["--json", "nowhere/gate.json"], "--json: nowhere/gate.json cannot be written"),
        (["--flame-graph", "gate.png"], "--flame-graph: gate.png: the name must end in .svg or .html"),
        (["--markdown", "perf"], "--markdown: perf cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused(
    foreign: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    """On a terminal the reason replaces the progress."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert foreign.gate(*arguments) == 2
    printed = capsys.readouterr().err
    assert "\r\x1b[Kbench.gate: " in printed and reason in printed


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        ("[", "cannot be read: {}: "),
        ("[doublings]\ncalls = 1", "{}: budget for the unknown scenario doublings; did you mean doubling?"),
        ("[zero]\ncalls = 1", "{}: budget for the unknown scenario zero; scenarios: doubling"),
        ("[doubling]\nstep = 1", "{}: doubling has a budget for the unknown count step; did you mean steps?"),
        ("[doubling]\nzero = 1", "count zero; counts: instructions, opcodes, calls, blocks, kept, steps"),
    ],
)
@pytest.mark.parametrize("names", [[], ["doubling"]])
def test_budgets_are_checked_before_anything_is_counted(
    foreign: Project, capfd: pytest.CaptureFixture[str], budgets: str, reason: str, names: list[str]
) -> None:
    file = foreign.write("budgets.toml", budgets)
    assert foreign.gate("--base", "HEAD", "--budgets", "budgets.toml", *names) == 2
    printed = capfd.readouterr().err
    assert reason.format(file) in printed
    assert ", counts" not in printed


def test_a_budget_of_what_cannot_be_counted_here_is_left_alone(foreign: Project) -> None:
    foreign.write("budgets.toml", "[doubling]\ninstructions = 1\nsteps = 1\n")
    assert foreign.outcome("--base", "none", "--budgets", "budgets.toml")["passed"]


def test_the_set_up_that_fails_is_reported_rather_than_its_budgets(
    foreign: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign.write("perf/scenarios.py", SCENARIOS.replace("    def step", "    raise OSError('full')\n    def step"))
    foreign.write("budgets.toml", "[doubling]\nsteps = 1\n")
    assert foreign.gate("--base", "none", "--budgets", "budgets.toml") == 2
    assert "doubling fails: OSError: full" in capsys.readouterr().err


def test_a_project_without_settings_gets_a_remedy(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    foreign.write("pyproject.toml", "[")
    assert foreign.gate() == 2
    assert "pyproject.toml cannot be read" in capsys.readouterr().err
    foreign.write("pyproject.toml", "")
    assert foreign.gate() == 2
    assert (
        f"in {foreign.root}: set scenarios and packages of [tool.bench-gate] in pyproject.toml"
        in capsys.readouterr().err
    )
    assert foreign.gate("--scenarios", "perf/scenarios.py", "--package", "src/counted") == 0


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("budget = 'budgets.toml'\n", "unknown option budget; options: scenarios, packages, budgets"),
        ("packages = 'src/counted'\n", "packages must be a list of paths"),
        ("scenarios = ['perf/scenarios.py']\n", "scenarios must be a path in quotes"),
    ],
)
def test_a_wrong_setting_is_refused(
    foreign: Project, capsys: pytest.CaptureFixture[str], settings: str, reason: str
) -> None:
    """A misspelt name of the budgets would turn them off."""
    foreign.write("pyproject.toml", f"[tool.bench-gate]\n{settings}")
    assert foreign.gate("--scenarios", "perf/scenarios.py", "--package", "src/counted") == 2
    assert reason in capsys.readouterr().err


def test_a_scenario_that_fails_is_no_pass(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    foreign.write(SOURCE, WORK.replace("return", "raise OSError('full') or"))
    assert foreign.gate() == 2
    assert "doubling fails: OSError: full" in capsys.readouterr().err


def test_another_copy_of_the_package_is_refused(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """As an import hook of an editable install would bring it in."""
    there = str(foreign.root / "src")
    foreign.write("perf/scenarios.py", f"import sys\n\nsys.path.insert(0, {there!r})\n{SCENARIOS}")
    assert foreign.gate() == 2
    assert "not from the measured copy" in capsys.readouterr().err


def test_a_stored_baseline_serves_as_base(foreign: Project) -> None:
    assert foreign.gate("--base", "none", "--save", "baseline.json") == 0
    assert verdict(foreign, "opcodes", "--baseline", "baseline.json") == "within the limit"
    foreign.write(SOURCE, SLOWER)
    assert verdict(foreign, "opcodes", "--baseline", "baseline.json") == "regressed"


def test_the_key_names_the_libraries_that_scenarios_load(foreign: Project) -> None:
    assert foreign.outcome("--base", "none")["key"]["distributions"] == []
    # In the set-up: a process forked for the scenario is the only one to load it.
    foreign.write("perf/scenarios.py", SCENARIOS.replace("    def step", "    import h11\n    def step"))
    [found] = foreign.outcome("--base", "none", "--save", "baseline.json")["key"]["distributions"]
    assert found.startswith("h11==")


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_instructions_see_what_opcodes_do_not(foreign: Project) -> None:
    foreign.write(SOURCE, SLOWER_IN_C)
    assert main(["--limit", "10%", "--json", "outcome.json"]) == 1
    counts = json.loads((foreign.root / "outcome.json").read_text())["scenarios"]["doubling"]
    assert counts["instructions"]["verdict"] == "regressed"
    assert counts["opcodes"]["verdict"] == "within the limit"
