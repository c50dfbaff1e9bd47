"""The configuration: what is read from where, what is refused and how it is said."""

import json
from pathlib import Path

import pytest

from ztoapi.cli.main import main
from ztoapi.config.load import Loaded, load, variables_of
from ztoapi.config.model import Config, Platform, ServerConfig, UpstreamConfig
from ztoapi.errors import ConfigError


def loaded(directory: Path, arguments: dict[str, object] | None = None, /, **environ: str) -> Loaded:
    return load(arguments or {}, environ=environ, directory=directory)


def platform(config: Config, name: str) -> Platform:
    return next(platform for platform in config.platforms if platform.id == name)


def tokens(config: Config, name: str) -> list[str]:
    return [token.reveal() for token in platform(config, name).tokens]


def problems(directory: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, **environ)
    return caught.value.problems


def test_nothing_configured_is_the_official_general_endpoint_on_loopback(tmp_path: Path) -> None:
    config = loaded(tmp_path).config
    assert (config.server.host, config.server.port, config.server.workers) == ("127.0.0.1", 9090, 1)
    assert config.default_platform == "zai"
    assert platform(config, "zai").chat_url == "https://api.z.ai/api/paas/v4/chat/completions"
    assert [route.public for route in config.routes] == ["glm-4.6"]
    assert config.debug is False
    assert any("ZAI_TOKEN" in warning for warning in config.warnings)


