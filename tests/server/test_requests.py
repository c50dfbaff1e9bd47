"""Requests and answers over real sockets: keep-alive, pipelining, versions, bodies, refusals, identities."""

import json
import logging

import pytest

from tests.server.conftest import MakeServing
from tests.support.serving import Answer, Client, Serving
from ztoapi.errors import ApiError, Ending
from ztoapi.server.exchange import Exchange
from ztoapi.server.protocol import HTTPProtocol
from ztoapi.wire.limits import Limits


def echo(exchange: Exchange) -> None:
    """Responds with the request; to ``/stream`` in three pieces."""
    request = exchange.request
    if request.path == "/stream":
        stream = exchange.start_stream()
        stream.write(b"data: 1\n\n")
        stream.write(b"data: 2\n\n")
        stream.end(b"data: [DONE]\n\n")
    elif request.path == "/refuse":
        exchange.fail(ApiError("no", status=422, code="refused", param="model", retry_after=1.5))
    elif request.path == "/raise":
        raise ApiError("raised", code="c", status=418)
    elif request.path == "/crash":
        raise ZeroDivisionError("a secret in a traceback")
    elif request.path == "/task":
        exchange.spawn(fail_later(exchange))
    else:
        exchange.respond(
            200, b"%b %b %b" % (request.method.encode(), request.path.encode(), bytes(exchange.request_body))
        )


async def fail_later(exchange: Exchange) -> None:
    raise ZeroDivisionError("a secret in a task")


@pytest.fixture
def serving(make_serving: MakeServing) -> Serving:
    return make_serving(echo)


def error(answer: Answer) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.body)
    assert list(body) == ["error"]
    found: dict[str, object] = body["error"]
    assert list(found) == ["message", "type", "param", "code"]
    return found


def kept(client: Client) -> bool:
    """Whether the connection still serves."""
    client.get("/again")
    try:
        return client.answer().body == b"GET /again "
    except (AssertionError, ConnectionError):
        return False


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"GET /1 HTTP/1.0\r\n", b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"])
def test_bytes_after_the_last_request_do_not_destroy_its_response(client: Client, head: bytes) -> None:
    """The kernel answers unread bytes of a closed connection with a reset, which discards the response."""
    client.send(head + b"\r\n" + b"x" * 900_000)
    assert client.answer().body == b"GET /1 "
    client.half_close()
    assert client.rest() == b""


def test_a_connection_serves_one_request_after_another(serving: Serving, client: Client) -> None:
    for number in range(5):
        client.post(f"/{number}", b"body")
        answer = client.answer()
        assert answer.body == b"POST /%d body" % number
        assert "connection" not in answer.headers
        client.get("/stream")
        streamed = client.answer()
        assert streamed.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
        assert streamed.complete
        assert streamed.headers["content-type"].startswith("text/event-stream")
    assert len(serving.context.connections) == 1
    assert {serving.record().ending for _ in range(10)} == {Ending.DONE}


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(300)))
    assert [client.answer().body for _ in range(300)] == [b"GET /%d " % number for number in range(300)]


