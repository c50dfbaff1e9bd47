"""The change log: the version of the code has a dated section, and fragments become the next one."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT
from ztoapi import __version__

TYPES = ("security", "added", "changed", "fixed", "removed")


def test_the_version_has_a_dated_section() -> None:
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(__version__)} \(\d{{4}}-\d\d-\d\d\)", sections[0])


def test_the_gate_has_the_same_version() -> None:
    """A tag publishes both."""
    gate = tomllib.loads((ROOT / "bench/gate/pyproject.toml").read_text("utf-8"))
    assert gate["project"]["version"] == __version__


def test_fragments_have_a_known_type() -> None:
    names = [path.name for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    pattern = rf"(\d+|\+[\w-]+)\.({'|'.join(TYPES)})\.md"
    assert [name for name in names if not re.fullmatch(pattern, name)] == []


def test_fragments_become_the_next_section(tmp_path: Path) -> None:
    pytest.importorskip("towncrier", reason="pip install -e '.[release]'")
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "7.fixed.md").write_text("A stream ends.\n")
    (tmp_path / "changelog.d" / "+more.added.md").write_text("A command.\n")
    arguments = ["build", "--yes", "--version", "9.0.0", "--date", "2030-01-01"]
    command = [sys.executable, "-m", "towncrier", *arguments]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    text = (tmp_path / "CHANGELOG.md").read_text("utf-8")
    section = text[text.index("## 9.0.0 (2030-01-01)") : text.index(f"## {__version__} ")]
    assert section.index("### Added") < section.index("- A command.") < section.index("### Fixed")
    assert "- A stream ends. ([#7](https://github.com/ztoapi/ztoapi/issues/7))" in section
