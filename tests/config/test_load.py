"""The configuration: its sources, the refused values and their messages."""

from pathlib import Path

import pytest
import trustme

from tests.config.reading import loaded, platform, problems, tokens
from tests.support.table import table
from ztoapi.config.load import load
from ztoapi.config.model import Secret
from ztoapi.config.options import config_options
from ztoapi.errors import ConfigError


@table(
    ("written", "value"),
    [
        ("5000", 5000), ('"5000"', 5000), ('"5k"', 5000), ('"5K"', 5000), ('" 2M "', 2_000_000), ('"1.5m"', 1_500_000),
        ('"0.001M"', 1000), ('"0.1B"', 100_000_000), ("5_000", 5000),
    ],
)  # fmt: skip
def test_a_number_of_tokens_may_have_a_suffix(tmp_path: Path, written: str, value: int) -> None:
    (tmp_path / "ztoapi.toml").write_text(f"[limits.key]\ntokens_per_minute = {written}\n")
    assert loaded(tmp_path).config.limits.key.tokens_per_minute == value


@table(
    "written",
    ["'k'", "'0k'", "'1.0001k'", "'5 k'", "'5kk'", "'-5k'", "'1e3k'", "'5T'", "'101M'", "5.0", "'9B'", "true"],
)
def test_an_amount_that_is_no_number_of_tokens(tmp_path: Path, written: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(f"[limits.key]\ntokens_per_minute = {written}\n")
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path)
    assert "must be a whole number from 1 to 100000000, also with k, M or B: 5k, 1.5M" in str(caught.value.problems)


@pytest.mark.parametrize("option", ["requests_per_minute", "max_concurrency"])
def test_other_numbers_have_no_suffix(tmp_path: Path, option: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(f"[limits.key]\n{option} = '5k'\n")
    with pytest.raises(ConfigError):
        loaded(tmp_path)


def test_nothing_configured_is_the_official_general_endpoint_on_loopback(tmp_path: Path) -> None:
    config = loaded(tmp_path).config
    assert (config.server.host, config.server.port, config.server.workers) == ("127.0.0.1", 9090, 1)
    assert config.default_platform == "zai"
    assert platform(config, "zai").chat_url == "https://api.z.ai/api/paas/v4/chat/completions"
    assert [route.public for route in config.routes] == ["glm-5.3"]
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
    assert result.sources["server.port"] == "--port (command line)"
    assert result.sources["server.workers"] == "WORKERS (.env.local line 2)"
    assert result.sources["server.backlog"] == "server.backlog (ztoapi.toml line 5)"
    assert result.sources["model_name"] == "MODEL_NAME (.env line 4)"
    assert "server.head_timeout_seconds" not in result.sources


def test_a_nearer_source_wins_by_whichever_of_its_names_an_option_is_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ZTOAPI_PORT=1\n")
    assert loaded(tmp_path, PORT="2").config.server.port == 2
    assert loaded(tmp_path, PORT="2", ZTOAPI_PORT="3").config.server.port == 3


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_leaves_the_word_to_the_next_source(tmp_path: Path, empty: str) -> None:
    (tmp_path / ".env.local").write_text("PORT=\n")
    (tmp_path / ".env").write_text("PORT=2\n")
    (tmp_path / "ztoapi.toml").write_text("upstream_url=''\n")
    config = loaded(tmp_path, PORT=empty).config
    assert (config.server.port, config.default_platform) == (2, "zai")


def test_env_files_may_quote_export_and_comment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export ZAI_TOKEN=\"token\"  # why\nMODEL_NAME='a b'\nPORT=1 # x\nDEFAULT_KEY=\n")
    config = loaded(tmp_path).config
    assert tokens(config, "zai") == ["token"]
    assert (config.model_name, config.server.port, config.default_key) == ("a b", 1, None)


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
        ".env line 3: not a KEY=VALUE line",
        "server.prot (ztoapi.toml line 2): unknown option; did you mean server.port?",
        "upstream.tls_verify (ztoapi.toml line 4): must be true or false",
        "PORT (environment): must be a whole number from 0 to 65535",
        "THINK_TAGS_MODE (environment): must be one of strip, think, raw, reasoning",
        "DEFAULT_STREAM (environment): must be true or false",
        "ZTOAPI_HEAD_TIMEOUT_SECONDS (environment): must be a number above 0",
        "MODEL_PLATFORM_MAP (environment): must be a JSON object",
        "PLATFORM_ID (environment): must be one of zai, zai_web, zread, openai",
        "ZTOAPI_TRANSPROT (environment): unknown option; did you mean ZTOAPI_TRANSPORT?",
        "UPSTREAM_URL (environment): must be an http:// or https:// URL",
    ):
        assert expected in text


