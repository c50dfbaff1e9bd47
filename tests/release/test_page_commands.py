"""The commands in the pages run: in the order of the page, in an empty folder, with a gateway where they need one.

Each command of a shell block runs here, or has the test that runs it in ``ELSEWHERE``, or its reason in ``NOT_RUN``.
"""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from docs.client_pages import PAGES as CLIENT_PAGES
from tests.deploy.tools import ROOT
from tests.stack import Stack
from tests.support.table import table
from ztoapi.cli.main import main

PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
    if page.name not in CLIENT_PAGES  # tests/clients runs each client with its settings
]
_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SCRIPT = "deploy/secrets"
"""Part of a block that is one script; ``tests/deploy/test_documentation.py`` runs it."""
_SETTING = re.compile(r"[A-Z_]+=")
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
IN_A_SHELL = ("curl", "echo", "python3 -c")
"""Commands of other programs that run here, with the address of the gateway."""
ELSEWHERE = {
    r"ztoapi (bench|demo|simulate)\b": "tests/measure/test_bench_command.py",
    r"ztoapi load\b|locust\b": "tests/release/test_page_commands.py",
    r"ztoapi connect .*--run": "tests/clients/test_connect.py",
    r"ztoapi keys budgets": "tests/processes/test_budgets.py",
    r"docker ": "tests/deploy/test_docker.py",
    r"kubectl ": "tests/deploy/test_kubernetes.py",
    r"(install|systemd-sysusers|systemctl|chgrp|chmod) ": "tests/deploy/test_systemd.py",
    r"promtool |cp -i deploy/prometheus": "tests/deploy/test_prometheus_files.py",
    r"prometheus |printf .*ztoapi-admin-key": "tests/deploy/test_prometheus.py",
    r"curl .*/debug/pprof|until curl .*/debug/pprof": "tests/processes/test_profiling.py",
    r"curl .*/admin/keys": "tests/keys/test_keys_endpoints.py",
    r"llm-comply ": "tests/gateway/test_conformance.py",
    r"wrk |python -m loadtests\.hey": "tests/loadtests/test_wrk_and_hey.py",
    r"python -m bench\.gate_proof": "tests/gate/test_proof.py",
    r"python -m bench\.gate|bench-gate": "tests/gate/test_gate.py",
    r"python -m bench\.peers": "tests/peers/test_run.py",
    r"pytest bench": "tests/release/test_benchmarks.py",
    r"(tox|pytest|python -m pytest)\b": "tests/release/test_workflows.py",
    r"pip install (-q )?(\.|ztoapi|(path/to/ztoapi/)?bench.gate|'ztoapi\[\w+\]')$": "tests/release/test_strangers.py",
}
"""Patterns of commands, and the tests that run what they name."""
NOT_RUN = {
    r"(git clone|cd|npm install|apt-get|python3 -m venv|\.) |pip install (-q )?(-e|guidellm|aiperf)": "set-up",
    r"(k6|guidellm|aiperf|oha) ": "a program that the tests do not install",
}


class Command(NamedTuple):
    """A command with the variables before it; without words it sets them for the commands that follow."""

    environ: dict[str, str]
    words: list[str]
    text: str

    @property
    def arguments(self) -> list[str] | None:
        """Those of ``ztoapi``; None for another program."""
        if self.words[:1] != ["ztoapi"]:
            return None
        return list(itertools.takewhile(lambda word: word[0] not in "|<>", self.words[1:]))


def commands(page: Path) -> Iterator[Command]:
    blocks = (block for block in _BLOCK.findall(page.read_text("utf-8")) if _SCRIPT not in block)
    text = "\n".join(blocks).replace("\\\n", " ")
    for placeholder, value in _PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            for part in line.split(" && "):
                yield command(part.strip())


def command(text: str) -> Command:
    text = re.sub(r"^(sudo|export) |( &|;)$|(?<!\S)(\S*/)?(?=(pip|python|ztoapi) )", "", text)
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # a part of a longer command
        words = text.split()
    environ = {}
    while words and _SETTING.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        environ[name] = value
    return Command(environ, words, shlex.join(words) if environ else text)


def place(text: str, places: dict[str, str]) -> str | None:
    """The test that runs a command, or the reason for which none does."""
    return next((value for pattern, value in places.items() if re.match(pattern, text)), None)


