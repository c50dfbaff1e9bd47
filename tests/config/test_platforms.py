"""Platforms, their addresses and tokens, and the routes of models."""

import json
from pathlib import Path

import pytest

from tests.config.reading import loaded, platform, problems, tokens
from tests.support.table import table
from ztoapi.config.routes import RouteTable


@table(
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
    routes = RouteTable(config)
    assert routes.find("gpt-4O").platform == "zread"
    assert routes.find("gpt-4O").upstream == "glm-4.5"
    assert routes.find("QUICK").upstream == routes.find("fast").upstream == "glm-4.5-air"
    assert routes.find("old").upstream == "glm-4.5"
    assert (routes.find("unknown").platform, routes.find("unknown").upstream) == ("zai", "unknown")
    assert {platform.id for platform in config.platforms} == {"zai", "zread"}


def test_unknown_models_get_the_default_model_of_the_web_platform(tmp_path: Path) -> None:
    config = loaded(tmp_path, PLATFORM_ID="zai_web").config
    routes = RouteTable(config)
    assert routes.find("gpt-4").upstream == "0727-360B-API"


def test_plain_http_to_another_host_is_warned_of(tmp_path: Path) -> None:
    assert any("unencrypted" in one for one in loaded(tmp_path, UPSTREAM_URL="http://10.0.0.9:8000").config.warnings)
    assert not loaded(tmp_path, UPSTREAM_URL="http://127.0.0.1:8000").config.warnings


@table(
    ("name", "url", "chat", "models"),
    [
        ("zai", "/api/paas/v4", "/api/paas/v4/chat/completions", "/api/paas/v4/models"),
        ("zai", "", "/api/paas/v4/chat/completions", "/api/paas/v4/models"),
        ("zai", "/chat/completions", "/chat/completions", "/models"),
        ("zai_web", "", "/api/chat/completions", "/api/models"),
        ("zai_web", "/api/chat/completions", "/api/chat/completions", "/api/models"),
        ("zai_web", "/api/v2/chat/completions", "/api/v2/chat/completions", "/api/models"),
        ("zai_web", "/web/api", "/web/api/chat/completions", "/web/api/models"),
        ("zread", "", "/api/v1/talk", None),
        ("zread", "/api/v1/talk", "/api/v1/talk", None),
        ("openai", "/v1/", "/v1/chat/completions", "/v1/models"),
        ("openai", "/chat/completions", "/chat/completions", "/models"),
    ],
)
def test_any_dialect_can_be_spoken_to_any_host(
    tmp_path: Path, name: str, url: str, chat: str, models: str | None
) -> None:
    host = "http://127.0.0.1:9100"
    found = platform(loaded(tmp_path, PLATFORM_ID=name.upper(), UPSTREAM_URL=host + url).config, name)
    assert found.dialect == name
    assert (found.chat_url, found.models_url) == (host + chat, None if models is None else host + models)


@table(
    "url",
    ["ftp://x", "api.z.ai", "http://", "http://[", "http://x:99999", "http://a b", "http://a\nb", "http://\u00e9"],
)
def test_what_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    assert problems(tmp_path, UPSTREAM_URL=url)[0].startswith("UPSTREAM_URL (environment): must be an http://")


@pytest.mark.parametrize("url", ["https://user:canary@api.z.ai", "https://api.z.ai/?key=canary", "https://api.z.ai/#a"])
def test_a_url_holds_no_secrets(tmp_path: Path, url: str) -> None:
    (problem,) = problems(tmp_path, UPSTREAM_URL=url)
    assert problem.startswith("UPSTREAM_URL (environment): must not contain credentials")
    assert "canary" not in problem


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("zai", "/api/coding/paas/v4"), ("zai", "/api/Coding/paas/v4/chat/completions"), ("zai", "//api//coding//v4"),
        ("openai", "/api/%63oding/paas/v4"), ("zai_web", "/api/coding/chat/completions"),
    ],
)  # fmt: skip
def test_the_coding_endpoint_is_seen_however_it_is_written(tmp_path: Path, name: str, path: str) -> None:
    url = f"https://api.z.ai{path}"
    (problem,) = problems(tmp_path, PLATFORM_ID=name, UPSTREAM_URL=url)
    assert problem.startswith("UPSTREAM_URL (environment): is the coding endpoint")
    (tmp_path / "ztoapi.toml").write_text("upstream.allow_coding_endpoint = true\n")
    config = loaded(tmp_path, PLATFORM_ID=name, UPSTREAM_URL=url).config
    assert any("usage-policy" in warning for warning in config.warnings)


