"""Each row of the table of endings, seen from all three sides: client, upstream, record."""

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest

from tests.cache.upstream import Upstream
from tests.stack import Stack
from tests.support.serving import Client
from tests.support.table import table
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import Ending

CHAT = "/v1/chat/completions"


def body(model: str, *, stream: bool = True) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}


def raw_request(model: str, *, stream: bool) -> bytes:
    payload = json.dumps(body(model, stream=stream)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def read_stream(stack: Stack, model: str) -> tuple[list[dict[str, Any]], bool, bool]:
    """The events of a stream, whether it ended with [DONE], and whether HTTP called it complete."""
    text, complete = "", True
    with httpx.stream("POST", stack.url + CHAT, json=body(model)) as response:
        assert response.status_code == 200
        try:
            for part in response.iter_text():
                text += part
        except httpx.RemoteProtocolError:
            complete = False
    payloads = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(one) for one in payloads if one != "[DONE]"], "[DONE]" in payloads, complete


@pytest.mark.parametrize("stream", [True, False])
def test_done(stack: Stack, stream: bool) -> None:
    assert httpx.post(stack.url + CHAT, json=body("glm-4.6", stream=stream)).status_code == 200
    record = stack.record()
    assert (record.ending, record.status, record.attempts, record.stream) == (Ending.DONE, 200, 1, stream)
    assert record.usage is not None and record.usage.total_tokens == 36 + record.usage.prompt_tokens
    assert (record.model, record.platform) == ("glm-4.6", "zai")
    stats = stack.stats()
    assert (stats["requests"], stats["cancels"], stats["open_streams"]) == (1, 0, 0)


@pytest.mark.parametrize("fault", ["1302", "1305", "500", "529", "empty", "network_error:reasoning=0:tokens=0"])
@pytest.mark.parametrize("stream", [True, False])
def test_retryable_refusal_is_tried_again_until_it_works(stack: Stack, fault: str, stream: bool) -> None:
    if fault == "empty" and not stream:
        pytest.skip("only a stream can be empty")
    response = httpx.post(stack.url + CHAT, json=body(f"glm-4.6:fault_times=1:fault={fault}", stream=stream))
    assert response.status_code == 200
    assert '"error"' not in response.text
    record = stack.record()
    assert (record.ending, record.attempts) == (Ending.DONE, 2)
    assert stack.stats()["requests"] == 2


@table(
    ("fault", "status", "code", "tries"),
    [
        ("1302", 429, "rate_limit_exceeded", 2),
        ("1305", 503, "upstream_overloaded", 2),
        ("500", 502, "upstream_error", 2),
        ("529", 503, "upstream_overloaded", 2),
        ("1113", 429, "insufficient_quota", 1),
        ("1308", 429, "insufficient_quota", 1),
        ("1210", 400, "invalid_request", 1),
        ("1211", 404, "model_not_found", 1),
        ("html", 400, "invalid_request", 1),
        ("garbage", 502, "upstream_protocol_error", 1),
        ("bad_head", 502, "upstream_protocol_error", 1),
        ("refuse", 502, "upstream_closed", 1),
        ("reset", 502, "upstream_closed", 1),
    ],
)
@table("stream", [True, False])
def test_refusal_before_the_first_byte(fault: str, status: int, code: str, tries: int, stream: bool) -> None:
    with Stack(ZTOAPI_MAX_TRIES="2") as stack:
        response = httpx.post(stack.url + CHAT, json=body(f"glm-4.6:fault={fault}", stream=stream))
        assert response.status_code == status
        error = response.json()["error"]
        assert error["code"] == code
        assert set(error) == {"message", "type", "param", "code"}
        assert response.headers.get("x-should-retry") == ("false" if tries == 1 else None)
        record = stack.record()
        assert (record.ending, record.status, record.attempts) == (Ending.UPSTREAM_ERROR, status, tries)
        assert record.error_code == code
        stats = stack.stats()
        assert (stats["requests"], stats["open_streams"]) == (tries, 0)


def test_retry_after_is_passed_on_and_not_waited_for_when_long(stack: Stack) -> None:
    response = httpx.post(stack.url + CHAT, json=body("glm-4.6:fault=1302:retry_after=77"))
    assert (response.status_code, response.headers["retry-after"]) == (429, "77")
    assert response.headers["retry-after-ms"] == "77000"
    assert stack.record().attempts == 1


def test_unreachable_upstream(stack: Stack) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with Stack(ZAI_UPSTREAM_URL=f"http://127.0.0.1:{port}", ZTOAPI_MAX_TRIES="2") as broken:
            response = httpx.post(broken.url + CHAT, json=body("glm-4.6"))
            assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unreachable")
            assert broken.record().attempts == 2