@pytest.mark.parametrize("key", ["", "sk-your-key", "SK-YOUR-KEY", "good|sk-your-key"])
def test_a_public_bind_needs_a_key_of_ones_own(tmp_path: Path, key: str) -> None:
    assert "DEFAULT_KEY" in problems(tmp_path, HOST="0.0.0.0", DEFAULT_KEY=key)[0]
    assert loaded(tmp_path, HOST="0.0.0.0", DEFAULT_KEY="my-own").config.default_key == Secret("my-own")


def test_the_known_key_is_never_accepted_silently(tmp_path: Path) -> None:
    config = loaded(tmp_path, DEFAULT_KEY="sk-your-key").config
    assert any("DEFAULT_KEY" in warning for warning in config.warnings)


def test_workers_auto_is_at_least_one(tmp_path: Path) -> None:
    assert loaded(tmp_path, WORKERS="auto").config.server.workers >= 1


def test_a_configuration_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file not found"):
        load({}, environ={}, directory=tmp_path, config_file=tmp_path / "none.toml")


def test_every_option_of_a_table_can_be_set(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server_pem = tmp_path / "server.pem"
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(server_pem))
    samples = {
        "ca_file": "ca.pem",
        "tls_client_ca_file": "ca.pem",
        "tls_cert_files": str(server_pem),
        "listen": "127.0.0.1:1",
        "redis_url": "redis://h",
        "trusted_proxies": "10.0.0.0/8",
    }
    # These are refused alone.
    alone = ("burst", "redis", "tls_key_files", "fd")
    options = [option for option in config_options() if option.table and option.name not in alone]
    assert len(options) > 60
    for option in options:
        variable = option.variables[0]
        value = samples.get(option.name) or ("7" if option.default is None else str(option.default).lower())
        result = loaded(tmp_path, **{variable: value})
        scope = (
            option.table.upper().replace("LIMITS.", "") + "_"
            if "." in option.table or option.table in ("cache", "claude", "responses")
            else ""
        )
        assert variable == f"ZTOAPI_{scope}{option.name.upper()}"
        assert result.sources[option.key] == f"{variable} (environment)"
        (tmp_path / "ztoapi.toml").write_text(
            f"[{option.table}]\n{option.name} = {value if option.type is bool else repr(value)}\n"
        )
        assert loaded(tmp_path).sources[option.key] == f"{option.key} (ztoapi.toml line 2)"
        (tmp_path / "ztoapi.toml").unlink()


def test_answers_are_shared_by_a_redis_that_is_named(tmp_path: Path) -> None:
    assert "set REDIS_URL" in problems(tmp_path, ZTOAPI_CACHE_REDIS="1")[0]
    assert loaded(tmp_path, ZTOAPI_CACHE_REDIS="1", REDIS_URL="redis://h").config.cache.redis


def test_a_store_of_responses_serves_all_workers(tmp_path: Path) -> None:
    assert "set REDIS_URL" in problems(tmp_path, ZTOAPI_RESPONSES_STORE="redis")[0]
    stored = loaded(tmp_path, ZTOAPI_RESPONSES_STORE="redis", REDIS_URL="redis://h", WORKERS="4").config.responses
    assert stored.store == "redis"
    (problem,) = problems(tmp_path, ZTOAPI_RESPONSES_STORE="memory", WORKERS="2")
    assert "Use redis, or one worker" in problem
    assert "WORKERS" in problem
    assert loaded(tmp_path, ZTOAPI_RESPONSES_STORE="memory").config.responses.store == "memory"


