"""Connections to a name with several addresses, and what a shortage of descriptors means."""

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest

from tests.support.waiting import WAIT_SECONDS
from tests.upstream.names import Names, addresses
from tests.upstream.scripted import OK, Heard, Native, Upstream, soon
from ztoapi.errors import Fault
from ztoapi.upstream.connect import connect
from ztoapi.upstream.resolver import Resolver
from ztoapi.wire.limits import TURN_CONNECTS

pytestmark = pytest.mark.anyio


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address that swallows connections: a listener whose queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()


def resolve_to(native: Native, *found: tuple[str, int]) -> Names:
    names = Names(*found)
    native.client.names = Resolver(names.look_up, names.clock)
    return names


async def exchange(native: Native, upstream: Upstream) -> list[str]:
    """Sends one request over a connection of its own. Returns the callbacks of the response."""
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    return (await heard.ended()).calls


@pytest.mark.parametrize("swallowing", [1, 3])
async def test_another_address_is_tried_beside_one_that_swallows(
    native: Native, upstream: Upstream, deaf: tuple[str, int], swallowing: int
) -> None:
    resolve_to(native, *[deaf] * swallowing, ("127.0.0.1", upstream.port))
    assert await exchange(native, upstream) == ["head", "data", "end"]


async def test_an_address_that_refuses_costs_no_wait(
    native: Native, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ztoapi.upstream.connect.ATTEMPT_DELAY_SECONDS", 1000.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = addresses(unused.getsockname(), ("127.0.0.1", upstream.port))
        sock, address = await connect(asyncio.get_running_loop(), found, 1e6)
    with sock:
        assert sock.getpeername() == address[4] == ("127.0.0.1", upstream.port)


async def test_one_address_that_swallows_leaves_time_for_the_last(upstream: Upstream, deaf: tuple[str, int]) -> None:
    """The attempt with the first address ends before the timeout of the connection."""
    found = addresses(deaf, deaf)
    with pytest.raises(TimeoutError):
        await soon(connect(asyncio.get_running_loop(), found, 0.2))
    found = addresses(deaf, ("127.0.0.1", upstream.port))
    sock, _ = await soon(connect(asyncio.get_running_loop(), found, WAIT_SECONDS))
    sock.close()


async def test_the_last_error_is_reported(native: Native) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = addresses(unused.getsockname(), unused.getsockname())
        with pytest.raises(ConnectionRefusedError):
            await connect(asyncio.get_running_loop(), found, 5.0)


async def test_the_address_that_worked_is_attempted_first(
    native: Native, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = unused.getsockname()
        names = resolve_to(native, refusing, ("127.0.0.1", upstream.port))
        await exchange(native, upstream)
        origin = upstream.request().origin
        first = await native.client.names.resolve(origin.host, origin.port)
        assert [each[4] for each in first] == [("127.0.0.1", upstream.port), refusing]
        names.now += 601.0
        later = await native.client.names.resolve(origin.host, origin.port)
        assert [each[4] for each in later] == [refusing, ("127.0.0.1", upstream.port)]


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
async def test_a_shortage_of_the_gateways_own_is_not_the_upstreams(
    native: Native, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(shortage, "no")

    monkeypatch.setattr("ztoapi.upstream.connect.socket.socket", fail)
    heard = Heard()
    native.client.send(upstream.request(), heard)
    error = (await heard.ended()).error
    assert (error.status, error.code, error.fault, error.retry_after) == (503, "overloaded", Fault.REQUEST, 1.0)
    assert "127.0.0.1" not in error.message


async def test_a_turn_begins_to_open_a_few_connections(native: Native, upstream: Upstream) -> None:
    """The streams of others wait for all that is begun in one turn."""
    tasks = len(asyncio.all_tasks())
    sinks = [Heard() for _ in range(3 * TURN_CONNECTS)]
    calls = [native.client.send(upstream.request(), heard) for heard in sinks]
    assert len(asyncio.all_tasks()) - tasks == TURN_CONNECTS
    left = calls[TURN_CONNECTS::2]
    for call in left:
        call.cancel()
    for _ in range(len(calls) - len(left)):
        (await upstream.accept_request()).send(OK)
    for call, heard in zip(calls, sinks, strict=True):
        if call not in left:
            assert (await heard.ended()).calls == ["head", "data", "end"]
    assert native.client.pool.statistics().opened == len(calls) - len(left)


async def test_requests_outlive_the_resolver(native: Native, upstream: Upstream) -> None:
    names = resolve_to(native, ("127.0.0.1", upstream.port))
    await exchange(native, upstream)
    names.fault = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    names.now += 3600.0
    assert await exchange(native, upstream) == ["head", "data", "end"]
    assert names.lookups == 2


async def test_a_client_that_leaves_does_not_end_the_lookup_of_others(native: Native, upstream: Upstream) -> None:
    names = resolve_to(native, ("127.0.0.1", upstream.port))
    names.hold()
    gone, heard = Heard(), Heard()
    call = native.client.send(upstream.request(), gone)
    native.client.send(upstream.request(), heard)
    await soon(names.started.wait())
    call.cancel()
    names.go_on()
    peer = await upstream.accept_request()
    peer.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]
    assert (names.lookups, gone.calls) == (1, [])
