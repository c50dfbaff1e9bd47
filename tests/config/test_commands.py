"""``ztoapi check`` and ``ztoapi models``, and the errors of the command line for wrong usage."""

import importlib
import json
import os
import re
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT
from ztoapi.cli.main import main
from ztoapi.config.options import config_options


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})


def test_check_shows_each_value_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        "upstream_token = 'a'\napi_keys = ['k']\n[server]\nbacklog = 5\n[limits.global]\nburst = 9\n"
    )
    monkeypatch.setenv("DEFAULT_KEY", "d")
    monkeypatch.setenv("ZTOAPI_GLOBAL_REQUESTS_PER_SECOND", "5")
    monkeypatch.setenv("MODEL_PLATFORM_MAP", '{"gpt-4o": "zread"}')
    assert main(["check", "--all", "--port", "1", "--upstream-url", "https://open.bigmodel.cn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "server.port = 1  # --port (command line)",
        "server.backlog = 5  # server.backlog (ztoapi.toml line 4)",
        "server.workers = 1  # default",
        "limits.global.burst = 9  # limits.global.burst (ztoapi.toml line 6)",
        "limits.global.requests_per_second = 5  # ZTOAPI_GLOBAL_REQUESTS_PER_SECOND (environment)",
        "limits.key = {}  # default",
        'default_key = "***"  # DEFAULT_KEY (environment)',
        'api_keys = ["***"]  # api_keys (ztoapi.toml line 2)',
        'default_platform = "zai"  # --upstream-url (command line)',
        'platforms.zai.base_url = "https://open.bigmodel.cn/api/paas/v4"  # --upstream-url (command line)',
        'platforms.zai.credentials = [{"name": "zai-1", "token": "***", "weight": 1.0, "max_in_flight": null, '
        '"max_in_flight_per_model": {}}]  # upstream_token (ztoapi.toml line 1)',
        'routes.gpt-4o.platform = "zread"  # MODEL_PLATFORM_MAP (environment)',
        "warning: no token for the platform zread: set ZREAD_TOKEN",
        "the configuration is valid",
    ):
        assert line in lines
    assert lines[0] == "the configuration is valid"


def test_check_shows_only_what_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        "fallbacks = { 'glm-5.3' = ['fast'] }\n[platforms.zai]\nmax_in_flight = 9\n"
        "[[platforms.zai.credentials]]\nname = 'team'\ntoken = 'abc'\nweight = 3\n"
    )
    (tmp_path / "ztoapi.toml").chmod(0o600)
    monkeypatch.setenv("DEFAULT_KEY", "abc")
    monkeypatch.setenv("MODEL_PLATFORM_MAP", '{"fast": {"upstream": "glm-4.5-air"}}')
    monkeypatch.setattr("ztoapi.cli.check.raise_open_files", lambda: 1000)
    assert main(["check", "--port", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "the configuration is valid",
        "",
        "listen: 127.0.0.1:1",
        "requests in flight: up to 387 in a worker, which may open 1000 files",
        "models:",
        "  glm-5.3 -> zai:glm-5.3 at https://api.z.ai/api/paas/v4/chat/completions",
        "    if unavailable: fast",
        "  fast -> zai:glm-4.5-air at https://api.z.ai/api/paas/v4/chat/completions",
        "credentials:",
        "  zai/team  sha256:ba7816bf, weight 3, max_in_flight 9  # platforms.zai.credentials[1] (ztoapi.toml line 4)",
        "client keys:",
        "  default  sha256:ba7816bf  # DEFAULT_KEY (environment)",
        "other options:",
        '  fallbacks.glm-5.3 = ["fast"]  # fallbacks (ztoapi.toml line 1)',
        '  default_key = "sha256:ba7816bf"  # DEFAULT_KEY (environment)',
        "  server.port = 1  # --port (command line)",
    ]


def test_check_without_a_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert main(["check"]) == 0
    assert capsys.readouterr().out.endswith("\nother options: none set\n")


def test_check_shows_the_words_of_addresses_and_the_lines_of_credentials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        "[server]\nlisten = ['127.0.0.1:9443', '127.0.0.1:9490 admin proxy']\ntrusted_proxies = ['127.0.0.1']\n"
        "[[platforms.zai.credentials]]\ntoken = 'abc'\n[[platforms.zai.credentials]]\ntoken = 'abd'\n"
    )
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "listen: 127.0.0.1:9443, 127.0.0.1:9490 proxy admin" in lines
    assert [line.rpartition("# ")[2] for line in lines if "sha256" in line] == [
        "platforms.zai.credentials[1] (ztoapi.toml line 4)",
        "platforms.zai.credentials[2] (ztoapi.toml line 6)",
    ]


