"""The simulator is as strict and as odd as what it stands for."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.stack import Stack
from ztoapi.errors import ApiError
from ztoapi.simulator.app import Options
from ztoapi.simulator.plan import read_plan

MESSAGES = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Stack() as stack:
        yield f"http://127.0.0.1:{stack.simulator_port}"


def post(url: str, path: str, **fields: object) -> httpx.Response:
    return httpx.post(url + path, json={"model": "glm-4.6", "messages": MESSAGES, **fields})


def test_settings_in_the_model_name() -> None:
    name, plan = read_plan("glm-4.6:tokens=5:itl=2.5:fault=1302:fault_times=2", Options(tokens=9, ttft_ms=7))
    assert (name, plan.tokens, plan.itl, plan.ttft, plan.fault, plan.fault_times) == ("glm-4.6", 5, 2.5, 7.0, "1302", 2)


@pytest.mark.parametrize("model", ["m:nonsense=1", "m:tokens=many", "m:fault=unheard"])
def test_settings_that_do_not_exist_are_refused(model: str) -> None:
    with pytest.raises(ApiError):
        read_plan(model, Options())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"temperature": 1.5}, "1210"),
        ({"n": 1}, "1210"),
        ({"parallel_tool_calls": True}, "1210"),
        ({"max_completion_tokens": 4}, "1210"),
        ({"tool_choice": "required"}, "1210"),
        ({"response_format": {"type": "json_schema"}}, "1210"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "1214"),
        ({"messages": [{"role": "system", "content": "x"}]}, "1214"),
    ],
)
def test_the_official_api_is_strict_and_the_plain_server_is_not(url: str, fields: dict[str, object], code: str) -> None:
    refused = post(url, "/api/paas/v4/chat/completions", **fields)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
    assert post(url, "/v1/chat/completions", **fields).status_code == 200


def test_official_stream_has_finish_and_usage_together_and_no_object(url: str) -> None:
    text = post(url, "/api/paas/v4/chat/completions", stream=True).text
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    assert text.endswith("data: [DONE]\n\n")
    assert all("object" not in event for event in events)
    assert all(event["choices"][0]["delta"]["role"] == "assistant" for event in events)
    assert "reasoning_content" in events[0]["choices"][0]["delta"]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == 36


def test_thinking_can_be_switched_off(url: str) -> None:
    text = post(url, "/api/paas/v4/chat/completions", stream=True, thinking={"type": "disabled"}).text
    assert "reasoning_content" not in text


def test_stamps_rise(url: str) -> None:
    text = post(url, "/v1/chat/completions", stream=True, model="m:stamp=1:itl=1:tokens=5").text
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    stamps = [event["choices"][0]["delta"].get("content", "") for event in events]
    numbers = [int(stamp[2:-1]) for stamp in stamps if stamp]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)


def test_events_of_one_write_arrive_as_one_chunk(url: str) -> None:
    with httpx.stream(
        "POST", url + "/v1/chat/completions",
        json={"model": "m:epw=4:tokens=8:itl=5", "messages": MESSAGES, "stream": True},
    ) as response:  # fmt: skip
        sizes = [part.count(b"data: ") for part in response.iter_raw()]
    assert sizes[0] == 4


def test_the_key_is_required() -> None:
    with Stack(options=Options(api_key="right")) as stack:
        url = f"http://127.0.0.1:{stack.simulator_port}/v1/chat/completions"
        body = {"model": "m", "messages": MESSAGES}
        assert httpx.post(url, json=body).json()["error"]["code"] == "1000"
        assert httpx.post(url, json=body, headers={"authorization": "Bearer right"}).status_code == 200


def test_statistics_count_and_reset() -> None:
    with Stack() as stack:
        url = f"http://127.0.0.1:{stack.simulator_port}"
        for model in ("a", "b", "b"):
            post(url, "/v1/chat/completions", model=model)
        shown = stack.stats()
        assert (shown["requests"], shown["by_model"]) == (3, {"a": 1, "b": 2})
        assert (shown["open_streams"], shown["peak_concurrency"], shown["cancels"]) == (0, 1, 0)
        httpx.post(url + "/sim/reset")
        assert stack.stats()["requests"] == 0


def test_zread_steps(url: str) -> None:
    repository = httpx.get(url + "/api/v1/repo/github/a/b").json()
    assert repository["code"] == 0
    wiki = httpx.get(f"{url}/api/v1/wiki/{repository['data']['wiki_id']}").json()
    assert wiki["data"]["pages"]
    talk = httpx.post(url + "/api/v1/talk", json={"query": " "}).json()["data"]["talk_id"]
    text = httpx.post(f"{url}/api/v1/talk/{talk}/message", json={"query": "x", "model": "glm-4.5"}).text
    assert text.startswith("event:answer\ndata:{")
    assert "event:round_finish\n" in text
    assert text.endswith("event:finish\ndata:{}\n\n")


@pytest.mark.parametrize(
    ("tokens", "max_tokens", "end"),
    [(32, None, "what breaks is reported, and so on."), (8, 8, "do and so on."), (7, 7, "they "), (32, 30, "and ")],
)
def test_whole_responses_end_with_a_full_stop(url: str, tokens: int, max_tokens: int | None, end: str) -> None:
    for path in ("/api/paas/v4/chat/completions", "/v1/chat/completions"):
        limit = {} if max_tokens is None else {"max_tokens": max_tokens}
        response = post(url, path, model=f"glm-4.6:tokens={tokens}", thinking={"type": "disabled"}, **limit)
        assert response.json()["choices"][0]["message"]["content"].endswith(end)