@table("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs_in_a_test(page: Path) -> None:
    unknown = [
        found.text
        for found in commands(page)
        if found.words
        and (found.arguments or [""])[0] not in (*OFFLINE, *AT_A_GATEWAY, CHECKED, "--version")
        and not found.text.startswith(IN_A_SHELL)
        and place(found.text, ELSEWHERE | NOT_RUN) is None
    ]
    assert unknown == []


def test_the_tests_of_other_commands_exist() -> None:
    assert [name for name in ELSEWHERE.values() if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def gateway() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


def runnable(words: list[str], gateway: Stack) -> list[str]:
    """The arguments of ``ztoapi`` with which a command runs here."""
    if words[0] == CHECKED:
        return ["check", *words[1:]]
    if "--live" in words:
        return [*words, "--upstream-url", f"http://127.0.0.1:{gateway.simulator_port}/api/paas/v4", "--platform-id=zai"]
    return [*words, "--url", gateway.url] if words[0] in AT_A_GATEWAY else words


@table("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_succeed(
    page: Path,
    gateway: Stack,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp(page.stem)
    monkeypatch.chdir(folder)
    (folder / "ztoapi.toml").touch()
    exported = {"ZAI_TOKEN": "0123abcd.wxyz", "HOME": str(folder), "PATH": os.environ["PATH"]}
    # The last command shows whether the gateway accepts the variables that a page sets.
    for found in (*commands(page), command("ztoapi check")):
        if not found.words:
            exported |= found.environ
        if not found.words or place(found.text, ELSEWHERE | NOT_RUN) is not None:
            continue
        if found.arguments is None:
            # Any other command is unknown, and may change the machine.
            if not found.text.startswith(IN_A_SHELL) or shutil.which(found.words[0]) is None:
                continue
            script = found.text.replace("http://127.0.0.1:9090", gateway.url).replace("curl ", "curl -fsS ")
            subprocess.run(["sh", "-e", "-c", script], env=exported, stdout=subprocess.PIPE, check=True)
            continue
        words = runnable([word.replace("/etc/ztoapi", str(folder)) for word in found.arguments], gateway)
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", exported | found.environ)
            assert main(words) == 0, (words, capsys.readouterr().err)


@pytest.mark.load
@pytest.mark.parametrize("name", ["load-tests.md"])
def test_load_tests_run_with_the_arguments_of_the_page(name: str, gateway: Stack, tmp_path: Path) -> None:
    """For a second each; not the web page, and not the run on several machines, which ``tests/loadtests`` has."""
    page = (ROOT / "docs" / name).read_text("utf-8")
    (user,) = re.findall(r"^```python\n(from locust .*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "poet.py").write_text(user.replace("ztoapi.load", "loadtests"))
    runs = []
    for found in commands(ROOT / "docs" / name):
        if not re.match("ztoapi load|locust", found.text) or re.search("--web|--master|--worker|overload", found.text):
            continue
        text = re.sub(r"http://127\.0\.0\.1:\d+", gateway.url, found.text)
        text = re.sub(r"\$\(ztoapi load --path\)|(?<= )loadtests(?=/)", str(ROOT / "loadtests"), text)
        text = re.sub(r"--processes 2|--key my-key|--thresholds \S+", "", text).replace("my-model", "glm-5.3")
        text = re.sub(r"(-t|--time) \d+s", r"\1 1s", text) + (" --time 1s" if "--report" in text else "")
        words = [sys.executable, "-m", *shlex.split(re.sub(r"(-u|-r|--users) \d+", r"\1 2", text))]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        runs.append(
            subprocess.Popen(
                words, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    assert len(runs) >= 4
    outputs = [run.communicate()[0] for run in runs]
    assert [(run.args, output) for run, output in zip(runs, outputs, strict=True) if run.returncode] == []
    assert (tmp_path / "report.html").exists()


def test_the_lines_of_a_page_are_read() -> None:
    found = list(commands(ROOT / "docs" / "quick-start.md"))
    assert Command({"ZAI_TOKEN": "0123abcd.wxyz", "DEFAULT_KEY": "a-key-for-your-clients"}, [], "") in found
    assert Command({}, ["ztoapi", "connect", "claude", "--run"], "ztoapi connect claude --run") in found
    assert Command({}, ["pip", "install", "ztoapi"], "pip install ztoapi") in found