def test_check_of_the_example_file_shows_nothing_but_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = (ROOT / "ztoapi.example.toml").read_text("utf-8")
    (tmp_path / "ztoapi.toml").write_text(example)
    assert main(["check"]) == 0
    assert capsys.readouterr().out.endswith("\nother options: none set\n")
    (tmp_path / "ztoapi.toml").write_text(example.replace("backlog = ", "backlog = 1"))
    assert main(["check"]) == 0
    shown = capsys.readouterr().out.partition("\nother options:\n")[2].splitlines()
    assert [line.split()[0] for line in shown] == ["server.backlog"]


@pytest.mark.parametrize("command", ["reload", "upgrade"])
def test_help_has_the_options_that_matter(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    flags = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert flags == {"--help", "--config", "--port", "--listen"}


def test_init_ends_with_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "ztoapi.example.toml").exists()
    assert "copy ztoapi.example.toml to ztoapi.toml" in capsys.readouterr().out.splitlines()[-1]


def test_an_optional_action_has_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["credentials", "--help"])
    assert capsys.readouterr().out.startswith("usage: ztoapi credentials [ACTION] [options]")


def test_check_gives_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "--workers", "2"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["server"]["workers"] == 2
    assert shown["sources"]["server.workers"] == "--workers (command line)"
    assert shown["sources"]["platforms.zai.credentials"] == "default"
    assert shown["config"]["warnings"]


@pytest.mark.parametrize("command", ["check", "models"])
def test_all_errors_are_printed_at_once_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("DEFAULT_STREAM", "perhaps")
    assert main([command, "--json", "--port", "x", "--transport", "pigeon", "--config", "none.toml"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.strip() for line in shown.err.splitlines()[1:]] == [
        "none.toml (--config): file not found: name an existing file",
        "DEFAULT_STREAM (environment): must be true or false (or 1, 0, yes, no, on, off)",
        "--port (command line): must be a whole number from 0 to 65535",
        "--transport (command line): must be one of native, httpx",
    ]


def test_another_file_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ztoapi.toml").write_text("model_name = 'not this'\n")
    (tmp_path / "other.toml").write_text("model_name = 'this'\n")
    assert main(["check", "--all", "--config", "other.toml"]) == 0
    assert 'model_name = "this"  # model_name (other.toml line 1)' in capsys.readouterr().out


def test_models_are_listed_with_the_main_one_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_PLATFORM_MAP", '{"fast": {"upstream": "glm-4.5-air"}}')
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines() == ["glm-5.3  zai:glm-5.3", "fast  zai:glm-4.5-air"]
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"public": "glm-5.3", "platform": "zai", "upstream": "glm-5.3"}


def test_every_flag_of_an_option_is_listed_and_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    values = {"workers": "2", "platform_id": "zread", "transport": "httpx", "think_mode": "raw", "host": "::1"}
    values |= {"listen": "127.0.0.1:1", "log_level": "debug", "access_log_format": "json"}
    flagged = [option for option in config_options() if option.flag is not None]
    assert [option.flag for option in flagged if str(option.flag) not in text] == []
    assert "TCP port; 0 picks a free port. Must be a whole number from 0 to 65535. Default: 9090." in text
    assert "Default: 9090. [env: ZTOAPI_PORT or PORT]" in text
    for option in flagged:
        if option.name in ("key_file", "platform_id", "upstream_url", "fd"):
            # A key file must exist, and a descriptor requires a key; the others decide the platform.
            continue
        assert main(["check", "--json", str(option.flag), values.get(option.name, "7")]) == 0
        assert json.loads(capsys.readouterr().out)["sources"][option.key] == f"{option.flag} (command line)"


def test_short_flags_set_the_same_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "-p", "7", "-w", "2", "-H", "127.0.0.2", "-m", "glm-4.5"]) == 0
    sources = json.loads(capsys.readouterr().out)["sources"]
    assert sources["server.port"] == "--port (command line)"
    assert sources["model_name"] == "--model-name (command line)"


@pytest.mark.parametrize("command", ["serve", "demo", "check", "bench", "top", "keys create", "credentials reset"])
def test_help_has_two_examples_and_values(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert len(re.findall(rf"^  ztoapi {command}", text.partition("examples:")[2], re.MULTILINE)) >= 1
    assert "options:" in text and re.search(r"^ +(-\w, )?--[\w-]+ [A-Z]", text, re.MULTILINE)


def test_every_command_has_a_module_and_a_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    names = re.findall(r"^    ([a-z]+)  ", text, re.MULTILINE)
    assert {"serve", "check", "models", "schema", "keys", "bench", "top", "simulate", "demo"} <= set(names)
    for name in names:
        assert callable(importlib.import_module(f"ztoapi.cli.{name}").run)


@pytest.mark.parametrize(
    "command", [[], ["fly"], ["check", "--no-such"], ["simulate", "--port", "70000"], ["demo", "--sim-port", "-1"]]
)
def test_wrong_usage_is_exit_code_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    assert "usage: ztoapi" in capsys.readouterr().err
