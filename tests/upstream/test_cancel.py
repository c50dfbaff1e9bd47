"""Cancelled requests: the upstream connection closes at once in every phase, and nothing is left over."""

import asyncio

import pytest

from tests.upstream.scripted import EVENTS_HEAD, OK, Heard, Native, Upstream, chunk, no_task_is_left, settle, turn
from ztoapi.upstream.client import Client, NativeClient

pytestmark = pytest.mark.anyio


async def test_while_waiting_for_the_answer(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    call.cancel()
    await peer.closed_by_gateway()
    assert heard.calls == []


async def test_in_the_middle_of_a_stream(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    call.cancel()
    await peer.closed_by_gateway()
    assert heard.calls == ["head", "data"]


async def test_in_the_middle_of_a_stream_that_is_paused(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = heard.call = client.send(upstream.request(), heard)
    heard.at["data"] = heard.pause
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    peer.send(chunk(b"two"))
    call.cancel()
    await peer.closed_by_gateway()
    assert heard.body == b"one"


async def test_while_a_large_request_is_on_its_way(client: Client, upstream: Upstream) -> None:
    upstream.at_accept = lambda peer: peer.transport.pause_reading()
    heard = Heard()
    call = client.send(upstream.request(bytes(8_000_000)), heard)
    peer = await upstream.accept()
    await turn()
    call.cancel()
    peer.transport.resume_reading()
    await peer.closed_by_gateway()
    assert peer.unread < 8_000_000
    assert heard.calls == []


@pytest.mark.parametrize("turns", range(12))
async def test_while_connecting(client: Client, upstream: Upstream, turns: int) -> None:
    """After each number of loop turns: the connection may be wanted, made, or just in the hands of the call."""
    heard = Heard()
    call = client.send(upstream.request(), heard)
    for _ in range(turns):
        await turn()
    call.cancel()
    await settle(no_task_is_left)
    if not isinstance(client, NativeClient):
        # httpcore may keep a connection that was made but has carried nothing; it goes with the client.
        await client.close()
    for peer in upstream.peers:
        await peer.closed_by_gateway()
    assert heard.calls == []


async def test_a_connection_that_was_made_when_its_request_was_cancelled_is_closed(
    native: Native, upstream: Upstream
) -> None:
    heard = Heard()
    call = native.client.send(upstream.request(), heard)
    upstream.at_accept = lambda _: call.cancel()
    peer = await upstream.accept()
    await peer.closed_by_gateway()
    assert heard.calls == []
    assert native.client.pool.statistics().busy == 0


@pytest.mark.parametrize("where", ["head", "data"])
async def test_from_within_a_callback(client: Client, upstream: Upstream, where: str) -> None:
    heard = Heard()
    heard.at[where] = heard.cancel
    heard.call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    # The whole answer in one piece: what follows the callback must not reach the sink either.
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + bytes(200_000))
    await peer.closed_by_gateway()
    await settle(no_task_is_left)
    assert heard.calls == ["head", "data"][: 1 + (where == "data")]


@pytest.mark.parametrize("where", ["end", "error"])
async def test_from_within_the_last_callback_changes_nothing(client: Client, upstream: Upstream, where: str) -> None:
    heard = Heard()
    heard.at[where] = heard.cancel
    heard.call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK if where == "end" else b"HTTP/1.1 200 OK\r\n broken\r\n\r\n")
    await heard.ended()
    await settle(no_task_is_left)
    assert heard.calls[-1] == where
    again = Heard()
    client.send(upstream.request(), again)
    if where == "error":
        peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    assert (await again.ended()).calls == ["head", "data", "end"]


async def test_twice(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    call.cancel()
    call.cancel()
    await peer.closed_by_gateway()
    assert heard.calls == []


async def test_a_late_cancel_leaves_the_connection_to_its_next_request(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    first = native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK)
    await heard.ended()
    first.cancel()
    # The same sink again, as of a relay at its second attempt: only the requests differ.
    first = native.client.send(upstream.request(), heard)
    await peer.request()
    peer.send(OK)
    await heard.until(lambda: heard.calls == ["head", "data", "end"] * 2)
    second = native.client.send(upstream.request(), heard)
    await peer.request()
    first.pause()
    first.cancel()
    first.resume()
    peer.send(OK)
    await heard.until(lambda: heard.calls == ["head", "data", "end"] * 3)
    second.cancel()
    assert upstream.connections == 1
    assert native.client.pool.statistics().idle == 1


async def test_flow_control_after_the_end_has_no_effect(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    call = native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD)
    peer.close()
    await heard.ended()
    assert heard.calls == ["head", "error"]
    await settle(lambda: not asyncio.all_tasks() or no_task_is_left())
    call.pause()
    call.resume()
    call.cancel()


async def test_many_at_once_leave_nothing(native: Native, upstream: Upstream) -> None:
    calls = [native.client.send(upstream.request(), Heard()) for _ in range(50)]
    peers = [await upstream.accept() for _ in calls]
    for call in calls:
        call.cancel()
    for peer in peers:
        await peer.closed_by_gateway()
    assert native.client.pool.statistics() == (0, 0, native.client.pool.statistics().opened)
