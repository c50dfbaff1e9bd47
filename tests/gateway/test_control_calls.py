"""Requests of the gateway itself: the lists of models, and the calls before a question to zread.ai."""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.stack import Stack
from tests.support.raw_upstream import RawUpstream, stream_of, whole
from tests.support.waiting import WAIT_SECONDS
from ztoapi.wire.sse import BYTE_ORDER_MARK

TRANSPORTS = pytest.mark.parametrize("transport", ["native", "httpx"])
LIST = b'{"object":"list","data":[{"id":"listed"}]}'
REPOSITORY = b'{"code":0,"msg":"","data":{"repo_id":"r","wiki_id":"w"}}'
QUESTION = {"model": "glm-4.5", "messages": [{"role": "user", "content": "Why?"}]}
ENDLESS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
Play = bytes | Callable[[socket.socket, int], object]


@contextmanager
def gateway(play: Play, transport: str, platform: str = "openai") -> Iterator[tuple[Stack, RawUpstream]]:
    base = {"openai": "/v1", "zread": "/api/v1"}[platform]
    with (
        RawUpstream(play) as upstream,
        Stack(
            platform,
            UPSTREAM_URL=f"http://127.0.0.1:{upstream.port}{base}",
            ZTOAPI_TRANSPORT=transport,
            ZTOAPI_MAX_RESPONSE_BYTES="65536",
            ZREAD_REPOSITORY="a/b",
        ) as stack,
    ):
        yield stack, upstream


def models(stack: Stack) -> list[str]:
    return [model["id"] for model in httpx.get(stack.base_url + "/models").raise_for_status().json()["data"]]


def flood(sock: socket.socket, _: int) -> bool:
    """Sends a body without an end, until the gateway closes."""
    sock.sendall(ENDLESS)
    while True:
        sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


FAILURES = [
    pytest.param(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nnot", id="no gzip"),
    pytest.param(whole("200 OK", gzip.compress(LIST), "content-encoding: gzip"), id="gzip"),
    pytest.param(whole("200 OK", b"x", "content-encoding: br"), id="br"),
    pytest.param(whole("301 Moved", b"", "location: http://[::1"), id="no location"),
    pytest.param(whole("302 Found", b"", "location: /elsewhere"), id="redirect"),
    pytest.param(whole("500 Oh", b"not", "content-encoding: gzip"), id="an error that is no gzip"),
    pytest.param(whole("204 No Content", b"", "set-cookie: a=b"), id="empty"),
    pytest.param(whole("200 OK", b"<html>"), id="html"),
    pytest.param(whole("200 OK", b"\xff\xfe"), id="no text"),
    pytest.param(whole("200 OK", b"[]"), id="list"),
    pytest.param(whole("200 OK", b"[" * 50_000), id="depth"),
    pytest.param(whole("200 OK", b" " * 65537), id="large"),
    pytest.param(flood, id="endless"),
    pytest.param(b"nonsense\r\n\r\n", id="no http"),
    pytest.param(lambda *_: True, id="closed"),
    pytest.param(ENDLESS + b"zz\r\n", id="no chunk"),
]


@TRANSPORTS
@pytest.mark.parametrize("play", FAILURES)
def test_a_call_before_a_question_fails_as_the_upstream(play: Play, transport: str) -> None:
    with gateway(play, transport, "zread") as (stack, _):
        response = httpx.post(stack.base_url + "/chat/completions", json=QUESTION)
        assert response.status_code == 502, response.text
        assert response.json()["error"]["code"].startswith("upstream_")
        credential = stack.application.upstreams["zread"].statistics().credentials[0]
        assert credential.in_flight == 0


@TRANSPORTS
@pytest.mark.parametrize("play", FAILURES)
def test_a_list_that_fails_leaves_the_configured_models(play: Play, transport: str) -> None:
    with gateway(play, transport) as (stack, upstream):
        assert models(stack) == ["glm-5.3"]
        count = upstream.requests
        assert models(stack) == ["glm-5.3"]
        assert upstream.requests == count


def held_list() -> tuple[threading.Event, threading.Event, Play]:
    """Returns an event for the first request of the list, an event that releases the responses, and the upstream."""
    requested, go = threading.Event(), threading.Event()

    def play(sock: socket.socket, _: int) -> bool:
        requested.set()
        go.wait(WAIT_SECONDS)
        sock.sendall(whole("200 OK", LIST))
        return False

    return requested, go, play


@TRANSPORTS
def test_concurrent_lists_are_one_request(transport: str) -> None:
    requested, go, play = held_list()
    with gateway(play, transport) as (stack, upstream), ThreadPoolExecutor(8) as pool:
        first = pool.submit(models, stack)
        assert requested.wait(WAIT_SECONDS)
        others = [pool.submit(models, stack) for _ in range(7)]
        stack.wait_for(lambda: sum(one.busy for one in stack.application.context.connections) == 8)
        go.set()
        assert [one.result() for one in (first, *others)] == [["glm-5.3", "listed"]] * 8
        assert upstream.requests == 1


@TRANSPORTS
def test_the_client_that_began_a_list_may_leave(transport: str) -> None:
    requested, go, play = held_list()
    with gateway(play, transport) as (stack, upstream), ThreadPoolExecutor(1) as pool:
        with socket.create_connection(("127.0.0.1", stack.port)) as first:
            first.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert requested.wait(WAIT_SECONDS)
            second = pool.submit(models, stack)
            connections = stack.application.context.connections
            stack.wait_for(lambda: sum(one.busy for one in connections) == 2)
        stack.wait_for(lambda: sum(one.busy for one in connections) == 1)
        go.set()
        assert second.result() == ["glm-5.3", "listed"]
        assert upstream.requests == 1


@TRANSPORTS
def test_a_list_for_which_no_client_waits_is_cancelled(transport: str) -> None:
    requested, left = threading.Event(), threading.Event()

    def play(sock: socket.socket, number: int) -> bool:
        if number == 1:
            requested.set()
            assert sock.recv(1) == b""
            left.set()
            return True
        sock.sendall(whole("200 OK", LIST))
        return False

    with gateway(play, transport) as (stack, upstream):
        with socket.create_connection(("127.0.0.1", stack.port)) as client:
            client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert requested.wait(WAIT_SECONDS)
        assert left.wait(WAIT_SECONDS)
        assert models(stack) == ["glm-5.3", "listed"]
        assert upstream.requests == 2


@TRANSPORTS
def test_a_byte_order_mark_is_skipped(transport: str) -> None:
    with gateway(whole("200 OK", BYTE_ORDER_MARK + LIST), transport) as (stack, _):
        assert models(stack) == ["glm-5.3", "listed"]
    with gateway(whole("200 OK", BYTE_ORDER_MARK + REPOSITORY), transport, "zread") as (stack, upstream):
        httpx.post(stack.base_url + "/chat/completions", json=QUESTION)
        # The second call follows only if the response to the first one was read.
        assert upstream.requests == 2


@TRANSPORTS
def test_a_large_body_within_the_bound_is_read(transport: str) -> None:
    padded = LIST + b" " * (65536 - len(LIST))
    with gateway(stream_of(padded[:100], padded[100:]), transport) as (stack, _):
        assert models(stack) == ["glm-5.3", "listed"]
