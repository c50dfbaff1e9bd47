"""Connections to a name with several addresses, and what a shortage of descriptors means."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.upstream.scripted import OK, Heard, Native, Upstream
from ztoapi.errors import Fault
from ztoapi.upstream.connect import connect

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


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr("ztoapi.upstream.connect._resolve", getaddrinfo)


@pytest.mark.parametrize("swallowing", [1, 3])
async def test_another_address_is_tried_beside_one_that_swallows(
    native: Native, upstream: Upstream, deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch, swallowing: int
) -> None:
    resolve_to(monkeypatch, *[deaf] * swallowing, ("127.0.0.1", upstream.port))
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK)
    assert (await heard.ended()).calls == ["head", "data", "end"]


async def test_an_address_that_refuses_costs_no_wait(
    native: Native, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ztoapi.upstream.connect.ATTEMPT_DELAY_SECONDS", 1000.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        resolve_to(monkeypatch, unused.getsockname(), ("127.0.0.1", upstream.port))
        sock = await connect(asyncio.get_running_loop(), "two.test", 80, 1e6)
    with sock:
        assert sock.getpeername() == ("127.0.0.1", upstream.port)


async def test_the_last_error_is_reported(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        resolve_to(monkeypatch, unused.getsockname(), unused.getsockname())
        with pytest.raises(ConnectionRefusedError):
            await connect(asyncio.get_running_loop(), "two.test", 80, 5.0)


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