def test_pipelined_requests_wait_for_the_answer_before_theirs(make_serving: MakeServing) -> None:
    serving = make_serving()
    with serving.client() as client:
        client.get("/1")
        client.post("/2", b"abc")
        client.get("/3")
        for path, body in (("/1", b""), ("/2", b"abc"), ("/3", b"")):
            exchange = serving.held()
            assert serving.nothing_held()
            assert (exchange.request.path, bytes(exchange.request_body)) == (path, body)
            serving.run(lambda exchange=exchange: exchange.respond(200, exchange.request.path.encode()))  # type: ignore[misc]
        assert [client.answer().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


def test_a_flood_of_pipelined_requests_is_held_back_by_the_kernel(make_serving: MakeServing) -> None:
    serving = make_serving()
    request = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
    with serving.client() as client:
        client.send(request)
        first = serving.held()
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while True:
                client.send(request * 10_000)
        (connection,) = serving.context.connections
        assert isinstance(connection, HTTPProtocol)
        assert serving.run(lambda: len(connection._wire.held)) <= 65536 + 262144
        serving.run(lambda: first.respond(200, b""))
        for _ in range(50):
            following = serving.held()
            serving.run(lambda following=following: following.respond(200, b""))  # type: ignore[misc]
        assert serving.run(lambda: len(connection._wire.held)) <= 65536 + 262144


@pytest.mark.parametrize("fields", ["connection: close\r\n", "connection: x, Close\r\n"])
def test_connection_close_ends_the_connection_after_the_answer(client: Client, fields: str) -> None:
    client.get("/1", fields)
    answer = client.answer()
    assert answer.headers["connection"] == "close"
    assert answer.body == b"GET /1 "
    assert client.rest() == b""


def test_bytes_after_a_request_to_close_are_ignored(serving: Serving) -> None:
    for rest in (b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n", b"\x00nonsense\r\n\r\n", b"x"):
        with serving.client() as client:
            client.send(b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + rest)
            assert client.answer().body == b"GET /1 "
            assert client.rest() == b""
        assert serving.record().path == "/1"
    assert serving.recorder.total == 3


@pytest.mark.parametrize(("fields", "keeps"), [("", False), ("connection: Keep-Alive\r\n", True)])
def test_http10_is_kept_alive_only_on_request(client: Client, fields: str, keeps: bool) -> None:
    client.get("/1", fields, version="1.0")
    answer = client.answer()
    assert answer.body == b"GET /1 "
    assert answer.headers["connection"] == ("keep-alive" if keeps else "close")
    assert kept(client) is keeps


@pytest.mark.parametrize("fields", ["", "connection: keep-alive\r\n"])
def test_a_stream_to_http10_ends_with_the_connection(client: Client, fields: str) -> None:
    client.get("/stream", fields, version="1.0")
    answer = client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert answer.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("path", ["/1", "/refuse", "/crash"])
def test_an_answer_to_head_is_the_head_of_the_answer_to_get(serving: Serving, client: Client, path: str) -> None:
    client.get(path)
    full = client.answer()
    assert serving.record().bytes_out == len(full.body)
    client.get(path, method="HEAD")
    bare = client.answer("HEAD")
    assert serving.record().bytes_out == 0
    assert bare.status == full.status
    assert bare.headers.keys() == full.headers.keys()
    shift = 1 if path == "/1" else 0
    assert int(bare.headers["content-length"]) == len(full.body) + shift
    assert kept(client)


def test_an_upgrade_is_not_taken(client: Client) -> None:
    client.get("/1", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n")
    assert client.answer().body == b"GET /1 "
    client.post("/2", b"x", "connection: upgrade\r\nupgrade: websocket\r\n")
    assert client.answer().body == b"POST /2 x"
    assert kept(client)


def test_an_absolute_target_is_served_as_its_path(client: Client) -> None:
    client.get("http://a:80/path?query")
    assert client.answer().body == b"GET /path "


# -- bodies -----------------------------------------------------------------------------------------------------------


def test_chunked_bodies_are_whole_before_a_handler_sees_them(serving: Serving, client: Client) -> None:
    head = b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    for byte in head + b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nauthorization: x\r\n\r\n":
        client.send(bytes([byte]))
    assert client.answer().body == b"POST /c hello!"
    client.send(head + b"3\r\nabc\r\n0\r\n\r\n" + b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.answer().body == b"POST /c abc"
    assert client.answer().body == b"GET /next "
    assert serving.record().bytes_in == 6


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_large_bodies_arrive_intact(client: Client, size: int) -> None:
    body = (b"%d " * 1000 % tuple(range(1000)) * (size // 3000))[:size]
    client.post("/b", body)
    assert client.answer().body == b"POST /b " + body
    client.send(b"POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    for at in range(0, len(body), 7000):
        part = body[at : at + 7000]
        client.send(b"%x\r\n%b\r\n" % (len(part), part))
    client.send(b"0\r\n\r\n")
    assert client.answer().body == b"POST /b " + body


EXPECT = "expect: 100-continue\r\n"


def test_an_expected_interim_answer_comes_before_the_body(client: Client) -> None:
    client.get("/e", EXPECT + "content-length: 4\r\n", method="POST")
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    status, _ = client.head()
    assert status == 200
    assert client.exactly(12) == b"POST /e body"


@pytest.mark.parametrize(
    ("version", "body"), [("1.1", b"body"), ("1.0", b"body"), ("1.0", b"")], ids=["came_along", "both", "http10"]
)
def test_no_interim_answer_where_none_is_due(client: Client, version: str, body: bytes) -> None:
    head = f"POST /e HTTP/{version}\r\nhost: a\r\n{EXPECT}content-length: 4\r\n\r\n".encode()
    client.send(head + body)
    if not body:
        client.send(b"body")
    assert client.head()[0] == 200


def test_no_interim_answer_before_a_refusal(make_serving: MakeServing) -> None:
    refusal = ApiError("who are you?", status=401, code="invalid_api_key", ending=Ending.REJECTED)
    serving = make_serving(echo, admit=lambda exchange: refusal if exchange.request.path == "/closed" else None)
    for path, length, status in (("/closed", 4, 401), ("/open", 99_999_999, 413)):
        with serving.client() as client:
            client.get(path, EXPECT + f"content-length: {length}\r\n", method="POST")
            assert client.head()[0] == status
            assert client.rest().endswith(b"}")


def test_a_gate_refuses_before_the_body_and_keeps_the_connection_if_it_has_come(make_serving: MakeServing) -> None:
    refusal = ApiError("who are you?", status=401, code="invalid_api_key", ending=Ending.REJECTED)
    serving = make_serving(echo, admit=lambda exchange: refusal if exchange.request.path == "/closed" else None)
    with serving.client() as client:
        client.post("/closed", b"whole")
        assert client.answer().status == 401
        client.get("/closed")
        assert client.answer().status == 401
        assert kept(client)
        client.get("/closed", "content-length: 5\r\n", method="POST")
        assert client.answer().headers["connection"] == "close"
        client.send(b"tardy GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.rest() == b""
    assert [serving.record().ending for _ in range(4)] == [
        Ending.REJECTED,
        Ending.REJECTED,
        Ending.DONE,
        Ending.REJECTED,
    ]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_too_large_is_refused_while_it_is_being_sent_and_the_refusal_is_read(
    make_serving: MakeServing, framing: str
) -> None:
    serving = make_serving(echo, limits=Limits(max_body_bytes=10_000))
    with serving.client() as client:
        if framing == "length":
            client.get("/b", "content-length: 900000\r\n", method="POST")
        else:
            client.get("/b", "transfer-encoding: chunked\r\n", method="POST")
            client.send(b"dbba0\r\n")
        # Bytes sent after the refusal are read and dropped: a reset would show as an error here.
        for _ in range(90):
            client.send(b"x" * 10_000)
        answer = client.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
        assert client.rest() == b""
    record = serving.record()
    assert (record.status, record.ending) == (413, Ending.CLIENT_ERROR)
    assert serving.recorder.total == 1


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nhost: a\n\n", 400),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
    ],
)
def test_broken_http_is_answered_and_ends_the_connection(
    serving: Serving, client: Client, data: bytes, status: int
) -> None:
    client.send(data + b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n")
    answer = client.answer()
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["date"].endswith(" GMT")
    assert len(answer.headers["x-request-id"]) == 24
    assert error(answer)["type"] == "invalid_request_error"
    assert client.rest() == b""
    record = serving.record()
    assert (record.status, record.ending) == (status, Ending.CLIENT_ERROR)
    assert record.request_id == answer.headers["x-request-id"]
    assert serving.recorder.total == 1


def test_a_malformed_head_is_not_echoed_or_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nauthorization Bearer hunter2\r\n\r\n")
    assert b"hunter2" not in client.rest()
    assert "hunter2" not in caplog.text


def test_errors_have_the_shape_that_sdks_read(client: Client) -> None:
    client.get("/refuse")
    answer = client.answer()
    assert answer.status == 422
    assert error(answer) == {"message": "no", "type": "invalid_request_error", "param": "model", "code": "refused"}
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1500")
    client.get("/raise")
    assert client.answer().status == 418
    assert kept(client)


@pytest.mark.parametrize("path", ["/crash", "/task"])
def test_a_handler_that_crashes_is_answered_with_500_and_no_word_of_why(
    serving: Serving, client: Client, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    client.get(path)
    answer = client.answer()
    assert answer.status == 500
    assert error(answer) == {"message": "internal error", "type": "server_error", "param": None, "code": "internal"}
    assert "secret" not in repr(answer)
    assert "a secret in a t" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text
    assert serving.record().ending is Ending.INTERNAL_ERROR
    assert kept(client)


# -- identities -------------------------------------------------------------------------------------------------------


def test_a_client_s_request_id_is_echoed_if_it_is_harmless(serving: Serving, client: Client) -> None:
    client.get("/1", "x-request-id: abc-1.2:3\r\n")
    assert client.answer().headers["x-request-id"] == "abc-1.2:3"
    assert serving.record().request_id == "abc-1.2:3"
    client.get("/stream", "x-request-id: abc-4\r\n")
    assert client.answer().headers["x-request-id"] == "abc-4"


@pytest.mark.parametrize("value", ["a b", 'a"b', "x" * 129, "", "\xe4", "a, b"])
def test_other_request_ids_are_replaced(client: Client, value: str) -> None:
    client.get("/1", f"x-request-id: {value}\r\n")
    assert client.answer().headers["x-request-id"].isalnum()


def test_generated_ids_differ(serving: Serving) -> None:
    ids = set()
    for _ in range(3):
        with serving.client() as client:
            for _ in range(3):
                client.get("/1")
                ids.add(client.answer().headers["x-request-id"])
    assert len(ids) == 9


def test_every_answer_is_dated(client: Client) -> None:
    for path in ("/1", "/stream", "/refuse", "/crash"):
        client.get(path)
        assert client.answer().headers["date"].endswith(" GMT")
