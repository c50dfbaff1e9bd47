"""The composite action: its steps run as GitHub runs them, with a stand-in for ``gh``. ``tests/release`` checks its
schema."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import ROOT

ACTION = ROOT / "bench/gate/action.yml"
STEPS = {step["name"]: step for step in yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"]}
GH = """\
#!/bin/sh
echo "$@" >> calls
case "$*" in
*--jq*) [ "$FORMER" = denied ] && exit 1; printf '%s' "$FORMER" ;;
*) cat comment.md >> calls ;;
esac
"""
REPORT = "**Regression gate: failed** (head against abc)\n"


def step(name: str, temporary: Path, **environment: str) -> str:
    """Runs a step, and returns its output."""
    folder = temporary / "bench-gate"
    folder.mkdir(exist_ok=True)
    (temporary / "gh").write_text(GH)
    (temporary / "gh").chmod(0o755)
    variables = {
        "PATH": f"{temporary}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(temporary),
        "GITHUB_STEP_SUMMARY": str(temporary / "summary"),
        "GITHUB_REPOSITORY": "own/er",
        "NUMBER": "7",
        "MARK": "<!-- bench-gate -->",
        "ARTIFACT": "https://example.org/artifact",
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]]
    result = subprocess.run(command, cwd=ROOT, env=variables | environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_arguments_are_words_and_no_patterns_of_files(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bench-gate").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "bin" / "bench-gate").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert (ROOT / "tests").exists()
    printed = step("Count", tmp_path, PATH=path, ARGUMENTS="[t]ests\n--limit  4% 'a\n").splitlines()
    assert printed[-4:] == ["[t]ests", "--limit", "4%", "'a"]
    assert step("Count", tmp_path, PATH=path, ARGUMENTS="").splitlines()[-1].endswith("gate.html")


@pytest.mark.parametrize(
    ("former", "written"),
    [
        ("", "api --silent repos/own/er/issues/7/comments --field"),
        ("41\n42", "--method PATCH repos/own/er/issues/comments/41 --field"),
    ],
)
def test_a_pull_request_has_one_comment(tmp_path: Path, former: str, written: str) -> None:
    (tmp_path / "bench-gate").mkdir()
    (tmp_path / "bench-gate" / "gate.md").write_text(REPORT)
    assert step("Comment", tmp_path, FORMER=former) == ""
    calls = (tmp_path / "bench-gate" / "calls").read_text()
    assert written in calls
    assert calls.endswith(f"<!-- bench-gate -->\n{REPORT}\n[Flame graph and JSON](https://example.org/artifact)\n")


def test_a_token_that_cannot_write_leaves_the_verdict_to_the_gate(tmp_path: Path) -> None:
    """As for a pull request from a fork. The gate did not count either."""
    step("Summarise", tmp_path)
    assert "not run" in (tmp_path / "summary").read_text()
    assert step("Comment", tmp_path, FORMER="denied").startswith("::warning ")
