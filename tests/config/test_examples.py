"""The example files: complete, current, and harmless to copy."""

import re
from pathlib import Path

from tests.config.reading import loaded
from ztoapi.config.options import config_options

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
    options = {option.key for option in config_options()}
    like_limits_key = ("limits.global.", "limits.model.", "limits.address.")
    tables = {"model_platform_map", "upstream_model_id_map", "platform_token_map", "platforms", "fallbacks"}
    tokens = {key for key in options if key.endswith(("_token", "_tokens", "_upstream_url"))}
    named = {*found, *(table.partition(".")[0] for table in re.findall(r"^#?\[+([a-z_.]+)\]", text, re.MULTILINE))}
    assert {key for key in options if not key.startswith(like_limits_key)} - tokens <= {
        *named,
        "default_key",
        "admin_key",
    }
    assert tables <= named
    assert {key for key in found if "." not in key} <= {*options, "fast", "zai"}


def test_the_env_example_sets_nothing_and_names_what_exists(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    (tmp_path / ".env").write_text(text)
    assert loaded(tmp_path).sources == {}
    named = set(re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE))
    assert named <= {variable for option in config_options() for variable in option.variables}
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    assert "model_name" in loaded(tmp_path).sources
