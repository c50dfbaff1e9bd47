"""zread.ai as it is simulated."""

import json

import httpx
import pytest

MESSAGE = "/api/v1/talk/talk-1/message"


def parse(text: str) -> list[tuple[str, str]]:
    """(name, data) of each event."""
    return [tuple(line.split(":", 1)[1] for line in event.split("\n")) for event in text.split("\n\n") if event]  # type: ignore[misc]


def ask(origin: str, path: str = MESSAGE, model: str = "glm-4.5", **fields: object) -> httpx.Response:
    return httpx.post(origin + path, json={"query": "x", "model": model, **fields})


def test_reasoning_comes_first_and_the_round_ends_with_its_whole_text(origin: str) -> None:
    named = [(name, json.loads(data)) for name, data in parse(ask(origin, model="m:tokens=5:reasoning=2").text)]
    assert [name for name, _ in named] == ["answer"] * 7 + ["round_finish", "finish"]
    assert "".join(data["reasoning_content"] for _, data in named[:2]) == "The user "
    assert "".join(data["text"] for _, data in named[:7]) == named[7][1]["text"] == "Gateways that stream well do "


@pytest.mark.parametrize("path", ["/api/v1/repo/github/missing/any", "/api/v1/wiki/none"])
def test_what_is_not_indexed_has_a_code(origin: str, path: str) -> None:
    response = httpx.get(origin + path)
    assert response.status_code == 200
    assert response.json()["code"] != 0


def test_a_message_must_fit_what_came_before(origin: str) -> None:
    right = {"wiki": {"wiki_id": "wiki-1", "page_id": "page-1"}, "repo": {"repo_id": "repo-1"}}
    assert "event:finish" in ask(origin, context=right).text
    for path, fields in (
        ("/api/v1/talk/talk-2/message", {}),
        (MESSAGE, {"context": {"repo": {"repo_id": "repo-2"}}}),
        (MESSAGE, {"query": " "}),
    ):
        assert ask(origin, path, **fields).json()["code"] != 0
    assert httpx.post(origin + MESSAGE, json={"content": "x"}).status_code == 400


@pytest.mark.parametrize(("fault", "status"), [("403", 403), ("429", 429), ("503", 503)])
def test_refusals_keep_the_envelope(origin: str, fault: str, status: int) -> None:
    response = ask(origin, model=f"m:fault={fault}:retry_after=7")
    assert (response.status_code, response.json()["code"]) == (status, status)
    assert response.headers["retry-after"] == "7"


def test_an_error_within_the_stream_is_a_named_event(origin: str) -> None:
    assert parse(ask(origin, model="m:fault=error_mid").text)[-1][0] == "error"


def test_steps_keep_to_their_methods(origin: str) -> None:
    assert httpx.get(origin + "/api/v1/talk").status_code == 405
    assert httpx.post(origin + "/api/v1/wiki/wiki-1").status_code == 405
