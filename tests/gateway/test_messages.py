"""The Messages API through gateway and simulator, as Anthropic's SDK and Claude Code use it."""

import gc
import json
from collections.abc import Callable, Iterator, Mapping

import anthropic
import httpx
import pytest

from tests.gateway.replies import GOOD, Replies, Reply, streamed, whole
from tests.stack import Stack
from ztoapi.errors import Ending

Clients = Callable[[Stack], anthropic.Anthropic]
Fields = Mapping[str, object]
HELLO: list[Fields] = [{"role": "user", "content": "Hello"}]
READ: Fields = {
    "name": "Read",
    "description": "Reads a file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}


def post(stack: Stack, body: Fields, path: str = "/v1/messages", **headers: str) -> httpx.Response:
    return httpx.post(stack.url + path, json={"model": "glm-5.3", "max_tokens": 100, **body}, headers=headers)


@pytest.fixture
def cached() -> Iterator[Stack]:
    with Stack(toml="[cache]\nenabled = true\n") as stack:
        yield stack


def test_a_whole_response(stack: Stack, anthropic_sdk: Clients) -> None:
    message = anthropic_sdk(stack).messages.create(model="glm-5.3", max_tokens=100, messages=HELLO)  # type: ignore[arg-type]
    assert message.content[0].type == "text"
    assert message.content[0].text.startswith("Gateways that stream well")
    assert (message.model, message.stop_reason) == ("glm-5.3", "end_turn")
    assert message.usage.output_tokens == 36
    record = stack.record()
    assert (record.route, record.status, record.stream, record.model) == ("/v1/messages", 200, False, "glm-5.3")
    assert record.usage is not None


def test_a_stream_equals_the_whole_response(stack: Stack, anthropic_sdk: Clients) -> None:
    whole = anthropic_sdk(stack).messages.create(model="glm-5.3", max_tokens=100, messages=HELLO)  # type: ignore[arg-type]
    with anthropic_sdk(stack).messages.stream(model="glm-5.3", max_tokens=100, messages=HELLO) as stream:  # type: ignore[arg-type]
        message = stream.get_final_message()
    assert message.content[0].text == whole.content[0].text  # type: ignore[union-attr]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (8, 36)
    assert stack.record(2).ending is Ending.DONE


def test_thinking_is_shown_only_if_the_client_wants_it(stack: Stack) -> None:
    shown = post(stack, {"messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 1024}}).json()
    assert [block["type"] for block in shown["content"]] == ["thinking", "text"]
    assert shown["content"][0]["signature"]
    assert [block["type"] for block in post(stack, {"messages": HELLO}).json()["content"]] == ["text"]


def test_a_variant_of_a_model_has_its_abilities(stack: Stack) -> None:
    # GLM-5.3 refuses a request that switches thinking off.
    assert post(stack, {"model": "glm-5.3:tokens=5", "messages": HELLO}).status_code == 200


def test_a_tool_runs_to_the_end(stack: Stack) -> None:
    script = '[simulate: Read {"path": "a.py"} > "It contains $result"]'
    messages: list[Fields] = [{"role": "user", "content": script}]
    called = post(stack, {"messages": messages, "tools": [READ]}).json()
    assert called["stop_reason"] == "tool_use"
    (call,) = [block for block in called["content"] if block["type"] == "tool_use"]
    assert (call["name"], call["input"]) == ("Read", {"path": "a.py"})
    messages += [
        {"role": "assistant", "content": called["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "x = 1"}]},
    ]
    done = post(stack, {"messages": messages, "tools": [READ]}).json()
    assert (done["content"][-1]["text"], done["stop_reason"]) == ("It contains x = 1", "end_turn")


def test_the_tool_runner_of_the_sdk_sends_whole_conversations(stack: Stack, anthropic_sdk: Clients) -> None:
    """By default it requests stored conversations, and continues without them if the server refuses."""

    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return str(a + b)

    runner = anthropic_sdk(stack).beta.messages.tool_runner(
        model="glm-5.3",
        max_tokens=100,
        messages=[{"role": "user", "content": '[simulate: add {"a": 2, "b": 3} > "The sum is $result"]'}],
        tools=[add],
    )
    assert runner.until_done().content[-1].text == "The sum is 5"  # type: ignore[union-attr]


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}, {}])
def test_a_thread_is_refused_in_the_words_that_the_sdks_know(stack: Stack, thread: Fields) -> None:
    refused = post(stack, {"messages": HELLO, "thread": thread})
    assert refused.status_code == 400
    assert refused.json()["error"]["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
    assert stack.stats()["requests"] == 0
    assert post(stack, {"messages": HELLO, "thread": None}).status_code == 200


def test_tokens_are_counted_without_a_request_to_the_upstream(stack: Stack) -> None:
    few = post(stack, {"messages": HELLO}, "/v1/messages/count_tokens?beta=true").json()
    many = post(stack, {"messages": HELLO, "tools": [READ]}, "/v1/messages/count_tokens").json()
    assert 0 < few["input_tokens"] < many["input_tokens"]
    assert stack.stats()["requests"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/messages",
        "/anthropic/v1/messages",
        "/api/anthropic/v1/messages",
        "/v1/messages?beta=true",
    ],
)
def test_paths(shared: Stack, path: str) -> None:
    assert post(shared, {"messages": HELLO}, path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "type"),
    [
        ("POST", "/v1/messages", b"{}", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"{", 400, "invalid_request_error"),
        ("GET", "/v1/messages", b"", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", b"{}", 404, "not_found_error"),
        ("POST", "/anthropic/v1/unknown", b"{}", 404, "not_found_error"),
        ("POST", "/v1/v1/messages", b"{}", 404, "not_found_error"),
    ],
)
def test_refusals_have_the_format_of_the_api(
    shared: Stack, method: str, path: str, body: bytes, status: int, type: str
) -> None:
    response = httpx.request(method, shared.url + path, content=body)
    shown = response.json()
    assert (response.status_code, shown["type"], shown["error"]["type"]) == (status, "error", type)
    assert response.headers.get_list("request-id") == [shown["request_id"]] == [response.headers["x-request-id"]]


def test_the_remedy_for_a_base_url_with_v1(shared: Stack) -> None:
    message = post(shared, {"messages": HELLO}, "/v1/v1/messages").json()["error"]["message"]
    assert "the gateway's address without /v1" in message


def test_long_names_are_not_kept(stack: Stack) -> None:
    for path in ("/v1/messages", "/v1/responses", "/v1/completions"):
        body = {"model": "x" * 300, "messages": HELLO, "input": "a", "prompt": "a"}
        assert post(stack, body, path).status_code == 400
    kept = [name for name in gc.get_objects() if isinstance(name, dict) and "x" * 300 in name]
    assert kept == []


def test_a_claude_name_has_the_fallbacks_of_its_model() -> None:
    def reply(body: dict[str, object]) -> Reply:
        return streamed(*GOOD) if body["model"] == "other" else whole(b"{}", b"503 Service Unavailable")

    with (
        Replies(reply) as upstream,
        upstream.stack("zai", MODEL_FALLBACKS='{"glm-5.3": ["other"]}', ZTOAPI_MAX_TRIES="1") as stack,
    ):
        answer = post(stack, {"model": "claude-opus-4-1", "messages": HELLO, "stream": True})
        assert answer.status_code == 200
    assert [body["model"] for body in upstream.bodies] == ["glm-5.3", "other"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_a_session_stays_with_a_credential(path: str) -> None:
    with Stack(UPSTREAM_TOKENS="a|b|c") as stack:
        body: Fields = {"input": "a"} if path == "/v1/responses" else {"messages": HELLO, "prompt": "a"}
        for _ in range(4):
            assert post(stack, body, path, **{"x-session-id": "s1"}).status_code == 200
        assert len({record.credential for record in stack.records()}) == 1


def test_a_missing_key_has_it_too(closed: Stack) -> None:
    response = post(closed, {"messages": HELLO})
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")
    for headers in ({"x-api-key": "client"}, {"authorization": "Bearer client"}):
        assert post(closed, {"messages": HELLO}, **headers).status_code == 200


def test_either_of_two_keys_may_be_right(closed: Stack) -> None:
    for right, wrong in (("x-api-key", "authorization"), ("authorization", "x-api-key")):
        keys = {right: "client" if right == "x-api-key" else "Bearer client", wrong: "Bearer other"}
        assert post(closed, {"messages": HELLO}, **keys).status_code == 200
    assert post(closed, {"messages": HELLO}, **{"authorization": "Bearer a", "x-api-key": "b"}).status_code == 401


@pytest.mark.parametrize(
    ("fault", "status", "type", "headers"),
    [
        ("1302", 429, "rate_limit_error", {"retry-after": "1"}),
        ("1305", 529, "overloaded_error", {"retry-after": "4"}),
        ("1113", 429, "rate_limit_error", {"x-should-retry": "false"}),
        ("1211", 404, "not_found_error", {}),
        ("1000", 502, "api_error", {"x-should-retry": "false"}),
    ],
)
def test_failures_of_the_upstream(fault: str, status: int, type: str, headers: dict[str, str]) -> None:
    with Stack(ZTOAPI_MAX_TRIES="1") as stack:
        response = post(stack, {"model": f"glm-4.6:fault={fault}", "messages": HELLO, "stream": True})
    assert (response.status_code, response.json()["error"]["type"]) == (status, type)
    assert headers.items() <= dict(response.headers).items()


def test_a_prompt_that_is_too_long_names_both_numbers(stack: Stack) -> None:
    response = post(stack, {"model": "glm-4.6:fault=1261", "messages": HELLO})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("prompt is too long: ")


@pytest.mark.parametrize("fault", ["truncate", "error_mid", "reset_mid"])
def test_a_cut_stream_never_ends_cleanly(stack: Stack, fault: str, anthropic_sdk: Clients) -> None:
    with pytest.raises((anthropic.APIError, httpx.HTTPError)):
        model = f"glm-4.6:fault={fault}"
        with anthropic_sdk(stack).messages.stream(model=model, max_tokens=9, messages=HELLO) as stream:  # type: ignore[arg-type]
            stream.get_final_message()
    assert stack.record().ending is not Ending.DONE


def test_a_cut_stream_ends_with_an_error_event(stack: Stack) -> None:
    received = b""
    body = {"model": "glm-4.6:fault=truncate", "max_tokens": 9, "stream": True, "messages": HELLO}
    with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", f"{stack.url}/v1/messages", json=body) as got:
        for piece in got.iter_raw():
            received += piece
    last = received.rpartition(b"event: ")[2]
    assert last.startswith(b"error\ndata: ")
    assert json.loads(last.partition(b"data: ")[2])["error"]["type"] == "api_error"
    assert b"message_stop" not in received


def test_keepalives_are_pings_after_message_start() -> None:
    with Stack(ZTOAPI_SSE_KEEPALIVE_SECONDS="0.3", ZTOAPI_SSE_KEEPALIVE_BEFORE_FIRST_BYTE="true") as stack:
        body = {"messages": HELLO, "stream": True, "model": "glm-4.6:ttft=1500"}
        events = [line for line in post(stack, body).text.splitlines() if line.startswith("event: ")]
    assert events[:2] == ["event: message_start", "event: ping"]
    assert events.count("event: message_start") == 1
    assert events[-1] == "event: message_stop"


def test_the_estimate_learns_from_responses(stack: Stack) -> None:
    text = {"messages": [{"role": "user", "content": "one two three four five " * 200}]}
    before = post(stack, text, "/v1/messages/count_tokens").json()["input_tokens"]
    used = post(stack, text).json()["usage"]["input_tokens"]
    after = post(stack, text, "/v1/messages/count_tokens").json()["input_tokens"]
    assert abs(after - used) < abs(before - used)


def test_left_out_tools_are_named(stack: Stack) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    response = post(stack, {"messages": HELLO, "tools": [READ, search]})
    assert response.status_code == 200
    assert "web_search" in response.headers["x-ztoapi-warning"]


def test_web_search_can_be_that_of_zai() -> None:
    bodies: list[dict[str, object]] = []

    def reply(body: dict[str, object]) -> Reply:
        bodies.append(body)
        return streamed(*GOOD)

    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    fields = {"messages": HELLO, "tools": [search], "stream": True}
    with Replies(reply) as upstream, upstream.stack("zai", ZTOAPI_WEB_SEARCH="true") as stack:
        response = post(stack, fields)
        assert (response.status_code, "x-ztoapi-warning" in response.headers) == (200, False)
    assert bodies[0]["tools"] == [{"type": "web_search", "web_search": {"enable": True, "search_result": True}}]


def test_equal_requests_share_a_cached_response(cached: Stack) -> None:
    body = {"messages": HELLO, "temperature": 0, "stream": True}
    first, second = post(cached, body), post(cached, body)
    assert (first.headers["x-ztoapi-cache"], second.headers["x-ztoapi-cache"]) == ("miss", "hit")
    assert [line for line in second.text.splitlines() if "text_delta" in line] == [
        line for line in first.text.splitlines() if "text_delta" in line
    ]


def test_limits_hold(stack: Stack) -> None:
    with Stack(toml="[limits.global]\nrequests_per_minute = 1\n") as stack:
        assert post(stack, {"messages": HELLO}).status_code == 200
        refused = post(stack, {"messages": HELLO})
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_client_that_leaves_cancels_the_upstream(stack: Stack) -> None:
    body = {"model": "glm-4.6:itl=50:tokens=1000", "max_tokens": 2000, "stream": True, "messages": HELLO}
    with httpx.stream("POST", f"{stack.url}/v1/messages", json=body) as response:
        next(response.iter_raw())
    assert stack.record().ending is Ending.CLIENT_DISCONNECT
    stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
