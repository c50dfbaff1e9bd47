"""Paths whose requests a platform receives as they are: bodies of any size in both directions, and nothing else."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import httpx
import pytest

from tests.keys.files import add
from tests.stack import Stack
from tests.support.serving import Answer, Client
from tests.support.waiting import WAIT_SECONDS
from ztoapi.config.passthrough import OWN_PATHS
from ztoapi.errors import Ending
from ztoapi.server.routes import Group
from ztoapi.upstream.client import NativeClient
from ztoapi.wire.chunked import ChunkDecoder

TRANSPORTS = pytest.mark.parametrize("transport", ["native", "httpx"])
PATHS = '[platforms.openai]\npassthrough_paths = ["/v1/images/generations", "/v1/audio/", "/v1/files/"]\n'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
MULTIPART = "content-type: multipart/form-data; boundary=b\r\n"


class Asked(NamedTuple):
    """A request as the upstream has received it, as far as its head; ``rest`` begins the body."""

    line: str
    fields: dict[str, str]
    sock: socket.socket
    rest: bytes

    def parts(self) -> Iterator[bytes]:
        """Yields the body as it arrives."""
        if "content-length" in self.fields:
            left = int(self.fields["content-length"])
            part = self.rest
            while left:
                part = part or self.sock.recv(65536)
                if not part:
                    return
                left -= len(part)
                yield part
                part = b""
        elif "transfer-encoding" in self.fields:
            decoder, part = ChunkDecoder(), self.rest
            while not decoder.done:
                part = decoder.decode(part or self.sock.recv(65536))
                yield part
                part = b""

    def body(self) -> bytes:
        return b"".join(self.parts())

    def is_closed(self) -> bool:
        """Whether the gateway has closed the connection; reads until then."""
        with contextlib.suppress(ConnectionResetError):
            while self.sock.recv(65536):
                pass
        return True


class Upstream:
    """Calls ``play`` with each request; if it returns bytes, they are the response. Without it the test takes requests
    from ``asked``."""

    def __init__(self, play: Callable[[Asked], bytes | None] | bytes | None = None) -> None:
        self.asked: queue.Queue[Asked] = queue.Queue()
        self.count = 0
        self._play = play
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._socks: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in (self._listening, *self._socks):
            with contextlib.suppress(OSError), sock:
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                sock.settimeout(WAIT_SECONDS)
                self._socks.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    read = sock.recv(65536)
                    if not read:
                        return
                    head += read
                head, _, rest = head.partition(b"\r\n\r\n")
                line, *fields = head.decode("latin-1").split("\r\n")
                asked = Asked(line, dict(field.lower().split(": ", 1) for field in fields), sock, rest)
                self.count += 1
                self.asked.put(asked)
                if self._play is None:
                    return
                reply = self._play if isinstance(self._play, bytes) else self._play(asked)
                if reply is None:
                    return
                sock.sendall(reply)

    def stop_listening(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def next(self) -> Asked:
        return self.asked.get(timeout=WAIT_SECONDS)

    def stack(self, *, toml: str = PATHS, transport: str = "native", **variables: str) -> Stack:
        return Stack(
            "openai",
            options=None,
            toml=toml,
            UPSTREAM_URL=f"http://127.0.0.1:{self.port}/base/v1",
            ZTOAPI_TRANSPORT=transport,
            **variables,
        )


def begin(client: Client, length: int | None, *, path: str = "/v1/files/new", fields: str = MULTIPART) -> None:
    """Sends the head of an upload."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    client.send(f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{fields}{framing}\r\n\r\n".encode())


def get(client: Client, path: str, *, version: str = "1.1") -> None:
    client.send(f"GET {path} HTTP/{version}\r\nhost: localhost\r\n\r\n".encode())


def error_of(answer: Answer) -> str:
    return httpx.Response(answer.status, content=answer.body).json()["error"]["code"]  # type: ignore[no-any-return]


