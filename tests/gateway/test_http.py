"""Routes, gates, error objects and headers of the whole gateway."""

import json

import httpx
import pytest

from tests.stack import Stack

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions/", "/v1/chat/completions?beta=true"],
)
def test_the_prefix_and_a_trailing_slash_are_optional(shared: Stack, path: str) -> None:
    assert httpx.post(shared.url + path, json=BODY).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/chat/completions", 405, "POST, OPTIONS"),
        ("DELETE", "/v1/models", 405, "GET, HEAD, OPTIONS"),
        ("POST", "/health", 405, "GET, HEAD, OPTIONS"),
        ("POST", "/", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/index", 404, None),
        ("POST", "/v1/fine_tuning/jobs", 404, None),
        ("GET", "/v1/modelsx", 404, None),
    ],
)
def test_unknown_paths_and_methods(shared: Stack, method: str, path: str, status: int, allow: str | None) -> None:
    response = httpx.request(method, shared.url + path)
    assert response.status_code == status
    assert response.headers.get("allow") == allow
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/v1/models", "/v1/models/glm-4.6"])
def test_head_works_where_get_does(shared: Stack, path: str) -> None:
    got, head = httpx.get(shared.url + path), httpx.head(shared.url + path)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"messages":[{}]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[{}],"stream":1}', "stream"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":3}', "n"),
    ],
)
def test_defect_17_bad_requests_get_an_openai_error_object(shared: Stack, content: bytes, param: str | None) -> None:
    response = httpx.post(shared.url + "/v1/chat/completions", content=content)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_every_answer_carries_a_request_id_of_its_own_or_the_clients(shared: Stack) -> None:
    ids = {httpx.get(shared.url + path).headers["x-request-id"] for path in ("/livez", "/nope", "/v1/models")}
    assert len(ids) == 3
    echoed = httpx.get(shared.url + "/livez", headers={"x-request-id": "mine-1"})
    assert echoed.headers["x-request-id"] == "mine-1"
    odd = httpx.get(shared.url + "/livez", headers={"x-request-id": "a b<script>"})
    assert odd.headers["x-request-id"] != "a b<script>"


def test_defect_16_ids_differ_within_a_second(shared: Stack) -> None:
    ids = [httpx.post(shared.base_url + "/chat/completions", json=BODY).json()["id"] for _ in range(20)]
    assert len(set(ids)) == 20


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_keys(header: str) -> None:
    with Stack(DEFAULT_KEY="first", API_KEYS="second|third") as stack:

        def status(key: str | None, path: str = "/v1/models") -> int:
            value = f"Bearer {key}" if header == "authorization" else str(key)
            return httpx.get(stack.url + path, headers={header: value} if key is not None else {}).status_code

        assert [status(key) for key in ("first", "second", "third")] == [200] * 3
        assert [status(key) for key in (None, "firs", "first|second", "FIRST", "x" * 3000)] == [401] * 5
        assert status(None, "/health") == 200
        refused = httpx.post(stack.base_url + "/chat/completions", json=BODY)
        assert refused.json()["error"]["type"] == "authentication_error"
        assert stack.stats()["requests"] == 0


def test_pages_of_other_origins_may_not_use_a_gateway_without_keys(shared: Stack) -> None:
    evil = {"origin": "https://evil.example"}
    assert httpx.post(shared.base_url + "/chat/completions", json=BODY, headers=evil).status_code == 403
    rebound = httpx.get(shared.url + "/v1/models", headers={"host": "evil.example"})
    assert rebound.status_code == 403
    local = httpx.get(shared.url + "/v1/models", headers={"origin": "http://localhost:3000"})
    assert local.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert httpx.options(shared.base_url + "/chat/completions", headers=evil).status_code == 403