@table("variable", ["PORT", "WORKERS", "ZTOAPI_MAX_TRIES", "ZTOAPI_MAX_HEAD_BYTES", "ZTOAPI_HEAD_TIMEOUT_SECONDS"])
@table("value", ["-1", "1e999", "nan", "inf", "99999999999", "many", "9" * 5000])
def test_a_number_out_of_range_is_refused_and_not_clamped(tmp_path: Path, variable: str, value: str) -> None:
    (problem,) = problems(tmp_path, **{variable: value})
    assert problem.startswith(f"{variable} (environment): must be a")
    assert " to " in problem


@pytest.mark.parametrize("variable", ["PORT", "ZTOAPI_SSE_KEEPALIVE_SECONDS", "DRAIN_SECONDS"])
def test_zero_is_a_value_where_it_means_something(tmp_path: Path, variable: str) -> None:
    assert loaded(tmp_path, **{variable: "0"}).sources
    assert "above 0" in problems(tmp_path, ZTOAPI_IDLE_TIMEOUT_SECONDS="0")[0]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("true", True), ("1", True), ("Yes", True), ("ON", True), ("false", False), ("0", False), (" off ", False)],
)
def test_truth_values(tmp_path: Path, word: str, meant: bool) -> None:
    config = loaded(tmp_path, DEFAULT_STREAM=word, ENABLE_THINKING=word, DASHBOARD_ENABLED=word, DEBUG_MODE=word).config
    assert (config.default_stream, config.enable_thinking, config.dashboard_enabled, config.debug) == (meant,) * 4


@table(
    ("toml", "expected"),
    [
        ("[servre]\nport=1\n", "servre (ztoapi.toml line 1): unknown option; did you mean server?"),
        ("server = 3\n", "server (ztoapi.toml line 1): must be a table"),
        ("\nmodel_name = 3\n", "model_name (ztoapi.toml line 2): must be a string"),
        ("api_keys = [1]\n", "api_keys (ztoapi.toml line 1): must be a list of strings"),
        ("[server]\nport = true\n", "server.port (ztoapi.toml line 2): must be a whole number"),
        ("[server]\nport = 1.5\n", "server.port (ztoapi.toml line 2): must be a whole number"),
        ("[server]\nhost = 5\n", "server.host (ztoapi.toml line 2): must be a string"),
        ("[platform_token_map]\nzai = [3]\n", "platform_token_map (ztoapi.toml line 1): must be a list of strings"),
        ("cors_origins = ['https://a.example/']\n", "cors_origins (ztoapi.toml line 1): each must be"),
        ("zread_repository = 'vllm'\n", "zread_repository (ztoapi.toml line 1): must be owner/name"),
        ("upstream.ca_file = 'none.pem'\n", "upstream.ca_file (ztoapi.toml line 1): file not found"),
    ],
)
def test_what_is_wrong_in_toml_is_named_with_its_line(tmp_path: Path, toml: str, expected: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(toml)
    assert problems(tmp_path)[0].startswith(expected)


@table(
    ("toml", "expected"),
    [
        ("a = \n", "Invalid value (at line 1, column 5), in the value of a: text needs quotes at both ends"),
        ('[server]\nhost = "::1\n', "in the value of host: text needs quotes at both ends"),
        ("server.host = 127.0.0.1", "in the value of server.host: text needs quotes at both ends"),
        ("debug = true\ndebug = false\n", "in the value of debug, which is set twice: remove one of the lines"),
        ("[server]\nhost = '::1\n", "(at end of document): close each quote and bracket"),
        ('[server]\nhost = "::1', "(at end of document): close each quote and bracket"),
        ("api_keys = ['a'", "(at end of document): close each quote and bracket"),
        ("debug =", "(at end of document)"),
        ('history_file = "C:\\zto"\n', "in the value of history_file"),
        ("api_keys = [\nsecret==\n]\n", "(at line 2, column 1)"),
        ("SECRET = secret\n", "(at line 1, column 10)"),
    ],
)
def test_a_syntax_error_names_the_option_and_the_remedy(tmp_path: Path, toml: str, expected: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(toml)
    (problem,) = problems(tmp_path)
    assert problem.startswith("ztoapi.toml: not valid TOML: ")
    assert problem.endswith(expected)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (tmp_path / ".env.local").write_bytes(b"A=\xff")
    found = problems(tmp_path)
    assert any(problem.startswith(".env: is a directory: remove") for problem in found)
    assert any(problem.startswith(".env.local: not valid UTF-8") for problem in found)


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPORT=1\r\n")
    (tmp_path / "ztoapi.toml").write_bytes(b"\xef\xbb\xbfmodel_name='m'\r\n")
    config = loaded(tmp_path).config
    assert (config.server.port, config.model_name) == (1, "m")


def test_the_variables_of_a_kubernetes_service_called_ztoapi_are_no_options(tmp_path: Path) -> None:
    links = {
        "ZTOAPI_SERVICE_HOST": "10.0.0.1", "ZTOAPI_SERVICE_PORT": "80", "ZTOAPI_SERVICE_PORT_HTTP": "80",
        "ZTOAPI_PORT": "tcp://10.0.0.1:80", "ZTOAPI_PORT_80_TCP": "tcp://10.0.0.1:80",
        "ZTOAPI_PORT_80_TCP_ADDR": "10.0.0.1", "ZTOAPI_METRICS_PORT": "tcp://10.0.0.2:80",
    }  # fmt: skip
    assert loaded(tmp_path, **links).config.server.port == 9090


def test_keys_of_both_variables_count(tmp_path: Path) -> None:
    config = loaded(tmp_path, DEFAULT_KEY="one", API_KEYS="two| one |three").config
    assert config.default_key == Secret("one")
    assert config.api_keys == (Secret("two"), Secret("one"), Secret("three"))


def test_the_default_key_is_one(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, DEFAULT_KEY="one|two")
    assert problem.startswith("DEFAULT_KEY (environment): must be one key; separate several keys with | in API_KEYS")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "127.evil.example", "gateway.example"])
