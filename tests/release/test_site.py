"""The site of the documents: built strictly, and the commands in its pages."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT
from tests.support.table import table
from ztoapi.cli.main import make_parser

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:sudo )?(?:[A-Z_]+=\S+ )*(?:\S*/)?ztoapi (?P<words>[^|;&<>$]+)")


def commands(page: Path) -> list[str]:
    """The arguments of each ``ztoapi`` in the shell blocks of a page."""
    blocks = "\n".join(_BLOCK.findall(page.read_text("utf-8"))).replace("\\\n", " ")
    return [match["words"].strip() for line in blocks.splitlines() if (match := _COMMAND.match(line))]


@table("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_in_the_pages_exist(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command, comments=True)
        words = words[: words.index("--")] if "--" in words else words
        try:
            arguments = make_parser(words[0]).parse_args(words)
        except SystemExit:
            pytest.fail(f"ztoapi {command}")
        assert arguments.command == words[0]


def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="pip install mkdocs-material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "deployment" / "index.html").read_text("utf-8")
    assert 'href="https://github.com/ztoapi/ztoapi/tree/main/deploy"' in page
    assert "错误及其处理" in (tmp_path / "configuration.zh-CN" / "index.html").read_text("utf-8")
    assert not (tmp_path / "__pycache__").exists()
    assert "快速开始" in (tmp_path / "quick-start.zh-CN" / "index.html").read_text("utf-8")
    listing = (tmp_path / "llms.txt").read_text("utf-8")
    listed = re.findall(r"\]\(https://ztoapi\.github\.io/ztoapi/([^)]*)\)", listing)
    assert len(listed) > 30
    assert (
        "/chat/): `/chat` sends requests to the gateway that serves it, to try a model, a tool or a key.\n" in listing
    )
    assert [name for name in listed if not (tmp_path / name / "index.html").exists()] == []
