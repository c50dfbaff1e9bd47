"""Bodies that a handler receives in parts, on a clock that the tests move."""

import pytest

from tests.support.clock import Connection, ManualLoop
from tests.support.serving import Source
from ztoapi.errors import ApiError
from ztoapi.server.context import TICK_SECONDS, ServerContext
from ztoapi.server.exchange import Exchange
from ztoapi.server.request_body import RequestBody
from ztoapi.server.routes import Group
from ztoapi.telemetry.record import Recorder
from ztoapi.wire.limits import Limits

LIMITS = Limits(max_body_bytes=1024)
HEAD = b"POST /v1/parts HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n"
LENGTH = HEAD % b"content-length: 100000"
CHUNKED = HEAD % b"transfer-encoding: chunked"


class Server:
    """One route, whose handler keeps the exchange; ``parts`` are those of its body."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.recorder = Recorder()
        self.context = ServerContext(self.loop.as_loop(), self._admit, limits=LIMITS, recorder=self.recorder)
        self.context.routes.add("/v1/parts", {"POST": self._handle}, Group.API, streams=True)
        self.context.start()
        self.exchanges: list[Exchange] = []
        self.parts: list[bytes] = []
        self.ended = False
        self.connection = Connection(self.context, self.loop)

    def _admit(self, exchange: Exchange) -> None:
        assert exchange.route is not None
        exchange.handler = exchange.route.handlers["POST"]

    def _handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    @property
    def body(self) -> RequestBody:
        body = self.exchanges[-1].body
        assert body is not None
        return body

    def on_part(self, part: bytes | bytearray, last: bool) -> None:
        self.parts.append(bytes(part))
        self.ended = last

    def status(self) -> int:
        return int(self.connection.received.split(b" ")[1])


@pytest.fixture
def server() -> Server:
    return Server()


def test_nothing_is_read_before_the_handler_reads(server: Server) -> None:
    server.connection.send(LENGTH + b"a")
    assert not server.connection.transport.is_reading()
    server.body.read(server.on_part)
    assert server.connection.transport.is_reading()
    server.connection.send(b"b")
    assert server.parts == [b"a", b"b"]
    server.body.pause()
    assert not server.connection.transport.is_reading()
    server.body.resume()
    assert server.connection.transport.is_reading()


@pytest.mark.parametrize("piece", [1, 7, 1000, 100_000])
@pytest.mark.parametrize("head", [LENGTH, CHUNKED])
def test_the_parts_are_the_body(server: Server, head: bytes, piece: int) -> None:
    body = bytes(range(250)) * 400
    sent = (
        body if head is LENGTH else b"".join(b"3e8\r\n%b\r\n" % body[at : at + 1000] for at in range(0, 100_000, 1000))
    )
    sent += b"" if head is LENGTH else b"0\r\n\r\n"
    server.connection.send(head)
    server.body.read(server.on_part)
    following = sent + LENGTH
    while following:
        following = following[server.connection.send(following, piece=piece) :]
        server.loop.turn()
    while not server.ended:
        server.loop.turn()
    assert b"".join(server.parts) == body
    server.exchanges[0].respond(200, b"")
    # The connection goes on with the next request.
    assert b"connection: close" not in server.connection.received
    assert len(server.exchanges) == 2
    assert (server.recorder.recent[0].bytes_in, server.recorder.recent[0].status) == (100_000, 200)


@pytest.mark.parametrize("head", [LENGTH, CHUNKED])
def test_a_paused_body_keeps_little(server: Server, head: bytes) -> None:
    server.connection.send(head)
    server.body.read(server.on_part)
    server.body.pause()
    assert server.connection.send(b"1\r\na\r\n" * 1000) == 0
    assert server.parts == []


def test_a_response_before_the_end_closes_the_connection(server: Server) -> None:
    server.connection.send(LENGTH)
    server.exchanges[0].fail(ApiError("no", code="no"))
    assert b"connection: close" in server.connection.received
    assert server.connection.transport.write_closed


@pytest.mark.parametrize("waits", [True, False])
def test_the_client_is_told_to_continue_when_the_body_is_read(server: Server, waits: bool) -> None:
    server.connection.send(HEAD % b"content-length: 5\r\nexpect: 100-continue")
    assert server.connection.received == b""
    if waits:
        server.body.read(server.on_part)
        assert server.connection.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    else:
        server.exchanges[0].fail(ApiError("no", code="no"))
        assert server.status() == 400


def test_a_pause_of_the_client_is_too_long(server: Server) -> None:
    server.connection.send(LENGTH)
    server.body.read(server.on_part)
    gone: list[bool] = []
    server.exchanges[0].producer = Source(cancel=lambda: gone.append(True))
    server.loop.advance(LIMITS.body_idle_timeout_seconds + 2 * TICK_SECONDS)
    assert (server.status(), gone) == (408, [True])


def test_the_time_for_a_body_grows_with_its_size(server: Server) -> None:
    server.connection.send(LENGTH)
    server.body.read(server.on_part)
    step = LIMITS.body_timeout_seconds / 10
    # A kilobyte each 30 s, in ten parts: for five minutes.
    for _ in range(100):
        server.connection.send(bytes(103))
        server.loop.advance(step)
    assert server.connection.received == b""
    # Ten bytes at a time are too slow.
    for _ in range(30):
        server.connection.send(bytes(10))
        server.loop.advance(step)
    assert server.status() == 408


def test_a_slow_receiver_does_not_count(server: Server) -> None:
    server.connection.send(LENGTH)
    server.body.read(server.on_part)
    server.body.pause()
    server.loop.advance(10 * LIMITS.body_timeout_seconds)
    server.body.resume()
    server.connection.send(b"a")
    server.loop.advance(1.0)
    assert (server.parts, server.connection.received) == ([b"a"], b"")


def test_a_failing_receiver_ends_the_request(server: Server) -> None:
    def fail(_part: bytes | bytearray, _last: bool) -> None:
        raise ValueError

    server.connection.send(LENGTH)
    server.body.read(fail)
    server.connection.send(b"a")
    assert server.status() == 500
