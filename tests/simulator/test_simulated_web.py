"""The web chat as it is simulated; the streams are replayed here by a second implementation of the format."""

from typing import Any

import httpx
import pytest

from tests.simulator.asking import TOOLS, ask, events
from tests.stack import Stack
from ztoapi.simulator.app import Options

WEB = "/api/chat/completions"


def replay(chunks: list[dict[str, Any]]) -> str:
    """The message at the stream's end. Indexes count UTF-16 units."""
    units = b""
    for chunk in chunks:
        fields = chunk["data"]
        assert chunk["type"] == "chat:completion"
        if "edit_index" in fields:
            units = units[: 2 * fields["edit_index"]] + fields["edit_content"].encode("utf-16-le")
        units += fields.get("delta_content", "").encode("utf-16-le")
    return units.decode("utf-16-le")


def test_the_edit_leaves_one_closed_details_block_before_the_answer(origin: str) -> None:
    chunks = events(ask(origin, WEB, "m:tokens=3:reasoning=7").text)
    assert replay(chunks) == (
        '<details type="reasoning" done="true" duration="2">\n<summary>Thought for 2 seconds</summary>\n'
        "> The user wants an answer.\n> Keep it short, \n</details>\nGateways that stream "
    )
    before = replay([chunk for chunk in chunks if chunk["data"]["phase"] == "thinking"])
    assert before.startswith('<details type="reasoning" done="false">\n<summary>')
    assert all(line.startswith("> ") for line in before.split("\n")[2:])


def test_phases_come_in_order_and_the_last_event_is_done(origin: str) -> None:
    chunks = events(ask(origin, WEB).text)
    phases = list(dict.fromkeys(chunk["data"]["phase"] for chunk in chunks))
    assert phases == ["thinking", "answer", "other", "done"]
    assert chunks[-2]["data"]["usage"]["completion_tokens"] == 36
    assert chunks[-1]["data"]["done"] is True


def test_without_thinking_there_is_only_the_answer(origin: str) -> None:
    chunks = events(ask(origin, WEB, features={"enable_thinking": False}, params={"max_tokens": 2}).text)
    assert replay(chunks) == "Gateways that "


def test_an_answer_of_no_words_still_closes_its_thinking(origin: str) -> None:
    assert replay(events(ask(origin, WEB, "m:tokens=0").text)).endswith("</details>\n")


def test_a_tool_call_has_its_own_phase(origin: str) -> None:
    chunks = events(ask(origin, WEB, tools=TOOLS).text)
    (called,) = [chunk["data"] for chunk in chunks if chunk["data"]["phase"] == "tool_call"]
    assert called["tool_calls"][0]["function"]["name"] == "find"


@pytest.mark.parametrize(
    ("fault", "status"), [("426", 426), ("captcha", 403), ("401", 401), ("1302", 429), ("529", 529)]
)
def test_refusals_have_a_detail(origin: str, fault: str, status: int) -> None:
    response = ask(origin, WEB, f"m:fault={fault}")
    assert response.status_code == status
    assert set(response.json()) == {"detail"}


def test_a_stale_model_is_not_found(origin: str) -> None:
    response = ask(origin, WEB, "m:fault=1211")
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


def test_an_error_within_the_stream_is_the_last_event(origin: str) -> None:
    chunks = events(ask(origin, WEB, "m:fault=error_mid").text)
    assert len(chunks) == 17
    assert chunks[-1]["data"] == {"error": {"code": 429, "detail": "too many requests"}, "done": True}


def test_models_have_upstream_ids(origin: str) -> None:
    models = httpx.get(origin + "/api/models").json()["data"]
    assert {"GLM-4-6-API-V1", "0727-360B-API"} <= {model["id"] for model in models}
    assert all(model["info"]["is_active"] for model in models)


def test_the_key_is_required_with_each_dialects_error() -> None:
    with Stack(options=Options(api_key="right")) as stack:
        origin = f"http://127.0.0.1:{stack.simulator_port}"
        assert "detail" in ask(origin, WEB).json()
        glm = "/api/paas/v4/chat/completions"
        assert ask(origin, glm).json()["error"]["code"] == "1001"
        wrong = httpx.post(origin + glm, json={}, headers={"authorization": "Bearer wrong"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "1000")
        assert httpx.post(origin + "/api/v1/talk").json()["code"] == 1000
        assert httpx.get(origin + "/api/models").status_code == 401
        assert stack.stats()["requests"] == 0
