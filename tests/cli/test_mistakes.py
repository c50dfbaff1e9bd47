"""Mistakes that users make on their first day, each with the line of ``ztoapi check`` that names it and its remedy."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ztoapi.cli.main import main

ERROR, WARNING = 2, 0
PLACEHOLDER = (
    "a token is the placeholder of an example: set your own, of Z.ai from https://z.ai/manage-apikey/apikey-list"
)
CONDA = "is a kind of computer (conda sets it), not an address, and is ignored"
DIRECT = (
    "(environment): the native transport uses http:// proxies only, and connects to https://api.z.ai/api/paas/v4 "
    "directly: use --transport httpx"
)


class Mistake(NamedTuple):
    """The variables, the content of ``.env`` and of ``ztoapi.toml``, the exit code, and words of the message."""

    code: int
    words: str
    environ: dict[str, str]
    dotenv: str = ""
    toml: str = ""
    arguments: tuple[str, ...] = ()


MISTAKES = [
    Mistake(ERROR, f"ZAI_TOKEN (environment): {PLACEHOLDER}", {"ZAI_TOKEN": "your-z.ai-api-key"}),
    Mistake(ERROR, f"ZAI_TOKENS (.env line 1): {PLACEHOLDER}", {}, "ZAI_TOKENS=real|YOUR_API_KEY"),
    Mistake(ERROR, f"UPSTREAM_TOKEN (environment): {PLACEHOLDER}", {"UPSTREAM_TOKEN": "<token>"}),
    Mistake(ERROR, f"OPENAI_TOKEN (environment): {PLACEHOLDER}", {"OPENAI_TOKEN": "sk-xxxxxxxx"}),
    Mistake(ERROR, "ztoapi.toml line 2): is the placeholder", {}, toml="[[platforms.zai.credentials]]\ntoken = '...'"),
    Mistake(WARNING, "DEFAULT_KEY (environment): this key is published", {"DEFAULT_KEY": "your-api-key"}),
    Mistake(ERROR, "DEFALT_KEY (.env line 1): unknown option; did you mean DEFAULT_KEY?", {}, "DEFALT_KEY=k"),
    Mistake(ERROR, "ZAI_TOEKN (.env line 2): unknown option; did you mean ZAI_TOKEN?", {}, "A=b\nZAI_TOEKN=t"),
    Mistake(ERROR, "UPSTREM_ULR (.env line 1): unknown option; did you mean UPSTREAM_URL?", {}, "UPSTREM_ULR=u"),
    Mistake(ERROR, "PROT (.env line 1): unknown option; did you mean PORT?", {}, "PROT=1"),
    Mistake(ERROR, "port (ztoapi.toml line 1): unknown option; did you mean server.port?", {}, toml="port = 1"),
    Mistake(ERROR, "upstream.port (ztoapi.toml line 2): unknown option; did you mean server.port?", {},
            toml="[upstream]\nport = 1"),
    Mistake(ERROR, "did you mean limits.global.burst or limits.key.burst or", {}, toml="burst = 1"),
    Mistake(ERROR, "line 1): unknown option; limits has the tables limits.address, limits.budget, limits.global", {},
            toml="[limits.ip]\nburst = 1"),
    Mistake(ERROR, "${TOKEN} is not expanded: write the value itself, or let the shell", {"ZAI_TOKEN": "${TOKEN}"}),
    Mistake(ERROR, "ZAI_TOKEN (.env line 2): ${TOKEN} is not expanded: write the value itself, or remove the line and "
            "set ZAI_TOKEN in the environment", {}, "TOKEN=t\nZAI_TOKEN=${TOKEN}"),
    Mistake(ERROR, "UPSTREAM_URL (.env line 1): ${HOST} is not", {}, "UPSTREAM_URL=http://${HOST:-a}/v1"),
    Mistake(ERROR, "zai_tokens (ztoapi.toml line 1): ${A} is not expanded: write the value itself, or remove the line "
            "and set ZAI_TOKENS in the environment", {}, toml="zai_tokens = ['b', '${A}']"),
    Mistake(
        ERROR,
        "ztoapi.toml line 2): ${ZAI} is not expanded: write the value itself",
        {},
        toml="[[platforms.zai.credentials]]\ntoken = '${ZAI}'",
    ),
    Mistake(WARNING, f"HOST (environment): x86_64-conda-linux-gnu {CONDA}", {"HOST": "x86_64-conda-linux-gnu"}),
    Mistake(WARNING, f"HOST (environment): arm64-apple-darwin20.0.0 {CONDA}", {"HOST": "arm64-apple-darwin20.0.0"}),
    Mistake(WARNING, "--host (command line): 203.0.113.1: this host does not have", {"DEFAULT_KEY": "k"},
            arguments=("--host", "203.0.113.1")),
    Mistake(WARNING, "OTEL_EXPORTER_OTLP_ENDPOINT (environment): no traces: OpenTelemetry is not installed",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}),
    Mistake(ERROR, "ZTOAPI_ADMIN_KEY (environment): unknown option; did you mean ADMIN_KEY?",
            {"ZTOAPI_ADMIN_KEY": "k"}),
    Mistake(ERROR, "ZTOAPI_ZAI_TOKN (environment): unknown option; did you mean ZAI_TOKEN?", {"ZTOAPI_ZAI_TOKN": "t"}),
    Mistake(ERROR, "default_platform (ztoapi.toml line 1): unknown option; did you mean platform_id?", {},
            toml="default_platform = 'zai'"),
    Mistake(ERROR, "line 2): unknown option; set zread_upstream_url above the tables", {},
            toml="[platforms.zread]\nbase_url = 'https://zread.ai'"),
    Mistake(ERROR, "line 2): unknown option; set zai_token above the tables", {}, toml="[platforms.zai]\ntoken = 't'"),
    Mistake(ERROR, "pip install 'ztoapi[otel]'", {}, toml="otlp_endpoint = 'http://127.0.0.1:4318'"),
    Mistake(ERROR, "pip install 'ztoapi[otel]'", {}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"),
    Mistake(WARNING, f"HTTPS_PROXY {DIRECT}", {"HTTPS_PROXY": "https://127.0.0.1:3128"}),
    Mistake(WARNING, f"all_proxy {DIRECT}", {"all_proxy": "socks5://127.0.0.1:1", "NO_PROXY": "localhost,z.ai:80"}),
    Mistake(
        WARNING,
        "ZAI_TOKEN (environment): no request uses this token of the platform zai: the default platform is openai "
        "(UPSTREAM_URL (environment)), and no model is mapped to zai. Set OPENAI_TOKEN",
        {"ZAI_TOKEN": "t", "UPSTREAM_URL": "http://127.0.0.1:8000/v1"},
    ),
    Mistake(
        WARNING,
        "UPSTREAM_URL (environment): the path /api has no version: most servers require a base URL such as "
        "https://127.0.0.1/api/v1",
        {"UPSTREAM_URL": "https://127.0.0.1/api"},
    ),
    Mistake(
        WARNING,
        "each client key: with a budget in US dollars, requests for models without a price are refused "
        '(403 model_not_priced): glm-5.3. Set input_price and output_price in [models."glm-5.3"]',
        {"UPSTREAM_URL": "http://127.0.0.1:8000/v1"},
        toml="[limits.budget]\nusd_per_day = 5",
    ),
    Mistake(WARNING, "no token for the platform zai: set ZAI_TOKEN", {}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_opentelemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setitem(sys.modules, "ztoapi.telemetry.tracing", None)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.words[:50])
def test_a_mistake_is_named(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", mistake.environ)
    (tmp_path / ".env").write_text(mistake.dotenv)
    (tmp_path / ".env").chmod(0o600)
    (tmp_path / "ztoapi.toml").write_text(mistake.toml)
    (tmp_path / "ztoapi.toml").chmod(0o600)
    assert main(["check", *mistake.arguments]) == mistake.code
    shown = capsys.readouterr()
    lines = shown.out.splitlines() if mistake.code == WARNING else shown.err.splitlines()
    begin = "warning: " if mistake.code == WARNING else "  "
    assert [line for line in lines if line.startswith(begin) and mistake.words in line], lines


@pytest.mark.parametrize(
    ("environ", "dotenv"),
    [
        ({"ZAI_TOKEN": "0123abcd.wxyz", "NO_PROXY": ".z.ai", "HTTPS_PROXY": "socks5://127.0.0.1:3128"}, ""),
        ({"ZAI_TOKEN": "yours3cret", "NO_PROXY": "*", "ALL_PROXY": "socks5://127.0.0.1:3128"}, ""),
        ({"ZAI_TOKEN": "t", "HTTPS_PROXY": "http://127.0.0.1:3128"}, ""),
        ({"ZAI_TOKEN": "pa$WORD"}, "ZTOAPI_HISTORY_FILE=$HOME.db"),
        ({"ZAI_TOKEN": "t", "HTTPS_PROXY": "127.0.0.1:3128", "ALL_PROXY": "socks5://127.0.0.1:1"}, ""),
        ({"UPSTREAM_URL": "http://127.0.0.1:8000", "http_proxy": "socks5://127.0.0.1:3128"}, ""),
        ({"UPSTREAM_URL": "http://127.0.0.1:8000/v1beta", "ZTOAPI_TRANSPORT": "httpx"}, ""),
        ({"ZAI_TOKEN": "t", "HOST": "127.0.0.1"}, "PATH=/bin\nPOSTGRES_URL=p\nCOMPOSE_PROJECT_NAME=x\nSECRET=${A}"),
        ({"ZAI_TOKEN": "t", "DEFALT_KEY": "of another program"}, ""),
        (
            {"ZAI_TOKEN": "t", "UPSTREAM_URL": "http://127.0.0.1:1/v1", "MODEL_PLATFORM_MAP": '{"glm-4.5": "zai"}'},
            "",
        ),
    ],
)
def test_a_right_setting_gives_no_warning(
    environ: dict[str, str],
    dotenv: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "environ", environ)
    (tmp_path / ".env").write_text(dotenv)
    assert main(["check"]) == 0
    assert "warning" not in capsys.readouterr().out
