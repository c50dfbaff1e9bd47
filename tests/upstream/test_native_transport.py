"""The native client as an httpx transport, seen through an ordinary ``httpx.AsyncClient``."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.waiting import WAIT_SECONDS
from tests.upstream.scripted import (
    EVENTS_HEAD,
    LAST_CHUNK,
    LONG,
    OK,
    FailingClient,
    Native,
    Peer,
    Upstream,
    chunk,
    listening,
    settle,
    soon,
)
from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import Failure, UpstreamError
from ztoapi.upstream.pool import Origin
from ztoapi.upstream.transport import ClientTransport, origin_of
from ztoapi.wire.limits import HIGH_WATER_BYTES, READ_BUFFER_BYTES

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http(native: Native, upstream: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://{upstream.origin.authority}"
    async with httpx.AsyncClient(transport=ClientTransport(native.client, LONG), base_url=base, timeout=30.0) as http:
        yield http


async def run_with(
    upstream: Upstream, http: httpx.AsyncClient, answer: bytes, *, close: bool = False, method: str = "GET"
) -> httpx.Response:
    """One request of ``http``, answered with ``answer``."""
    task = asyncio.ensure_future(http.request(method, "/v1/models"))
    peer = await upstream.accept_request()
    peer.send(answer)
    if close:
        peer.close()
    return await soon(task)


async def test_json_both_ways(http: httpx.AsyncClient, upstream: Upstream) -> None:
    task = asyncio.ensure_future(
        http.post("/v1/chat?x=1", json={"model": "glm"}, headers={"authorization": "Bearer key"})
    )
    peer = await upstream.accept()
    head, body = await peer.request()
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /v1/chat?x=1 HTTP/1.1\r\n")
    assert body == b'{"model":"glm"}'
    for field in (
        b"host: " + upstream.origin.authority.encode(),
        b"authorization: bearer key",
        b"content-type: application/json",
        b"content-length: 15",
        b"accept-encoding: identity",
    ):
        assert lines.count(field) == 1
    peer.send(b'HTTP/1.1 201 Created\r\nX-Id: 7\r\ncontent-length: 12\r\n\r\n{"id": "me"}')
    response = await soon(task)
    assert (response.status_code, response.headers["x-id"], response.json()) == (201, "7", {"id": "me"})


async def test_connections_are_shared_with_the_client(
    http: httpx.AsyncClient, upstream: Upstream, native: Native
) -> None:
    assert (await run_with(upstream, http, OK)).text == "ok"
    task = asyncio.ensure_future(http.get("/"))
    await upstream.peers[0].request()
    upstream.peers[0].send(OK)
    await soon(task)
    assert native.client.pool.statistics() == (0, 1, 1)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_answer_without_a_body(http: httpx.AsyncClient, upstream: Upstream, method: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (5 if method == "HEAD" else 0)
    assert (await run_with(upstream, http, answer, method=method)).content == b""


async def test_a_stream_comes_piece_by_piece(http: httpx.AsyncClient, upstream: Upstream) -> None:
    async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
        peer_task = tasks.create_task(upstream.accept())
        request = http.build_request("GET", "/")
        sending = tasks.create_task(http.send(request, stream=True))
        peer = await peer_task
        await peer.request()
        peer.send(EVENTS_HEAD)
        response = await sending
        pieces = response.aiter_bytes()
        for piece in (b"one", b"two", b"three"):
            peer.send(chunk(piece))
            assert await soon(anext(pieces)) == piece
        peer.send(LAST_CHUNK)
        assert [piece async for piece in pieces] == []
        await response.aclose()


async def talk_elsewhere(http: httpx.AsyncClient) -> None:
    """Several round trips: plenty of loop turns in which bytes that are not held back would arrive."""
    async with listening() as other:
        for _ in range(10):
            task = asyncio.ensure_future(http.get(f"http://{other.origin.authority}/"))
            if not other.connections:
                await other.accept()
            await other.peers[0].request()
            other.peers[0].send(OK)
            await soon(task)


async def open_stream(http: httpx.AsyncClient, upstream: Upstream, answer: bytes) -> tuple[httpx.Response, Peer]:
    sending = asyncio.ensure_future(http.send(http.build_request("GET", "/"), stream=True))
    peer = await upstream.accept_request()
    peer.send(answer)
    return await soon(sending), peer


async def test_closing_a_stream_early_reaches_the_upstream(
    http: httpx.AsyncClient, upstream: Upstream, native: Native
) -> None:
    response, peer = await open_stream(http, upstream, EVENTS_HEAD + chunk(b"one"))
    assert await soon(anext(response.aiter_bytes())) == b"one"
    await response.aclose()
    await peer.closed_by_gateway()
    assert native.client.pool.statistics()[:2] == (0, 0)


async def test_closing_a_stream_late_keeps_the_connection_for_others(
    http: httpx.AsyncClient, upstream: Upstream, native: Native
) -> None:
    response, peer = await open_stream(http, upstream, OK)
    assert await response.aread() == b"ok"
    other = asyncio.ensure_future(http.get("/"))
    await peer.request()
    await response.aclose()
    peer.send(OK)
    assert (await soon(other)).text == "ok"
    assert upstream.connections == 1


async def test_a_cancelled_request_reaches_the_upstream(http: httpx.AsyncClient, upstream: Upstream) -> None:
    task = asyncio.ensure_future(http.get("/"))
    peer = await upstream.accept_request()
    task.cancel()
    await peer.closed_by_gateway()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_a_cancelled_reader_reaches_the_upstream(http: httpx.AsyncClient, upstream: Upstream) -> None:
    async def read_all() -> None:
        async with http.stream("GET", "/") as response:
            await response.aread()

    task = asyncio.ensure_future(read_all())
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await settle(lambda: peer.transport.get_write_buffer_size() == 0)
    task.cancel()
    await peer.closed_by_gateway()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_a_reader_that_lags_holds_the_upstream_back(
    http: httpx.AsyncClient, upstream: Upstream, native: Native
) -> None:
    body = bytes(range(251)) * 40_000
    response, peer = await open_stream(
        http, upstream, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    await talk_elsewhere(http)
    pieces = response.aiter_raw()
    first = await soon(anext(pieces))
    assert len(first) <= HIGH_WATER_BYTES + READ_BUFFER_BYTES
    assert peer.transport.get_write_buffer_size() > 1_000_000
    assert first + b"".join([piece async for piece in pieces]) == body
    await response.aclose()
    assert native.client.pool.statistics()[:2] == (0, 1)


async def test_what_came_before_a_loss_is_read_before_the_error(
    http: httpx.AsyncClient, upstream: Upstream, native: Native
) -> None:
    response, _ = await open_stream(
        http, upstream, b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + bytes(8_000_000)
    )
    await talk_elsewhere(http)
    await native.client.close()
    received = 0
    with pytest.raises(httpx.RemoteProtocolError, match="in the middle of its response"):
        async for piece in response.aiter_raw():
            received += len(piece)
    assert received > HIGH_WATER_BYTES
    await response.aclose()


# -- errors in httpx's terms ----------------------------------------------------------------------------------------


async def test_connect_error(native: Native) -> None:
    async with listening() as upstream:
        pass
    async with httpx.AsyncClient(transport=ClientTransport(native.client, LONG)) as http:
        with pytest.raises(httpx.ConnectError, match=r"cannot connect to the upstream 127\.0\.0\.1") as caught:
            await http.get(f"http://{upstream.origin.authority}/")
    assert caught.value.request.url.port == upstream.port


@pytest.mark.parametrize("config", [UpstreamConfig(connect_timeout_seconds=0.0)])
async def test_connect_timeout(http: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ConnectTimeout):
        await http.get("/")


async def test_read_timeout_before_the_head(http: httpx.AsyncClient, upstream: Upstream, native: Native) -> None:
    task = asyncio.ensure_future(http.get("/"))
    peer = await upstream.accept_request()
    native.pass_time(29.0)
    assert not task.done()
    native.pass_time(30.1)
    with pytest.raises(httpx.ReadTimeout, match="30 s"):
        await soon(task)
    await peer.closed_by_gateway()


async def test_read_timeout_in_the_body(http: httpx.AsyncClient, upstream: Upstream, native: Native) -> None:
    response, peer = await open_stream(http, upstream, EVENTS_HEAD + chunk(b"one"))
    pieces = response.aiter_raw()
    assert await soon(anext(pieces)) == b"one"
    native.pass_time(0.0)
    native.pass_time(30.1)
    with pytest.raises(httpx.ReadTimeout, match="sent nothing"):
        await soon(anext(pieces))
    await response.aclose()
    await peer.closed_by_gateway()


async def test_no_timeout_of_the_request_leaves_those_of_the_transport(
    http: httpx.AsyncClient, upstream: Upstream, native: Native
) -> None:
    task = asyncio.ensure_future(http.get("/", timeout=None))
    await upstream.accept_request()
    native.pass_time(59.0)
    assert not task.done()
    native.pass_time(60.1)
    with pytest.raises(httpx.ReadTimeout, match="60 s"):
        await soon(task)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
async def test_an_upstream_that_goes_away(http: httpx.AsyncClient, upstream: Upstream, answer: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="closed the connection"):
        await run_with(upstream, http, answer, close=True)


async def test_an_upstream_that_breaks_http(http: httpx.AsyncClient, upstream: Upstream) -> None:
    with pytest.raises(httpx.TransportError, match="breaks HTTP"):
        await run_with(upstream, http, b"nonsense\r\n\r\n")


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure.CONNECT_TIMEOUT, httpx.ConnectTimeout),
        (Failure.TIMEOUT, httpx.ReadTimeout),
        (Failure.TOTAL_TIMEOUT, httpx.ReadTimeout),
        (Failure.UNREACHABLE, httpx.ConnectError),
        (Failure.NO_SOCKET, httpx.ConnectError),
        (Failure.CUT_OFF, httpx.RemoteProtocolError),
        (Failure.BROKEN_HTTP, httpx.RemoteProtocolError),
        (Failure.INTERNAL, httpx.ReadError),
    ],
)
@pytest.mark.parametrize("retryable", [True, False])
async def test_the_kind_of_a_failure_does_not_depend_on_retries(
    failure: Failure, kind: type[Exception], retryable: bool
) -> None:
    client = FailingClient(UpstreamError("it failed", failure, retryable=retryable))
    async with httpx.AsyncClient(transport=ClientTransport(client, LONG)) as http:
        with pytest.raises(kind) as caught:
            await http.get("http://upstream/")
    assert type(caught.value) is kind


def test_the_origin_of_a_url() -> None:
    assert origin_of(httpx.URL("https://api.z.ai/api")) == Origin(True, "api.z.ai", 443)
    assert origin_of(httpx.URL("http://localhost:8000/v1")) == Origin(False, "localhost", 8000)
    assert origin_of(httpx.URL("http://[::1]:8000/v1")) == Origin(False, "::1", 8000)
