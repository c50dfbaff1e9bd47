"""TLS upstreams: which certificates are trusted, and that everything else works as without TLS.

Certificates are made for the test by trustme (https://trustme.readthedocs.io).
"""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from tests.upstream.scripted import (
    EVENTS_HEAD,
    LAST_CHUNK,
    OK,
    Heard,
    Native,
    Peer,
    Upstream,
    chunk,
    comes_in_small_pieces,
    listening,
    no_task_is_left,
    settle,
)
from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import Ending
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.client import Client, NativeClient
from ztoapi.upstream.httpx_client import HttpxClient

pytestmark = pytest.mark.anyio

MakeClient = Callable[[ssl.SSLContext], Client]


@pytest.fixture(params=["native", "httpx"])
async def make_client(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncIterator[MakeClient]:
    clients: list[Client] = []

    def make(tls: ssl.SSLContext) -> Client:
        loop = asyncio.get_running_loop()
        config = UpstreamConfig()
        if request.param == "native":
            clients.append(NativeClient(loop, config, Deadlines(loop.call_soon), tls=lambda: tls))
        else:
            clients.append(HttpxClient(loop, config, tls=tls))
        return clients[-1]

    yield make
    await settle(no_task_is_left)
    for client in clients:
        if isinstance(client, NativeClient):
            pool = client.pool
            await settle(lambda: pool.statistics().busy == 0)  # noqa: B023 - called within the loop
        await client.close()
    gc.collect()


@pytest.fixture
async def secure(anyio_backend: object, server_tls: ssl.SSLContext) -> AsyncIterator[Upstream]:
    async with listening(tls=server_tls) as upstream:
        yield upstream


@pytest.fixture
async def native(anyio_backend: object, trusting: ssl.SSLContext) -> AsyncIterator[Native]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop.call_soon)
    client = NativeClient(loop, UpstreamConfig(), deadlines, tls=lambda: trusting)
    yield Native(client, deadlines)
    await settle(lambda: no_task_is_left() and client.pool.statistics().busy == 0)
    await client.close()
    await settle(lambda: not len(deadlines))
    gc.collect()


async def refused(client: Client, upstream: Upstream) -> str:
    """The words in which ``client`` refuses to talk to ``upstream``."""
    heard = Heard()
    client.send(upstream.request(), heard)
    error = (await heard.ended()).error
    assert heard.calls == ["error"]
    assert (error.status, error.code, error.ending) == (502, "upstream_unreachable", Ending.UPSTREAM_ERROR)
    assert not error.retryable
    assert upstream.requests == 0
    return error.message


# -- trusted certificates -------------------------------------------------------------------------------------------


async def test_a_certificate_of_the_right_authority(
    make_client: MakeClient, trusting: ssl.SSLContext, secure: Upstream
) -> None:
    client = make_client(trusting)
    for _ in range(2):
        heard = Heard()
        client.send(secure.request(), heard)
        if not secure.connections:
            await secure.accept()
        await secure.peers[0].request()
        secure.peers[0].send(OK)
        assert (await heard.ended()).calls == ["head", "data", "end"]
    assert secure.connections == 1


async def test_a_certificate_of_an_unknown_authority(make_client: MakeClient, secure: Upstream) -> None:
    message = await refused(make_client(ssl.create_default_context()), secure)
    assert "certificate" in message
    assert "unable to get local issuer certificate" in message
    assert "127.0.0.1" in message


