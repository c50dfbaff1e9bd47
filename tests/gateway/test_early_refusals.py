"""Checks that need only the head of a request are made before its body is read."""

import contextlib

import httpx
import pytest

from tests.stack import Stack
from tests.support.serving import Client
from tests.support.table import table

KEY = "authorization: Bearer client\r\n"
LENGTH = "content-length: 9900000\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
BODY = b'{"model":"glm-4.6","messages":[{"role":"user","content":"x"}]}'


@table("framing", [LENGTH, CHUNKED, "expect: 100-continue\r\n" + LENGTH])
@table(
    ("method", "path", "key", "status"),
    [
        ("POST", "/livez", "", 405),
        ("POST", "/health/", KEY, 405),
        ("GET", "/livez", "", 413),
        ("HEAD", "/readyz", "", 413),
        ("OPTIONS", "/v1/chat/completions", "", 413),
        ("PUT", "/openapi.json", "", 405),
        ("POST", "/metrics", "", 401),
        ("POST", "/v1/chat/completions", "", 401),
        ("POST", "/nope", "", 401),
        ("POST", "/nope", KEY, 404),
        ("POST", "/v1/models", KEY, 405),
        ("GET", "/v1/models", KEY, 413),
        ("POST", "/v1/chat/completions", KEY + "content-encoding: gzip\r\n", 415),
    ],
)
def test_no_body_is_waited_for_or_kept(
    closed: Stack, method: str, path: str, key: str, status: int, framing: str
) -> None:
    with Client(closed.port) as client:
        client.get(path, key + framing, method=method)
        if framing == CHUNKED and status == 413:
            # Without a length it takes that much to know.
            client.send(b"10000\r\n" + b"x" * 65536)
        answer = client.answer(method)
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        # A body that is sent in spite of it is dropped.
        client.send(b"x" * 500_000)
        assert client.rest() == b""
    assert closed.application.context.buffers.used == 0


def test_many_large_bodies_without_a_key_hold_no_memory(closed: Stack) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(closed.port)) for _ in range(60)]
        for number, client in enumerate(clients):
            client.get("/livez", LENGTH, method="POST" if number % 2 else "GET")
            client.send(b"x" * 300_000)
        assert {client.head()[0] for client in clients} == {405, 413}
        assert closed.application.context.buffers.used == 0


@pytest.mark.parametrize(
    ("coding", "named"),
    [
        ("gzip", "gzip"),
        ("x-gzip", "x-gzip"),
        ("GZIP", "gzip"),
        ("deflate", "deflate"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("identity, zstd", "zstd"),
        ("gzip, br", "gzip"),
        ("aes128gcm", "aes128gcm"),
        (", gzip", "gzip"),
    ],
)
def test_a_compressed_body_is_refused_by_its_coding(closed: Stack, coding: str, named: str) -> None:
    headers = {"authorization": "Bearer client", "content-encoding": coding}
    response = httpx.post(f"{closed.base_url}/chat/completions", content=b"\x1f\x8b\x00", headers=headers)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "identity"
    assert repr(named) in response.json()["error"]["message"]
    assert response.json()["error"]["code"] == "unsupported_content_encoding"


@pytest.mark.parametrize("coding", ["identity", "Identity", "identity, identity", ""])
def test_a_body_that_is_not_coded_is_read(closed: Stack, coding: str) -> None:
    headers = {"authorization": "Bearer client", "content-encoding": coding}
    assert httpx.post(f"{closed.base_url}/chat/completions", content=BODY, headers=headers).status_code == 200


def test_a_client_without_a_key_learns_nothing_of_codings(closed: Stack) -> None:
    headers = {"content-encoding": "gzip"}
    assert httpx.post(f"{closed.base_url}/chat/completions", content=BODY, headers=headers).status_code == 401


def test_a_small_body_keeps_the_connection(closed: Stack) -> None:
    with Client(closed.port) as client:
        for method, path, status in (("GET", "/livez", 200), ("POST", "/livez", 405), ("POST", "/nope", 401)):
            client.send(f"{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}".encode())
            assert client.answer().status == status
        client.get("/livez", "content-length: 5\r\n")
        client.send(b"later")
        assert client.answer().status == 200
