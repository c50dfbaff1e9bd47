"""Secrets are masked in every spelling, and ordinary words stay as they are."""

import base64
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack import config_for
from tests.support.table import table
from ztoapi.relay.redaction import MASK, Redaction, redaction_for

TOKEN = "sk-Zq7RkV3mNc5TbW9xLpHd2Jf8"
REDACTION = Redaction(
    [TOKEN, "adm1n", "my-test-token", "abc"], {"10.0.0.5": "openai", "llm.corp.test": "zai", "vllm": "v"}
)


@table(
    "words",
    [
        TOKEN,
        TOKEN.lower(),
        TOKEN[4:12],
        TOKEN[:4],
        TOKEN[-4:],
        f"{TOKEN[:3]}...{TOKEN[-4:]}",
        f"{TOKEN[:7]}****************",
        f"•••{TOKEN[-2:]}",
        f"{TOKEN[:6]}xxxxxxxx{TOKEN[-4:]}",
        f"key={TOKEN[:5]}…",
        urllib.parse.quote(TOKEN, safe="").replace("-", "%2D"),
        TOKEN.replace("k", "\\u006b"),
        TOKEN.replace("-", "&#45;"),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(b"user:" + TOKEN.encode()).decode(),
        "adm1n",
        "password:adm1n",
    ],
)
@table("around", ["{}", "Bad key: {}. Look it up.", '{{"key":"{}"}}', "'{}'", "({}), it is"])
def test_spellings_of_a_secret(words: str, around: str) -> None:
    masked = REDACTION.text(around.format(words))
    assert MASK in masked
    assert words not in masked


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 5000 > 4096 (test 1.2.3)",
        "the upstream answered 500 with a page that is no JSON",
        "abc: at 12:34:56, std::string, a token... wait",
        "the model vllm is 100% busy & gone \\o/",
    ],
)
def test_ordinary_words(words: str) -> None:
    assert REDACTION.text(words) == words


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("dial tcp 10.0.0.5:8080: refused", "dial tcp openai: refused"),
        ("no route to http://10.0.0.5:8080/v1", "no route to openai/v1"),
        ("LLM.corp.test. is gone", "zai. is gone"),
        ("https://llm.corp.test/v1, vllm:8000 and http://vllm", "zai/v1, v and v"),
        ("from 192.168.7.1:53, [fe80::1]:80 and 2001:db8::1.", "from [address], [address] and [address]."),
        ("::ffff:10.1.2.3", "[address]"),
        ("version 999.1.1.1", "version 999.1.1.1"),
    ],
)
def test_addresses(words: str, shown: str) -> None:
    assert REDACTION.text(words) == shown


@given(st.text(), st.text())
def test_no_text_is_too_odd(before: str, after: str) -> None:
    assert TOKEN not in REDACTION.text(before + TOKEN + after)


def test_what_a_configuration_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pr0xy-pass%21@10.9.9.9:3128")
    config = config_for(
        9,
        UPSTREAM_TOKEN="upstream-secret-1",
        DEFAULT_KEY="client-secret-1",
        API_KEYS="client-secret-2",
        ADMIN_KEY="admin-secret-1",
        REDIS_URL="redis://:redis-secret@127.0.0.1:1/0",
    )
    redaction = redaction_for(config)
    secrets = "upstream-secret-1 client-secret-1 client-secret-2 admin-secret-1 redis-secret pr0xy-pass! pr0xy-pass%21"
    assert set(redaction.text(secrets).split()) == {MASK}
    assert redaction.text("http://127.0.0.1:9/x") == "zai/x"
    assert "secret" not in repr(redaction).removeprefix("<Redaction secrets=")
