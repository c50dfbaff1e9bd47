"""The example files: complete, current, and harmless to copy."""

import re
import tomllib
from pathlib import Path

from docs.generate import example
from tests.config.reading import loaded
from ztoapi.config.options import config_options

ROOT = Path(__file__).resolve().parents[2]


def test_the_toml_example_is_the_default_configuration(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text((ROOT / "ztoapi.example.toml").read_text("utf-8"))
    defaults = tmp_path / "defaults"
    defaults.mkdir()
    assert loaded(tmp_path).config == loaded(defaults).config


def test_the_toml_example_is_current_and_has_every_option() -> None:
    text = (ROOT / "ztoapi.example.toml").read_text("utf-8")
    assert text == example(), "run python -m docs.generate"
    uncommented = "\n".join(
        line.removeprefix("#") if line[1:2] not in ("", " ") else line for line in text.splitlines()
    )
    document = tomllib.loads(uncommented.partition("\n")[2])

    def has(table: object, path: list[str]) -> bool:
        return not path or (isinstance(table, dict) and path[0] in table and has(table[path[0]], path[1:]))

    assert [option.key for option in config_options() if not has(document, option.key.split("."))] == []


def test_the_env_example_sets_nothing_and_names_what_exists(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    (tmp_path / ".env").write_text(text)
    assert loaded(tmp_path).sources == {}
    named = set(re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE))
    assert named <= {variable for option in config_options() for variable in option.variables}
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    assert "model_name" in loaded(tmp_path).sources