@TRANSPORTS
def test_a_request_and_its_response_are_passed_on(transport: str) -> None:
    def play(asked: Asked) -> bytes:
        body = asked.body()
        return (
            b"HTTP/1.1 201 Created\r\ncontent-type: audio/mpeg\r\ncontent-disposition: attachment; filename=a.mp3\r\n"
            b"set-cookie: a=b\r\nx-internal: 1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )

    with Upstream(play) as upstream, upstream.stack(transport=transport, DEFAULT_KEY="client") as stack:
        sent = httpx.post(
            f"{stack.url}/v1/audio/transcriptions?a=1&b=%20",
            files={"file": ("a.wav", b"\x00\xff" * 100)},
            headers={"authorization": "Bearer client", "cookie": "secret=1", "x-other": "1", "accept": "audio/*"},
        )
        asked = upstream.next()
        record = stack.record()
    assert asked.line == "POST /base/v1/audio/transcriptions?a=1&b=%20 HTTP/1.1"
    assert asked.fields["authorization"] == "bearer sim-token"
    assert asked.fields["content-type"].startswith("multipart/form-data; boundary=")
    assert asked.fields["accept"] == "audio/*"
    assert asked.fields.keys() & {"cookie", "x-other"} == set()
    assert (sent.status_code, sent.content) == (201, sent.request.read())
    assert sent.headers["content-type"] == "audio/mpeg"
    assert sent.headers["content-disposition"] == "attachment; filename=a.mp3"
    assert sent.headers["content-length"] == str(len(sent.content))
    assert sent.headers["x-request-id"] == record.request_id
    assert sent.headers.keys() & {"set-cookie", "x-internal"} == set()
    assert (record.route, record.status, record.ending) == ("/v1/audio/{path}", 201, Ending.DONE)
    assert (record.bytes_in, record.bytes_out) == (len(sent.content), len(sent.content))
    assert (record.platform, record.attempts, record.key) == ("openai", 1, "default")


@TRANSPORTS
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_any_method(method: str, transport: str) -> None:
    reply = OK.removesuffix(b"ok") if method == "HEAD" else OK
    with Upstream(reply) as upstream, upstream.stack(transport=transport) as stack, httpx.Client() as client:
        for _ in range(2):
            got = client.request(method, f"{stack.url}/v1/files/a/content")
            assert (got.status_code, got.headers["content-length"]) == (200, "2")
        asked = upstream.next()
    assert asked.line == f"{method} /base/v1/files/a/content HTTP/1.1"
    assert ("content-length" in asked.fields) == (method in ("PUT", "PATCH"))


@TRANSPORTS
def test_a_response_without_content(transport: str) -> None:
    with Upstream(b"HTTP/1.1 204 No Content\r\n\r\n") as upstream, upstream.stack(transport=transport) as stack:
        got = httpx.delete(f"{stack.url}/v1/files/a")
    assert (got.status_code, got.content) == (204, b"")
    assert got.headers.keys() & {"content-length", "transfer-encoding"} == set()


@TRANSPORTS
@pytest.mark.parametrize("length", [400_000, None])
def test_parts_of_both_bodies_are_passed_on_as_they_come(length: int | None, transport: str) -> None:
    part = bytes(200_000)
    framed = part if length else b"%x\r\n%b\r\n" % (len(part), part)
    with Upstream() as upstream, upstream.stack(transport=transport) as stack, Client(stack.port) as client:
        begin(client, length)
        client.send(framed)
        asked = upstream.next()
        parts, received = asked.parts(), 0
        while received < len(part):
            received += len(next(parts))
        client.send(framed + (b"" if length else b"0\r\n\r\n"))
        received += sum(map(len, parts))
        assert received == 2 * len(part)
        asked.sock.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
        )
        assert client.head()[0] == 200
        assert next(client.chunks()) == b"a"
        asked.sock.sendall(b"1\r\nb\r\n0\r\n\r\n")
        assert list(client.chunks()) == [b"b", b""]
        record = stack.record()
    assert (record.bytes_in, record.status, record.ending) == (2 * len(part), 200, Ending.DONE)


