"""Connections are kept, used again newest first, closed when surplus, and never used once they are dead."""

import pytest

from tests.support.waiting import WAIT_SECONDS
from tests.upstream.scripted import (
    LAST_CHUNK,
    OK,
    Heard,
    Native,
    Peer,
    Upstream,
    chunk,
    listening,
    no_task_is_left,
    settle,
)
from ztoapi.config.model import UpstreamConfig
from ztoapi.upstream.pool import Origin

pytestmark = pytest.mark.anyio


async def round_trip(native: Native, upstream: Upstream, peer: Peer | None = None, answer: bytes = OK) -> Peer:
    """Sends one request, and the response from ``peer``, or from a new connection."""
    heard = Heard()
    native.client.send(upstream.request(), heard)
    if peer is None:
        peer = await upstream.accept()
    await peer.request()
    peer.send(answer)
    assert (await heard.ended()).calls[-1] == "end"
    return peer


async def open_idle(native: Native, upstream: Upstream, count: int) -> list[Peer]:
    """``count`` idle connections, the one released last at the end."""
    heard = [Heard() for _ in range(count)]
    peers = []
    for sink in heard:
        native.client.send(upstream.request(), sink)
        peers.append(await upstream.accept())
    for sink, peer in zip(heard, peers, strict=True):
        await peer.request()
        peer.send(OK)
        await sink.ended()
    return peers


async def test_a_connection_is_used_again(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    for _ in range(3):
        await round_trip(native, upstream, peer)
    assert upstream.connections == 1
    assert native.client.pool.statistics() == (0, 1, 1)


async def test_while_one_request_is_under_way_another_gets_a_connection_of_its_own(
    native: Native, upstream: Upstream
) -> None:
    first, second = Heard(), Heard()
    native.client.send(upstream.request(b"1"), first)
    native.client.send(upstream.request(b"2"), second)
    peers = [await upstream.accept(), await upstream.accept()]
    await settle(lambda: native.client.pool.statistics().busy == 2)
    for peer in peers:
        body = (await peer.request()).body
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + body)
    assert (await first.ended()).body == b"1"
    assert (await second.ended()).body == b"2"
    assert native.client.pool.statistics() == (0, 2, 2)


async def test_the_newest_idle_connection_is_used_first(native: Native, upstream: Upstream) -> None:
    peers = await open_idle(native, upstream, 3)
    for _ in range(3):
        await round_trip(native, upstream, peers[-1])
    assert upstream.connections == 3


async def test_origins_do_not_share_connections(native: Native, upstream: Upstream) -> None:
    async with listening() as other:
        await round_trip(native, upstream)
        await round_trip(native, other)
        assert native.client.pool.statistics() == (0, 2, 2)


async def test_a_request_may_be_sent_from_the_end_of_the_answer_before(native: Native, upstream: Upstream) -> None:
    second = Heard()

    def send_next() -> None:
        native.client.send(upstream.request(b"next"), second)

    first = Heard(end=send_next)
    native.client.send(upstream.request(), first)
    peer = await upstream.accept_request()
    peer.send(OK)
    assert (await peer.request()).body == b"next"
    peer.send(OK)
    assert (await second.ended()).calls == ["head", "data", "end"]
    assert upstream.connections == 1


# -- surplus and old age --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [UpstreamConfig(max_idle_per_origin=2)])
async def test_the_scan_closes_the_oldest_of_an_origin_above_its_share(native: Native, upstream: Upstream) -> None:
    peers = await open_idle(native, upstream, 4)
    native.pass_time(0.0)
    for peer in peers[:2]:
        await peer.closed_by_gateway()
    assert native.client.pool.statistics() == (0, 2, 4)
    await round_trip(native, upstream, peers[3])


@pytest.mark.parametrize("config", [UpstreamConfig(max_idle_connections=2)])
async def test_the_scan_closes_the_oldest_of_all_origins_above_the_total(native: Native, upstream: Upstream) -> None:
    async with listening() as other:
        old = await open_idle(native, upstream, 2)
        new = await open_idle(native, other, 1)
        native.pass_time(0.0)
        await old[0].closed_by_gateway()
        await settle(lambda: native.client.pool.statistics() == (0, 2, 3))
        await round_trip(native, upstream, old[1])
        await round_trip(native, other, new[0])


