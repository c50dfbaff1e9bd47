"""``ztoapi connect``: the settings of clients, and the start of one."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.client_pages import PAGES
from docs.generate import ROOT, render
from tests.support.table import table
from ztoapi.cli.main import main
from ztoapi.clients.settings import GatewayAccess, Model
from ztoapi.clients.table import clients, isolated_settings, settings
from ztoapi.config.catalogue import zai_models
from ztoapi.config.model import ModelFacts

ODD = "a\"b\\c'd $e`f"
"""A name with the characters that mean something in some format."""
RUNNABLE = {
    "claude", "codex", "opencode", "kilo", "cline", "qwen-code", "pi", "continue", "aider", "llm", "openwebui",
}  # fmt: skip
EVERY_API = [(name, api) for name, client in clients().items() for api in client.apis]


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"PATH": str(tmp_path / "bin")})


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - JSON
    """The printed settings, as JSON, of ``ztoapi connect`` with some arguments."""

    def connect(*arguments: str) -> dict[str, Any]:
        assert main(["connect", *arguments, "--json"]) == 0
        settings: dict[str, Any] = json.loads(capsys.readouterr().out)
        return settings

    return connect


def access(api: Any, **changes: Any) -> GatewayAccess:  # noqa: ANN401 - fields of all types
    models = tuple(Model(name, zai_models()[name]) for name in ("glm-5.3", "glm-4.6v"))
    return GatewayAccess(api, "http://gateway:1234", "the-key", models, "glm-4.5-air")._replace(**changes)


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_current(page: str) -> None:
    assert (ROOT / "docs" / page).read_text("utf-8") == render(page), "run python -m docs.generate"


def test_without_a_name_all_clients_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(clients())
    assert "claude            Claude Code (messages)" in lines
    assert main(["connect", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(clients())
    assert listed[0] == {"name": "claude", "title": "Claude Code", "apis": ["messages"]}


@table(("name", "api"), EVERY_API)
def test_settings_have_the_url_the_key_and_the_model(name: str, api: str) -> None:
    text = repr(settings(name, access(api)))
    assert "http://gateway:1234" in text
    assert "the-key" in text
    assert "glm-5.3" in text or name == "sdk"


@table(("name", "api"), EVERY_API)
def test_files_are_valid_for_any_names(name: str, api: str) -> None:
    odd = access(api, models=(Model(ODD, ModelFacts()),), small=ODD, key=ODD)
    for file in settings(name, odd).files:
        ending = Path(file.path).suffix
        if ending == ".json":
            json.loads(file.text)
        elif ending == ".toml":
            assert tomllib.loads(file.text)["model"] == ODD
        elif ending == ".yaml":
            assert ODD in repr(yaml.safe_load(file.text)).replace("\\'", "'").replace("\\\\", "\\")
        elif ending == ".py":
            constants = [node.value for node in ast.walk(ast.parse(file.text)) if isinstance(node, ast.Constant)]
            assert ODD in constants
        else:
            assert ending == ".mjs" and json.dumps(ODD) in file.text


@table(("name", "api"), EVERY_API)
def test_files_of_a_started_client_are_temporary(name: str, api: str) -> None:
    made = isolated_settings(name, access(api), "/somewhere")
    assert (made is not None) == (name in RUNNABLE)
    if made is not None:
        assert all(file.path.startswith("/somewhere/") for file in made.files)
        assert "~" not in repr((made.environment, made.commands))


def test_notes_are_in_both_languages() -> None:
    for name, client in clients().items():
        assert bool(client.note) == bool(client.note_zh), name
        assert set(re.findall("`[^`]*`", client.note)) == set(re.findall("`[^`]*`", client.note_zh)), name


def test_claude_gets_the_limits_of_the_model(shown: Any) -> None:  # noqa: ANN401
    assert shown("claude")["environment"] == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9090",
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": "glm-5.3",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "glm-5.3",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "glm-5.3",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "glm-4.5-air",
        "ANTHROPIC_SMALL_FAST_MODEL": "glm-4.5-air",
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1000000",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "131072",
    }
    unknown = shown("claude", "--model", "unheard-of")["environment"]
    assert unknown["ANTHROPIC_MODEL"] == "unheard-of"
    assert not [name for name in unknown if name.startswith("CLAUDE_CODE_MAX")]


def test_codex_gets_a_profile_and_a_catalogue(shown: Any) -> None:  # noqa: ANN401
    made = shown("codex")
    profile, catalogue = made["files"]
    assert profile["path"] == "~/.codex/zto.config.toml"
    options = tomllib.loads(profile["text"])
    assert options["model_providers"]["zto"] == {
        "name": "zto",
        "base_url": "http://127.0.0.1:9090/v1",
        "env_key": "ZTO_API_KEY",
        "wire_api": "responses",
    }
    assert catalogue["path"] == f"~/.codex/{options['model_catalog_json']}"
    first, second = json.loads(catalogue["text"])["models"]
    assert (first["slug"], first["context_window"], first["apply_patch_tool_type"]) == (
        "glm-5.3",
        1_000_000,
        "freeform",
    )
    assert second["slug"] == "glm-4.5-air"
    assert made["commands"] == [["codex", "--profile", "zto"]]


def test_the_text_can_be_pasted_into_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "continue", "--api", "messages", "--model", "a b"]) == 0
    text = capsys.readouterr().out
    assert "# ~/.continue/config.yaml:\nname: ztoapi\n" in text
    assert "provider: anthropic" in text
    assert "\n# Start:\ncn --config ~/.continue/config.yaml\n" in text
    assert main(["connect", "qwen-code", "--model", "a b"]) == 0
    assert "export OPENAI_MODEL='a b'\n" in capsys.readouterr().out
    assert main(["connect", "cursor"]) == 0
    assert "Override OpenAI Base URL: http://127.0.0.1:9090/v1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("https://gw.example.com", "https://gw.example.com/v1"),
        ("https://gw.example.com/", "https://gw.example.com/v1"),
        ("https://gw.example.com/v1", "https://gw.example.com/v1"),
        ("https://gw.example.com/v1/", "https://gw.example.com/v1"),
        ("http://[::1]:9/glm/v1", "http://[::1]:9/glm/v1"),
    ],
)
def test_the_url_may_have_the_version_or_not(shown: Any, url: str, base_url: str) -> None:  # noqa: ANN401
    environment = shown("sdk", "--url", url)["environment"]
    assert environment["OPENAI_BASE_URL"] == base_url
    assert environment["ANTHROPIC_BASE_URL"] == base_url.removesuffix("/v1")


def test_the_configuration_gives_address_key_and_models(
    shown: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        "default_key = 'only-one'\nmodel_name = 'big'\n[server]\nhost = '0.0.0.0'\nport = 8000\n"
        "[model_platform_map]\nbig = { upstream = 'glm-4.6' }\nfast = { upstream = 'glm-4.5-air' }\n"
    )
    made = shown("opencode")
    provider = json.loads(made["files"][0]["text"])["provider"]["zto"]
    assert provider["options"] == {"baseURL": "http://127.0.0.1:8000/v1", "apiKey": "only-one"}
    assert list(provider["models"]) == ["big", "fast", "glm-4.5-air"]
    assert provider["models"]["big"]["limit"] == {"context": 204_800, "output": 131_072}


@pytest.mark.parametrize(
    ("client", "toml", "environment", "hint"),
    [
        ("opencode", "", {}, "mine: context_tokens and max_output_tokens are not known"),
        ("opencode", "[models.mine]\ncontext_tokens = 65536", {}, "mine: max_output_tokens are not known"),
        ("opencode", "[models.mine]\ncontext_tokens = 65536\nmax_output_tokens = 8192", {}, ""),
        ("codex", "[models.mine]\ncontext_tokens = 65536", {}, ""),
        ("qwen-code", "", {}, ""),
        ("opencode", "[model_platform_map]\nmine = {upstream = 'org/X'}", {}, 'add them to [models."org/X"]'),
        ("opencode", "", {"PLATFORM_ID": "zread"}, ""),
    ],
)
def test_a_model_without_the_limits_that_the_client_uses_is_pointed_out(
    client: str,
    toml: str,
    environment: dict[str, str],
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    (tmp_path / "ztoapi.toml").write_text(toml)
    assert main(["connect", client, "--model", "mine"]) == 0
    written = capsys.readouterr().err
    assert hint in written if hint else written == ""


def test_a_platform_without_glm_names_has_no_small_model(
    shown: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("MODEL_NAME", "mine")
    assert shown("claude")["environment"]["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "mine"


def test_the_small_model_is_that_of_haiku(shown: Any, tmp_path: Path) -> None:  # noqa: ANN401
    (tmp_path / "ztoapi.toml").write_text("[claude]\nhaiku = 'glm-5.3-flash'\n")
    assert shown("claude")["environment"]["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "glm-5.3-flash"


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({}, "none"),
        ({"DEFAULT_KEY": "one"}, "one"),
        ({"API_KEYS": "two"}, "two"),
        ({"DEFAULT_KEY": "same", "API_KEYS": "same"}, "same"),
        ({"DEFAULT_KEY": "one", "API_KEYS": "two"}, "YOUR-KEY"),
        ({"ZTOAPI_KEY_FILE": "keys.toml"}, "YOUR-KEY"),
        ({"ZTOAPI_KEY_FILE": "keys.toml", "DEFAULT_KEY": "one"}, "one"),
    ],
)
def test_the_key_is_the_only_one_in_clear_text(
    variables: dict[str, str],
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "keys.toml").write_text("")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["connect", "sdk"]) == 0
    printed = capsys.readouterr()
    assert f"export OPENAI_API_KEY={key}\n" in printed.out
    assert printed.err.startswith("Replace YOUR-KEY: ") == (key == "YOUR-KEY")
    assert main(["connect", "sdk", "--key", "another"]) == 0
    assert "export OPENAI_API_KEY=another\n" in capsys.readouterr().out


@table(
    ("arguments", "problem"),
    [
        (["cluade"], "ztoapi connect: unknown client cluade; did you mean claude?"),
        (["CLAUDE"], "unknown client CLAUDE; did you mean claude?"),
        (["claude", "--api", "chat"], "--api: Claude Code has only messages"),
        (["claude", "--url", "gw.example.com"], "--url: 'gw.example.com' is not an http or https URL, such as http://"),
        (["claude", "--url", "http://h/?a=1"], "--url: 'http://h/?a=1' is not an http or https URL"),
        (["claude", "--url", "http://h:x/"], "--url: 'http://h:x/' is not an http or https URL"),
        (["claude", "--url", "http:///v1"], "--url: 'http:///v1' is not an http or https URL"),
        (["claude", "--key", "a b"], "--key: must be printable ASCII without blanks"),
        (["claude", "--", "-p"], "--: arguments for the client require --run"),
        (["cursor", "--run"], "--run: Cursor cannot be started from here; set what `ztoapi connect cursor` prints"),
        (["sdk", "--run"], "--run: sdk is not a program; export the variables that `ztoapi connect sdk` prints"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert problem in printed.err


@pytest.mark.parametrize(("variables", "key"), [({}, "YOUR-KEY"), ({"DEFAULT_KEY": "one"}, "one")])
def test_another_gateway_may_require_a_key(
    variables: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", variables)
    assert main(["connect", "sdk", "--url", "http://other:21200"]) == 0
    printed = capsys.readouterr()
    assert f"export OPENAI_API_KEY={key}\n" in printed.out
    assert printed.err.startswith("Replace YOUR-KEY: ") == (key == "YOUR-KEY")


def test_a_client_is_not_started_without_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_KEYS", "one|two")
    assert main(["connect", "claude", "--run"]) == 2
    assert "--key: required; " in capsys.readouterr().err


def test_a_client_that_is_not_installed_gets_its_install_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "codex", "--run"]) == 1
    assert capsys.readouterr().err == "ztoapi: codex is not installed: npm install -g @openai/codex\n"


def run(tmp_path: Path, program: str, text: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start ``ztoapi connect`` with ``program`` on the path, a script with ``text``."""
    path = tmp_path / "bin" / program
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\nimport os, signal, sys\n{text}")
    path.chmod(0o755)
    return subprocess.Popen(
        [sys.executable, "-m", "ztoapi", "connect", *arguments],
        cwd=tmp_path,
        env={"PATH": str(path.parent), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_started_client_has_environment_arguments_and_files(tmp_path: Path) -> None:
    text = (
        "print(sys.argv[1:])\nprint(os.environ['OPENCODE_CONFIG'])\n"
        "print(open(os.environ['OPENCODE_CONFIG']).read())\nsys.exit(7)\n"
    )
    with run(tmp_path, "opencode", text, "opencode", "--run", "--key", "k", "--", "run", "--json") as process:
        assert process.stdout is not None
        arguments, path, *lines = process.stdout.read().splitlines()
    assert process.returncode == 7
    assert arguments == "['run', '--json']"
    assert json.loads("\n".join(lines))["provider"]["zto"]["options"]["apiKey"] == "k"
    assert not Path(path).exists()


def test_commands_before_the_client_prepare_it(tmp_path: Path) -> None:
    text = (
        "path = sys.argv[sys.argv.index('--config') + 1] + '/state'\n"
        "if sys.argv[1] == 'auth':\n    print('hidden')\n    open(path, 'w').write(' '.join(sys.argv[1:-1]))\n"
        "else:\n    print(open(path).read())\n"
    )
    with run(tmp_path, "cline", text, "cline", "--run", "--key", "k") as process:
        assert process.stdout is not None
        assert process.stdout.read() == ("auth -p openai -k k -m glm-5.3 -b http://127.0.0.1:9090/v1 --config\n")
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 5)])
def test_the_client_ends_with_the_command(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """SIGTERM is passed on; the terminal sends SIGINT to both, and the client decides."""
    # A blocked signal waits for its receiver, also if it comes before.
    text = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "print(os.getpid(), os.environ['OPENCODE_CONFIG'], flush=True)\n"
        "signal.sigwait([signal.SIGUSR1])\nsys.exit(5)\n"
    )
    with run(tmp_path, "opencode", text, "opencode", "--run") as process:
        assert process.stdout is not None
        pid, path = process.stdout.readline().split()
        process.send_signal(number)
        if number == signal.SIGINT:
            os.kill(int(pid), signal.SIGUSR1)
    assert process.returncode == code
    assert not Path(path).exists()
