"""Projects that the gate is run on: a small foreign one, and copies of this one."""

import functools
import importlib.metadata
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.gate.__main__ import main
from bench.gate.measure import Tools

WORK = "def work(numbers):\n    return sum(number * 2 for number in numbers)\n"
SCENARIOS = """\
from counted import work

steps = 0

def doubling():
    def step():
        global steps
        steps += 1
        return work(range(100))
    return step, lambda: {"steps": steps}

SCENARIOS = {"doubling": doubling}
"""
FEW_PLUGINS = " ".join(
    f"-p no:{name}" for name in ("anyio", "hypothesispytest", "langsmith_plugin", "locust", "schemathesis")
)
"""``PYTEST_ADDOPTS`` for a project whose tests need none of these plugins, which take seconds to import."""
PROJECT = '[tool.bench-gate]\nscenarios = "perf/scenarios.py"\npackages = ["src/counted"]\n'


class Project:
    """A git repository under ``root``, in which the gate runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> None:
        author = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *author, *arguments], cwd=self.root, check=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=next")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def gate(self, *arguments: str) -> int:
        """Without valgrind, which has a test of its own."""
        return main(["--no-instructions", *arguments])

    def outcome(self, *arguments: str) -> dict[str, Any]:
        """The output of ``--json``; the exit code must agree with it."""
        file = self.root / "outcome.json"
        code = self.gate("--json", str(file), *arguments)
        outcome: dict[str, Any] = json.loads(file.read_text())
        file.unlink()
        assert code == (0 if outcome["passed"] else 1)
        return outcome


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_installed_meanwhile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shares the files of each distribution, which take a quarter of a second to read, and the compiled tools among all
    outcomes."""
    find = Tools.find

    @functools.cache
    def tools(instructions: bool) -> Tools:
        return find(tmp_path_factory.mktemp("tools"), instructions=instructions)

    with pytest.MonkeyPatch.context() as patch:
        owners = functools.cache(importlib.metadata.packages_distributions)
        patch.setattr(importlib.metadata, "packages_distributions", owners)
        patch.setattr(Tools, "find", lambda _, *, instructions: tools(instructions))
        yield


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Project]:
    def make() -> Project:
        monkeypatch.chdir(tmp_path)
        return Project(tmp_path)

    return make


@pytest.fixture
def foreign(make: Callable[[], Project]) -> Project:
    """A project that has nothing to do with this one, with one commit."""
    project = make()
    project.write("src/counted/__init__.py", WORK)
    project.write("perf/scenarios.py", SCENARIOS)
    project.write("pyproject.toml", PROJECT)
    project.commit()
    return project