def test_every_host_but_loopback_needs_a_key(tmp_path: Path, host: str) -> None:
    (problem,) = problems(tmp_path, HOST=host)
    assert problem.startswith("DEFAULT_KEY (not set): required to listen on")
    assert "127.0.0.1" in problem


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_key(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, HOST=host).config.api_keys == ()


def test_a_variable_is_likened_by_what_is_its_own(tmp_path: Path) -> None:
    """All begin with ZTOAPI_, which is no resemblance."""
    foo, brust = problems(tmp_path, ZTOAPI_FOO="1", ZTOAPI_KEY_BRUST="1")
    assert foo == "ZTOAPI_FOO (environment): unknown option"
    assert brust.endswith("did you mean ZTOAPI_KEY_BURST?")


@pytest.mark.parametrize("key", ["cl\u00e9", "a b", "a\tb"])
def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path, key: str) -> None:
    assert problems(tmp_path, API_KEYS=key)[0].startswith("API_KEYS (environment): must be printable ASCII")


def test_limits_of_each_scope_come_from_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        '[limits]\nredis_url = "redis://:secret@h"\n[limits.global]\nrequests_per_second = 500\n'
        "[limits.address]\nmax_concurrency = 3\n"
    )
    config = loaded(tmp_path, ZTOAPI_KEY_TOKENS_PER_MINUTE="1000").config.limits
    assert config.everybody.requests_per_second == 500
    assert config.address.max_concurrency == 3
    assert config.key.tokens_per_minute == 1000
    assert config.model.max_concurrency is None
    assert config.redis_url is not None and "secret" not in repr(config)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[limits]\nredis_url = 'http://h'", "limits.redis_url (ztoapi.toml line 2): must be a URL such as redis://"),
        ("[limits.key]\nburst = 0", "limits.key.burst (ztoapi.toml line 2): must be a whole number from 1 to 1"),
        ("[limits.key]\nbrust = 1", "limits.key.brust (ztoapi.toml line 2): unknown option; did you mean"),
        ("[limits]\nkey = 1", "limits.key (ztoapi.toml line 2): must be a table: write [limits.key]"),
        (
            "[limits.key]\nburst = 5",
            "limits.key.burst (ztoapi.toml line 2): requires requests_per_second or requests_per",
        ),
        (
            "[server]\nworker_max_memory_bytes = 67108863",
            "server.worker_max_memory_bytes (ztoapi.toml line 2): must be 0 or at least 67108864: a worker that has",
        ),
        ("[server]\ntrusted_proxies = ['x']", "server.trusted_proxies (ztoapi.toml line 2): each must be an address"),
    ],
)
def test_wrong_limits_are_reported(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path)
    assert problem in error.value.problems[0]
