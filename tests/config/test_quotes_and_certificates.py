"""Values that look right and cannot work: secrets in quotes, and files of certificates without one."""

import json
import ssl
from pathlib import Path

import pytest
import trustme

from tests.config.reading import loaded, problems
from tests.support.table import table

CANARY = "canary7f3a"
KEYS = ["DEFAULT_KEY", "API_KEYS", "ADMIN_KEY"]
TOKENS = ["UPSTREAM_TOKEN", "UPSTREAM_TOKENS", "ZAI_TOKEN", "ZAI_TOKENS", "ZREAD_TOKEN"]


@table("variable", KEYS + TOKENS)
@table("form", ["'{}'", '"{}"', "`{}`", '"{}', "{}'", ' "{}" \n'])
def test_quotes_around_a_secret_are_named(tmp_path: Path, variable: str, form: str) -> None:
    (problem,) = problems(tmp_path, **{variable: form.format(CANARY)})
    assert problem.startswith(f"{variable} (environment): ")
    assert "quotes" in problem
    assert CANARY not in problem


@pytest.mark.parametrize("variable", ["API_KEYS", "ZAI_TOKENS"])
@pytest.mark.parametrize("value", ['"one|two"', "'one'|'two'", "one|'two'"])
def test_quotes_around_a_list_are_named(tmp_path: Path, variable: str, value: str) -> None:
    (problem,) = problems(tmp_path, **{variable: value})
    assert problem.startswith(f"{variable} (environment): ")
    assert "quotes" in problem


@table("variable", KEYS + TOKENS)
@table("value", [f"Bearer {CANARY}", f"bearer {CANARY}"])
def test_the_word_bearer_is_named(tmp_path: Path, variable: str, value: str) -> None:
    (problem,) = problems(tmp_path, **{variable: value})
    assert "the word Bearer" in problem
    assert CANARY not in problem


@table("variable", KEYS + TOKENS)
@table("value", ["“curly”", "ke\u0301y", "zero\u200bwidth", "a b", "a\tb"])
def test_what_no_header_carries_is_named(tmp_path: Path, variable: str, value: str) -> None:
    (problem,) = problems(tmp_path, **{variable: value})
    assert problem.startswith(f"{variable} (environment): ")


@pytest.mark.parametrize("text", ["default_key = \"'x123'\"", 'api_keys = ["`x123`"]', "zai_token = '\"x123\"'"])
def test_quotes_within_a_toml_string_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(text)
    (problem,) = problems(tmp_path)
    assert "ztoapi.toml line 1" in problem
    assert "quotes" in problem


def test_other_values_in_quotes_are_named(tmp_path: Path) -> None:
    for variable, value in [
        ("REDIS_URL", '"redis://h"'),
        ("MODEL_NAME", "'glm-4.6'"),
        ("PLATFORM_TOKEN_MAP", '\'{"zai": "t"}\''),
        ("HOST", '"127.0.0.1"'),
    ]:
        (problem,) = problems(tmp_path, **{variable: value})
        assert problem.startswith(f"{variable} (environment): "), problem
        assert "quotes" in problem


def test_dotenv_files_and_blanks_are_as_before(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DEFAULT_KEY=\"{CANARY}\"\nZAI_TOKEN='it''s'\n".replace("''", ""))
    config = loaded(tmp_path, ADMIN_KEY=" admin-key\n", PLATFORM_TOKEN_MAP=json.dumps({"zread": ["a'b"]})).config
    assert config.default_key is not None
    assert config.default_key.reveal() == CANARY
    assert config.admin_key is not None
    assert config.admin_key.reveal() == "admin-key"


def test_a_file_of_certificates(tmp_path: Path) -> None:
    ca = trustme.CA()
    good, text, key, damaged, both = (tmp_path / f"{name}.pem" for name in ("good", "text", "key", "damaged", "both"))
    ca.cert_pem.write_to_path(str(good))
    text.write_text("no certificate here\n")
    ca.private_key_pem.write_to_path(str(key))
    damaged.write_bytes(good.read_bytes()[:300])
    both.write_bytes(b"# a comment\n" + key.read_bytes() + good.read_bytes())
    for path in (good, both):
        assert loaded(tmp_path, ZTOAPI_CA_FILE=str(path)).config.upstream.ca_file == str(path)
    for path in (text, key, damaged, tmp_path, tmp_path / "none"):
        for setting in ("true", "false"):
            (problem,) = problems(tmp_path, ZTOAPI_CA_FILE=str(path), ZTOAPI_TLS_VERIFY=setting)
            assert problem.startswith("ZTOAPI_CA_FILE (environment): ")
            assert "name a file of CA certificates" in problem


def test_a_file_of_certificates_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))

    def refuse(context: ssl.SSLContext, path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    (problem,) = problems(tmp_path, ZTOAPI_CA_FILE=str(path))
    assert "Permission denied" in problem