@TRANSPORTS
def test_a_large_body_is_not_held(transport: str) -> None:
    size, held = 200_000_000, [0]
    with Upstream() as upstream, upstream.stack(transport=transport) as stack, Client(stack.port) as client:
        begin(client, size)
        asked = upstream.next()

        def send() -> None:
            block = bytes(1_000_000)
            for _ in range(size // len(block)):
                client.send(block)

        sending = threading.Thread(target=send)
        sending.start()
        received = 0
        for part in asked.parts():
            received += len(part)
            # The bytes that the gateway has read and not yet sent; the rest waits in the client and in the kernel.
            held.append(stack.application.context.buffers.used)
        sending.join()
        asked.sock.sendall(OK)
        assert client.answer().body == b"ok"
        record = stack.record()
    assert received == record.bytes_in == size
    assert max(held) < 2_000_000


def test_a_slow_upstream_slows_the_client() -> None:
    with Upstream() as upstream, upstream.stack() as stack, Client(stack.port) as client:
        begin(client, 1_000_000_000)
        asked = upstream.next()
        (connection,) = stack.application.context.connections
        assert connection.exchange is not None
        body = connection.exchange.body
        assert body is not None
        client.sock.setblocking(False)
        stuck = False
        while not stuck:
            try:
                client.sock.send(bytes(65536))
            except BlockingIOError:
                stuck = body.paused
        assert body.received < 20_000_000
        # The client leaves while nothing is read from it.
        client.reset()
        assert asked.is_closed()
        assert stack.record().ending is Ending.CLIENT_DISCONNECT


@TRANSPORTS
def test_a_client_that_leaves_ends_the_request(transport: str) -> None:
    with Upstream() as upstream, upstream.stack(transport=transport) as stack, Client(stack.port) as client:
        begin(client, 1000)
        client.send(b"a")
        asked = upstream.next()
        assert next(asked.parts()) == b"a"
        client.close()
        assert asked.is_closed()
        record = stack.record()
    assert (record.status, record.ending, record.bytes_in) == (499, Ending.CLIENT_DISCONNECT, 1)


@TRANSPORTS
def test_a_slow_upload_is_refused(transport: str) -> None:
    with (
        Upstream() as upstream,
        upstream.stack(transport=transport, ZTOAPI_BODY_IDLE_TIMEOUT_SECONDS="0.1") as stack,
        Client(stack.port) as client,
    ):
        begin(client, 1000)
        client.send(b"a")
        assert upstream.next().is_closed()
        answer = client.answer()
        record = stack.record()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert (record.status, record.ending) == (408, Ending.CLIENT_ERROR)


def test_a_broken_chunk_ends_the_request() -> None:
    with Upstream() as upstream, upstream.stack() as stack, Client(stack.port) as client:
        begin(client, None)
        client.send(b"1\r\na\r\n")
        asked = upstream.next()
        assert next(asked.parts()) == b"a"
        client.send(b"zz\r\n")
        assert client.answer().status == 400
        assert asked.is_closed()


def test_an_upstream_may_refuse_early() -> None:
    refusal = b'{"error":{"message":"too large for sim-token","code":"413"}}'
    with Upstream() as upstream, upstream.stack() as stack, Client(stack.port) as client:
        begin(client, 100_000_000)
        client.send(bytes(1000))
        asked = upstream.next()
        asked.sock.sendall(
            b"HTTP/1.1 413 Large\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(refusal), refusal)
        )
        answer = client.answer()
        assert asked.is_closed()
        record = stack.record()
    assert (answer.status, answer.headers["connection"], error_of(answer)) == (413, "close", "request_too_large")
    assert b"sim-token" not in answer.body
    assert (record.attempts, record.upstream_code) == (1, "413")


@TRANSPORTS
@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (400, 400, "invalid_request"),
        (401, 502, "upstream_auth_error"),
        (404, 404, "not_found"),
        (409, 409, "invalid_request"),
        (415, 415, "invalid_request"),
        (429, 429, "rate_limit_exceeded"),
        (302, 502, "upstream_error"),
        (500, 502, "upstream_error"),
        (503, 503, "upstream_overloaded"),
    ],
)
def test_errors_are_those_of_the_other_apis(status: int, expected: int, code: str, transport: str) -> None:
    body = b'{"error":{"message":"no use of sim-token"}}'

    def play(asked: Asked) -> bytes:
        asked.body()
        return b"HTTP/1.1 %d X\r\nlocation: http://internal/\r\ncontent-length: %d\r\n\r\n%b" % (
            status,
            len(body),
            body,
        )

    with Upstream(play) as upstream, upstream.stack(transport=transport) as stack:
        got = httpx.post(f"{stack.url}/v1/files/new", content=b"a")
        record = stack.record()
    assert (got.status_code, got.json()["error"]["code"]) == (expected, code)
    assert "sim-token" not in got.text
    assert "location" not in got.headers
    # The upstream has had the body.
    assert (record.attempts, upstream.count) == (1, 1)