def test_each_platform_has_an_address_of_its_own(tmp_path: Path) -> None:
    config = loaded(
        tmp_path, UPSTREAM_URL="https://api.z.ai", ZREAD_UPSTREAM_URL="https://zread.example/api/v1", ZREAD_TOKEN="r",
        ZAI_WEB_TOKEN="w", OPENAI_UPSTREAM_URL="http://127.0.0.1:8000/v1", UPSTREAM_TOKEN="z",
    ).config  # fmt: skip
    assert {one.id: one.base_url for one in config.platforms} == {
        "zai": "https://api.z.ai/api/paas/v4",
        "zai_web": "https://chat.z.ai",
        "zread": "https://zread.example/api/v1",
        "openai": "http://127.0.0.1:8000/v1",
    }
    assert {one.id: tokens(config, one.id) for one in config.platforms} == {
        "zai": ["z"], "zai_web": ["w"], "zread": ["r"], "openai": [],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["zai", "zai_web", "zread", "openai"])
def test_the_token_of_the_default_platform_goes_nowhere_else(tmp_path: Path, name: str) -> None:
    config = loaded(
        tmp_path, PLATFORM_ID=name, UPSTREAM_URL="http://127.0.0.1:1", UPSTREAM_TOKEN="mine", UPSTREAM_TOKENS="a|b",
        MODEL_PLATFORM_MAP=json.dumps({"1": "zai", "2": "zai_web", "3": "zread", "4": "openai"}),
        OPENAI_UPSTREAM_URL="http://127.0.0.1:2/v1",
    ).config  # fmt: skip
    assert tokens(config, name) == ["mine", "a", "b"]
    assert [tokens(config, one.id) for one in config.platforms if one.id != name] == [[], [], []]


@pytest.mark.parametrize(
    "why", [{"PLATFORM_ID": "openai"}, {"OPENAI_TOKEN": "t"}, {"MODEL_PLATFORM_MAP": '{"a":"openai"}'}]
)
def test_an_openai_server_needs_an_address(tmp_path: Path, why: dict[str, str]) -> None:
    assert problems(tmp_path, **why)[0].startswith(
        "OPENAI_UPSTREAM_URL (not set): required for the platform openai, which is in use"
    )


def test_the_host_of_another_platform_is_warned_of(tmp_path: Path) -> None:
    config = loaded(tmp_path, PLATFORM_ID="zai", UPSTREAM_URL="https://chat.z.ai/api/chat/completions").config
    assert any("PLATFORM_ID=zai_web" in warning for warning in config.warnings)
    same = loaded(tmp_path, PLATFORM_ID="openai", UPSTREAM_URL="https://api.z.ai/api/paas/v4").config
    assert not same.warnings


@pytest.mark.parametrize("token", ["a b", "a\tb", "t\u00f6ken"])
def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path, token: str) -> None:
    for variable, value in (("ZREAD_TOKENS", f"good|{token}"), ("PLATFORM_TOKEN_MAP", json.dumps({"zai": token}))):
        (problem,) = problems(tmp_path, **{variable: value})
        assert problem.startswith(f"{variable} (environment): a token must be printable ASCII")


def test_a_platform_in_the_token_map_must_exist(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, PLATFORM_TOKEN_MAP=json.dumps({"zai": "a", "zraed": "b"}))
    assert problem.startswith("PLATFORM_TOKEN_MAP (environment): the key of entry 2 must be one of zai, zai_web")
    assert problem.endswith("did you mean zread?")


@table("text", ["{", "[]", "3", "[" * 100_000])
@table("variable", ["PLATFORM_TOKEN_MAP", "MODEL_PLATFORM_MAP", "UPSTREAM_MODEL_ID_MAP"])
def test_a_map_must_be_an_object(tmp_path: Path, variable: str, text: str) -> None:
    (problem,) = problems(tmp_path, **{variable: text})
    assert problem.startswith(f"{variable} (environment): must be a JSON object such as {{")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"a": "mars"}, "the platform of 'a' must be one of zai, zai_web, zread, openai"),
        ({"a": "zreed"}, "did you mean zread?"),
        ({"a": 3}, "'a' must be a platform, or an object"),
        ({"a": {"platforms": "zai"}}, "'a' must be a platform, or an object"),
        ({"a": {"upstream": 3}}, "the names of 'a' must be non-empty strings"),
        ({"a": {"alias": [""]}}, "the names of 'a' must be non-empty strings"),
        ({"a": "zai", "A": "zread"}, "'A' is a duplicate"),
    ],
)
def test_a_wrong_route_is_named(tmp_path: Path, entry: dict[str, object], expected: str) -> None:
    (problem,) = problems(tmp_path, MODEL_PLATFORM_MAP=json.dumps(entry))
    assert problem.startswith("MODEL_PLATFORM_MAP (environment): ")
    assert expected in problem


