"""Spellings of paths through real sockets: which are served, and that no spelling evades a gate."""

import http.client
from collections.abc import Iterator

import httpx
import pytest

from tests.stack import Stack

KEY, ADMIN = "sk-client", "sk-admin"
CHAT = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}
MODELS = ["zai-org/GLM-4.6", "glm-4.6:free", "a b", "größe", "100%", "a%2Fb"]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    names = "{" + ",".join(f'"{name}":"glm-4.6"' for name in MODELS) + "}"
    with Stack(DEFAULT_KEY=KEY, ADMIN_KEY=ADMIN, UPSTREAM_MODEL_ID_MAP=names) as stack:
        yield stack


def ask(stack: Stack, method: str, target: str, key: str | None = KEY, body: bytes = b"") -> tuple[int, str]:
    """Status and body of a response to exactly this request target, which httpx would rewrite."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    try:
        connection.request(method, target, body, {} if key is None else {"authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("/v1/models/zai-org%2FGLM-4.6", "zai-org/GLM-4.6"),
        ("/v1/models/zai-org%2fglm-4.6", "zai-org/GLM-4.6"),
        ("/v1/models/zai-org/GLM-4.6", "zai-org/GLM-4.6"),
        ("/models/zai-org%2FGLM-4%2E6/", "zai-org/GLM-4.6"),
        ("//v1//models//zai-org%2FGLM-4.6", "zai-org/GLM-4.6"),
        ("/v1/models/glm-4.6%3Afree", "glm-4.6:free"),
        ("/v1/models/glm-4.6:free", "glm-4.6:free"),
        ("/v1/models/a%20b", "a b"),
        ("/v1/models/gr%C3%B6%C3%9Fe", "größe"),
        ("/v1/models/100%25", "100%"),
        ("/v1/models/a%252Fb", "a%2Fb"),
    ],
)
def test_a_model_is_found_by_its_encoded_name(stack: Stack, target: str, model: str) -> None:
    status, body = ask(stack, "GET", target)
    assert status == 200, body
    assert f'"id":"{model}"' in body


@pytest.mark.parametrize("escape", ["%", "%zz", "%2", "%FF", "%00", "%0d%0aset-cookie:x", "%%32F"])
def test_a_broken_encoding_is_named(stack: Stack, escape: str) -> None:
    for path in (f"/v1/models/{escape}", f"/v1/chat/completions{escape}", f"/metrics{escape}"):
        status, body = ask(stack, "GET", path)
        assert status == 400
        assert "percent-encod" in body


@pytest.mark.parametrize(
    "target",
    [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "///v1///chat///completions///",
        "/v1/%63hat/completions",
        "//chat/completions",
        "http://127.0.0.1//v1//chat/completions",
    ],
)
def test_spellings_of_the_chat_route(stack: Stack, target: str) -> None:
    body = httpx.Request("POST", "http://x", json=CHAT).read()
    assert ask(stack, "POST", target, body=body)[0] == 200
    assert ask(stack, "OPTIONS", target)[0] == 204
    assert ask(stack, "GET", target)[0] == 405
    assert ask(stack, "POST", target, key=None, body=body)[0] == 401


@pytest.mark.parametrize(
    "target", ["//metrics", "/%6detrics", "/metrics//", "//dashboard//stats", "/d%61shboard/stats", "/debug//pprof/"]
)
def test_no_spelling_evades_the_admin_key(stack: Stack, target: str) -> None:
    for method in ("GET", "HEAD"):
        assert ask(stack, "GET", target, key=ADMIN)[0] == 200
        assert ask(stack, method, target, key=KEY)[0] == 401
        assert ask(stack, method, target, key=None)[0] == 401


@pytest.mark.parametrize(
    "target",
    [
        "/%2Fmetrics",
        "/x/../metrics",
        "/%2e%2e/metrics",
        "/v1/..%2Fmetrics",
        "/metrics%20",
        "/metrics;x",
        "/docs/%2e%2e/dashboard/stats",
        "/docs/..%2F..%2Fapp.py",
        "/v1%2Fchat/completions",
        "//127.0.0.1/metrics",
    ],
)
def test_other_spellings_are_other_paths(stack: Stack, target: str) -> None:
    for key in (KEY, ADMIN, None):
        assert ask(stack, "GET", target, key=key)[0] == (404 if key == KEY else 401)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1/models", "/v1/models"),
        ("/v1/v1/models/glm-4.6", "/v1/models/glm-4.6"),
        ("/V1/Chat/Completions", "/v1/chat/completions"),
    ],
)
def test_a_wrong_base_url_is_reported(stack: Stack, target: str, meant: str) -> None:
    status, body = ask(stack, "POST", target)
    assert status == 404
    assert f"did you mean {meant}? The base URL" in body


def test_a_path_of_many_slashes_costs_little(stack: Stack) -> None:
    status, body = ask(stack, "GET", "/x" * 4000)
    assert status == 404
    assert len(body) < 2000
