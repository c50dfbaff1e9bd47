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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def test_links_out_of_the_documents_lead_to_the_repository(site: Path) -> None:
    page = (site / "deployment" / "index.html").read_text("utf-8")
    assert 'href="https://github.com/ztoapi/ztoapi/tree/main/deploy"' in page
    assert not (site / "__pycache__").exists()


@table(
    ("name", "language", "english", "chinese"),
    [
        ("quick-start", "en", "./", "../quick-start.zh-CN/"),
        ("quick-start.zh-CN", "zh", "../quick-start/", "./"),
        ("deployment", "en", "./", "../index.zh-CN/"),
        ("decisions/0001-flat-gates", "en", "./", "../../index.zh-CN/"),
    ],
)
def test_a_page_has_its_language_and_leads_to_its_translation(
    site: Path, name: str, language: str, english: str, chinese: str
) -> None:
    page = (site / name / "index.html").read_text("utf-8")
    assert f'<html lang="{language}"' in page
    assert f'<link rel="alternate" href="{english}" hreflang="en">' in page
    assert f'<link rel="alternate" href="{chinese}" hreflang="zh">' in page


def test_every_page_is_listed_for_language_models(site: Path) -> None:
    listing = (site / "llms.txt").read_text("utf-8")
    listed = re.findall(r"\]\(https://ztoapi\.github\.io/ztoapi/([^)]*)\)", listing)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages | {"decisions/README.md"} == set(listed) and len(pages) + 1 == len(listed)
    assert [name for name in listed if (site / name).read_bytes() != (ROOT / "docs" / name).read_bytes()] == []
    assert "\n## How to\n" in listing
    assert (
        "/chat.md): `/chat` sends requests to the gateway that serves it, to try a model, a tool or a key.\n" in listing
    )