def test_pages_may_use_a_gateway_with_keys() -> None:
    with Stack(DEFAULT_KEY="right") as stack:
        page = {"origin": "https://app.example", "authorization": "Bearer right"}
        answer = httpx.post(stack.base_url + "/chat/completions", json=BODY, headers=page)
        assert answer.headers["access-control-allow-origin"] == "*"
        preflight = httpx.options(
            stack.base_url + "/chat/completions",
            headers={"origin": "https://app.example", "access-control-request-headers": "authorization,x-stainless-os"},
        )
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "content-length" not in preflight.headers
        refused = httpx.get(stack.url + "/v1/models", headers={"origin": "https://app.example"})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")


def test_defect_07_the_requested_model_is_echoed_and_models_come_from_the_configuration() -> None:
    routes = json.dumps({"My-Model": {"platform": "zai", "upstream": "glm-4.7"}})
    with Stack(MODEL_PLATFORM_MAP=routes) as stack:
        for stream in (False, True):
            response = httpx.post(
                stack.base_url + "/chat/completions", json={**BODY, "model": "my-MODEL", "stream": stream}
            )
            assert '"model":"my-MODEL"' in response.text
            assert "glm-4.7" not in response.text
            last = stack.stats()["last_request"]
            assert isinstance(last, dict) and last["body"]["model"] == "glm-4.7"
        listed = [model["id"] for model in httpx.get(stack.base_url + "/models").json()["data"]]
        assert listed[:2] == ["glm-5.3", "My-Model"]


@pytest.mark.parametrize(("default", "kind"), [("true", "text/event-stream"), ("false", "application/json")])
def test_default_stream_applies_to_requests_without_stream(default: str, kind: str) -> None:
    with Stack(DEFAULT_STREAM=default) as stack:
        response = httpx.post(stack.base_url + "/chat/completions", json=BODY)
        assert response.headers["content-type"].startswith(kind)
        both = [httpx.post(stack.base_url + "/chat/completions", json={**BODY, "stream": s}) for s in (True, False)]
        assert [one.headers["content-type"][:5] for one in both] == ["text/", "appli"]


def test_models_are_listed_without_the_upstream_when_it_has_none() -> None:
    with Stack(ZAI_UPSTREAM_URL="http://127.0.0.1:9/api/paas/v4") as stack:
        listed = httpx.get(stack.base_url + "/models").json()
        assert [model["id"] for model in listed["data"]] == ["glm-5.3"]


def test_tokens_take_turns() -> None:
    with Stack(UPSTREAM_TOKEN="", ZAI_TOKENS="token-aaaa|token-bbbb") as stack:
        seen = []
        for _ in range(4):
            httpx.post(stack.base_url + "/chat/completions", json=BODY)
            last = stack.stats()["last_request"]
            assert isinstance(last, dict)
            seen.append(last["headers"]["authorization"])
        assert seen == ["...aaaa", "...bbbb"] * 2


def test_a_missing_token_is_an_error() -> None:
    with Stack(UPSTREAM_TOKEN="") as stack:
        response = httpx.post(stack.base_url + "/chat/completions", json=BODY)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "token_unavailable")
        assert "ZAI_TOKEN" in response.json()["error"]["message"]
        assert stack.stats()["requests"] == 0


def test_zread_gets_the_named_repository() -> None:
    with Stack("zread") as stack:
        chat = stack.base_url + "/chat/completions"
        assert httpx.post(chat, json=BODY).json()["error"]["param"] == "repository"
        assert httpx.post(chat, json={**BODY, "repository": "zai-org/GLM-4.5"}).status_code == 200
        missing = httpx.post(chat, json={**BODY, "repository": "missing/one"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "repository_not_indexed")


def test_the_upstream_gets_accept_encoding_identity() -> None:
    with Stack() as stack:
        httpx.post(stack.base_url + "/chat/completions", json=BODY)
        last = stack.stats()["last_request"]
        assert isinstance(last, dict) and last["headers"]["accept-encoding"] == "identity"


def test_defect_10_connections_are_reused(stack: Stack) -> None:
    for _ in range(10):
        httpx.post(stack.base_url + "/chat/completions", json={**BODY, "stream": True})
    stack.wait_for(lambda: stack.pool.statistics().idle == 1)
    statistics = stack.pool.statistics()
    assert (statistics.opened, statistics.busy) == (1, 0)