@TRANSPORTS
def test_a_request_without_a_body_is_repeated(transport: str) -> None:
    replies = iter([b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", OK])
    with Upstream(lambda _: next(replies)) as upstream, upstream.stack(transport=transport) as stack:
        assert httpx.get(f"{stack.url}/v1/files/a").text == "ok"
        assert stack.record().attempts == 2


@TRANSPORTS
def test_an_upload_waits_for_a_connection(transport: str) -> None:
    with Upstream() as upstream, upstream.stack(transport=transport, ZTOAPI_MAX_TRIES="2") as stack:
        upstream.stop_listening()
        with Client(stack.port) as client:
            begin(client, 1000)
            client.send(b"a")
            answer = client.answer()
        record = stack.record()
    assert (answer.status, error_of(answer)) == (502, "upstream_unreachable")
    assert (record.attempts, record.bytes_in) == (2, 0)


@TRANSPORTS
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 1000\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_truncated_response_is_truncated(reply: bytes, version: str, transport: str) -> None:
    def play(asked: Asked) -> None:
        asked.sock.sendall(reply)
        asked.sock.shutdown(socket.SHUT_RDWR)

    with Upstream(play) as upstream, upstream.stack(transport=transport) as stack, Client(stack.port) as client:
        get(client, "/v1/audio/speech", version=version)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = client.rest()
            # A response without a length on HTTP/1.0 ends with the connection: only a reset shows that it is not whole.
            assert version == "1.1" or b"content-length" in received
        record = stack.record()
    assert b"0\r\n\r\n" not in received
    assert b"error" not in received
    assert record.ending is Ending.TRUNCATED


async def _drain(stack: Stack) -> None:
    await stack.server.drain(0.0, asyncio.Event())


@TRANSPORTS
def test_a_stopping_gateway_ends_an_upload(transport: str) -> None:
    with Upstream() as upstream:
        with upstream.stack(transport=transport) as stack, Client(stack.port) as client:
            begin(client, 1000)
            client.send(b"a")
            asked = upstream.next()
            stack.call(_drain(stack))
            assert client.answer().status == 503
            assert asked.is_closed()


def test_keys_and_limits() -> None:
    limits = (
        PATHS
        + "[limits.key]\nrequests_per_minute = 1\ntokens_per_minute = 10\n[limits.model]\nrequests_per_minute = 1\n"
    )
    with Upstream(OK) as upstream, upstream.stack(toml=limits, DEFAULT_KEY="one") as stack:
        url, key = f"{stack.url}/v1/files/a", {"authorization": "Bearer one"}
        assert httpx.get(url).status_code == 401
        first = httpx.get(url, headers=key)
        assert (first.status_code, first.headers["x-ratelimit-remaining-tokens"]) == (200, "10")
        with Client(stack.port) as client:
            begin(client, 1_000_000_000, fields="authorization: Bearer one\r\nexpect: 100-continue\r\n")
            answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (429, "close")
    assert upstream.count == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../chat/completions",
        "/v1/files/%2e%2e/chat/completions",
        "/v1/files/..%2fchat",
        "/v1/files/a%5cb",
        "/v1/files/%252e%252e/chat",
        "/v1/files/.",
        "/v1/files/a;b",
        "/v1/files/%zz",
    ],
)
def test_a_path_cannot_lead_out(path: str) -> None:
    with Upstream(OK) as upstream, upstream.stack() as stack, Client(stack.port) as client:
        get(client, path)
        answer = client.answer()
    assert (answer.status, error_of(answer)) == (400, "invalid_path")
    assert upstream.count == 0


@pytest.mark.parametrize("path", ["/v1/files", "/v1/images/edits", "/v1/images/generations/a", "/v1/rerank"])
def test_other_paths_do_not_exist(path: str) -> None:
    with Upstream(OK) as upstream, upstream.stack() as stack:
        assert httpx.post(stack.url + path, content=b"{}").status_code == 404
    assert upstream.count == 0


@pytest.mark.parametrize("path", ["/v1/images/generations", "/images/generations", "/v1//images/generations/"])
def test_spellings_of_a_path(path: str) -> None:
    with Upstream(OK) as upstream, upstream.stack() as stack:
        assert httpx.post(stack.url + path, content=b"{}").status_code == 200
        assert upstream.next().line.startswith("POST /base/v1/images/generations")


def test_the_gateway_s_own_paths_are_reserved(shared: Stack) -> None:
    own = {
        route.template.split("/")[2]
        for route in shared.application.context.routes
        if route.group is Group.API and route.template.startswith("/v1/")
    }
    assert own == OWN_PATHS


