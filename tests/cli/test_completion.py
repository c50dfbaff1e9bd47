"""``ztoapi completion``: the scripts are those of the parser, and bash completes with them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.table import table
from ztoapi.cli.main import SHELLS, main


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def test_the_scripts_are_current() -> None:
    pytest.importorskip("shtab")
    from docs.completions import DIRECTORY, completions

    found = {path.name: path.read_text("utf-8") for path in DIRECTORY.iterdir()}
    assert found == completions(), "run python -m docs.generate"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_the_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    for word in ("serve", "credentials", "upstream-url", "native httpx", "key-file"):
        assert word in text


@table(
    ("words", "completed"),
    [
        ("ztoapi serv", "serve"),
        ("ztoapi serve --por", "--port"),
        ("ztoapi serve --transport h", "httpx"),
        ("ztoapi keys cr", "create"),
        ("ztoapi keys create --exp", "--expires"),
        ("ztoapi check --config zto", "ztoapi.toml"),
        ("ztoapi load ste", "steady"),
        ("ztoapi connect cod", "codex"),
        ("ztoapi keys create ci --priority h", "high"),
        ("ztoapi serve --log-level w", "warning"),
    ],
)
def test_bash_completes(words: str, completed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "ztoapi.toml").touch()
    (tmp_path / "script").write_text(script("bash", capsys))
    last = len(words.split()) - 1
    commands = f'source ./script; COMP_WORDS=({words}); COMP_CWORD={last}; _shtab_ztoapi; echo "${{COMPREPLY[@]}}"'
    result = subprocess.run([bash, "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [completed]


def test_zsh_registers_the_function_of_a_sourced_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("needs zsh")
    (tmp_path / "script").write_text(script("zsh", capsys))
    commands = "autoload -U compinit && compinit -u -d ./dump && source ./script && print $_comps[ztoapi]"
    result = subprocess.run([zsh, "-fc", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("_shtab_ztoapi\n", "")
