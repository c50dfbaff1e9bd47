"""Requests that wait for the end of a turn of the event loop."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from tests.upstream.scripted import (
    LONG,
    OK,
    Heard,
    Native,
    Silent,
    Upstream,
    listening,
    no_task_is_left,
    read,
    settle,
)
from ztoapi.config.model import UpstreamConfig
from ztoapi.structures.cork import MIN_IN_FLIGHT
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.client import NativeClient
from ztoapi.upstream.connection import UpstreamConnection

pytestmark = pytest.mark.anyio

HEAD = b"POST /chat HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"


class Recording(Silent):
    """A transport that keeps what is written."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.written = b""
        super().__init__(connection)

    def write(self, data: object) -> None:
        assert not self.closing
        assert isinstance(data, bytes)
        self.written += data

    def writelines(self, list_of_data: object) -> None:
        assert isinstance(list_of_data, tuple)
        for data in list_of_data:
            self.write(data)


@pytest.fixture(params=["plain", "tls"])
async def upstream(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncIterator[Upstream]:
    context: ssl.SSLContext | None = None
    if request.param == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with listening(tls=context) as upstream:
        yield upstream


@pytest.fixture
async def native(anyio_backend: object) -> AsyncIterator[Native]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop.call_soon)
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    client = NativeClient(loop, UpstreamConfig(), deadlines, tls=lambda: tls)
    client.cork.load = range(MIN_IN_FLIGHT)
    yield Native(client, deadlines)
    await settle(lambda: no_task_is_left() and client.pool.statistics().busy == 0)
    await client.close()
    await settle(lambda: not len(deadlines))
    gc.collect()


async def connected(native: Native, upstream: Upstream) -> None:
    """Opens a connection, which is idle afterwards."""
    heard = Heard()
    heard.call = native.client.send(upstream.request(), heard)
    (await upstream.accept_request()).send(OK)
    await heard.ended()


async def test_a_request_is_written_at_the_end_of_the_turn(native: Native, upstream: Upstream) -> None:
    await connected(native, upstream)
    heard = Heard()
    heard.call = native.client.send(upstream.request(b"body"), heard)
    assert [data[-4:] for data in native.client.cork.waiting.values()] == [b"body"]
    assert (await upstream.peers[0].request()).body == b"body"
    upstream.peers[0].send(OK)
    await heard.ended()
    assert (heard.calls, bytes(heard.body)) == (["head", "data", "end"], b"ok")


async def test_a_request_that_is_cancelled_in_its_turn_is_not_sent(native: Native, upstream: Upstream) -> None:
    await connected(native, upstream)
    heard = Heard()
    heard.call = native.client.send(upstream.request(), heard)
    heard.cancel()
    await upstream.peers[0].closed_by_gateway()
    assert (upstream.peers[0].unread, heard.calls) == (0, [])


# Over TLS it is not sent again, with or without the cork: the alert of the close hides what was not delivered.
@pytest.mark.parametrize("upstream", ["plain"], indirect=True)
async def test_a_request_on_a_connection_that_the_upstream_closes_is_sent_again(
    native: Native, upstream: Upstream
) -> None:
    await connected(native, upstream)
    heard = Heard()
    upstream.peers[0].close_unseen()
    heard.call = native.client.send(upstream.request(), heard)
    (await upstream.accept_request()).send(OK)
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]


def on_the_wire(native: Native) -> tuple[UpstreamConnection, Recording]:
    client = native.client
    connection = UpstreamConnection(client.loop, client.pool, client.read_buffer, client.heads, client.cork)
    return connection, Recording(connection)


@pytest.mark.parametrize("reads_eof", [True, False])
async def test_a_request_that_waits_when_its_connection_ends_counts_as_undelivered(
    native: Native, reads_eof: bool
) -> None:
    connection, transport = on_the_wire(native)
    heard = Heard()
    connection.send("POST", HEAD, b"body", heard, LONG)
    if reads_eof:
        connection.eof_received()
    transport.lose()
    assert connection.undelivered
    assert heard.calls == ["error"]
    assert not native.client.cork.waiting


async def test_a_response_before_its_request_was_written_ends_the_connection(native: Native) -> None:
    """Otherwise the response to this request would be the one to the next."""
    connection, transport = on_the_wire(native)
    heard = Heard()
    connection.send("POST", HEAD, b"body", heard, LONG)
    read(connection, OK)
    assert (heard.calls, transport.closing) == (["head", "data", "end"], True)
    transport.lose()
    await settle(lambda: not native.client.cork.waiting)
    assert transport.written == b""


class TwoParts:
    """An upload that writes at once."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection

    @property
    def chunked(self) -> bool:
        return False

    def on_writable(self) -> None:
        self._connection.write_body(b"bo", last=False)
        self._connection.write_body(b"dy", last=True)

    def on_full(self) -> None:
        raise AssertionError("the transport is never full")


async def test_the_parts_of_a_body_follow_their_head(native: Native) -> None:
    connection, transport = on_the_wire(native)
    heard = Heard()
    connection.send("POST", HEAD, b"", heard, LONG)
    connection.start_upload(TwoParts(connection))
    assert transport.written == HEAD + b"body"
    connection.cancel()
    transport.lose()