def test_a_key_for_some_models_may_not_use_the_paths(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    keys = [add(path, "some", models=["glm-*"]), add(path, "all", models=["*"]), add(path, "any")]
    with Upstream(OK) as upstream, upstream.stack(ZTOAPI_KEY_FILE=str(path)) as stack:
        got = [httpx.get(f"{stack.url}/v1/files/a", headers={"authorization": f"Bearer {key}"}) for key in keys]
    assert [each.status_code for each in got] == [403, 200, 200]
    assert got[0].json()["error"]["code"] == "path_not_allowed"
    assert upstream.count == 2


@TRANSPORTS
@pytest.mark.parametrize("fields", [MULTIPART, "expect: 100-continue\r\n"])
def test_the_time_to_the_first_byte_begins_after_the_body(fields: str, transport: str) -> None:
    with (
        Upstream() as upstream,
        upstream.stack(transport=transport, ZTOAPI_FIRST_BYTE_TIMEOUT_SECONDS="0.3") as stack,
        Client(stack.port) as client,
    ):
        begin(client, 2, fields=fields)
        client.send(b"a")
        asked = upstream.next()
        assert next(asked.parts()) == b"a"
        client.send(b"b")
        answer = client.answer()
        assert asked.is_closed()
        record = stack.record()
    assert (answer.status, error_of(answer)) == (504, "upstream_timeout")
    assert (record.ending, record.attempts, record.bytes_in) == (Ending.UPSTREAM_TIMEOUT, 1, 2)


def test_an_upstream_that_reads_nothing_is_given_up() -> None:
    timeout = {"ZTOAPI_BETWEEN_BYTES_TIMEOUT_SECONDS": "0.3"}
    with Upstream() as upstream, upstream.stack(**timeout) as stack, Client(stack.port) as client:
        begin(client, 1_000_000_000)
        upstream.next()
        with contextlib.suppress(ConnectionError):
            while True:
                client.send(bytes(65536))
        assert stack.record().status == 504


def test_a_slow_client_slows_the_upstream() -> None:
    with Upstream() as upstream, upstream.stack() as stack, Client(stack.port, receive_buffer=65536) as client:
        get(client, "/v1/audio/speech")
        asked = upstream.next()
        asked.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ncontent-length: 1000000000\r\n\r\n")
        (connection,) = stack.application.context.connections
        asked.sock.setblocking(False)
        sent, stuck = 0, False
        while not stuck:
            try:
                sent += asked.sock.send(bytes(65536))
            except BlockingIOError:
                stuck = connection.write_paused
        assert sent < 20_000_000
        client.close()
        asked.sock.settimeout(WAIT_SECONDS)
        assert asked.is_closed()


def test_a_queued_upload_is_read_when_it_is_admitted() -> None:
    limits = {"ZTOAPI_MAX_IN_FLIGHT": "1", "ZTOAPI_QUEUE_SECONDS": "10"}
    with (
        Upstream() as upstream,
        upstream.stack(**limits) as stack,
        Client(stack.port) as first,
        Client(stack.port) as second,
    ):
        begin(first, 1)
        asked = upstream.next()
        begin(second, 2)
        second.send(b"ab")
        stack.wait_for(lambda: stack.application.admission.waiting == 1)
        first.send(b"a")
        assert asked.body() == b"a"
        # The connection is not kept: a body that has arrived whole would be sent over it.
        asked.sock.sendall(OK.replace(b"content-type", b"connection: close\r\ncontent-type"))
        assert first.answer().status == 200
        asked = upstream.next()
        assert asked.body() == b"ab"
        asked.sock.sendall(OK)
        assert second.answer().status == 200


def test_a_body_in_a_content_coding_is_passed_on() -> None:
    with Upstream(lambda asked: OK if asked.body() else None) as upstream, upstream.stack() as stack:
        got = httpx.post(f"{stack.url}/v1/files/new", content=b"zip", headers={"content-encoding": "gzip"})
        assert (got.status_code, upstream.next().fields["content-encoding"]) == (200, "gzip")


def test_an_attempt_that_cannot_begin_keeps_no_place_of_its_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no attempt")

    with Upstream(OK) as upstream, upstream.stack() as stack:
        monkeypatch.setattr(NativeClient, "send", fail)
        assert httpx.post(f"{stack.base_url}/images/generations", content=b"{}").status_code == 500
        (credential,) = stack.application.upstreams["openai"].statistics().credentials
        assert credential.in_flight == 0
