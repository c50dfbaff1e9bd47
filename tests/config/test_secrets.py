"""Secrets are shown nowhere (the seed's defect 9)."""

import copy
import json
import logging
import os
from pathlib import Path

import msgspec
import pytest

from tests.config.reading import loaded, problems
from tests.support.table import table
from ztoapi.cli.main import main
from ztoapi.config.model import Config, Secret

CANARY = "canary-7f3a"
SECRETS = {
    "DEFAULT_KEY": f"{CANARY}-1",
    "API_KEYS": f"{CANARY}-2|{CANARY}-3",
    "UPSTREAM_TOKEN": f"{CANARY}-4",
    "UPSTREAM_TOKENS": f"{CANARY}-5",
    "ZAI_TOKEN": f"{CANARY}-6",
    "ZREAD_TOKENS": f"{CANARY}-7",
    "ADMIN_KEY": f"{CANARY}-10",
    "PLATFORM_TOKEN_MAP": json.dumps({"zread": f"{CANARY}-8", "zai_web": [f"{CANARY}-9"]}),
}


def test_a_secret_is_revealed_on_request() -> None:
    secret = Secret(CANARY)
    assert (secret.reveal(), secret.encode()) == (CANARY, CANARY.encode())
    assert secret == Secret(CANARY) != Secret("other")
    assert secret != CANARY
    assert {secret, Secret(CANARY)} == {copy.deepcopy(secret)}


def test_a_secret_does_not_show_itself(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)
    holders = (secret, (secret,), {"key": secret}, Config(api_keys=(secret,)))
    logging.getLogger("test").warning("%s %r", secret, holders)
    shown = [caplog.text, f"{secret}{secret!r}{secret!s}{secret:>20}", "%s %r" % (secret, secret)]  # noqa: UP031
    shown += [f"{holder} {holder!r} {holder!s}" for holder in holders]
    for encoder in (msgspec.json.Encoder(), msgspec.msgpack.Encoder()):
        with pytest.raises(TypeError) as caught:
            encoder.encode(holders)
        shown.append(repr(caught.value))
    with pytest.raises(TypeError) as refused:
        json.dumps(holders[2])
    shown.append(repr(refused.value))
    assert CANARY not in "\n".join(shown)


def test_no_command_shows_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text(f"OPENAI_TOKEN={CANARY}\n")
    (tmp_path / "ztoapi.toml").write_text(f"zai_tokens=['{CANARY}']\nopenai_upstream_url='http://127.0.0.1:1'\n")
    for command in (["check"], ["check", "--all"], ["check", "--json"], ["models"], ["models", "--json"]):
        assert main(command) == 0
    shown = capsys.readouterr()
    assert '"***"' in shown.out
    assert "UPSTREAM_TOKEN (environment)" in shown.out
    assert CANARY not in shown.out + shown.err


@table(
    "wrong",
    [
        {name: f"{value} \t\u00e9 {CANARY}" for name, value in SECRETS.items()},
        {name: value for name, value in SECRETS.items() if name == "DEFAULT_KEY"} | {"HOST": CANARY + "\n"},
        {"PLATFORM_TOKEN_MAP": json.dumps({CANARY: "zai"})},
        {"PLATFORM_TOKEN_MAP": json.dumps({"zai": {"token": CANARY}})},
        {"PLATFORM_TOKEN_MAP": '{"zai": "' + CANARY},
        {"UPSTREAM_URL": f"https://{CANARY}@api.z.ai"},
        {"UPSTREAM_URL": f"https://api.z.ai?token={CANARY}"},
        {"UPSTREAM_URL": CANARY},
        dict.fromkeys(("PORT", "PLATFORM_ID", "THINK_TAGS_MODE", "DEBUG_MODE", "ZREAD_REPOSITORY"), CANARY),
        {"ZTOAPI_CORS_ORIGINS": CANARY, "ZTOAPI_CA_FILE": CANARY, "ZTOAPI_HEAD_TIMEOUT_SECONDS": CANARY},
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, wrong: dict[str, str]) -> None:
    (tmp_path / ".env").write_text(f"{CANARY}\nZAI_TOKEN='{CANARY}\n")
    assert CANARY not in "\n".join(problems(tmp_path, **wrong))


def test_no_error_shows_a_secret_of_a_broken_file(tmp_path: Path) -> None:
    for text in (f"zai_token = '{CANARY}", f"zai_token = {CANARY}", f"zai_token = '{CANARY}' {CANARY}", CANARY):
        (tmp_path / "ztoapi.toml").write_text(text)
        assert CANARY not in "\n".join(problems(tmp_path))


def test_warnings_show_no_secret(tmp_path: Path) -> None:
    config = loaded(tmp_path, UPSTREAM_URL="http://10.0.0.1/api/coding/v4", PLATFORM_ID="zai", **SECRETS,
                    ZTOAPI_ALLOW_CODING_ENDPOINT="1").config  # fmt: skip
    assert config.warnings
    assert CANARY not in "\n".join(config.warnings)
