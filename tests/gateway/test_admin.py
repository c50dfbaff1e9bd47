"""Access to the operators' figures."""

import socket
from pathlib import Path

import httpx
import pytest

from tests.config.reading import problems
from tests.stack import Stack
from tests.support.table import table

PATHS = ("/metrics", "/metrics/", "/dashboard/stats", "/dashboard/stats/", "/dashboard/requests", "/dashboard/events")
KEY = {"authorization": "Bearer admin"}


@pytest.mark.parametrize("path", PATHS)
def test_with_an_admin_key_only_its_holder_has_access(path: str) -> None:
    with Stack(ADMIN_KEY="admin", DEFAULT_KEY="client") as stack:
        for headers in ({}, {"authorization": "Bearer client"}, {"x-api-key": "admin"}, {"authorization": "admin"}):
            refused = httpx.get(stack.url + path, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "admin_key_required"
        with httpx.stream("GET", stack.url + path, headers=KEY) as answer:
            assert answer.status_code == 200


def test_the_admin_key_is_no_client_key() -> None:
    with Stack(ADMIN_KEY="admin", DEFAULT_KEY="client") as stack:
        assert httpx.get(f"{stack.base_url}/models", headers=KEY).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"x-real-ip": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"host": "rebound.example"},
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_without_an_admin_key_they_are_for_this_host(headers: dict[str, str]) -> None:
    with Stack(DEFAULT_KEY="client") as stack:
        assert httpx.get(f"{stack.url}/metrics").status_code == 200
        assert httpx.get(f"{stack.url}/metrics", headers={"origin": stack.url}).status_code == 200
        for site in ("same-origin", "none"):
            assert httpx.get(f"{stack.url}/metrics", headers={"sec-fetch-site": site}).status_code == 200
        refused = httpx.get(f"{stack.url}/metrics", headers=headers)
        assert refused.status_code == 403
        assert "ADMIN_KEY" in refused.json()["error"]["message"]


def test_on_another_address_they_are_closed_without_an_admin_key() -> None:
    with Stack(HOST="0.0.0.0", DEFAULT_KEY="client") as stack:
        assert httpx.get(f"{stack.url}/metrics").status_code == 403
    with Stack(HOST="0.0.0.0", DEFAULT_KEY="client", ADMIN_KEY="admin") as stack:
        assert httpx.get(f"{stack.url}/metrics", headers={**KEY, "host": "gateway.example"}).status_code == 200


def test_they_answer_while_requests_are_refused() -> None:
    with Stack(ADMIN_KEY="admin", ZTOAPI_MAX_IN_FLIGHT="1", ZTOAPI_MAX_QUEUED="0") as stack:
        body = {"model": "glm-4.6:itl=5:tokens=100000", "messages": [{"role": "user", "content": "x"}], "stream": True}
        with httpx.stream("POST", f"{stack.base_url}/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            assert httpx.post(f"{stack.base_url}/chat/completions", json=body).status_code == 503
            assert httpx.get(f"{stack.url}/metrics", headers=KEY).status_code == 200


def test_an_admin_key_is_one_key_and_no_client_key(tmp_path: Path) -> None:
    assert "must not be a client key" in problems(tmp_path, ADMIN_KEY="same", API_KEYS="other|same")[0]
    assert "must be one key" in problems(tmp_path, ADMIN_KEY="one|two")[0]


@pytest.mark.parametrize("path", ["/metrics", "/v1/models"])
@pytest.mark.parametrize(("target", "status"), [("http://evil", b"403"), ("http://localhost:1", b"200"), ("", b"200")])
def test_the_host_of_an_absolute_target_counts_rather_than_the_field(path: str, target: str, status: bytes) -> None:
    with Stack() as stack, socket.create_connection(("127.0.0.1", stack.port)) as client:
        client.sendall(f"GET {target}{path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert client.recv(65536).split(b" ")[1] == status


@table("method", ["GET", "HEAD", "OPTIONS", "POST"])
@table("path", ["/v1/models", "/models/", "/v1/chat/completions", "/nope", "/metrics", "/debug/pprof/"])
@table("given", [None, "Bearer wrong", "Basic d3Jvbmc="])
def test_every_401_names_the_scheme(closed: Stack, method: str, path: str, given: str | None) -> None:
    response = httpx.request(method, closed.url + path, headers={} if given is None else {"authorization": given})
    if method == "OPTIONS" and response.status_code == 204:
        assert "metrics" not in path
        return
    assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer realm="ztoapi"')


def test_an_address_with_too_many_wrong_keys_is_throttled() -> None:
    with Stack(DEFAULT_KEY="sk-right-1", ADMIN_KEY="admin-1", ZTOAPI_MAX_WRONG_KEYS_PER_MINUTE="3") as stack:

        def models(key: str, **more: str) -> httpx.Response:
            return httpx.get(f"{stack.base_url}/models", headers={"authorization": f"Bearer {key}", **more})

        # Clients of Anthropic's API may send two keys, one of which is for somewhere else.
        for _ in range(5):
            assert models("sk-other", **{"x-api-key": "sk-right-1"}).status_code == 200
        assert models("sk-wrong").status_code == 401
        assert models("sk-right-1").status_code == 200
        metrics = f"{stack.url}/metrics"
        assert httpx.get(metrics, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert models("sk-wrong").status_code == 401
        refused = models("sk-wrong")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_wrong_keys")
        assert 0 < float(refused.headers["retry-after"]) <= 60
        assert models("sk-right-1").status_code == 200, "it was right here before"
        assert httpx.get(metrics, headers={"authorization": "Bearer admin-1"}).status_code == 429
        refresh = stack.application.sampler.refresh
        stack.loop.call_soon_threadsafe(refresh)
        stack.wait_for(lambda: ("ztoapi_wrong_keys_refused", "", "") in stack.application.telemetry.samples())
        samples = stack.application.telemetry.samples()
        assert samples["ztoapi_wrong_keys", "", ""] == 4
        assert samples["ztoapi_wrong_keys_refused", "", ""] == 2
