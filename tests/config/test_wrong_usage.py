"""Wrong options, values and files: each error has the option, its source and a remedy, and the exit code is 2."""

from pathlib import Path

import pytest

from tests.processes.gateway_process import GatewayProcess
from tests.support.table import table
from ztoapi.cli.main import main

COMMANDS = ("serve", "simulate", "demo", "check", "models", "schema", "bench", "top", "connect", "keys list")
READERS = ("serve", "check", "models", "bench", "top", "keys list", "connect claude")


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").write_text("x = [")
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("ZAI_TOKEN", "UPSTREAM_TOKEN", "ZTOAPI_KEY_FILE", "HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)


def error_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code = main(command.split())
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]  # argparse ends with a number
    assert code == 2
    return capsys.readouterr().err


@table("command", COMMANDS)
def test_an_unknown_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(f"{command} --qqq", capsys)
    name = command.partition(" ")[0]
    assert f"ztoapi {name}: error: unknown arguments: --qqq; " in error
    assert f"; `ztoapi {name} --help` shows the usage" in error


@pytest.mark.parametrize(
    ("command", "flag"),
    [("serve --prot 1", "--port"), ("serve --worker=2 --hots x", "--host"), ("bench --request-s 3", "--requests")],
)
def test_a_misspelt_option_gets_a_suggestion(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"; did you mean {flag}?" in error_of(command, capsys)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("serv", "unknown 'serv'; did you mean serve?"),
        ("mmodels", "unknown 'mmodels'; did you mean models?"),
        ("keys crate", "unknown 'crate'; did you mean create?"),
        ("keys create --nmae ci", "unknown arguments: --nmae; did you mean --name?"),
        ("credentials reset --alll", "unknown arguments: --alll; did you mean --all?"),
        ("connect claude --apy chat", "unknown arguments: --apy; did you mean --api?"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(command, capsys)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("load stedy", "ztoapi load: unknown scenario stedy; did you mean steady?"),
        ("load poet.py", "unknown scenario poet.py; `locust -f poet.py` runs a file of your own"),
        ("keys", "are required: ACTION: one of create, list, show, rotate, revoke, budgets; `ztoapi keys --help`"),
        ("keys create ci --rpm 5", "unknown arguments: --rpm; `ztoapi"),
        (
            "load steady --thresholds x",
            "unknown arguments: --thresholds; locust's options follow --, as in `ztoapi load",
        ),
        ("load steady -L DEBUG", "unknown arguments: -L DEBUG; locust's options follow --, as in `ztoapi load"),
        ("load steady --time 5min", "argument --time: must be a time such as 30s, 5m or 1h30m"),
        ("load steady --time s", "argument --time: must be a time such as"),
        ("connect codex --yolo", "unknown arguments: --yolo; the client's options follow --, as in `ztoapi connect"),
        ("completion", "are required: SHELL: one of bash, zsh, fish; `ztoapi completion --help`"),
        ("usage --url htp://x", "ztoapi usage: --url: 'htp://x' is not an http or https URL"),
        ("bench --url htp://x", "ztoapi bench: --url: 'htp://x' is not an http or https URL"),
        ("keys create ci --expires soon --key-file k", "ztoapi keys: --expires (command line): must be a duration"),
        ("usage --json --csv", "argument --csv: not allowed with argument --json"),
    ],
)
def test_a_wrong_argument_is_not_a_fault_of_the_configuration(
    command: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(command, capsys)
    assert problem in error and "configuration" not in error


@pytest.mark.parametrize("command", ["", "serv", "keys", "keys lost", "keys create"])
def test_the_help_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help` shows the usage" in error_of(command, capsys)


@table("command", READERS)
@table(
    ("file", "words"),
    [
        ("missing", "missing (--config): file not found: name an existing file"),
        ("folder", "folder (--config): is a directory: name a file"),
        ("broken", "broken (--config): not valid TOML: "),
        ("binary", "binary (--config): not valid UTF-8 (byte 0): save it as UTF-8"),
    ],
)
def test_a_configuration_file(command: str, file: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(f"{command} --config {file}", capsys)


@pytest.mark.parametrize("name", [".env", "ztoapi.toml"])
def test_a_directory_in_place_of_a_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).mkdir()
    assert f"{name}: is a directory: remove or rename it" in error_of("check", capsys)


@table(
    ("command", "option"),
    [
        ("serve --key-file", "--key-file (command line)"),
        ("check --key-file", "--key-file (command line)"),
        ("keys list --key-file", "--key-file (command line)"),
        ("keys revoke NAME --key-file", "--key-file (command line)"),
    ],
)
@table(
    ("file", "words"),
    [
        ("missing", ": file not found: create it with `ztoapi keys create NAME --key-file "),
        ("folder", " is a directory: name a file"),
        ("binary", " is not valid UTF-8 (byte 0): save it as UTF-8"),
    ],
)
def test_a_key_file(command: str, option: str, file: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(f"{command} {file}", capsys)
    assert f"{option}: {Path.cwd() / file}{words}" in error


def test_a_key_file_of_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ZTOAPI_KEY_FILE", "missing")
    assert "ZTOAPI_KEY_FILE (environment): " in error_of("check", capsys)


@pytest.mark.parametrize("file", ["folder", "no/such/directory/keys.toml"])
def test_a_key_cannot_be_created(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(f"keys create --name a --key-file {file}", capsys)
    assert "--key-file (command line): " in error
    assert ": name a file" in error


@pytest.mark.parametrize("file", ["folder", "no/such/directory/log"])
def test_an_access_log(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(f"serve --port 0 --access-log {file}", capsys)
    assert f"--access-log (command line): {Path.cwd() / file} cannot be written (" in error
    assert "name a file in a directory that the gateway may write" in error


def test_a_history_file(tmp_path: Path) -> None:
    process = GatewayProcess("serve", "--port", "0", ZTOAPI_HISTORY_FILE=str(tmp_path))
    try:
        assert process.wait() == 2
        output = process.rest()
    finally:
        process.__exit__(None, None, None)
    assert f"ZTOAPI_HISTORY_FILE (environment): {tmp_path} cannot be used (" in output
    assert "name another file, or none" in output


@table("command", ["simulate", "demo"])
@table(
    ("option", "value", "words"),
    [
        ("--port", "70000", "must be a whole number from 0 to 65535"),
        ("--tokens", "-1", "must be a whole number from 0 to 1000000"),
        ("--tokens", "9" * 5000, "must be a whole number from 0 to 1000000"),
        ("--events-per-write", "0", "must be a whole number from 1 to 1000000"),
        ("--ttft-ms", "-1", "must be a number of milliseconds from 0 to 3600000"),
        ("--ttft-ms", "soon", "must be a number of milliseconds from 0 to 3600000"),
        ("--itl-ms", "nan", "must be a number of milliseconds from 0 to 3600000"),
        ("--itl-ms", "inf", "must be a number of milliseconds from 0 to 3600000"),
    ],
)
def test_a_value_out_of_range(
    command: str, option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # With =, because argparse takes a value that begins with a hyphen for an option.
    assert f"argument {option}: {words}" in error_of(f"{command} {option}={value}", capsys)


@pytest.mark.parametrize("value", ["x", "0", "1025"])
def test_workers_of_the_simulator(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "argument --workers: must be a whole number from 1 to 1024" in error_of(
        f"simulate --workers {value}", capsys
    )