def test_precedence(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text("model_name='toml'\n[server]\nport=1\ndrain_seconds=9\nbacklog=7\n")
    (tmp_path / ".env").write_text("PORT=2\nDRAIN_SECONDS=8\nWORKERS=3\nMODEL_NAME=env\n")
    (tmp_path / ".env.local").write_text("PORT=3\nWORKERS=4\n")
    result = loaded(tmp_path, {"port": "5"}, PORT="4")
    server = result.config.server
    assert (server.port, server.workers, server.drain_seconds, server.backlog) == (5, 4, 8.0, 7)
    assert loaded(tmp_path, PORT="4").config.server.port == 4
    assert result.config.model_name == "env"
    assert result.sources["server.port"] == "command line"
    assert result.sources["server.workers"] == ".env.local line 2"
    assert result.sources["server.backlog"] == "ztoapi.toml"


def test_env_files_may_quote_export_and_comment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# comment\n\nexport ZAI_TOKEN = \"tok # en\"  # why\nMODEL_NAME='a' \nPORT=1 # x\n")
    with pytest.raises(ConfigError):
        loaded(tmp_path)
    (tmp_path / ".env").write_text("export ZAI_TOKEN=\"token\"  # why\nMODEL_NAME='a b'\nPORT=1 # x\nDEFAULT_KEY=\n")
    config = loaded(tmp_path).config
    assert tokens(config, "zai") == ["token"]
    assert (config.model_name, config.server.port, config.api_keys) == ("a b", 1, ())


def test_all_problems_come_at_once_with_name_source_and_remedy(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\nWORKERS=none\nthis is no line\n")
    (tmp_path / "ztoapi.toml").write_text("[server]\nprot=1\n[upstream]\ntls_verify='maybe'\n")
    found = problems(
        tmp_path, PORT="70000", THINK_TAGS_MODE="loud", DEFAULT_STREAM="si", ZTOAPI_HEAD_TIMEOUT_SECONDS="-1",
        MODEL_PLATFORM_MAP="{", PLATFORM_ID="mars", ZTOAPI_TRANSPROT="httpx", UPSTREAM_URL="ftp://x",
    )  # fmt: skip
    text = "\n".join(found)
    for expected in (
        "WORKERS (.env line 2): must be a whole number",
        ".env line 3: this is no KEY=VALUE line",
        "server.prot (ztoapi.toml): there is no such option; did you mean server.port?",
        "upstream.tls_verify (ztoapi.toml): must be true or false",
        "PORT (environment): must be a whole number from 0 to 65535",
        "THINK_TAGS_MODE (environment): must be one of strip, think, raw, reasoning",
        "DEFAULT_STREAM (environment): must be true or false",
        "ZTOAPI_HEAD_TIMEOUT_SECONDS (environment): must be a number above 0",
        "MODEL_PLATFORM_MAP (environment): must be a JSON object",
        "PLATFORM_ID (environment): must be one of zai, zai_web, zread, openai",
        "ZTOAPI_TRANSPROT (environment): there is no such option; did you mean ZTOAPI_TRANSPORT?",
        "UPSTREAM_URL (environment): must be an http:// or https:// URL",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("url", "name", "base", "chat"),
    [
        ("https://api.z.ai", "zai", "https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4/chat/completions"),
        ("https://open.bigmodel.cn/api/paas/v4/", "zai", "https://open.bigmodel.cn/api/paas/v4",
         "https://open.bigmodel.cn/api/paas/v4/chat/completions"),
        ("https://chat.z.ai", "zai_web", "https://chat.z.ai", "https://chat.z.ai/api/chat/completions"),
        ("https://chat.z.ai/api/v2/chat/completions", "zai_web", "https://chat.z.ai",
         "https://chat.z.ai/api/v2/chat/completions"),
        ("https://zread.ai", "zread", "https://zread.ai/api/v1", "https://zread.ai/api/v1/talk"),
        ("http://127.0.0.1:8000", "openai", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://localhost:8000/v1/chat/completions", "openai", "http://localhost:8000/v1",
         "http://localhost:8000/v1/chat/completions"),
        ("https://my.host/llm/v1", "openai", "https://my.host/llm/v1", "https://my.host/llm/v1/chat/completions"),
    ],
)  # fmt: skip
def test_the_host_decides_the_platform(tmp_path: Path, url: str, name: str, base: str, chat: str) -> None:
    config = loaded(tmp_path, UPSTREAM_URL=url).config
    assert config.default_platform == name
    assert (platform(config, name).base_url, platform(config, name).chat_url) == (base, chat)


def test_an_explicit_platform_wins_over_the_host(tmp_path: Path) -> None:
    config = loaded(tmp_path, UPSTREAM_URL="http://127.0.0.1:1/api/paas/v4", PLATFORM_ID="zai").config
    assert platform(config, "zai").base_url == "http://127.0.0.1:1/api/paas/v4"


@pytest.mark.parametrize("host", ["api.z.ai", "open.bigmodel.cn"])
def test_the_coding_endpoint_needs_an_explicit_word_and_warns(tmp_path: Path, host: str) -> None:
    url = f"https://{host}/api/coding/paas/v4"
    assert "ZTOAPI_ALLOW_CODING_ENDPOINT=true" in "\n".join(problems(tmp_path, UPSTREAM_URL=url))
    config = loaded(tmp_path, UPSTREAM_URL=url, ZTOAPI_ALLOW_CODING_ENDPOINT="true").config
    assert any("usage-policy" in warning for warning in config.warnings)


def test_tokens_stay_with_their_platform(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        UPSTREAM_TOKEN="first",
        ZAI_TOKEN="second|third",
        ZAI_TOKENS="third|fourth",
        ZREAD_TOKEN="other",
        PLATFORM_TOKEN_MAP=json.dumps({"zai": ["fifth"], "zai_web": "web"}),
    ).config
    assert tokens(config, "zai") == ["first", "second", "third", "fourth", "fifth"]
    assert tokens(config, "zread") == ["other"]
    assert tokens(config, "zai_web") == ["web"]


def test_zai_token_belongs_to_the_web_platform_where_that_is_the_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, UPSTREAM_URL="https://chat.z.ai", UPSTREAM_TOKEN="first", ZAI_TOKEN="second").config
    assert tokens(config, "zai_web") == ["first", "second"]
    assert [platform.id for platform in config.platforms] == ["zai_web"]


def test_routes(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        MODEL_NAME="main",
        MODEL_PLATFORM_MAP=json.dumps(
            {"GPT-4o": "zread", "fast": {"platform": "zai", "upstream": "glm-4.5-air", "alias": "quick"}}
        ),
        UPSTREAM_MODEL_ID_MAP=json.dumps({"old": "glm-4.5", "fast": "ignored"}),
    ).config
    assert [route.public for route in config.routes] == ["main", "GPT-4o", "fast", "quick", "old"]
    assert config.route("gpt-4O").platform == "zread"
    assert config.route("gpt-4O").upstream == "glm-4.5"
    assert config.route("QUICK").upstream == config.route("fast").upstream == "glm-4.5-air"
    assert config.route("old").upstream == "glm-4.5"
    assert (config.route("unknown").platform, config.route("unknown").upstream) == ("zai", "unknown")
    assert {platform.id for platform in config.platforms} == {"zai", "zread"}


def test_unknown_models_get_the_default_model_of_the_web_platform(tmp_path: Path) -> None:
    config = loaded(tmp_path, PLATFORM_ID="zai_web").config
    assert config.route("gpt-4").upstream == "0727-360B-API"


@pytest.mark.parametrize("key", ["", "sk-your-key", "SK-YOUR-KEY", "good|sk-your-key"])
def test_defect_12_a_public_bind_needs_a_key_of_ones_own(tmp_path: Path, key: str) -> None:
    assert "DEFAULT_KEY" in problems(tmp_path, HOST="0.0.0.0", DEFAULT_KEY=key)[0]
    assert loaded(tmp_path, HOST="0.0.0.0", DEFAULT_KEY="my-own").config.api_keys[0].reveal() == "my-own"


def test_defect_12_the_known_key_is_never_accepted_silently(tmp_path: Path) -> None:
    config = loaded(tmp_path, DEFAULT_KEY="sk-your-key").config
    assert any("DEFAULT_KEY" in warning for warning in config.warnings)


def test_defect_09_secrets_are_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    canary = "canary-7f3a"
    secrets = {
        "DEFAULT_KEY": canary, "API_KEYS": canary + "2", "ZAI_TOKEN": canary + "3",
        "PLATFORM_TOKEN_MAP": json.dumps({"zread": canary + "4", "openai": {"no": canary}}),
    }  # fmt: skip
    text = "\n".join(problems(tmp_path, **secrets, PORT="x", HOST="0.0.0.0"))
    del secrets["PLATFORM_TOKEN_MAP"]
    config = loaded(tmp_path, **secrets).config
    text += f"{config!r} {config} {config.api_keys[0]:>9} {config.api_keys}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for name, value in secrets.items():
            patch.setenv(name, value)
        assert main(["check"]) == 0
        assert main(["check", "--json"]) == 0
        assert main(["models"]) == 0
    captured = capsys.readouterr()
    assert "canary" not in text + captured.out + captured.err


def test_plain_http_to_another_host_is_warned_of(tmp_path: Path) -> None:
    assert any("unencrypted" in one for one in loaded(tmp_path, UPSTREAM_URL="http://10.0.0.9:8000").config.warnings)
    assert not loaded(tmp_path, UPSTREAM_URL="http://127.0.0.1:8000").config.warnings


def test_workers_auto_is_at_least_one(tmp_path: Path) -> None:
    assert loaded(tmp_path, WORKERS="auto").config.server.workers >= 1


def test_a_configuration_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load({}, environ={}, directory=tmp_path, config_file=tmp_path / "none.toml")


def test_every_option_of_the_structs_can_be_set(tmp_path: Path) -> None:
    for name, kind in (("server", ServerConfig), ("upstream", UpstreamConfig)):
        for field in kind.__struct_fields__:
            default = getattr(kind(), field)
            value = "/ca.pem" if default is None else str(default).lower()
            result = loaded(tmp_path, **{variables_of(name, field)[0]: value, "DEFAULT_KEY": "k"})
            assert f"{name}.{field}" in result.sources
