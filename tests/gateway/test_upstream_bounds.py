"""How much of a response is read where little of it is of use, and what an upstream that goes on is given."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from tests.cache.upstream import event
from tests.gateway.test_endings import CHAT, body
from tests.stack import BASES, Stack
from tests.support.raw_upstream import RawUpstream, stream_of, whole
from tests.support.table import table
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import Ending

LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
WEB = (
    b'data: {"type":"chat:completion","data":{"phase":"answer","delta_content":"Hi"}}\n\n'
    b'data: {"type":"chat:completion","data":{"phase":"done","done":true}}\n\n'
)
COMPLETION = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Hi"},"finish_reason":"stop"}]}'
)
MESSAGE = b'{"error":{"message":"the reason is here"}}'
CHUNKED = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
COUNTED = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: 10000000\r\n\r\n"


def drip(start: bytes, piece: bytes, stop: threading.Event, sock: socket.socket, _: int) -> bool:
    """Send ``start``, then ``piece`` again and again until the gateway closes or the test ends."""
    sock.sendall(start)
    while not stop.wait(0.05):
        sock.sendall(piece)
    return True


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize(
    ("head", "piece"),
    [(CHUNKED, b"1\r\n \r\n"), (COUNTED, b" "), (CHUNKED, b"2000\r\n" + b" " * 8192 + b"\r\n")],
    ids=["chunked", "counted", "large"],
)
def test_an_error_is_answered_before_its_body_ends(transport: str, head: bytes, piece: bytes) -> None:
    """One request for each status, all at the same time: each waits for more of the body."""
    first = MESSAGE if head is COUNTED else b"%x\r\n%b\r\n" % (len(MESSAGE), MESSAGE)
    statuses = [b"400 Bad", b"404 No", b"422 Odd", b"500 Oh", b"301 Away"]
    stop = threading.Event()

    def play(sock: socket.socket, number: int) -> bool:
        return drip(head % statuses[number - 1] + first, piece, stop, sock, number)

    with RawUpstream(play) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        with Stack("openai", UPSTREAM_URL=url, ZTOAPI_TRANSPORT=transport, ZTOAPI_MAX_TRIES="1") as stack:

            def ask(_: bytes) -> httpx.Response:
                return httpx.post(stack.url + CHAT, json=body("m", stream=transport == "native"))

            with ThreadPoolExecutor(len(statuses)) as clients:
                answers = list(clients.map(ask, statuses))
            assert [answer.status_code for answer in answers if answer.status_code < 400] == []
            assert [answer.text for answer in answers if "the reason is here" not in answer.text] == []
            assert upstream.requests == len(statuses)
            if transport == "native":
                stack.wait_for(lambda: stack.pool.statistics()[:2] == (0, 0))
        stop.set()


@table("transport", ["native", "httpx"])
@table(
    ("platform", "events", "stream"),
    [
        ("openai", event("Hi") + LAST, True),
        ("zai", event("Hi") + LAST, True),
        ("zai_web", WEB, True),
        ("zai_web", WEB, False),
    ],
)
@table("piece", [b": on\n\n", b": " + b"x" * 20000 + b"\n\n"], ids=["slow", "fast"])
def test_an_upstream_that_goes_on_after_the_end(
    transport: str, platform: str, events: bytes, stream: bool, piece: bytes
) -> None:
    stop, gone = threading.Event(), threading.Event()

    def play(sock: socket.socket, number: int) -> bool:
        try:
            drip(stream_of(events, end=False), b"%x\r\n%b\r\n" % (len(piece), piece), stop, sock, number)
        except OSError:
            gone.set()
        return True

    with RawUpstream(play) as upstream:
        url = f"http://127.0.0.1:{upstream.port}{BASES[platform]}"
        with Stack(platform, UPSTREAM_URL=url, ZTOAPI_TRANSPORT=transport) as stack:
            answer = httpx.post(stack.url + CHAT, json=body("m", stream=stream))
            assert "Hi" in answer.text
            assert stack.record().ending is Ending.DONE
            assert gone.wait(WAIT_SECONDS)
        stop.set()


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize(
    ("platform", "events"),
    [("openai", event("Hi")), ("zai", event("Hi")), ("zai_web", WEB.partition(b"\n\n")[0] + b"\n\n")],
)
def test_a_response_that_is_collected_from_events_is_bounded(transport: str, platform: str, events: bytes) -> None:
    stop = threading.Event()
    piece = b"%x\r\n%b\r\n" % (len(events), events)
    with RawUpstream(partial(drip, stream_of(*[events] * 20, end=False), piece, stop)) as upstream:
        with Stack(
            platform,
            UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}{BASES[platform]}",
            ZTOAPI_TRANSPORT=transport,
            ZTOAPI_MAX_RESPONSE_BYTES="2048",
        ) as stack:
            answer = httpx.post(stack.url + CHAT, json=body("m", stream=False))
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "upstream_response_too_large"
            assert upstream.requests == 1
        stop.set()


def test_an_upstream_that_ends_soon_keeps_its_connection() -> None:
    ended = threading.Event()

    def play(sock: socket.socket, _: int) -> None:
        sock.sendall(stream_of(event("Hi") + LAST, end=False))
        ended.wait(WAIT_SECONDS)
        sock.sendall(b"5\r\n: ok\n\r\n0\r\n\r\n")

    with (
        RawUpstream(play) as upstream,
        Stack("openai", UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}/v1") as stack,
    ):
        for _ in range(2):
            assert "[DONE]" in httpx.post(stack.url + CHAT, json=body("m")).text
            ended.set()
            stack.wait_for(lambda: stack.pool.statistics()[:2] == (0, 1))
        assert len(upstream.connections) == 1


@table("transport", ["native", "httpx"])
@table("delay", [0.0, 0.05, 0.5])
@table("stream", [True, False])
def test_a_request_that_was_read_is_seen_once(transport: str, delay: float, stream: bool) -> None:
    good = whole(
        "200 OK",
        COMPLETION,
    )

    def play(sock: socket.socket, number: int) -> bool:
        if number == 1:
            sock.sendall(good)
            return False
        threading.Event().wait(delay)
        return True

    with RawUpstream(play) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        with Stack("openai", UPSTREAM_URL=url, ZTOAPI_TRANSPORT=transport, ZTOAPI_MAX_TRIES="1") as stack:
            assert httpx.post(stack.url + CHAT, json=body("m", stream=False)).status_code == 200
            answer = httpx.post(stack.url + CHAT, json=body("m", stream=stream))
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_closed")
    assert (upstream.requests, len(upstream.connections)) == (2, 1)


@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_surplus_bytes_are_no_answer_to_another_request(transport: str) -> None:
    answer = COMPLETION
    short = whole("200 OK", answer).replace(b": %d\r\n" % len(answer), b": %d\r\n" % (len(answer) - 5))
    with RawUpstream(lambda sock, number: sock.sendall(short if number == 1 else whole("200 OK", answer))) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        with Stack("openai", UPSTREAM_URL=url, ZTOAPI_TRANSPORT=transport, ZTOAPI_MAX_TRIES="1") as stack:
            assert httpx.post(stack.url + CHAT, json=body("m", stream=False)).status_code == 502
            for _ in range(2):
                assert httpx.post(stack.url + CHAT, json=body("m", stream=False)).status_code == 200
    assert len(upstream.connections) == 2


@table("transport", ["native", "httpx"])
@table(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\rX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: \0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nnocolon\r\n\r\n",
        b"CANARY octets\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nCANARY octets\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nCANARY\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_breaks_http_is_refused_in_the_gateways_own_words(transport: str, response: bytes) -> None:
    with RawUpstream(response) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        with Stack("openai", UPSTREAM_URL=url, ZTOAPI_TRANSPORT=transport, ZTOAPI_MAX_TRIES="1") as stack:
            answer = httpx.post(stack.url + CHAT, json=body("m", stream=False))
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_protocol_error")
            assert "CANARY" not in answer.text
            assert "bytearray" not in answer.text