async def test_the_scan_closes_what_has_been_idle_for_too_long(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    native.pass_time(89.0)
    assert native.client.pool.statistics().idle == 1
    native.pass_time(90.0)
    await peer.closed_by_gateway()
    assert native.client.pool.statistics() == (0, 0, 1)


@pytest.mark.parametrize("config", [UpstreamConfig(first_byte_timeout_seconds=1e9, total_timeout_seconds=1e9)])
async def test_the_scan_leaves_busy_connections_alone(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    native.pass_time(100.0)
    peer.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]


# -- dead connections -----------------------------------------------------------------------------------------------


async def test_an_idle_connection_that_the_upstream_closes_is_not_used(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    peer.close()
    await settle(lambda: native.client.pool.statistics().idle == 0)
    fresh = await round_trip(native, upstream)
    assert fresh is not peer
    assert native.client.pool.statistics() == (0, 1, 2)


async def test_an_idle_connection_that_the_upstream_resets_is_not_used(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    peer.reset()
    await settle(lambda: native.client.pool.statistics().idle == 0)
    await round_trip(native, upstream)
    assert native.client.pool.statistics() == (0, 1, 2)


async def test_bytes_on_an_idle_connection_kill_it(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    await peer.closed_by_gateway()
    assert native.client.pool.statistics() == (0, 0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"ok") + LAST_CHUNK,
    ],
    ids=["length", "empty", "no content", "chunked"],
)
@pytest.mark.parametrize("surplus", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"], ids=["one", "answer"])
async def test_bytes_behind_an_answer_end_its_connection(
    native: Native, upstream: Upstream, answer: bytes, surplus: bytes
) -> None:
    peer = await round_trip(native, upstream, answer=answer + surplus)
    await peer.closed_by_gateway()
    fresh = await round_trip(native, upstream)
    assert fresh is not peer


async def test_bytes_behind_the_answer_to_a_head_request_end_its_connection(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(b"", method="HEAD"), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    assert (await heard.ended()).calls == ["head", "end"]
    await peer.closed_by_gateway()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_will_not_live_on_is_closed_at_once(
    native: Native, upstream: Upstream, answer: bytes
) -> None:
    peer = await round_trip(native, upstream, answer=answer)
    assert native.client.pool.statistics().idle == 0
    await peer.closed_by_gateway()
    await round_trip(native, upstream)
    assert upstream.connections == 2


async def test_http_1_0_with_keep_alive_is_kept(native: Native, upstream: Upstream) -> None:
    answer = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"
    peer = await round_trip(native, upstream, answer=answer)
    await round_trip(native, upstream, peer)
    assert upstream.connections == 1


# -- the one safe retry ---------------------------------------------------------------------------------------------


async def send_to_one_that_closes(native: Native, upstream: Upstream, peer: Peer, body: bytes = b"again") -> Heard:
    """A request on a kept connection, sent in the turn of the loop in which ``peer`` closes it unread."""
    heard = Heard()
    peer.close_unseen()
    assert native.client.pool.statistics().idle == 1
    native.client.send(upstream.request(body), heard)
    return heard


@pytest.mark.parametrize("size", [5, 3_000_000], ids=["small", "large"])
async def test_a_request_on_a_connection_that_was_closed_before_is_sent_once_more(
    native: Native, upstream: Upstream, size: int
) -> None:
    peer = await round_trip(native, upstream)
    heard = await send_to_one_that_closes(native, upstream, peer, b"x" * size)
    fresh = await upstream.accept()
    assert len((await fresh.request()).body) == size
    fresh.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]
    assert upstream.requests == 2


async def test_a_request_that_is_reset_within_a_round_trip_is_sent_once_more(
    native: Native, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ztoapi.upstream.connection.LOOP_DELAY_SECONDS", WAIT_SECONDS)
    peer = await round_trip(native, upstream)
    heard = Heard()
    native.client.send(upstream.request(b"again"), heard)
    peer.reset()
    fresh = await upstream.accept()
    assert (await fresh.request()).body == b"again"
    fresh.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]


async def test_a_request_that_is_reset_later_may_have_been_served(
    native: Native, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ztoapi.upstream.connection.LOOP_DELAY_SECONDS", -1.0)
    peer = await round_trip(native, upstream)
    heard = Heard()
    native.client.send(upstream.request(b"again"), heard)
    await peer.request()
    peer.reset()
    assert (await heard.ended()).error.code == "upstream_closed"
    assert upstream.connections == 1


@pytest.mark.parametrize("body", [b"again", b"x" * 3_000_000], ids=["small", "large"])
async def test_a_request_that_was_read_is_never_sent_again(native: Native, upstream: Upstream, body: bytes) -> None:
    peer = await round_trip(native, upstream)
    heard = Heard()
    native.client.send(upstream.request(body), heard)
    await peer.request()
    peer.close()
    assert (await heard.ended()).error.code == "upstream_closed"
    assert (upstream.requests, upstream.connections) == (2, 1)


async def test_the_retry_is_not_retried(native: Native, upstream: Upstream) -> None:
    peers = await open_idle(native, upstream, 2)
    heard = Heard()
    peers[1].close_unseen()
    native.client.send(upstream.request(), heard)
    # The retry takes a new connection although an idle one is left, which is as likely to be dead.
    fresh = await upstream.accept()
    await fresh.request()
    fresh.close()
    error = (await heard.ended()).error
    assert (error.code, error.status) == ("upstream_closed", 502)
    assert heard.calls == ["error"]
    assert upstream.connections == 3
    assert upstream.requests == 3


async def test_a_reused_connection_that_dies_after_one_byte_is_not_retried(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    heard = Heard()
    native.client.send(upstream.request(), heard)
    await peer.request()
    peer.send(b"H")
    peer.close()
    assert (await heard.ended()).error.code == "upstream_truncated"
    assert upstream.connections == 1


async def test_a_fresh_connection_that_dies_unanswered_is_not_retried(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.close()
    assert (await heard.ended()).error.code == "upstream_closed"
    assert upstream.connections == 1


async def test_a_timeout_on_a_reused_connection_is_not_retried(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    heard = Heard()
    native.client.send(upstream.request(), heard)
    await peer.request()
    native.pass_time(61.0)
    assert (await heard.ended()).error.code == "upstream_timeout"
    assert upstream.connections == 1


async def test_a_retry_without_a_server_fails(native: Native) -> None:
    async with listening() as upstream:
        peer = await round_trip(native, upstream)
        upstream.stop()
        error = (await (await send_to_one_that_closes(native, upstream, peer)).ended()).error
    assert (error.code, error.retryable) == ("upstream_unreachable", True)


async def test_cancelling_a_retry_that_connects_calls_no_sink(native: Native, upstream: Upstream) -> None:
    peer = await round_trip(native, upstream)
    heard = Heard()
    peer.close_unseen()
    call = native.client.send(upstream.request(), heard)
    await settle(lambda: native.client.pool.statistics().busy == 0)
    call.cancel()
    await settle(no_task_is_left)
    assert heard.calls == []


# -- shutdown -------------------------------------------------------------------------------------------------------


async def test_closing_the_client_closes_every_connection(native: Native, upstream: Upstream) -> None:
    idle, peer = await open_idle(native, upstream, 2)
    heard = Heard()
    native.client.send(upstream.request(), heard)
    await peer.request()
    await native.client.close()
    await idle.closed_by_gateway()
    await peer.closed_by_gateway()
    # The request in flight went out on a reused connection and got no response, but its client has left: no retry.
    assert (await heard.ended()).error.code == "upstream_closed"
    assert upstream.connections == 2
    assert native.client.pool.statistics() == (0, 0, 2)


async def test_a_connection_that_comes_up_while_the_client_closes_is_dropped(
    native: Native, upstream: Upstream
) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard)
    await native.client.close()
    assert (await heard.ended()).error.code == "shutdown"
    assert native.client.pool.statistics().busy == 0


def test_an_origin_names_itself_as_the_host_field_wants_it() -> None:
    assert Origin(True, "api.z.ai", 443).authority == "api.z.ai"
    assert Origin(False, "api.z.ai", 443).authority == "api.z.ai:443"
    assert Origin(False, "::1", 80).authority == "[::1]"
    assert Origin(False, "::1", 8080).authority == "[::1]:8080"
