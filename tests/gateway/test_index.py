"""GET / names the paths of the gateway, without a key; a browser is sent to the page for chats."""

import httpx
import pytest

from tests.stack import Stack

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PATHS = {"name": "ztoapi", "base_url": "/v1", "documentation": "/docs", "openapi": "/openapi.json"}


def test_the_index_needs_no_key_and_its_paths_exist() -> None:
    with Stack(DEFAULT_KEY="sk-client") as stack:
        response = httpx.get(f"{stack.url}/")
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        index = response.json()
        assert index == {**PATHS, "dashboard": "/dashboard", "chat": "/chat"}
        for name in ("documentation", "openapi", "dashboard", "chat"):
            assert httpx.get(stack.url + index[name]).status_code == 200
        models = httpx.get(f"{stack.url}{index['base_url']}/models", headers={"authorization": "Bearer sk-client"})
        assert models.status_code == 200


def test_a_dashboard_that_is_off_is_not_named() -> None:
    with Stack(DASHBOARD_ENABLED="false") as stack:
        assert httpx.get(f"{stack.url}/").json() == PATHS
        followed = httpx.get(f"{stack.url}/", headers={"accept": BROWSER}, follow_redirects=True)
        assert (followed.url.path, followed.status_code) == ("/docs", 200)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html;q=0.5", ""])
def test_a_program_gets_json(stack: Stack, accept: str) -> None:
    assert httpx.get(f"{stack.url}/", headers={"accept": accept}).json()["base_url"] == "/v1"


def test_head_is_accepted(stack: Stack) -> None:
    response = httpx.head(f"{stack.url}/")
    assert (response.status_code, response.content) == (200, b"")


def test_a_browser_is_sent_to_the_page_for_chats(stack: Stack) -> None:
    response = httpx.get(f"{stack.url}/", headers={"accept": BROWSER})
    assert (response.status_code, response.headers["vary"]) == (302, "accept")
    followed = httpx.get(f"{stack.url}/", headers={"accept": BROWSER}, follow_redirects=True)
    assert (followed.url.path, followed.status_code) == ("/chat", 200)


def test_other_methods_are_refused(stack: Stack) -> None:
    response = httpx.post(f"{stack.url}/", json={})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