@pytest.mark.parametrize(
    ("fault", "ending", "code"),
    [
        ("truncate", Ending.TRUNCATED, "upstream_truncated"),
        ("reset_mid", Ending.TRUNCATED, "upstream_truncated"),
        ("bad_chunk", Ending.UPSTREAM_ERROR, "upstream_protocol_error"),
        ("garbage_mid", Ending.UPSTREAM_ERROR, "upstream_malformed"),
        ("error_mid", Ending.UPSTREAM_ERROR, "upstream_error"),
        ("network_error", Ending.UPSTREAM_ERROR, "upstream_error"),
    ],
)
def test_upstream_that_breaks_in_mid_stream(stack: Stack, fault: str, ending: Ending, code: str) -> None:
    events, done, complete = read_stream(stack, f"glm-4.6:itl=1:fault={fault}")
    assert "choices" in events[0]
    assert events[-1]["error"]["code"] == code
    assert not done
    assert not complete
    record = stack.record()
    assert (record.ending, record.status, record.attempts) == (ending, 200, 1)
    assert stack.stats()["open_streams"] == 0


def test_truncated_whole_answer_is_an_error() -> None:
    with Stack("zai_web", UPSTREAM_MODEL_ID_DEFAULT="0727:itl=1:fault=truncate") as stack:
        response = httpx.post(stack.url + CHAT, json=body("glm-4.6", stream=False))
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_truncated")
        assert stack.record().ending is Ending.TRUNCATED


@pytest.mark.parametrize("fault", ["huge", "drip", "no_done"])
def test_odd_but_whole_streams_pass(stack: Stack, fault: str) -> None:
    events, done, complete = read_stream(stack, f"glm-4.6:fault={fault}")
    assert done
    assert complete
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert stack.record().ending is Ending.DONE


def test_event_over_the_limit_is_an_error_and_never_a_silent_end() -> None:
    with Stack(ZTOAPI_MAX_EVENT_BYTES="200000") as stack:
        events, done, complete = read_stream(stack, "glm-4.6:itl=1:fault=huge")
        assert events[-1]["error"]["code"] == "upstream_event_too_large"
        assert not done
        assert not complete
        assert stack.record().ending is Ending.UPSTREAM_ERROR
        stack.wait_for(lambda: stack.simulator.stats.open_streams == 0)


@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("glm-4.6:fault=hang", True),
        ("glm-4.6:fault=hang", False),
        ("glm-4.6:itl=5:tokens=100000", True),
        ("glm-4.6:fault=hang_mid", True),
    ],
)
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_client_that_goes_away_cancels_the_upstream(model: str, stream: bool, transport: str) -> None:
    """The connection of the upstream closes although nothing more is sent or due. The time is not measured."""
    with Stack(ZTOAPI_TRANSPORT=transport) as stack:
        with socket.create_connection(("127.0.0.1", stack.port)) as client:
            client.sendall(raw_request(model, stream=stream))
            stack.wait_for(lambda: stack.simulator.stats.open_streams == 1)
            if "hang_mid" in model or "itl" in model:
                assert b"200 OK" in client.recv(65536)
        stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
        record = stack.record()
        assert record.ending is Ending.CLIENT_DISCONNECT
        assert record.status == (200 if "hang_mid" in model or "itl" in model else 499)
        assert stack.simulator.stats.open_streams == 0
        if transport == "native":
            assert stack.pool.statistics().busy == 0


