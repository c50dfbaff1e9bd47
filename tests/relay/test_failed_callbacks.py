"""An unexpected exception in any callback between the sockets and the relay ends the request with a response."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.stack import Stack
from tests.support.raw_upstream import RawUpstream, stream_of, whole
from ztoapi.dialects.openai import OpenAIReader
from ztoapi.dialects.translate import OpenAITranslation
from ztoapi.errors import Ending
from ztoapi.relay.chat import ChatRelays
from ztoapi.relay.credentials import CredentialPool
from ztoapi.relay.relay import Relay
from ztoapi.relay.retries import RetryLoop
from ztoapi.relay.upstreams import Upstream
from ztoapi.server.exchange import Exchange
from ztoapi.server.stream import ResponseStream
from ztoapi.telemetry.recorder import BoardRecorder

CHAT = "/chat/completions"
DELTA = b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
LAST = b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
EVENTS = stream_of(DELTA, LAST + b"data: [DONE]\n\n")
COMPLETION = whole(
    "200 OK",
    b'{"id":"c","created":1,"model":"m","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}',
)
REFUSED = whole("400 Bad Request", b'{"error":{"message":"no"}}')
BUSY = whole("503 Service Unavailable", b'{"error":{"message":"no"}}')
LARGE_EVENT = stream_of(b"data: " + b"x" * 5000)
LARGE = whole("200 OK", b'{"choices":"' + b"x" * 200_000)
CODED = whole("200 OK", b"", "content-encoding: br")
CLOSED = b""
NO_HTTP = b"nonsense\r\n\r\n"


BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def chat(stack: Stack, *, stream: bool) -> tuple[int, str]:
    """The status and the body of a response, which need not be complete."""
    text = ""
    with (
        contextlib.suppress(httpx.RemoteProtocolError),
        httpx.stream("POST", stack.base_url + CHAT, json={**BODY, "stream": stream}) as response,
    ):
        for part in response.iter_text():
            text += part
    return response.status_code, text


def raising(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands in for any function
    raise ZeroDivisionError


def in_flight(stack: Stack) -> int:
    """Credentials in use."""
    upstreams = stack.application.upstreams.values()
    return sum(one.in_flight for upstream in upstreams for one in upstream.statistics().credentials)


def serves(connection_is_kept: bool, play: bytes) -> Callable[..., bool]:
    def respond(sock: Any, _: int) -> bool:  # noqa: ANN401 - a socket
        sock.sendall(play)
        return not connection_is_kept

    return respond


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize(
    ("response", "owner", "name", "stream"),
    [
        (REFUSED, Upstream, "disclose", True),
        (REFUSED, Relay, "_fail", True),
        (REFUSED, OpenAITranslation, "refusal", False),
        (REFUSED, OpenAITranslation, "amend", True),
        (CLOSED, Upstream, "disclose", True),
        (NO_HTTP, Upstream, "disclose", False),
        (CODED, Upstream, "disclose", True),
        (LARGE_EVENT, Upstream, "disclose", True),
        (LARGE, Upstream, "disclose", False),
        (BUSY, RetryLoop, "delay", True),
        (BUSY, Relay, "_fail", False),
        (EVENTS, OpenAIReader, "feed", True),
        (EVENTS, Relay, "_read_events", True),
        (stream_of(DELTA), CredentialPool, "responded", True),
        (EVENTS, Relay, "_complete", True),
        (COMPLETION, OpenAITranslation, "completion", False),
        (COMPLETION, OpenAITranslation, "completion", True),
        (COMPLETION, Relay, "_complete", False),
        (COMPLETION, Relay, "_finish_whole", False),
        (EVENTS, Relay, "on_head", True),
    ],
)
def test_the_client_gets_an_error(
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    response: bytes,
    owner: type,
    name: str,
    stream: bool,
) -> None:
    with (
        RawUpstream(serves(bool(response), response)) as upstream,
        Stack(
            "openai",
            UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1",
            ZTOAPI_TRANSPORT=transport,
            ZTOAPI_MAX_EVENT_BYTES="4096",
            ZTOAPI_MAX_RESPONSE_BYTES="65536",
        ) as stack,
    ):
        monkeypatch.setattr(owner, name, raising)
        status, text = chat(stack, stream=stream)
        assert status == (200 if '"Hi"' in text else 500)
        assert '"internal"' in text
        assert "[DONE]" not in text
        assert stack.record().ending is Ending.INTERNAL_ERROR
        stack.wait_for(lambda: not in_flight(stack))


@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_a_stream_that_cannot_be_written_is_cut_off(monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    """Even the error cannot be sent, so the connection closes."""
    with (
        RawUpstream(EVENTS) as upstream,
        Stack("openai", UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1", ZTOAPI_TRANSPORT=transport) as stack,
    ):
        monkeypatch.setattr(ResponseStream, "write_framed", raising)
        monkeypatch.setattr(Exchange, "respond", raising)
        with pytest.raises(httpx.RemoteProtocolError, match="disconnected"):
            httpx.post(stack.base_url + CHAT, json={**BODY, "stream": True})
        assert stack.record().ending is Ending.INTERNAL_ERROR
        stack.wait_for(lambda: not in_flight(stack))


@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attempt_that_cannot_begin(monkeypatch: pytest.MonkeyPatch, attempt: int) -> None:
    acquire, acquired = CredentialPool.acquire, 0

    def fail_once(pool: CredentialPool, *arguments: Any) -> object:  # noqa: ANN401 - those of acquire
        nonlocal acquired
        acquired += 1
        if acquired == attempt:
            raise ZeroDivisionError
        return acquire(pool, *arguments)

    with (
        RawUpstream(BUSY) as upstream,
        Stack("openai", UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1") as stack,
    ):
        monkeypatch.setattr(CredentialPool, "acquire", fail_once)
        assert chat(stack, stream=True)[0] == 500
        assert not in_flight(stack)


def test_a_fallback_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        RawUpstream(BUSY) as upstream,
        Stack(
            "openai",
            UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1",
            MODEL_FALLBACKS=json.dumps({"m": ["other"]}),
            ZTOAPI_MAX_TRIES="1",
        ) as stack,
    ):
        send = ChatRelays.send

        def fail_second(relays: ChatRelays, request: Any, *others: Any, **named: Any) -> None:  # noqa: ANN401 - a ChatRequest
            if request.model == "other":
                raise ZeroDivisionError
            send(relays, request, *others, **named)

        monkeypatch.setattr(ChatRelays, "send", fail_second)
        assert chat(stack, stream=False)[0] == 500
        assert not in_flight(stack)


def test_a_client_that_leaves_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        RawUpstream(lambda *_: None) as upstream,
        Stack("openai", UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1") as stack,
    ):
        monkeypatch.setattr(Relay, "cancel", raising)
        with httpx.Client(timeout=0.2) as client, pytest.raises(httpx.ReadTimeout):
            client.post(stack.base_url + CHAT, json=BODY)
        assert stack.record().ending is Ending.CLIENT_DISCONNECT
        stack.wait_for(lambda: stack.application.admission.in_flight == 0)


def test_a_request_that_cannot_be_recorded_does_not_block_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stack() as stack, httpx.Client() as client:
        monkeypatch.setattr(BoardRecorder, "submit", raising)
        for _ in range(2):
            assert client.get(stack.url + "/v1/models").status_code == 200
