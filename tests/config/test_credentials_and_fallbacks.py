"""Credentials with names, weights and caps, and fallbacks: their result, and the message for each mistake."""

import json
from pathlib import Path

import pytest

from tests.config.reading import loaded, platform, problems
from tests.support.table import table
from ztoapi.cli.main import main
from ztoapi.config.model import Credential, Secret

FULL = """
[fallbacks]
"GLM-4.6" = ["glm-4.5", "glm-4.5-air"]
"glm-4.5" = "glm-4.5-air"

[platforms.zai]
max_in_flight = 50
max_in_flight_per_model = { "*" = 20 }

[[platforms.zai.credentials]]
name = "team-a"
token = "canary-1"
weight = 3
max_in_flight = 100
max_in_flight_per_model = { "GLM-4.6" = 5 }

[[platforms.zai.credentials]]
token = "second"
"""


def test_credentials_have_names_weights_and_caps(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(FULL)
    config = loaded(tmp_path, ZAI_TOKENS="third|canary-1").config
    assert platform(config, "zai").credentials == (
        Credential(
            name="team-a",
            token=Secret("canary-1"),
            weight=3.0,
            max_in_flight=100,
            max_in_flight_per_model={"glm-4.6": 5},
        ),
        Credential(name="zai-2", token=Secret("second"), max_in_flight=50, max_in_flight_per_model={"*": 20}),
        Credential(name="zai-1", token=Secret("third"), max_in_flight=50, max_in_flight_per_model={"*": 20}),
    )
    assert config.fallbacks == {"glm-4.6": ("glm-4.5", "glm-4.5-air"), "glm-4.5": ("glm-4.5-air",)}


def test_a_server_without_a_token_has_a_credential_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text("[platforms.openai]\nmax_in_flight = 4\n")
    config = loaded(tmp_path, UPSTREAM_URL="http://127.0.0.1:8000").config
    assert platform(config, "openai").credentials == (Credential(name="openai-1", token=None, max_in_flight=4),)


def test_check_shows_credentials_without_their_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ztoapi.toml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--all"]) == 0
    text = capsys.readouterr().out
    assert '"name": "team-a", "token": "***", "weight": 3.0, "max_in_flight": 100' in text
    assert 'fallbacks.glm-4.6 = ["glm-4.5", "glm-4.5-air"]' in text
    assert "canary" not in text


CREDENTIAL = "[[platforms.zai.credentials]]\ntoken = 'a'\n"


@table(
    ("toml", "path", "words"),
    [
        ("platforms = 1", "platforms", "must be a table"),
        ("[platforms.zia]", "platforms.zia", "did you mean zai"),
        ("platforms.zai = 1", "platforms.zai", "must be a table"),
        ("[platforms.zai]\nmax_inflight = 1", "platforms.zai.max_inflight", "did you mean max_in_flight"),
        ("[platforms.zai]\nmax_in_flight = 0", "platforms.zai.max_in_flight", "whole number from 1"),
        ("[platforms.zai]\nmax_in_flight_per_model = 3", "platforms.zai.max_in_flight_per_model", "must be a table"),
        ("[platforms.zai]\ncredentials = ['a']", "platforms.zai.credentials", "[[platforms.zai.credentials]]"),
        (
            "[[platforms.zai.credentials]]\nname = 'a'",
            "platforms.zai.credentials[1].token",
            "required: the whole token",
        ),
        (
            "[[platforms.zai.credentials]]\ntoken = 'a b'",
            "platforms.zai.credentials[1].token",
            "must be printable ASCII",
        ),
        (CREDENTIAL + "weight = 0", "platforms.zai.credentials[1].weight", "above 0"),
        (CREDENTIAL + "weight = true", "platforms.zai.credentials[1].weight", "above 0"),
        (CREDENTIAL + "name = ''", "platforms.zai.credentials[1].name", "characters"),
        (CREDENTIAL + "weights = 2", "platforms.zai.credentials[1].weights", "did you mean weight"),
        (CREDENTIAL + CREDENTIAL, "platforms.zai.credentials[2]", "duplicate name or token"),
        (
            CREDENTIAL + "max_in_flight_per_model = { x = -1 }",
            "platforms.zai.credentials[1].max_in_flight_per_model.x",
            "whole number from 1",
        ),
        ("[upstream]\nsession_header = 'x session'", "upstream.session_header", "name of a header"),
        ("[upstream]\nsession_header = 's\u00e9ance'", "upstream.session_header", "name of a header"),
        ("fallbacks = 1", "fallbacks", "must be a JSON object"),
        ("[fallbacks]\nx = 1", "fallbacks.x", "must be a list of models"),
        ("[fallbacks]\nx = []", "fallbacks.x", "must be a list of models"),
        ("[fallbacks]\nx = ['y', 'Y']", "fallbacks.x", "twice"),
        ("[fallbacks]\nx = ['X']", "fallbacks.x", "form a cycle (x -> x)"),
        ("[fallbacks]\nx = ['y']\ny = ['z']\nz = ['w', 'x']", "fallbacks.x", "form a cycle (x -> y -> z -> x)"),
    ],
)
def test_a_mistake_is_named_by_its_path(tmp_path: Path, toml: str, path: str, words: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(toml)
    (line,) = problems(tmp_path)
    assert line.startswith(f"{path} (ztoapi.toml")
    assert words in line


def test_a_mistake_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        "[platforms.zai]\nmax_in_flight = 5\n"
        "[[platforms.zai.credentials]]\ntoken = 'a'\n"
        "[[platforms.zai.credentials]]\ntoken = 'b'\nweight = 0\nmax_in_flight_per_model = { 'glm-4.6' = 0 }\n"
        "[fallbacks]\nx = ['y']\n'glm-4.6' = 1\n"
    )
    assert [line.partition(":")[0] for line in problems(tmp_path)] == [
        "platforms.zai.credentials[2].weight (ztoapi.toml line 7)",
        "platforms.zai.credentials[2].max_in_flight_per_model.glm-4.6 (ztoapi.toml line 8)",
        "fallbacks.glm-4.6 (ztoapi.toml line 11)",
    ]


def test_fallbacks_from_the_environment_and_unknown_models(tmp_path: Path) -> None:
    value = json.dumps({"glm-5.3": ["glm-5.2"]})
    assert loaded(tmp_path, MODEL_FALLBACKS=value).config.fallbacks == {"glm-5.3": ("glm-5.2",)}
    # The web chat knows its models by other names: one that is mapped nowhere is not there.
    (line,) = problems(tmp_path, MODEL_FALLBACKS=value, PLATFORM_ID="zai_web", ZAI_WEB_TOKEN="t")
    assert line == "MODEL_FALLBACKS (environment), glm-5.3: unknown model 'glm-5.2': map it to a platform; " + (
        "did you mean glm-5.3?"
    )


def test_no_problem_shows_a_token(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text("[[platforms.zai.credentials]]\ntoken = 'canary one'\nweight = -1\n")
    assert "canary" not in "\n".join(problems(tmp_path))