def test_client_that_goes_away_while_connecting() -> None:
    """The upstream's backlog is full: the connection is never made, and the client's leaving ends the attempt."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with Stack(ZAI_UPSTREAM_URL=f"http://127.0.0.1:{port}/api/paas/v4") as stack:
            with socket.create_connection(("127.0.0.1", stack.port)) as client:
                client.sendall(raw_request("glm-4.6", stream=True))
                stack.wait_for(lambda: len(stack.application.context.connections) == 1)
            assert stack.record().ending is Ending.CLIENT_DISCONNECT
        for filler in fillers:
            filler.close()


def test_half_closed_client_still_gets_its_answer(stack: Stack) -> None:
    for number, stream in enumerate((False, True), 1):
        with socket.create_connection(("127.0.0.1", stack.port)) as client:
            client.sendall(raw_request("glm-4.6:ttft=300", stream=stream))
            client.shutdown(socket.SHUT_WR)
            data = b"".join(iter(lambda: client.recv(65536), b""))
        assert b"HTTP/1.1 200 OK" in data
        assert b"finish_reason" in data
        assert stack.record(number).ending is Ending.DONE


@pytest.mark.parametrize(("fault", "status"), [("hang", 504), ("hang_mid", 200)])
def test_silent_upstream_is_given_up(fault: str, status: int) -> None:
    # The time until the first byte of what becomes silent later is that of a busy machine.
    first = "0.3" if fault == "hang" else "60"
    with Stack(ZTOAPI_FIRST_BYTE_TIMEOUT_SECONDS=first, ZTOAPI_BETWEEN_BYTES_TIMEOUT_SECONDS="0.3") as stack:
        if status == 200:
            events, done, complete = read_stream(stack, f"glm-4.6:fault={fault}")
            assert events[-1]["error"]["code"] == "upstream_timeout"
            assert not done
            assert not complete
        else:
            response = httpx.post(stack.url + CHAT, json=body(f"glm-4.6:fault={fault}"))
            assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
        record = stack.record()
        assert (record.ending, record.status) == (Ending.UPSTREAM_TIMEOUT, status)
        stack.wait_for(lambda: stack.simulator.stats.cancels == 1)


def test_client_that_stops_reading_is_cut_off_and_its_upstream_with_it() -> None:
    with Stack(ZTOAPI_WRITE_STALL_TIMEOUT_SECONDS="0.3") as stack, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", stack.port))
        client.sendall(raw_request("glm-4.6:size=5000:tokens=10000", stream=True))
        stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
        assert stack.record().ending is Ending.SLOW_CLIENT
        data = b"".join(iter(lambda: client.recv(65536), b""))
        assert data.startswith(b"HTTP/1.1 200 OK")
        assert b"[DONE]" not in data
        assert not data.endswith(b"0\r\n\r\n")


def test_silence_in_mid_stream_is_bridged_with_comments() -> None:
    with (
        Stack(ZTOAPI_SSE_KEEPALIVE_SECONDS="0.3", ZTOAPI_BETWEEN_BYTES_TIMEOUT_SECONDS="60") as stack,
        httpx.stream("POST", stack.url + CHAT, json=body("glm-4.6:fault=hang_mid")) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        assert next(line for line in lines if line.startswith(":")) == ": keepalive"


def test_no_comment_comes_before_the_first_event() -> None:
    with Stack(ZTOAPI_SSE_KEEPALIVE_SECONDS="0.3", ZTOAPI_FIRST_BYTE_TIMEOUT_SECONDS="1") as stack:
        assert httpx.post(stack.url + CHAT, json=body("glm-4.6:fault=hang")).status_code == 504


def test_comments_before_the_first_event_where_configured() -> None:
    with (
        Stack(ZTOAPI_SSE_KEEPALIVE_SECONDS="0.3", ZTOAPI_SSE_KEEPALIVE_BEFORE_FIRST_BYTE="true") as stack,
        httpx.stream("POST", stack.url + CHAT, json=body("glm-4.6:fault=hang")) as response,
    ):
        assert response.status_code == 200
        assert next(response.iter_lines()) == ": keepalive"


def test_shutdown_lets_streams_finish_and_refuses_new_connections(stack: Stack) -> None:
    with httpx.stream("POST", stack.url + CHAT, json=body("glm-4.6:itl=20:tokens=100")) as response:
        lines = response.iter_lines()
        next(lines)
        drain = asyncio.run_coroutine_threadsafe(stack.server.drain(60, asyncio.Event()), stack.loop)
        stack.wait_for(lambda: not stack.server._servers)
        with pytest.raises(httpx.ConnectError):
            httpx.get(stack.url + "/livez")
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert drain.result(WAIT_SECONDS)
    assert stack.record().ending is Ending.DONE


def test_shutdown_ends_what_does_not_finish_in_time_with_an_error(stack: Stack) -> None:
    with httpx.stream("POST", stack.url + CHAT, json=body("glm-4.6:fault=hang_mid")) as response:
        lines = response.iter_lines()
        next(lines)
        asyncio.run_coroutine_threadsafe(stack.server.drain(0.1, asyncio.Event()), stack.loop)
        with pytest.raises(httpx.RemoteProtocolError):
            last = [line for line in iter(lambda: next(lines), None) if line][-1]
            assert json.loads(last[6:])["error"]["code"] == "shutdown"
    assert stack.record().ending is Ending.SHUTDOWN
    stack.wait_for(lambda: stack.simulator.stats.cancels == 1)


def test_client_check_refusal_is_typed_and_not_tried_again() -> None:
    for fault in ("426", "captcha"):
        with Stack("zai_web", UPSTREAM_MODEL_ID_DEFAULT=f"0727:fault={fault}") as stack:
            response = httpx.post(stack.url + CHAT, json=body("glm-4.6"))
            assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_client_check")
            assert "api.z.ai" in response.json()["error"]["message"]
            assert stack.record().attempts == 1


@pytest.mark.parametrize(
    "usage",
    [
        b'"prompt_tokens":100000000000000000000',
        b'"completion_tokens":-9223372036854775809',
        b'"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":9223372036854775808}',
    ],
)
def test_counts_that_are_no_counts_spoil_neither_response_nor_connection(usage: bytes) -> None:
    choice = b'{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}'
    with (
        Upstream() as upstream,
        Stack("openai", options=None, UPSTREAM_URL=upstream.url, UPSTREAM_MAX_TRIES="1") as stack,
        Client(stack.port) as client,
    ):
        for _ in range(2):
            client.send(raw_request("m", stream=False))
            upstream.call().refuse(b"200 OK", b'{"id":"c","choices":[%b],"usage":{%b}}' % (choice, usage))
            assert client.answer().status == 200
        stack.record(2)
        assert stack.application.telemetry.in_flight() == 0
