"""The commands in the pages run: with a gateway where they need one, in the order of the page, in an empty folder."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.deploy.tools import ROOT
from tests.stack import Stack
from ztoapi.cli.main import main

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:sudo )?(?P<set>(?:export )?(?:[A-Z_]+=\S+ ?)*)(?:(?:\S*/)?ztoapi (?P<words>[^|;&<>$]+))?")
_PLACEHOLDERS = {
    "your-z.ai-api-key": "0123abcd.wxyz",
    "你的Z.ai密钥": "0123abcd.wxyz",
    "给客户端的密钥": "a-key",
}
OFFLINE = ("check", "completion", "connect", "init", "keys", "models", "schema")
"""Commands that need no gateway."""
AT_A_GATEWAY = ("credentials", "top", "usage")
CHECKED = "serve"
"""Its configuration is checked; it starts in the tests of processes."""
STARTED_ELSEWHERE = ("demo", "simulate", "load", "bench")


class Line(NamedTuple):
    """A line of a page: the variables that it sets, and the arguments of ``ztoapi``, if it has that command."""

    environ: dict[str, str]
    words: list[str]


def lines(page: Path) -> Iterator[Line]:
    text = "\n".join(_BLOCK.findall(page.read_text("utf-8"))).replace("\\\n", " ")
    for placeholder, value in _PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    for line in text.splitlines():
        match = _COMMAND.match(line)
        if match is None or not (match["words"] or match["set"].startswith("export")):
            continue
        settings = shlex.split(match["set"].removeprefix("export "))
        yield Line(
            dict(one.split("=", 1) for one in settings if "=" in one), shlex.split(match["words"] or "", comments=True)
        )


@pytest.fixture(scope="module")
def gateway() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


def runnable(words: list[str], gateway: Stack) -> list[str] | None:
    """The arguments of a command that can run here and now; None for others."""
    if not words or "--run" in words or words[0] in STARTED_ELSEWHERE:
        return None
    if words[0] == CHECKED:
        return ["check", *words[1:]]
    if "--live" in words:
        return [*words, "--upstream-url", f"http://127.0.0.1:{gateway.simulator_port}/api/paas/v4", "--platform-id=zai"]
    return [*words, "--url", gateway.url] if words[0] in AT_A_GATEWAY else words


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(line.words for line in lines(page))], ids=lambda page: page.name
)
def test_commands_of_a_page_succeed(
    page: Path, gateway: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ztoapi.toml").touch()
    exported: dict[str, str] = {"ZAI_TOKEN": "0123abcd.wxyz", "HOME": str(tmp_path)}
    for line in lines(page):
        if not line.words:
            exported |= line.environ
            continue
        words = runnable([word.replace("/etc/ztoapi", str(tmp_path)) for word in line.words], gateway)
        if words is None:
            continue
        assert words[0] in (*OFFLINE, *AT_A_GATEWAY)
        monkeypatch.setattr(os, "environ", exported | line.environ)
        assert main(words) == 0, (words, capsys.readouterr().err)


def test_the_lines_of_a_page_are_read() -> None:
    found = list(lines(ROOT / "docs" / "quick-start.md"))
    assert Line({"ZAI_TOKEN": "0123abcd.wxyz", "DEFAULT_KEY": "a-key-for-your-clients"}, []) in found
    assert Line({}, ["connect", "claude", "--run"]) in found
