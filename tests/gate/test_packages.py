"""Base executes base's code: what `packages` must name, and what the gate says if they do not."""

import contextlib
from pathlib import Path

import pytest

from bench.gate.errors import GateError
from bench.gate.origins import check
from bench.gate.subject import Subject
from tests.gate.conftest import SCENARIOS, WORK, Project

SLOWER = WORK.replace("number * 2", "number + number - 0")
BEGINNING = "import sys\n\nsys.path.append({!r})\n"
"""Of scenarios that import what is installed: a folder after the measured copies on the path."""


def refusal(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert project.gate(*arguments) == 2
    return capsys.readouterr().err


@pytest.fixture
def two(foreign: Project) -> Project:
    """Installed editable; the package `counted` calls `other`."""
    foreign.write("src/other/__init__.py", WORK)
    foreign.write("src/counted/__init__.py", "from other import work\n")
    foreign.write("perf/helper.py", "")
    beginning = BEGINNING.format(str(foreign.root / "src"))
    foreign.write("perf/scenarios.py", f"{beginning}import perf.helper, json\n{SCENARIOS}")
    foreign.commit()
    return foreign


@pytest.mark.parametrize("packages", ["src", "perf/helper.py"])
def test_packages_that_no_scenario_imports_are_refused(
    two: Project, capsys: pytest.CaptureFixture[str], packages: str
) -> None:
    printed = refusal(two, capsys, "--package", packages)
    assert f'the scenarios import nothing of packages = ["{packages}"]' in printed
    assert 'Write packages = ["src/counted", "src/other"]: counted was imported from ' in printed


def test_a_module_beside_the_scenarios_is_found(foreign: Project, capsys: pytest.CaptureFixture[str]) -> None:
    foreign.write("wordy.py", WORK)
    foreign.write("test_wordy.py", SCENARIOS)
    foreign.write("scenarios.py", SCENARIOS.replace("counted", "wordy"))
    printed = refusal(foreign, capsys, "--scenarios", "scenarios.py")
    assert 'Write packages = ["wordy.py"]: wordy was imported from ' in printed
    assert foreign.gate("--scenarios", "scenarios.py", "--package", "wordy.py", "--base", "none") == 0


@pytest.mark.parametrize(
    ("package", "named"),
    [(".", "."), ("src/..", "."), ("pyproject.toml", "pyproject.toml"), ("./my-project", "my-project")],
)
def test_what_cannot_be_imported_is_no_package(
    foreign: Project, capsys: pytest.CaptureFixture[str], package: str, named: str
) -> None:
    (foreign.root / "my-project").mkdir()
    assert f"'{named}' is no package: name the folders or files" in refusal(foreign, capsys, "--package", package)


def test_a_change_outside_the_packages_is_not_passed(two: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides would execute head's."""
    two.write("src/other/__init__.py", SLOWER)
    printed = refusal(two, capsys, "--base", "HEAD")
    source = two.root / "src/other/__init__.py"
    assert f"src/other/__init__.py differs between base and head, but both executed {source}: add " in printed
    assert 'add "src/other" to packages = ["src/counted"]' in printed
    assert not two.outcome("--base", "HEAD", "--package", "src/counted", "--package", "src/other")["passed"]


def test_a_change_in_what_is_installed_too_is_not_passed(two: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """By `pip install .`, which leaves the files as they were."""
    (two.root / "src/other").rename(two.root / "site")
    two.write("installed/other/__init__.py", WORK)
    two.write("perf/scenarios.py", f"{BEGINNING.format(str(two.root / 'installed'))}{SCENARIOS}")
    two.write("lib/other/__init__.py", WORK)
    two.write("vendor/__init__.py", "")
    two.write("vendor/other/__init__.py", WORK)
    two.commit()
    two.write("vendor/other/__init__.py", SLOWER)
    assert two.outcome("--base", "HEAD")["passed"]
    two.write("lib/other/__init__.py", SLOWER)
    assert 'add "lib/other" to packages' in refusal(two, capsys, "--base", "HEAD")


@pytest.mark.parametrize(
    ("module", "file", "changed", "refused"),
    [
        ("other", "src/other/__init__.py", "src/other/__init__.py", True),
        ("other.deep", "src/other/deep.py", "../lib/other/deep.py", True),
        ("other.deep", "src/other/deep.py", "src/other/__init__.py", False),
        ("other", "src/other/__init__.py", "src/another/__init__.py", False),
        ("colorsys", "/usr/lib/colorsys.py", "tools/colorsys.py", False),
        ("perf.helper", "perf/helper.py", "perf/helper.py", False),
        ("conftest", "conftest.py", "conftest.py", False),
        ("test_other", "tests/test_other.py", "tests/test_other.py", False),
    ],
)
def test_changes_that_base_does_not_execute(
    tmp_path: Path, module: str, file: str, changed: str, refused: bool
) -> None:
    """Both sides run head's scenarios, with what is beside them."""
    tree = tmp_path / "tree"
    subject = Subject(tmp_path, tmp_path / "perf/scenarios.py", ["src/counted"], None, [])
    files = {"counted": str(tree / "counted/__init__.py"), module: str(tmp_path / file), "space": None}
    with pytest.raises(GateError, match=f"{changed} differs") if refused else contextlib.nullcontext():
        check(files, tree, subject, [changed])


@pytest.mark.parametrize("absolute", [False, True])
def test_a_namespace_package_may_be_measured(foreign: Project, absolute: bool) -> None:
    foreign.write("src/space/part/__init__.py", WORK)
    foreign.write("perf/scenarios.py", SCENARIOS.replace("from counted", "from space.part"))
    foreign.commit()
    foreign.write("src/space/part/__init__.py", SLOWER)
    package = foreign.root / "src/space" if absolute else "./src/space/"
    assert not foreign.outcome("--package", str(package))["passed"]


@pytest.mark.parametrize(
    ("settings", "arguments", "reason"),
    [
        ('packages = ["src/countd"]', [], "packages of [tool.bench-gate]: no src/countd in {}; did you mean src/count"),
        ("", ["--package", "scr/counted"], "--package: no scr/counted in {}; did you mean src/counted?"),
        ('scenarios = "pref"', ["--package", "src/counted"], "scenarios of [tool.bench-gate]: no pref in {}; did you"),
        ("", ["--package", "nowhere/x"], "--package: no nowhere/x in {}; paths are relative to the project's root"),
        ("", ["--package", "src/counted", "--budgets", "b.toml"], "--budgets: no b.toml in {}; paths are"),
    ],
)
def test_a_path_that_does_not_exist_is_named_with_its_option(
    foreign: Project, capsys: pytest.CaptureFixture[str], settings: str, arguments: list[str], reason: str
) -> None:
    foreign.write("pyproject.toml", f"[tool.bench-gate]\n{settings}\n")
    scenarios = [] if "scenarios" in settings else ["--scenarios", "perf"]
    assert reason.format(foreign.root) in refusal(foreign, capsys, *arguments, *scenarios)
