"""Platforms that receive requests of the Messages and the Responses API untranslated."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.gateway.replies import Replies, Reply, streamed, whole
from tests.stack import Stack
from ztoapi.errors import Ending

NATIVE = {
    "zai": '[platforms.zai]\nmessages = "native"\nresponses = "native"\n',
    "openai": '[platforms.openai]\nmessages = "native"\nresponses = "native"\n',
}
HELLO = [{"role": "user", "content": "Hello"}]
Fields = Mapping[str, object]


def sse(name: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **fields}).encode())


def start(model: str = "glm-4.6", **usage: int) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    return sse("message_start", message=message)


OPEN = sse("content_block_start", index=0, content_block={"type": "text", "text": ""})
CLOSE = sse("content_block_stop", index=0)
LAST = sse("message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 7, "output_tokens": 2})
STOP = sse("message_stop")


def text(words: str) -> bytes:
    return sse("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


MESSAGE = (start(input_tokens=7, output_tokens=0), OPEN, text("Good"), text(" day"), CLOSE, LAST, STOP)


def response(status: str, model: str = "glm-4.6", **fields: object) -> dict[str, object]:
    return {"id": "resp_1", "object": "response", "status": status, "model": model, "output": [], **fields}


CREATED = sse("response.created", sequence_number=0, response=response("in_progress"))
USAGE = {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 2, "total_tokens": 9}
COMPLETED = sse("response.completed", sequence_number=3, response=response("completed", usage=USAGE))


def piece(words: str, number: int) -> bytes:
    return sse("response.output_text.delta", sequence_number=number, item_id="i", delta=words)


RESPONSE = (CREATED, piece("Good", 1), piece(" day", 2), COMPLETED)


@pytest.fixture(params=["zai", "openai"])
def native(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with Stack(request.param, toml=NATIVE[request.param]) as stack:
        yield stack


def ask(stack: Stack, path: str = "/v1/messages", *, headers: Mapping[str, str] | None = None, **body: object) -> Any:  # noqa: ANN401
    fields = {"model": "glm-4.6", "max_tokens": 100, "messages": HELLO, **body}
    if "responses" in path:
        fields = {"model": "glm-4.6", "input": "Hello", **body}
    return httpx.post(stack.url + path, json=fields, headers=headers)


def received(stack: Stack, path: str = "/v1/messages", **body: object) -> bytes:
    """The body of a stream that is cut: everything before the cut."""
    raw = b""
    fields = {"model": "glm-4.6", "max_tokens": 100, "messages": HELLO, "input": "Hello", "stream": True, **body}
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", stack.url + path, json=fields) as got,
    ):
        for part in got.iter_raw():
            raw += part
    return raw


def serving(
    reply: Reply | Callable[[dict[str, Any]], Reply], platform: str = "openai", toml: str = "", **variables: str
) -> Any:  # noqa: ANN401
    class Both:
        def __enter__(self) -> tuple[Stack, Replies]:
            self.replies = Replies(reply if callable(reply) else lambda _: reply).__enter__()
            self.stack = self.replies.stack(platform, toml=NATIVE[platform] + toml, **variables).__enter__()
            return self.stack, self.replies

        def __exit__(self, *exc: Any) -> None:  # noqa: ANN401
            self.stack.__exit__(*exc)
            self.replies.__exit__(*exc)

    return Both()


# -- with the simulator -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_a_message_of_the_sdk(native: Stack, stream: bool) -> None:
    message: anthropic.types.Message
    with anthropic.Anthropic(base_url=native.url, api_key="any", max_retries=0) as client:
        if stream:
            with client.messages.stream(model="glm-4.6", max_tokens=100, messages=HELLO) as events:  # type: ignore[arg-type]
                message = events.get_final_message()
        else:
            message = client.messages.create(model="glm-4.6", max_tokens=100, messages=HELLO)  # type: ignore[arg-type]
    assert message.content[-1].text.startswith("Gateways that stream well")  # type: ignore[union-attr]
    assert (message.model, message.stop_reason) == ("glm-4.6", "end_turn")
    record = native.record()
    assert (record.status, record.model, record.ending) == (200, "glm-4.6", Ending.DONE)
    assert record.usage is not None
    assert record.usage.completion_tokens == message.usage.output_tokens == 32
    asked = native.stats()["last_request"]
    assert isinstance(asked, dict)
    assert asked["path"] in ("/api/anthropic/v1/messages", "/v1/messages")


@pytest.mark.parametrize("stream", [True, False])
def test_a_response_of_the_sdk(native: Stack, stream: bool) -> None:
    made: openai.types.responses.Response
    with openai.OpenAI(base_url=native.base_url, api_key="any", max_retries=0) as client:
        if stream:
            with client.responses.stream(model="glm-4.6", input="Hello") as events:
                made = events.get_final_response()
        else:
            made = client.responses.create(model="glm-4.6", input="Hello")
    assert made.output_text.startswith("Gateways that stream well")
    assert (made.model, made.status) == ("glm-4.6", "completed")
    record = native.record()
    assert (record.status, record.ending) == (200, Ending.DONE)
    assert record.usage is not None
    assert made.usage is not None
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (
        made.usage.input_tokens,
        made.usage.output_tokens,
    )


def test_message_start_has_an_estimate_where_the_upstream_reports_none(native: Stack) -> None:
    first = ask(native, stream=True).text.split("\n\n")[0]
    usage = json.loads(first.partition("data: ")[2])["message"]["usage"]
    assert 0 < usage["input_tokens"] < 100


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("fault", ["truncate", "reset_mid", "error_mid", "no_done", "garbage_mid"])
def test_a_stream_that_breaks_off_never_ends_cleanly(native: Stack, path: str, fault: str) -> None:
    raw = received(native, path, model=f"glm-4.6:tokens=20:fault={fault}")
    last = raw.rpartition(b"event: ")[2]
    assert last.startswith(b"error\n" if path == "/v1/messages" else b"response.failed\n")
    assert raw.endswith(b"\n\n")
    assert native.record().ending is not Ending.DONE


@pytest.mark.parametrize(
    ("fault", "status", "type", "headers"),
    [
        ("1302", 429, "rate_limit_error", {}),
        ("1305", 529, "overloaded_error", {"retry-after": "4"}),
        ("1113", 429, "rate_limit_error", {"x-should-retry": "false"}),
        ("1211", 404, "not_found_error", {}),
        ("1000", 502, "api_error", {"x-should-retry": "false"}),
        ("1261", 400, "invalid_request_error", {}),
    ],
)
def test_errors_are_repaired(fault: str, status: int, type: str, headers: dict[str, str]) -> None:
    with Stack(toml=NATIVE["zai"], ZTOAPI_MAX_TRIES="1") as stack:
        got = ask(stack, model=f"glm-4.6:fault={fault}", stream=True)
    shown = got.json()
    assert (got.status_code, shown["type"], shown["error"]["type"]) == (status, "error", type)
    assert got.headers["request-id"] == shown["request_id"]
    assert headers.items() <= dict(got.headers).items()
    if fault == "1261":
        assert shown["error"]["message"].startswith("prompt is too long: ")


def test_a_failed_attempt_is_repeated() -> None:
    with Stack(toml=NATIVE["zai"], UPSTREAM_TOKENS="other") as stack:
        got = ask(stack, model="glm-4.6:fault=1302:fault_times=1", stream=True)
        assert got.status_code == 200
        assert stack.record().attempts == 2


def test_counts_stay_estimates(native: Stack) -> None:
    assert 0 < ask(native, "/v1/messages/count_tokens").json()["input_tokens"] < 100
    assert 0 < ask(native, "/v1/responses/input_tokens").json()["input_tokens"] < 100
    assert native.stats()["requests"] == 0


def test_chat_is_unchanged(native: Stack) -> None:
    got = ask(native, "/v1/chat/completions")
    assert got.json()["object"] == "chat.completion"


# -- with prepared responses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "events"), [("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_bytes_stay_the_same(path: str, events: tuple[bytes, ...], joined: bool, transport: str) -> None:
    reply = streamed(b"".join(events)) if joined else streamed(*events)
    with serving(reply, ZTOAPI_TRANSPORT=transport) as (stack, _):
        got = ask(stack, path, stream=True)
        record = stack.record()
    assert got.content == b"".join(events)
    assert record.usage is not None
    assert (record.usage.prompt_tokens, record.usage.completion_tokens, record.usage.total_tokens) == (7, 2, 9)


@pytest.mark.parametrize(("path", "events"), [("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_bytes_stay_the_same_wherever_they_are_cut(path: str, events: tuple[bytes, ...], size: int) -> None:
    raw = b"".join(events)
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    with serving(streamed(*pieces)) as (stack, _):
        assert ask(stack, path, stream=True).content == raw


def test_comments_pings_and_unknown_events_pass() -> None:
    events = (b": hello\n\n", MESSAGE[0], sse("ping"), OPEN, text("a"), sse("news", x=1), CLOSE, LAST, STOP)
    with serving(streamed(*events)) as (stack, _):
        assert ask(stack, stream=True).content == b"".join(events)


def test_id_and_retry_lines_are_left_out() -> None:
    marked = (
        b"retry: 9\n\n",
        *(b"id: 1\n" + event for event in RESPONSE[:2]),
        b": wait\n\n",
        b"id\n\n",
        b"event: x\n\n",
    )
    last = (b"id: 2\nretry: 9\n" + RESPONSE[2].replace(b"{", b"{\ndata: ", 1), RESPONSE[3][:-1] + b"id: 3\n\n")
    with serving(streamed(*marked, *last)) as (stack, _):
        raw = httpx.post(
            stack.base_url + "/responses", json={"model": "glm-4.6", "input": "hi", "stream": True}
        ).content
        assert raw == b"".join((*RESPONSE[:2], b": wait\n\n", RESPONSE[2].replace(b"{", b"{ ", 1), RESPONSE[3]))
        # OpenAI's SDK reads the blank line after a comment as an empty event if the stream has ids.
        with openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client:
            kinds = [event.type for event in client.responses.create(model="glm-4.6", input="hi", stream=True)]
        assert kinds[-1] == "response.completed"


@pytest.mark.parametrize("empty", [b"data:\n\n", b"data: \n\n", b"data: null\n\n", b"event: ping\ndata: now\n\n"])
def test_empty_events_are_left_out(empty: bytes) -> None:
    for path, events in (("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)):
        with serving(streamed(*(piece for event in events for piece in (empty, event)))) as (stack, _):
            assert ask(stack, path, stream=True).content == b"".join(events)


def test_events_without_names() -> None:
    events = [event.partition(b"\n")[2] for event in MESSAGE]
    with serving(streamed(*events)) as (stack, _):
        assert ask(stack, stream=True).content == b"".join(events)


def test_the_request_stays_the_same_except_for_the_model() -> None:
    body: dict[str, Any] = {"messages": HELLO, "top_k": 3, "context_management": {"edits": []}, "unknown": [1, {}]}
    mapping = 'upstream_model_id_map = { "public" = "theirs" }\n'
    with serving(streamed(start("theirs", input_tokens=1), *MESSAGE[1:])) as both:
        stack, replies = both
        got = ask(stack, stream=True, **body)
    del got
    sent = replies.bodies[0]
    assert sent == {"model": "glm-4.6", "max_tokens": 100, "stream": True, **body}
    with Replies(lambda _: streamed(start("theirs", input_tokens=1), *MESSAGE[1:])) as replies:
        with replies.stack("openai", toml=mapping + NATIVE["openai"]) as stack:
            got = ask(stack, stream=True, model="public", **body)
    assert replies.bodies[0]["model"] == "theirs"
    assert json.loads(got.text.split("\n\n")[0].partition("data: ")[2])["message"]["model"] == "public"
    assert got.content.endswith(b"".join(MESSAGE[1:]))


@pytest.mark.parametrize(
    ("events", "path"),
    [
        ((sse("response.created", response=response("in_progress", "theirs")), *RESPONSE[1:-1]), "/v1/responses"),
    ],
)
def test_responses_carry_the_requested_model(events: tuple[bytes, ...], path: str) -> None:
    last = sse("response.completed", response=response("completed", "theirs", usage=USAGE))
    with Replies(lambda _: streamed(*events, last)) as replies:
        toml = 'upstream_model_id_map = { "public" = "theirs" }\n' + NATIVE["openai"]
        with replies.stack("openai", toml=toml) as stack:
            got = ask(stack, path, stream=True, model="public")
    models = [
        json.loads(line[6:])["response"]["model"]
        for line in got.text.split("\n")
        if line.startswith("data: ") and '"response"' in line
    ]
    assert models == ["public", "public"]


def test_the_billing_line_is_left_out() -> None:
    billing = "x-anthropic-billing-header: cc_version=1; cch=abc;"
    blocks = [{"type": "text", "text": billing}, {"type": "text", "text": "Be short.", "cache_control": {"a": 1}}]
    for system, rest in (
        (blocks, blocks[1:]),
        (f"{billing}\nBe short.", "Be short."),
        ([{"type": "text", "text": f"{billing}\nBe short."}], [{"type": "text", "text": "Be short."}]),
    ):
        with serving(streamed(*MESSAGE)) as (stack, replies):
            ask(stack, stream=True, system=system)
        assert replies.bodies[0]["system"] == rest


def test_whole_responses_pass_as_they_are() -> None:
    message = (
        b'{"id":"m", "type":"message","model":"glm-4.6","content":[],"usage":{"input_tokens":7,"output_tokens":2}}'
    )
    with serving(whole(message)) as (stack, _):
        assert ask(stack).content == message
        usage = stack.record().usage
    assert usage is not None
    assert usage.total_tokens == 9
    made = json.dumps(response("incomplete", usage=USAGE)).encode()
    with serving(whole(made)) as (stack, _):
        assert ask(stack, "/v1/responses").content == made
        usage = stack.record().usage
    assert usage is not None
    assert usage.total_tokens == 9


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_a_stream_in_response_to_a_request_for_a_whole_response_is_collected(path: str) -> None:
    with serving(streamed(*(MESSAGE if path == "/v1/messages" else RESPONSE))) as (stack, _):
        got = ask(stack, path)
    assert got.status_code == 200, got.text
    if path == "/v1/messages":
        assert got.json()["content"] == [{"type": "text", "text": "Good day"}]
    else:
        assert got.json()["status"] == "completed"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"error":{"code":"1302","message":"slow"}}', 429),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"full"}}', 529),
        (b'{"code":500,"msg":"404 NOT_FOUND","success":false}', 502),
    ],
)
def test_a_success_that_reports_an_error(body: bytes, status: int, stream: bool) -> None:
    with serving(whole(body), ZTOAPI_MAX_TRIES="1") as (stack, _):
        assert ask(stack, stream=stream).status_code == status


def test_an_error_behind_message_start_is_retried() -> None:
    first = streamed(MESSAGE[0], sse("error", error={"type": "overloaded_error", "message": "full"}))
    replies = iter([first, streamed(*MESSAGE)])
    with serving(lambda _: next(replies)) as (stack, _):
        assert ask(stack, stream=True).content == b"".join(MESSAGE)
        assert stack.record().attempts == 2


def test_failed_responses() -> None:
    failed = response("failed", error={"code": "rate_limit_exceeded", "message": "slow down"})
    with serving(streamed(*RESPONSE[:2], sse("response.failed", response=failed))) as (stack, _):
        raw = received(stack, "/v1/responses")
    name, _, data = raw.rpartition(b"event: ")[2].partition(b"\ndata: ")
    event = json.loads(data)
    assert name == b"response.failed"
    assert event["response"]["error"]["code"] == "rate_limit_exceeded"
    assert (event["response"]["id"], event["response"]["status"]) == ("resp_1", "failed")
    with serving(whole(json.dumps(failed).encode()), ZTOAPI_MAX_TRIES="1") as (stack, _):
        assert ask(stack, "/v1/responses").status_code == 429


def test_secrets_are_masked() -> None:
    secret = "sk-very-secret-token-of-the-gateway"
    cut = sse("error", error={"type": "api_error", "message": f"the key {secret} is wrong"})
    with serving(streamed(*MESSAGE[:3], cut), UPSTREAM_TOKEN=secret) as (stack, _):
        raw = received(stack)
    assert secret.encode() not in raw
    assert b"event: error" in raw


def test_header_fields(native: Stack) -> None:
    headers = {"anthropic-version": "2024-01-01", "anthropic-beta": "one,two", "x-api-key": "of-the-client"}
    ask(native, headers=headers)
    asked = native.stats()["last_request"]
    assert isinstance(asked, dict)
    sent = asked["headers"]
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2024-01-01", "one,two")
    assert sent["x-api-key"] != "of-the-client"


def test_invalid_requests(native: Stack) -> None:
    for content in (b"", b"{", b"[]", b'{"messages":[]}', b'{"model":3}', b'{"model":"m","stream":"yes"}', b'"\xff"'):
        for path in ("/v1/messages", "/v1/responses"):
            got = httpx.post(native.url + path, content=content)
            assert got.status_code == 400, got.text
            assert "error" in got.json()
    assert native.stats()["requests"] == 0


def test_limits_and_permissions_of_keys(tmp_path: Any) -> None:  # noqa: ANN401
    toml = NATIVE["zai"] + "[limits.global]\nrequests_per_minute = 1\n"
    with Stack(toml=toml) as stack:
        assert ask(stack).status_code == 200
        refused = ask(stack)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")


def test_fallbacks_with_the_same_endpoint() -> None:
    toml = NATIVE["zai"] + '[fallbacks]\n"glm-4.6:fault=529" = ["glm-5.2"]\n'
    with Stack(toml=toml, ZTOAPI_MAX_TRIES="1") as stack:
        got = ask(stack, model="glm-4.6:fault=529")
        assert got.status_code == 200, got.text
        assert stack.record().served_model == "glm-5.2"


def test_a_name_of_claude_has_the_fallbacks_of_its_model() -> None:
    toml = NATIVE["zai"] + '[fallbacks]\n"glm-4.6:fault=529" = ["glm-5.2"]\n'
    with Stack(toml=toml, ZTOAPI_MAX_TRIES="1", MODEL_NAME="glm-4.6:fault=529") as stack:
        got = ask(stack, model="claude-opus-4-1")
        assert got.status_code == 200, got.text
        assert stack.record().served_model == "glm-5.2"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_a_session_stays_with_a_credential(path: str) -> None:
    with Stack(toml=NATIVE["zai"], UPSTREAM_TOKENS="a|b|c") as stack:
        for _ in range(4):
            assert ask(stack, path, headers={"x-session-id": "s1"}).status_code == 200
        assert len({record.credential for record in stack.records()}) == 1


def test_a_client_that_leaves_ends_the_upstream_request(native: Stack) -> None:
    body = json.dumps({"model": "glm-4.6:itl=50:tokens=1000", "max_tokens": 9999, "stream": True, "messages": HELLO})
    with socket.create_connection(("127.0.0.1", native.port)) as sock:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body.encode())
        assert sock.recv(100)
    native.wait_for(lambda: native.simulator.stats.cancels == 1)
    assert native.record().ending is Ending.CLIENT_DISCONNECT
