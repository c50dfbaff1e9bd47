"""/admin/keys: lists, creates, rotates and revokes the keys of the key file."""

import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.keys.files import empty
from tests.stack import Stack
from tests.support.table import table
from ztoapi.config.keyfile import _locked

ADMIN = {"authorization": "Bearer sk-admin"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def keyed(path: Path) -> Iterator[Stack]:
    with Stack(ADMIN_KEY="sk-admin", ZTOAPI_KEY_FILE=str(path)) as stack:
        yield stack


def change(stack: Stack, action: str, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(f"{stack.url}/admin/keys{action}", json=body, headers={**ADMIN, **(headers or {})})


def reload(stack: Stack) -> None:
    """Reads the key file, as a process of workers does within two seconds."""

    async def read_again() -> bool:
        return stack.application.keys.reload()

    assert stack.call(read_again())


def models(stack: Stack, key: str) -> int:
    return httpx.get(f"{stack.base_url}/models", headers={"authorization": f"Bearer {key}"}).status_code


def test_a_new_key_may_have_warnings(tmp_path: Path) -> None:
    with Stack(ADMIN_KEY="sk-admin", ZTOAPI_KEY_FILE=str(empty(tmp_path))) as stack:
        spender = {"name": "spender", "models": ["glm-4.6", "other"], "usd_per_day": 5}
        (warning,) = change(stack, "", spender).json()["warnings"]
        assert "(403 model_not_priced): other. Set input_price" in warning
        assert change(stack, "", {"name": "counter", "tokens_per_day": "2M"}).json()["warnings"] == []


def test_a_key_is_created_rotated_and_revoked(keyed: Stack, path: Path) -> None:
    fields = {"models": ["glm-4.6"], "expires": "90d", "requests_per_minute": 60, "tokens_per_day": "2M"}
    made = change(keyed, "", {"name": "alice", **fields})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    first = made.json()["key"]
    reload(keyed)
    assert models(keyed, first) == 200
    (shown,) = httpx.get(f"{keyed.url}/admin/keys", headers=ADMIN).json()["keys"]
    assert (shown["name"], shown["id"], shown["state"], shown["models"]) == (
        "alice",
        made.json()["id"],
        "active",
        ["glm-4.6"],
    )
    assert shown["limits"] == {"requests_per_minute": 60, "tokens_per_day": 2_000_000}
    assert "key" not in shown and first not in path.read_text()
    second = change(keyed, "/rotate", {"name": "alice"}).json()["key"]
    reload(keyed)
    assert (models(keyed, first), models(keyed, second)) == (401, 200)
    assert change(keyed, "/revoke", {"name": "alice"}).json() == {"name": "alice", "changed": True}
    assert change(keyed, "/revoke", {"name": "alice"}).json() == {"name": "alice", "changed": False}
    reload(keyed)
    assert models(keyed, second) == 401


def test_a_change_is_logged_even_if_its_client_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = empty(tmp_path)
    with Stack(ADMIN_KEY="sk-admin", ZTOAPI_KEY_FILE=str(path)) as stack:
        with _locked(path):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{stack.url}/admin/keys", json={"name": "lost"}, headers=ADMIN, timeout=0.2)
            stack.wait_for(lambda: not stack.application.context.connections)
        stack.wait_for(lambda: "[lost]" in path.read_text())
        stack.wait_for(lambda: "client key lost: POST /admin/keys" in caplog.text)


@table(
    ("action", "body", "headers", "status", "code"),
    [
        ("", {"name": "sk-x"}, {}, 400, "invalid_value"),
        ("", {}, {}, 400, "invalid_value"),
        ("", [], {}, 400, "invalid_json"),
        ("", {"name": "bob", "id": "0"}, {}, 400, "invalid_value"),
        ("", {"name": "bob", "expires": "2001-01-01"}, {}, 400, "invalid_value"),
        ("", {"name": "bob", "requests_per_minute": "many"}, {}, 400, "invalid_value"),
        ("/rotate", {"name": "nobody"}, {}, 400, "invalid_value"),
        ("/revoke", {"name": 5}, {}, 400, "invalid_value"),
        ("/revoke", {"name": "bob", "all": True}, {}, 400, "invalid_value"),
        ("", {"name": "bob"}, {"authorization": "Bearer wrong"}, 401, "admin_key_required"),
        ("", {"name": "bob"}, {"content-type": "text/plain"}, 415, "unsupported_content_type"),
        ("", {"name": "bob"}, {"sec-fetch-site": "cross-site"}, 403, "origin_not_allowed"),
        ("", {"name": "bob"}, {"sec-fetch-site": "same-site"}, 403, "origin_not_allowed"),
        ("/revoke", {"name": "bob"}, {"origin": "http://evil.example"}, 403, "origin_not_allowed"),
    ],
)
def test_a_change_that_is_refused(
    keyed: Stack, path: Path, action: str, body: object, headers: dict[str, str], status: int, code: str
) -> None:
    before = path.read_text()
    answer = change(keyed, action, body, headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert path.read_text() == before


def test_a_misspelt_field_gets_a_suggestion(keyed: Stack) -> None:
    error = change(keyed, "", {"name": "bob", "expries": "90d"}, {}).json()["error"]
    assert error["message"] == "a key has no field expries; did you mean expires?"
    assert error["param"] == "expries"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"name":' + b"[" * 60_000, 400, "invalid_json"),
        (b'{"name":[' + b"1," * 100_000 + b"1]}", 413, "request_too_large"),
    ],
    ids=["deep", "large"],
)
def test_a_hostile_body_is_refused(keyed: Stack, body: bytes, status: int, code: str) -> None:
    headers = {**ADMIN, "content-type": "application/json"}
    answer = httpx.post(f"{keyed.url}/admin/keys", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("toml", "status", "code", "words"),
    [
        ("", 403, "admin_key_required", "set ADMIN_KEY"),
        ("admin_key = 'sk-admin'", 409, "no_key_file", "set ZTOAPI_KEY_FILE"),
    ],
)
def test_a_gateway_that_cannot_change_keys(toml: str, status: int, code: str, words: str) -> None:
    with Stack(toml=toml) as stack:
        answer = change(stack, "", {"name": "bob"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert words in answer.json()["error"]["message"]
        page = httpx.get(f"{stack.url}/admin/keys", headers=ADMIN).json()
        assert page == {"file": False, "changes": bool(toml), "keys": [], "budgets": []}


def test_a_broken_file_is_not_changed(keyed: Stack, path: Path) -> None:
    before = path.read_text()
    path.write_text("[")
    try:
        for answer in (change(keyed, "", {"name": "bob"}), httpx.get(f"{keyed.url}/admin/keys", headers=ADMIN)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "key_file_unavailable")
        assert path.read_text() == "["
    finally:
        path.write_text(before)


def test_the_configuration_is_that_of_check(keyed: Stack) -> None:
    page = httpx.get(f"{keyed.url}/admin/config", headers=ADMIN).json()
    lines = page["text"].splitlines()
    assert lines[0].startswith("listen: ")
    assert "credentials:" in lines and any("sha256:" in line for line in lines)
    assert "sim-token" not in page["text"] and "sk-admin" not in page["text"]
    assert httpx.get(f"{keyed.url}/admin/config").status_code == 401
