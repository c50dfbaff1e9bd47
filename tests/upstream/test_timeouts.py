"""Each time limit by itself. The native client's clock is the scan's argument; httpx has only real time."""

import gc
import weakref

import pytest

from tests.upstream.scripted import (
    EVENTS_HEAD,
    LAST_CHUNK,
    LONG,
    OK,
    Heard,
    Native,
    Upstream,
    chunk,
    no_task_is_left,
    read,
    settle,
)
from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import Ending
from ztoapi.upstream.client import Client
from ztoapi.upstream.connection import Timeouts

pytestmark = pytest.mark.anyio


def assert_timeout(heard: Heard, words: str) -> None:
    error = heard.error
    assert (error.status, error.code, error.ending) == (504, "upstream_timeout", Ending.UPSTREAM_TIMEOUT)
    assert words in error.message


async def test_first_byte(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard, Timeouts(60.0, 5.0, 600.0))
    peer = await upstream.accept_request()
    native.pass_time(59.0)
    assert heard.calls == []
    native.pass_time(60.1)
    assert_timeout(heard, "no byte of a response within 60 s")
    assert not heard.error.retryable
    await peer.closed_by_gateway()


async def test_between_bytes(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard, Timeouts(5.0, 60.0, 600.0))
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    native.pass_time(0.0)
    native.pass_time(59.0)
    assert heard.calls == ["head", "data"]
    native.pass_time(60.1)
    assert heard.calls == ["head", "data", "error"]
    assert_timeout(heard, "sent nothing for 60 s")
    await peer.closed_by_gateway()


async def test_bytes_start_the_time_between_bytes_anew(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard, Timeouts(5.0, 60.0, 600.0))
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD)
    for number in range(8):
        peer.send(chunk(b"x"))
        await heard.data(number + 1)
        native.pass_time(50.0 * number)
    peer.send(LAST_CHUNK)
    assert (await heard.ended()).calls == ["head", "data", "end"]


async def test_one_byte_of_a_head_ends_the_time_for_the_first_byte(native: Native) -> None:
    heard = Heard()
    connection = native.by_hand()
    connection.send("POST", b"", b"", heard, Timeouts(5.0, 60.0, 600.0))
    read(connection, b"H")
    native.pass_time(0.0)
    native.pass_time(30.0)
    assert heard.calls == []
    native.pass_time(60.1)
    assert_timeout(heard, "sent nothing")
    connection.connection_lost(None)


async def test_total(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard, Timeouts(60.0, 60.0, 100.0))
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD)
    for number in range(10):
        peer.send(chunk(b"x"))
        await heard.data(number + 1)
        native.pass_time(9.9 * number)
    native.pass_time(100.1)
    assert_timeout(heard, "longer than 100 s")
    await peer.closed_by_gateway()


async def test_a_slow_client_is_not_held_against_the_upstream(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    call = native.client.send(upstream.request(), heard, Timeouts(5.0, 5.0, 100.0))
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    native.pass_time(0.0)
    call.pause()
    for seconds in range(0, 1000, 4):
        native.pass_time(float(seconds))
    assert heard.calls == ["head", "data"]
    call.resume()
    native.pass_time(1000.0)
    native.pass_time(1004.0)
    assert heard.calls == ["head", "data"]
    native.pass_time(1005.1)
    assert_timeout(heard, "sent nothing")


async def test_the_first_byte_counts_from_the_sending_on_a_reused_connection(
    native: Native, upstream: Upstream
) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK)
    await heard.ended()
    native.pass_time(80.0)
    again = Heard()
    native.client.send(upstream.request(), again, LONG)
    await peer.request()
    native.pass_time(59.0)
    peer.send(OK)
    assert (await again.ended()).calls == ["head", "data", "end"]


async def test_the_sink_gets_the_time_without_data(native: Native, upstream: Upstream) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    native.pass_time(15.0)
    assert heard.idle == [15.0]
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    native.pass_time(20.0)
    native.pass_time(36.0)
    assert heard.idle[1:] == [16.0]


async def test_a_sink_that_fails_while_idle_does_not_stop_the_scan(
    native: Native, upstream: Upstream, logged: list[BaseException]
) -> None:
    class Failing(Heard):
        def on_idle(self, seconds: float) -> None:
            raise ValueError

    sinks = [Failing(), Failing()]
    for sink in sinks:
        native.client.send(upstream.request(), sink)
        await (await upstream.accept()).request()
    native.pass_time(1.0)
    assert [sink.error.ending for sink in sinks] == [Ending.INTERNAL_ERROR] * 2
    assert [type(error) for error in logged] == [ValueError] * 2


async def test_the_body_of_an_error(native: Native, upstream: Upstream) -> None:
    """It has 2 s, however many bytes arrive. Then the response is complete, without a timer that outlives the call."""
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 400 No\r\ncontent-length: 10\r\n\r\nno")
    await heard.data(2)
    native.pass_time(1.9)
    assert heard.calls == ["head", "data"]
    native.pass_time(2.1)
    assert heard.calls == ["head", "data", "end"]
    await peer.closed_by_gateway()


@pytest.mark.parametrize("client", ["httpx"], indirect=True)
async def test_the_body_of_an_error_over_httpx(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    client.send(upstream.request(), heard, Timeouts(60.0, 60.0, 600.0))
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 400 No\r\ncontent-length: 10\r\n\r\nno")
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]
    await peer.closed_by_gateway()


async def test_a_cancelled_error_leaves_nothing(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 400 No\r\ncontent-length: 10\r\n\r\nno")
    await heard.data(2)
    call.cancel()
    left = weakref.ref(heard)
    await peer.closed_by_gateway()
    await settle(no_task_is_left)
    del heard, call
    gc.collect()
    assert left() is None


@pytest.mark.parametrize("config", [UpstreamConfig(connect_timeout_seconds=1.0)])
async def test_connecting(client: Client, upstream: Upstream) -> None:
    # Accepts, and never answers the TLS handshake.
    upstream.tls = True
    heard = Heard()
    client.send(upstream.request(), heard)
    # The connection is accepted before its time is over, on a busy machine too.
    peer = await upstream.accept()
    await heard.ended()
    assert heard.calls == ["error"]
    assert_timeout(heard, "cannot connect to the upstream 127.0.0.1")
    assert heard.error.retryable
    await peer.closed_by_gateway()


@pytest.mark.parametrize("client", ["httpx"], indirect=True)
@pytest.mark.parametrize("limits", [Timeouts(0.3, 60.0, 600.0), Timeouts(60.0, 60.0, 2.0)], ids=["read", "total"])
@pytest.mark.parametrize("sent", [b"", EVENTS_HEAD + chunk(b"one")], ids=["unanswered", "answering"])
async def test_httpx_in_real_time(client: Client, upstream: Upstream, limits: Timeouts, sent: bytes) -> None:
    """Time enough to connect: httpcore forgets a connection that is cancelled in the turn in which it is made."""
    heard = Heard()
    client.send(upstream.request(), heard, limits)
    peer = await upstream.accept()
    peer.send(sent)
    await heard.ended()
    assert heard.calls[-1] == "error"
    assert_timeout(heard, "the upstream")
    await peer.closed_by_gateway()