def test_a_wrong_entry_of_the_legacy_map_is_named(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, UPSTREAM_MODEL_ID_MAP='{"a": ["b"]}')
    assert problem.startswith("UPSTREAM_MODEL_ID_MAP (environment): 'a' must be the model id of the upstream")


def test_routes_may_be_tables_with_several_aliases(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        "[model_platform_map.fast]\nplatform = 'ZAI'\nupstream = 'glm-4.5-air'\nalias = ['quick', 'rapid']\n"
    )
    result = loaded(tmp_path)
    assert [route.public for route in result.config.routes] == ["glm-5.3", "fast", "quick", "rapid"]
    assert result.sources["routes.rapid"] == "model_platform_map (ztoapi.toml line 1)"


def test_the_default_upstream_id_is_the_default_platforms(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        PLATFORM_ID="zai_web",
        UPSTREAM_MODEL_ID_DEFAULT="new",
        MODEL_PLATFORM_MAP='{"a": "zread", "b": "zai_web"}',
    ).config
    routes = RouteTable(config)
    assert routes.find("glm-4.6").upstream == routes.find("unknown").upstream == routes.find("b").upstream == "new"
    assert routes.find("a").upstream == "glm-4.5"


def test_the_main_model_keeps_a_route_of_its_own_and_comes_first(tmp_path: Path) -> None:
    mapped = {"other": "zai", "glm-4.6": {"platform": "zread", "upstream": "x"}}
    config = loaded(tmp_path, MODEL_NAME="GLM-4.6", MODEL_PLATFORM_MAP=json.dumps(mapped)).config
    routes = RouteTable(config)
    assert config.routes[0] == routes.find("glm-4.6")
    assert (config.routes[0].platform, config.routes[0].upstream) == ("zread", "x")


@table(
    ("model", "upstream"),
    [
        ("claude-opus-5", "glm-5.3"),
        ("claude-sonnet-4-5-20250929", "glm-5.2"),
        ("Claude-3-5-Haiku-latest", "glm-4.5-air"),
        ("claude-unheard-of", "glm-5.3"),
        ("claude-glm-4.6", "glm-4.6"),
        ("claude-GLM-5.3[1m]", "glm-5.3"),
        ("claude-eyes", "glm-4.6v"),
        ("claude-mine", "glm-5.1"),
    ],
)
def test_names_of_claude_are_served_by_tier(tmp_path: Path, model: str, upstream: str) -> None:
    models = {
        "eyes": {"platform": "zai", "upstream": "glm-4.6v"},
        "claude-mine": {"platform": "zai", "upstream": "glm-5.1"},
    }
    config = loaded(tmp_path, ZTOAPI_CLAUDE_SONNET="glm-5.2", MODEL_PLATFORM_MAP=json.dumps(models)).config
    route = RouteTable(config).find(model)
    assert (route.platform, route.upstream) == ("zai", upstream)


def test_another_server_may_have_models_of_claude(tmp_path: Path) -> None:
    environ = {"PLATFORM_ID": "openai", "UPSTREAM_URL": "http://127.0.0.1:8000/v1"}
    assert RouteTable(loaded(tmp_path, **environ).config).find("claude-opus-5").upstream == "claude-opus-5"
    configured = RouteTable(loaded(tmp_path, ZTOAPI_CLAUDE_OPUS="claude-opus-4", **environ).config)
    assert configured.find("claude-opus-5").upstream == "claude-opus-4"
    assert configured.find("claude-haiku-5").upstream == "claude-haiku-5"
    assert configured.find("claude-zai-org/GLM-4.6").upstream == "zai-org/GLM-4.6"
    assert configured.find("claude-glm-4.6").upstream == "glm-4.6"


@pytest.mark.parametrize(
    ("url", "name", "messages", "responses"),
    [
        ("https://api.z.ai/api/paas/v4", "zai", "https://api.z.ai/api/anthropic/v1/messages",
         "https://api.z.ai/api/v1/responses"),
        ("https://open.bigmodel.cn", "zai", "https://open.bigmodel.cn/api/anthropic/v1/messages",
         "https://open.bigmodel.cn/api/v1/responses"),
        ("https://my.host/zai/api/paas/v4", "zai", "https://my.host/zai/api/anthropic/v1/messages",
         "https://my.host/zai/api/v1/responses"),
        ("http://127.0.0.1:8000", "openai", "http://127.0.0.1:8000/v1/messages", "http://127.0.0.1:8000/v1/responses"),
    ],
)  # fmt: skip
def test_endpoints_of_other_apis_follow_from_the_base_url(
    tmp_path: Path, url: str, name: str, messages: str, responses: str
) -> None:
    (tmp_path / "ztoapi.toml").write_text(f'[platforms.{name}]\nmessages = "native"\nresponses = "Native"\n')
    found = platform(loaded(tmp_path, UPSTREAM_URL=url, PLATFORM_ID=name).config, name)
    assert (found.messages_url, found.responses_url) == (messages, responses)


