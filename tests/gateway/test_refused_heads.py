"""Refusals that precede the handler have the error format of the route, even if the head itself is refused."""

import json

import pytest

from tests.stack import Stack
from tests.support.serving import Client
from tests.support.table import table

LARGE = "content-length: 99999999\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
FIELDS = "".join(f"x-{number}: 1\r\n" for number in range(300))


@table(
    ("target", "anthropic"),
    [
        ("/v1/messages", True),
        ("/v1/messages?beta=true", True),
        ("/anthropic/v1/messages", True),
        ("//v1/m%65ssages", True),
        ("http://gateway/v1/messages/count_tokens", True),
        ("/v1/chat/completions", False),
        ("/v1/responses", False),
    ],
)
@table(
    ("fields", "status", "type"),
    [
        (LARGE, 413, "request_too_large"),
        ("expect: 100-continue\r\n" + LARGE, 413, "request_too_large"),
        ("expect: 200-maybe\r\n", 417, "invalid_request_error"),
        (CHUNKED + "content-length: 5\r\n", 400, "invalid_request_error"),
        (FIELDS, 431, "invalid_request_error"),
        ("x: " + "y" * 100_000 + "\r\n", 431, "invalid_request_error"),
        ("host: another\r\n", 400, "invalid_request_error"),
        ("x: \x01\r\n", 400, "invalid_request_error"),
    ],
    ids=["length", "expect", "expectation", "both", "fields", "size", "host", "byte"],
)
def test_a_refused_head(shared: Stack, target: str, anthropic: bool, fields: str, status: int, type: str) -> None:
    with Client(shared.port) as client:
        client.send(f"POST {target} HTTP/1.1\r\nhost: gateway\r\n{fields}\r\n".encode("latin-1"))
        answer = client.answer()
    shown = json.loads(answer.body)
    wire_status = 400 if anthropic and status in (417, 431) else status
    assert answer.headers["connection"] == "close"
    if anthropic:
        assert (answer.status, shown["type"], shown["error"]["type"]) == (wire_status, "error", type)
        assert answer.headers["request-id"] == shown["request_id"]
    else:
        assert (answer.status, shown["error"]["code"]) == (status, "bad_request")


@pytest.mark.parametrize(
    "line", ["POST /v1/messages#x HTTP/1.1", "POST v1/messages HTTP/1.1", "post /v1/messages HTTP/1.1"]
)
def test_a_request_line_that_cannot_be_read_has_the_format_of_chat(shared: Stack, line: str) -> None:
    with Client(shared.port) as client:
        client.send(f"{line}\r\nhost: a\r\nhost: b\r\n\r\n".encode())
        answer = client.answer()
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "bad_request")


def test_a_long_query_and_the_record_of_a_refusal(stack: Stack) -> None:
    with Client(stack.port) as client:
        client.send(b"POST /v1/messages?%b HTTP/1.1\r\nhost: a\r\n\r\n" % (b"x" * 9000))
        answer = client.answer()
    assert json.loads(answer.body)["type"] == "error"
    record = stack.record()
    assert (record.method, record.path, record.error_code) == ("POST", "/v1/messages", "bad_request")


def test_a_chunked_body_over_the_limit_that_arrives_with_its_head() -> None:
    head = f"POST /v1/messages HTTP/1.1\r\nhost: a\r\n{CHUNKED}\r\n".encode()
    with Stack(ZTOAPI_MAX_BODY_BYTES="1024") as stack, Client(stack.port) as client:
        client.send(head + b"800\r\n" + b"x" * 2048)
        answer = client.answer()
    shown = json.loads(answer.body)
    assert (answer.status, shown["type"], shown["error"]["type"]) == (413, "error", "request_too_large")


def test_a_refused_head_request_has_no_body(shared: Stack) -> None:
    with Client(shared.port) as client:
        client.send(b"HEAD /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n")
        assert client.answer("HEAD").status == 413
        assert client.rest() == b""
