"""The example files: complete, current, and harmless to copy."""

import re
from pathlib import Path

from tests.config.reading import loaded
from ztoapi.config import platforms
from ztoapi.config.load import OPTIONS, variables_of
from ztoapi.config.model import Config

ROOT = Path(__file__).resolve().parents[2]


def test_the_toml_example_is_the_default_configuration(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text((ROOT / "ztoapi.example.toml").read_text("utf-8"))
    defaults = tmp_path / "defaults"
    defaults.mkdir()
    assert loaded(tmp_path).config == loaded(defaults).config


def test_the_toml_example_has_every_option_of_the_model() -> None:
    text = (ROOT / "ztoapi.example.toml").read_text("utf-8")
    table = ""
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif option := re.match(r"#?([a-z_]+) = ", line):
            found.add(table + option[1])
    scopes = ("limits.global", "limits.model", "limits.address")
    assert found >= {
        f"{name}.{field}" for name, (_, fields) in OPTIONS.items() if name not in scopes for field in fields
    }
    assert found >= {
        "default_stream",
        "enable_thinking",
        "think_mode",
        "zread_repository",
        "dashboard_enabled",
        "debug",
    }
    assert {option for option in found if "." not in option} <= {
        *platforms.KEYS,
        *Config.__struct_fields__,
        "fast",
        "zai",
    }


def test_the_env_example_sets_nothing_and_names_what_exists(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    (tmp_path / ".env").write_text(text)
    assert loaded(tmp_path).sources == {}
    named = set(re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE))
    known = {one for name, (_, fields) in OPTIONS.items() for field in fields for one in variables_of(name, field)}
    top = (
        "default_stream",
        "enable_thinking",
        "think_mode",
        "zread_repository",
        "dashboard_enabled",
        "debug",
        "access_log",
    )
    known |= {*platforms.VARIABLES, "DEFAULT_KEY", "API_KEYS", "ADMIN_KEY"} | {
        variables_of("", field)[0] for field in top
    }
    assert named <= known
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    assert "model_name" in loaded(tmp_path).sources
