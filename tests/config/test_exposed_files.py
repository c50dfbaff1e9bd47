"""Files with secrets that other users can read."""

import os
from pathlib import Path

import pytest

from tests.support.table import table
from ztoapi.config.load import load

FILES = {
    "ztoapi.toml": ('admin_key = "secret-key"\n', "admin_key"),
    ".env": ("UPSTREAM_TOKEN=secret-key\n", "UPSTREAM_TOKEN"),
    ".env.local": ("export ZTOAPI_REDIS_URL=redis://:secret-key@host\n", "ZTOAPI_REDIS_URL"),
}


def warnings(directory: Path) -> list[str]:
    environ = {"ZAI_TOKEN": "t", "DEFAULT_KEY": "k"}
    found = load({}, environ=environ, directory=directory, config_file=None).config.warnings
    return [warning for warning in found if "chmod" in warning]


@table("name", FILES)
@table("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_named_with_its_mode(name: str, mode: int, tmp_path: Path) -> None:
    text, option = FILES[name]
    path = tmp_path / name
    path.write_text(text)
    path.chmod(mode)
    assert warnings(tmp_path) == [
        f"{path} contains {option} and is readable by other users (mode {mode:04o}): run chmod 600 {path}"
    ]
    path.chmod(0o600)
    assert not warnings(tmp_path)


@pytest.mark.parametrize(
    "text",
    ['[[platforms.zai.credentials]]\nname = "a"\ntoken = "secret-key"\n', 'api_keys = ["secret-key"]\n'],
)
def test_tokens_in_lists_and_tables_count(text: str, tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(text)
    (tmp_path / "ztoapi.toml").chmod(0o644)
    assert len(warnings(tmp_path)) == 1


def test_a_file_without_secrets_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text('model_name = "glm-5.3"\n[limits.key]\nmax_concurrency = 3\n')
    (tmp_path / ".env").write_text("PORT=9091\n")
    for name in ("ztoapi.toml", ".env"):
        (tmp_path / name).chmod(0o644)
    assert not warnings(tmp_path)


def test_a_secret_that_is_mounted_gives_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_text("ADMIN_KEY=secret-key\n")
    path.chmod(0o444)
    assert warnings(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert not warnings(tmp_path)
    read_only = os.statvfs(path).f_flag | os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _: type("Status", (), {"f_flag": read_only}))
    assert not warnings(tmp_path)