async def test_a_certificate_for_another_host(
    make_client: MakeClient, trusting: ssl.SSLContext, ca: trustme.CA
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("other.test", "127.0.0.2").configure_cert(context)
    async with listening(tls=context) as upstream:
        message = await refused(make_client(trusting), upstream)
    assert "mismatch" in message


async def test_an_upstream_without_tls(make_client: MakeClient, trusting: ssl.SSLContext, upstream: Upstream) -> None:
    upstream.at_accept = lambda peer: peer.send(b"SSH-2.0-OpenSSH_9\r\n")
    upstream.tls = True
    assert "WRONG_VERSION_NUMBER" in await refused(make_client(trusting), upstream)


async def test_an_upstream_that_hangs_up_in_the_handshake(
    make_client: MakeClient, trusting: ssl.SSLContext, upstream: Upstream
) -> None:
    upstream.at_accept = lambda peer: peer.close()
    upstream.tls = True
    heard = Heard()
    make_client(trusting).send(upstream.request(), heard)
    error = (await heard.ended()).error
    assert (heard.calls, error.status, error.code) == (["error"], 502, "upstream_unreachable")


# -- the rest holds -------------------------------------------------------------------------------------------------


async def test_cancelling_in_the_handshake(native: Native, upstream: Upstream) -> None:
    # Not with httpx: httpcore lets go of a connection that is cancelled in its handshake without closing it.
    upstream.tls = True
    heard = Heard()
    call = native.client.send(upstream.request(), heard)
    peer = await upstream.accept()
    await peer.until(lambda: peer.unread > 0)
    call.cancel()
    await peer.closed_by_gateway()
    assert heard.calls == []


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_cancelling_after_any_number_of_loop_turns(native: Native, secure: Upstream, turns: int) -> None:
    heard = Heard()
    call = native.client.send(secure.request(), heard)
    await settle(iter([False] * turns + [True]).__next__)
    call.cancel()
    await settle(no_task_is_left)
    for peer in secure.peers:
        await peer.closed_by_gateway()
    assert heard.calls == []


async def test_cancelling_a_stream(make_client: MakeClient, trusting: ssl.SSLContext, secure: Upstream) -> None:
    heard = Heard()
    call = make_client(trusting).send(secure.request(), heard)
    peer = await secure.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    call.cancel()
    await peer.closed_by_gateway()
    assert heard.calls == ["head", "data"]


def speak(peer: Peer) -> None:
    peer.send(OK)


@pytest.mark.parametrize("end", [Peer.close, Peer.reset, speak])
async def test_dead_and_talkative_idle_connections(
    native: Native, secure: Upstream, end: Callable[[Peer], None]
) -> None:
    heard = Heard()
    native.client.send(secure.request(), heard)
    peer = await secure.accept_request()
    peer.send(OK)
    await heard.ended()
    assert native.client.pool.statistics()[:2] == (0, 1)
    end(peer)
    await settle(lambda: native.client.pool.statistics()[:2] == (0, 0))
    await peer.closed_by_gateway()


async def test_a_request_that_was_read_is_not_sent_again(native: Native, secure: Upstream) -> None:
    heard = Heard()
    native.client.send(secure.request(), heard)
    peer = await secure.accept_request()
    peer.send(OK)
    await heard.ended()
    again = Heard()
    native.client.send(secure.request(), again)
    await peer.request()
    peer.close()
    assert (await again.ended()).error.code == "upstream_closed"
    assert (secure.requests, secure.connections) == (2, 1)


async def test_connections_that_are_closed_are_not_busy(native: Native, secure: Upstream) -> None:
    heard = Heard()
    native.client.send(secure.request(), heard)
    peer = await secure.accept_request()
    # A peer that does not answer our close keeps the connection for a while.
    peer.transport.pause_reading()
    peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
    await heard.ended()
    assert native.client.pool.statistics()[:2] == (0, 0)
    peer.transport.resume_reading()
    await peer.closed_by_gateway()


async def test_an_end_without_the_end_of_tls_is_cut_off(native: Native, secure: Upstream) -> None:
    heard = Heard()
    native.client.send(secure.request(), heard)
    peer = await secure.accept_request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\npart")
    await heard.data(4)
    peer.transport.abort()
    assert (await heard.ended()).error.ending is Ending.TRUNCATED


async def test_an_answer_delimited_by_the_end_of_tls(
    make_client: MakeClient, trusting: ssl.SSLContext, secure: Upstream
) -> None:
    heard = Heard()
    make_client(trusting).send(secure.request(), heard)
    peer = await secure.accept_request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    peer.close()
    assert (await heard.ended()).calls == ["head", "data", "end"]
    assert heard.body == b"all of it"


async def test_large_bodies_both_ways_and_a_slow_client(
    make_client: MakeClient, trusting: ssl.SSLContext, secure: Upstream
) -> None:
    body = bytes(range(251)) * 20_000
    loop = asyncio.get_running_loop()
    heard = Heard()
    portion = 500_000
    paused_at = [0]

    def hold() -> None:
        if len(heard.body) - paused_at[0] > portion:
            paused_at[0] = len(heard.body)
            heard.call.pause()
            loop.call_soon(heard.call.resume)

    heard.at["data"] = hold
    heard.call = make_client(trusting).send(secure.request(body), heard)
    peer = await secure.accept()
    assert (await peer.request()).body == body
    peer.send(EVENTS_HEAD + b"".join(chunk(body[at : at + 9000]) for at in range(0, len(body), 9000)) + LAST_CHUNK)
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]
    assert heard.body == body
    assert paused_at[0]


async def test_a_paused_stream_is_held_back(
    make_client: MakeClient, trusting: ssl.SSLContext, secure: Upstream
) -> None:
    heard = Heard()
    heard.at["data"] = heard.pause
    client = make_client(trusting)
    heard.call = client.send(secure.request(), heard)
    peer = await secure.accept_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n" + bytes(20_000_000))
    await heard.data(1)
    held = len(heard.body)
    assert held <= 65536
    # Other work in the meantime: plenty of turns in which more could come.
    for number in range(5):
        other = Heard()
        client.send(secure.request(), other)
        second = await secure.accept() if not number else secure.peers[1]
        await second.request()
        second.send(OK)
        await other.ended()
    assert len(heard.body) == held
    heard.call.cancel()
    await peer.closed_by_gateway()


async def test_small_pieces_and_a_pause_after_each(
    make_client: MakeClient, trusting: ssl.SSLContext, secure: Upstream
) -> None:
    _, pieces = await comes_in_small_pieces(make_client(trusting), secure, 20000)
    assert pieces.body == b"x" * 20000 and max(pieces.sizes) <= 100