def test_endpoints_of_other_apis_may_be_anywhere(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        '[platforms.zai]\nmessages = "native"\nmessages_url = "http://other:1/m/"\nresponses = "translate"\n'
    )
    config = loaded(tmp_path).config
    assert platform(config, "zai").messages_url == "http://other:1/m"
    assert platform(config, "zai").responses_url is None
    assert any("unencrypted" in warning for warning in config.warnings)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[platforms.zai]\nmessages = "natve"\n', "platforms.zai.messages (ztoapi.toml line 2): must be one of"),
        ('[platforms.zai]\nresponses = "native"\nresponses_url = "ftp://x"\n', "platforms.zai.responses_url"),
        ('[platforms.zai]\nmesages = "native"\n', "did you mean messages?"),
    ],
)
def test_mistakes_about_endpoints(tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(toml)
    (problem,) = problems(tmp_path)
    assert words in problem


def test_the_web_platforms_have_no_other_endpoints(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text('[platforms.zai_web]\nmessages = "native"\n')
    (problem,) = problems(tmp_path, PLATFORM_ID="zai_web")
    assert "has no such endpoint" in problem


def test_paths_that_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        '[platforms.zai]\npassthrough_paths = ["/v1/images/generations", "/v1/audio/"]\n'
        '[platforms.openai]\npassthrough_paths = "/v1/rerank, /v1/audio/speech"\n'
    )
    result = loaded(tmp_path, OPENAI_UPSTREAM_URL="http://127.0.0.1:8000", OPENAI_TOKEN="t")
    assert platform(result.config, "zai").passthrough_paths == ("/v1/images/generations", "/v1/audio/")
    assert platform(result.config, "openai").passthrough_paths == ("/v1/rerank", "/v1/audio/speech")
    assert "ztoapi.toml line 2" in result.sources["platforms.zai.passthrough_paths"]


@pytest.mark.parametrize("paths", [[], ""])
def test_no_paths_are_passed_on_by_default(tmp_path: Path, paths: object) -> None:
    (tmp_path / "ztoapi.toml").write_text(f"[platforms.zai]\npassthrough_paths = {paths!r}\n")
    assert platform(loaded(tmp_path).config, "zai").passthrough_paths == ()


@table(
    ("toml", "words"),
    [
        ("zai]\npassthrough_paths = [1]", "must be a list of strings"),
        ('zai]\npassthrough_paths = ["/v1/"]', "each must be a path below /v1, such as"),
        ('zai]\npassthrough_paths = ["/audio/"]', "each must be a path below /v1, such as"),
        ('zai]\npassthrough_paths = ["/v1/audio/../chat"]', "each must be a path below /v1, such as"),
        ('zai]\npassthrough_paths = ["/v1/audio/%2e"]', "each must be a path below /v1, such as"),
        ('zai]\npassthrough_paths = ["/v1/audio/*"]', "each must be a path below /v1, such as"),
        ('zai]\npassthrough_paths = ["/v1/chat/"]', "serves the paths below /v1/chat itself: remove /v1/chat/"),
        ('zai]\npassthrough_paths = ["/v1/messages/batches"]', "serves the paths below /v1/messages itself"),
        ('zai_web]\npassthrough_paths = ["/v1/audio/"]', "the platform zai_web has no such paths"),
        ('zai]\npassthrough_path = ["/v1/audio/"]', "did you mean passthrough_paths?"),
        (
            'zai]\npassthrough_paths = ["/v1/audio/"]\n[platforms.openai]\npassthrough_paths = ["/v1/audio/"]',
            "/v1/audio/ is also a path of the platform zai: remove one",
        ),
    ],
)
def test_mistakes_about_paths(tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(f"[platforms.{toml}\n")
    (problem,) = problems(
        tmp_path, OPENAI_UPSTREAM_URL="http://127.0.0.1:8000", OPENAI_TOKEN="t", ZAI_WEB_TOKEN="t", ZAI_TOKEN="t"
    )
    assert words in problem
